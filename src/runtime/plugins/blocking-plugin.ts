/**
 * Stands where something cannot be enforced (a plugin that is not loaded, a record that nothing older serves for): what
 * would have been served open is answered 503. Promise: it runs before every other plugin of its record, in its
 * `_meta.filter`, and `_meta.disable` takes it out.
 */
import { Type } from "typebox";
import type { Plugin, PluginPhases } from "../../plugin/plugin.ts";
import { bareAnswer } from "../../plugin/plugin-answer.ts";

/** Why requests are refused; the reason in logs and metrics. */
export type BlockReason = "plugin_not_loaded" | "plugin_repeated" | "record_refused";

/** Before any plugin, whatever `_meta.priority` says. */
export const FIRST = Number.POSITIVE_INFINITY;
const NO_CONF = Type.Object({});

/** @param name of what it stands for, so that other layers hide it and are hidden by it */
export function blockingPlugin(name: string, reason: BlockReason): Plugin {
  return Object.freeze({
    name,
    version: 0,
    priority: FIRST,
    schema: NO_CONF,
    explain: "run",
    compile: () => BLOCKED[reason],
  });
}

function blocked(reason: BlockReason): PluginPhases {
  const answer = bareAnswer(503, reason);
  return Object.freeze({ rewrite: () => answer, access: () => answer });
}

const BLOCKED: Readonly<Record<BlockReason, PluginPhases>> = Object.freeze({
  plugin_not_loaded: blocked("plugin_not_loaded"),
  plugin_repeated: blocked("plugin_repeated"),
  record_refused: blocked("record_refused"),
});

/** Plugins of APISIX whose configuration in a consumer is a credential: without them nobody gets in by it. */
const FOREIGN_CREDENTIALS: ReadonlySet<string> = new Set(["jwe-decrypt", "ldap-auth", "wolf-rbac"]);

export function isForeignCredential(name: string): boolean {
  return FOREIGN_CREDENTIALS.has(name);
}
