/**
 * Warnings about what records point to: things that are not there (dangling), identifying values that meet (colliding).
 * Only what the checks of a write let through: those are refused, these are merely suspicious.
 */
import { type Members, own, ownMembers } from "../../base/json/members.ts";
import { isReference, parseReference } from "../../base/reference.ts";
import { keyOf } from "../../model/keys.ts";
import type { KindName } from "../../model/kinds.ts";
import { identityIssuer, pluginReferencesOf, referencesOf } from "../../model/references.ts";
import type { ReadSide, RecordChange, RuleSide, StoreSide } from "../admin-context.ts";
import type { ConfigView } from "./config-view.ts";
import type { Warning } from "./warnings.ts";

interface Pointer {
  readonly kind: KindName;
  readonly id: string;
}

/** Kinds whose records may point to others. */
const HOLDERS: readonly KindName[] = [
  "route",
  "service",
  "upstream",
  "plugin_config",
  "consumer",
  "credential",
  "consumer_group",
  "global_rule",
  "plugin_metadata",
  "stream_route",
  "ssl",
];

export async function danglingOf(admin: StoreSide, change: RecordChange, after: ConfigView): Promise<Warning[]> {
  const { kind, id, key, candidate } = change;
  const warnings: Warning[] = [];
  if (candidate) {
    for (const pointer of pointersOf(kind.name, candidate)) {
      if ((await after.all(pointer.kind)).has(pointer.id)) continue;
      warnings.push(danglingTo(pointer, key));
    }
    return warnings;
  }
  for (const holder of HOLDERS) {
    for (const record of (await after.all(holder)).values()) {
      const points = pointersOf(holder, record.value).some((one) => one.kind === kind.name && one.id === id);
      if (!points) continue;
      const message = `still points to ${kind.name} ${id}, which goes`;
      warnings.push({ code: "dangling_reference", key: keyOf(admin.prefix, holder, record.id), message });
    }
  }
  return warnings;
}

/** Looked up one by one, beside what the write itself checks. */
const LOOKED_UP_MAX = 8;
/** A name that is longer is the name of no record. */
const KEY_LENGTH_MAX = 1_000;

/** What plugins and references of a record point to and is not there: the first few, by a look at just those keys. */
export async function missingOf(admin: StoreSide, { key, candidate }: RecordChange): Promise<Warning[]> {
  if (!candidate) return [];
  const pointers = new Map(loosePointersOf(candidate).map((one) => [keyOf(admin.prefix, one.kind, one.id), one]));
  const named = [...pointers].filter(([pointed]) => pointed.length <= KEY_LENGTH_MAX);
  const looked = named.slice(0, LOOKED_UP_MAX).map(async ([pointed, pointer]): Promise<Warning[]> => {
    const { kv } = await admin.store.get(pointed);
    return kv === undefined ? [danglingTo(pointer, key)] : [];
  });
  return (await Promise.all(looked)).flat();
}

function danglingTo({ kind, id }: Pointer, key: string): Warning {
  return { code: "dangling_reference", key, message: `points to ${kind} ${id}, which does not exist` };
}

/** Plain values that meet are refused; references to the same secret can only be warned about. */
export async function collisionsOf(admin: ReadSide, change: RecordChange, after: ConfigView): Promise<Warning[]> {
  const { kind, id, key, candidate } = change;
  if (!candidate || kind.pluginSide !== "consumer") return [];
  const mine = identifyingReferences(admin, candidate);
  if (mine.length === 0) return [];
  const warnings: Warning[] = [];
  for (const holder of ["consumer", "credential"] as const) {
    for (const other of (await after.all(holder)).values()) {
      if (holder === kind.name && other.id === id) continue;
      const theirs = identifyingReferences(admin, other.value);
      for (const one of mine.filter((text) => theirs.includes(text))) {
        const owner = keyOf(admin.prefix, holder, other.id);
        warnings.push({
          code: "key_collision",
          key,
          message: `has the same key as ${owner}: both take it from ${one}`,
        });
      }
    }
  }
  return warnings;
}

function identifyingReferences(admin: RuleSide, value: Members): string[] {
  return Object.keys(ownMembers(value, "plugins")).flatMap((name) => {
    const attribute = admin.catalog.get(name)?.keyAttribute;
    const text = attribute && own(ownMembers(ownMembers(value, "plugins"), name), attribute);
    return typeof text === "string" && isReference(text) ? [`${name} ${text}`] : [];
  });
}

function pointersOf(kind: KindName, value: Members): Pointer[] {
  return [...referencesOf(kind, value), ...pluginReferencesOf(value), ...loosePointersOf(value)];
}

/** Those that no write demands the target of. */
function loosePointersOf(value: Members): Pointer[] {
  const plugins = ownMembers(value, "plugins");
  return [
    ...restricted(ownMembers(plugins, "consumer-restriction")),
    ...Object.keys(plugins).flatMap((name): Pointer[] => {
      const anonymous = own(ownMembers(plugins, name), "anonymous_consumer");
      return typeof anonymous === "string" ? [{ kind: "consumer", id: anonymous }] : [];
    }),
    ...[identityIssuer(value) ?? []].flat().map((id): Pointer => ({ kind: "token_issuer", id })),
    ...secretsIn(value),
  ];
}

const RESTRICTED: Readonly<Record<string, KindName>> = {
  consumer_name: "consumer",
  consumer_group_id: "consumer_group",
  service_id: "service",
  route_id: "route",
};

function restricted(conf: Members): Pointer[] {
  const kind = RESTRICTED[String(own(conf, "type") ?? "consumer_name")];
  if (!kind) return [];
  const allowed = own(conf, "allowed_by_methods");
  const users = Array.isArray(allowed) ? allowed.map((one) => own(one as Members, "user")) : [];
  const names = [...listIn(conf, "whitelist"), ...listIn(conf, "blacklist"), ...users];
  return names.flatMap((id) => (typeof id === "string" ? [{ kind, id }] : []));
}

/** Managers that `$secret://` references name, wherever they stand. */
function secretsIn(value: unknown, found: Pointer[] = []): Pointer[] {
  if (typeof value === "string") {
    const reference = isReference(value) ? parseReference(value) : "";
    if (typeof reference === "object" && reference.kind === "secret") {
      found.push({ kind: "secret", id: `${reference.manager}/${reference.id}` });
    }
  } else if (typeof value === "object" && value !== null) {
    for (const member of Object.values(value)) secretsIn(member, found);
  }
  return found;
}

function listIn(conf: Members, name: string): readonly unknown[] {
  const list = own(conf, name);
  return Array.isArray(list) ? list : [];
}
