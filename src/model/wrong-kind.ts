/**
 * Tells a record that was stored under the directory of another kind. Schemas cannot: they let unknown members through,
 * so that a consumer may be read from a route's text, and would then be one that nobody meant.
 * Only members that make a kind what it is count, so that what a newer APISIX adds is still read.
 * Source: docs/spec/reliability.md section 4.6.
 */
import { KINDS, type KindName } from "./kinds.ts";
import type { StoredValue } from "./record.ts";

/** What makes a record one of its kind, and which kind that is, in words. */
const MARKS: Readonly<Record<string, string>> = {
  uri: "a route",
  uris: "a route",
  username: "a consumer",
  nodes: "an upstream",
  upstream: "a route or service",
  upstream_id: "a route or service",
  service_id: "a route",
  plugin_config_id: "a route",
  group_id: "a consumer",
  cert: "an ssl",
  snis: "an ssl",
};

/** Kinds whose members are not ours to know: any object is theirs. */
const OPEN: ReadonlySet<KindName> = new Set(["plugin_metadata", "secret"]);

type Marks = readonly (readonly [member: string, owner: string])[];

const FOREIGN: ReadonlyMap<KindName, Marks> = new Map(
  Object.values(KINDS).map(({ name, schema }) => {
    const own: unknown = "properties" in schema ? schema.properties : undefined;
    const isOwn = (member: string): boolean => typeof own === "object" && own !== null && Object.hasOwn(own, member);
    return [name, OPEN.has(name) ? [] : Object.entries(MARKS).filter(([member]) => !isOwn(member))];
  }),
);

/** @param value as it was stored, before anything is taken from the key @returns why it is none of this kind */
export function wrongKind(kind: KindName, value: StoredValue): string | undefined {
  for (const [member, owner] of FOREIGN.get(kind) ?? [])
    if (Object.hasOwn(value, member) && value[member] !== null)
      return `not a ${KINDS[kind].message}: "${member}" belongs to ${owner}`;
  return undefined;
}
