/**
 * Warnings about plugins that a consumer or its group has and a route too, and that run before it is known who calls:
 * the route's configuration counts there.
 */
import { ownMembers } from "../../base/json/members.ts";
import type { KindName } from "../../model/kinds.ts";
import type { RecordChange } from "../admin-context.ts";
import type { ConfigView } from "./config-view.ts";
import type { Warning } from "./warnings.ts";

/** Plugins whose rewrite phase runs before that of every plugin that authenticates. docs/plugins/README.md names them. */
const BEFORE_CONSUMER: ReadonlySet<string> = new Set([
  "cors",
  "fault-injection",
  "real-ip",
  "request-id",
  "request-validation",
  "uri-blocker",
]);

const OVER: readonly KindName[] = ["consumer", "consumer_group"];
const UNDER: readonly KindName[] = ["route", "service", "plugin_config"];

export async function lateConsumerPlugins(change: RecordChange, after: ConfigView): Promise<readonly Warning[]> {
  const { candidate, key, kind } = change;
  const isOver = OVER.includes(kind.name);
  if (!candidate || !(isOver || UNDER.includes(kind.name))) return [];
  const early = Object.keys(ownMembers(candidate, "plugins")).filter((name) => BEFORE_CONSUMER.has(name));
  const warnings: Warning[] = [];
  for (const name of early) {
    const other = await findHolder(after, isOver ? UNDER : OVER, name);
    if (other === undefined) continue;
    const message = `${name} runs before the consumer is known: where a route has it, the route's configuration counts, and the consumer's does not (${other} has it too)`;
    warnings.push({ code: "consumer_plugin_too_late", key, message });
  }
  return warnings;
}

async function findHolder(view: ConfigView, kinds: readonly KindName[], name: string): Promise<string | undefined> {
  for (const kind of kinds)
    for (const { id, value } of (await view.all(kind)).values())
      if (Object.hasOwn(ownMembers(value, "plugins"), name)) return `${kind} ${id}`;
  return undefined;
}
