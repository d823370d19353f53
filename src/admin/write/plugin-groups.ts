/**
 * Rules of plugins that span records: limit-count counts a `group` together, so all its configurations must be equal.
 * Such writes are put in a row by one guard key, so that two of them cannot pass each other.
 * Source: docs/spec/plugins.md section 6.
 */
import { dirOf, parseKey } from "../../model/keys.ts";
import { KINDS, type KindName } from "../../model/kinds.ts";
import { prefixRange } from "../../store/store.ts";
import type { ReadSide, RuleSide } from "../admin-context.ts";
import type { CatalogPlugin } from "../plugin-catalog.ts";
import { type Members, own, ownMembers, toStored } from "../read/stored-record.ts";
import { pluginGroupsKey } from "../store-paths.ts";
import type { Plan } from "./write-plan.ts";

/** Where plugins may stand. Credentials carry authentication only, which knows no groups. */
const HOLDERS: readonly KindName[] = ["route", "service", "plugin_config", "consumer", "consumer_group", "global_rule"];

interface Grouped {
  readonly plugin: CatalogPlugin;
  readonly conf: Members;
}

/** @param key of the record being written, which does not conflict with what it was @returns the error's text */
export async function planPluginGroups(
  admin: ReadSide,
  plan: Plan,
  key: string,
  candidate: Members,
): Promise<string | undefined> {
  const grouped = groupedIn(admin, candidate);
  if (grouped.length === 0) return undefined;
  const guard = pluginGroupsKey(admin.prefix);
  const { kv: before } = await admin.store.get(guard);
  for (const kind of HOLDERS) {
    const error = await conflictAmong(admin, kind, key, grouped);
    if (error !== undefined) return error;
  }
  plan.expect(guard, before?.modRevision ?? 0n);
  plan.put(guard, key);
  return undefined;
}

/** Only configurations with a `group` reach beyond their record; all others are spared the search. */
function groupedIn(admin: RuleSide, value: Members): Grouped[] {
  return Object.entries(ownMembers(value, "plugins")).flatMap(([name, conf]) => {
    const plugin = admin.catalog.get(name);
    return plugin?.conflict && own(conf as Members, "group") !== undefined ? [{ plugin, conf: conf as Members }] : [];
  });
}

async function conflictAmong(
  admin: ReadSide,
  kind: KindName,
  key: string,
  grouped: readonly Grouped[],
): Promise<string | undefined> {
  for await (const page of admin.store.list(prefixRange(dirOf(admin.prefix, kind)))) {
    for (const kv of page.kvs) {
      const parsed = parseKey(admin.prefix, kv.key);
      if (kv.key === key || parsed?.kind !== kind || !kv.value.includes('"group"')) continue;
      const { value } = toStored(kv);
      const plugins = ownMembers(value && admin.codec.open(KINDS[kind], parsed.id, value), "plugins");
      for (const { plugin, conf } of grouped) {
        const other = ownMembers(plugins, plugin.name);
        const error = own(other, "group") === undefined ? undefined : plugin.conflict?.(conf, other);
        if (error !== undefined) return `failed to check the configuration of plugin ${plugin.name} err: ${error}`;
      }
    }
  }
  return undefined;
}
