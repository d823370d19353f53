/**
 * A plugin may stand in one global rule only. The rule spans records, so all writes of global rules are put in a row
 * by one guard key.
 * Source: docs/spec/admin-api.md section 5.11.
 */
import { dirOf, parseKey } from "../../model/keys.ts";
import { prefixRange, type Store } from "../../store/store.ts";
import { type Members, ownMembers, toStored } from "../read/stored-record.ts";
import { globalRulesKey } from "../store-paths.ts";
import type { Plan } from "./write-plan.ts";

/** @returns the error's text when another rule has one of the plugins; else `plan` fails when one comes in between. */
export async function planGlobalRule(
  store: Store,
  prefix: string,
  plan: Plan,
  id: string,
  value: Members,
): Promise<string | undefined> {
  const guard = globalRulesKey(prefix);
  const { kv: before } = await store.get(guard);
  const wanted = Object.keys(ownMembers(value, "plugins"));
  for await (const page of store.list(prefixRange(dirOf(prefix, "global_rule")))) {
    for (const kv of page.kvs) {
      const key = parseKey(prefix, kv.key);
      if (!key || key.id === id) continue;
      const plugins = ownMembers(toStored(kv).value, "plugins");
      const taken = wanted.find((name) => Object.hasOwn(plugins, name));
      if (taken !== undefined) return `plugin '${taken}' already exists in global rule with id '${key.id}'`;
    }
  }
  plan.expect(guard, before?.modRevision ?? 0n);
  plan.put(guard, id);
  return undefined;
}
