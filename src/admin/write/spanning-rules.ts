/**
 * Rules that span records: a plugin stands in one global rule only, an `iss` belongs to one record only (whose keys would
 * verify its tokens otherwise?), and what limit-count counts together, as one `group`, is configured alike.
 * Promise: writes under one rule are put in a row by its guard key, so that two of them cannot pass each other.
 * Sources: docs/spec/admin-api.md section 5.11, docs/spec/tokens.md section 2, docs/spec/plugins.md section 6.
 */
import { type Members, own, ownMembers } from "../../base/json/members.ts";
import { dirOf, keyOf, parseKey } from "../../model/keys.ts";
import { KINDS, type KindName } from "../../model/kinds.ts";
import { sharedIssuer } from "../../model/token-issuer.ts";
import { type KeyValue, prefixRange } from "../../store/store.ts";
import type { ReadSide, RuleSide } from "../admin-context.ts";
import { toStored } from "../read/stored-record.ts";
import { globalRulesKey, issuersKey, pluginGroupsKey } from "../store-paths.ts";
import type { Plan } from "./write-plan.ts";

const ISSUER_KINDS = ["token_issuer", "authorization_server"] as const;
/** Where plugins may stand. Credentials carry authentication only, which knows no groups. */
const HOLDERS: readonly KindName[] = ["route", "service", "plugin_config", "consumer", "consumer_group", "global_rule"];

/** The record that is being written. */
interface Written {
  readonly kind: { readonly name: KindName };
  readonly id: string;
  readonly candidate: Members;
}

/** @returns the error's text when another record is in the way; else `plan` fails when one comes in between */
export async function planGlobalRule(admin: ReadSide, record: Written, plan: Plan): Promise<string | undefined> {
  if (record.kind.name !== "global_rule") return undefined;
  const wanted = Object.keys(ownMembers(record.candidate, "plugins"));
  const row = { guard: globalRulesKey(admin.prefix), mark: record.id, kinds: ["global_rule"] as const };
  return planAmong(admin, record, plan, row, (_, id, kv) => {
    const plugins = ownMembers(toStored(kv).value, "plugins");
    const taken = wanted.find((name) => Object.hasOwn(plugins, name));
    return taken && `plugin '${taken}' already exists in global rule with id '${id}'`;
  });
}

/** @returns as `planGlobalRule` */
export async function planIssuer(admin: ReadSide, record: Written, plan: Plan): Promise<string | undefined> {
  if (!ISSUER_KINDS.some((kind) => kind === record.kind.name)) return undefined;
  const row = { guard: issuersKey(admin.prefix), mark: record.id, kinds: ISSUER_KINDS };
  return planAmong(admin, record, plan, row, (kind, id, kv) => {
    const { value } = toStored(kv);
    const shared = value && sharedIssuer(record.candidate, value);
    return shared === undefined ? undefined : `issuer ${shared} is already that of ${KINDS[kind].dir}/${id}`;
  });
}

/** @returns as `planGlobalRule` */
export async function planPluginGroups(admin: ReadSide, record: Written, plan: Plan): Promise<string | undefined> {
  const grouped = groupedIn(admin, record.candidate);
  if (grouped.length === 0) return undefined;
  const mark = keyOf(admin.prefix, record.kind.name, record.id);
  const row = { guard: pluginGroupsKey(admin.prefix), mark, kinds: HOLDERS };
  return planAmong(admin, record, plan, row, (kind, id, kv) => {
    if (!kv.value.includes('"group"')) return undefined;
    const { value } = toStored(kv);
    const plugins = ownMembers(value && admin.codec.open(KINDS[kind], id, value), "plugins");
    for (const { plugin, conf } of grouped) {
      const other = ownMembers(plugins, plugin.name);
      const error = own(other, "group") === undefined ? undefined : plugin.conflict?.(conf, other);
      if (error !== undefined) return `failed to check the configuration of plugin ${plugin.name} err: ${error}`;
    }
    return undefined;
  });
}

/** Only configurations with a `group` reach beyond their record; all others are spared the search. */
function groupedIn(admin: RuleSide, value: Members) {
  return Object.entries(ownMembers(value, "plugins")).flatMap(([name, conf]) => {
    const plugin = admin.catalog.get(name);
    return plugin?.conflict && own(conf as Members, "group") !== undefined ? [{ plugin, conf: conf as Members }] : [];
  });
}

interface Row {
  readonly guard: string;
  /** Written under the guard; any other value would do. */
  readonly mark: string;
  /** Whose records are looked at. */
  readonly kinds: readonly KindName[];
}

/** @param inTheWay why another record is, if it is @returns what the first says that is */
async function planAmong(
  { store, prefix }: ReadSide,
  record: Written,
  plan: Plan,
  { guard, mark, kinds }: Row,
  inTheWay: (kind: KindName, id: string, kv: KeyValue) => string | undefined,
): Promise<string | undefined> {
  const { kv: before } = await store.get(guard);
  const key = keyOf(prefix, record.kind.name, record.id);
  for (const kind of kinds) {
    for await (const page of store.list(prefixRange(dirOf(prefix, kind)))) {
      for (const kv of page.kvs) {
        const parsed = parseKey(prefix, kv.key);
        if (kv.key === key || parsed?.kind !== kind) continue;
        const why = inTheWay(kind, parsed.id, kv);
        if (why !== undefined) return why;
      }
    }
  }
  plan.expect(guard, before?.modRevision ?? 0n);
  plan.put(guard, mark);
  return undefined;
}
