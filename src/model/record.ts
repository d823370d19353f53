/**
 * Reads a stored value as a record: tolerant, because real APISIX nodes of any 3.x may have written it.
 * Promise: what comes back has its id from the key, is an object of this kind and none other, and satisfies the kind's tolerant schema.
 * Source: docs/spec/etcd-layout.md sections 2 and 4.
 */
import { isMembers } from "../base/json/members.ts";
import type { RecordKey } from "./keys.ts";
import { KINDS, type KindName, tolerantValidator } from "./kinds.ts";

export type StoredValue = Readonly<Record<string, unknown>>;

/** A record and where it is stored. */
export interface StoredRecord {
  readonly storeKey: string;
  readonly value: StoredValue;
}

export type RecordRead =
  | { readonly ok: true; readonly value: StoredValue }
  | { readonly ok: false; readonly problem: string };

/** Literal text of a placeholder; never a record. */
export const PLACEHOLDER = "init_dir";
const PLACEHOLDER_BYTES = Buffer.from(PLACEHOLDER);

export function isPlaceholder(value: Buffer): boolean {
  return value.equals(PLACEHOLDER_BYTES);
}

/** @param text the value's bytes as UTF-8 */
export function readRecord(key: RecordKey, text: string): RecordRead {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return { ok: false, problem: "not JSON" };
  }
  if (!isMembers(parsed)) {
    return { ok: false, problem: "not a JSON object" };
  }
  if (MAY_HAVE_PROTO.test(text) && hasProtoKey(parsed)) {
    return { ok: false, problem: "holds a forbidden object key: __proto__" };
  }
  const wrong = wrongKind(key.kind, parsed as StoredValue);
  if (wrong !== undefined) return { ok: false, problem: wrong };
  const value = withId(key, parsed as Record<string, unknown>);
  const error = tolerantValidator(KINDS[key.kind], key.id).check(value);
  return error === undefined ? { ok: true, value } : { ok: false, problem: error };
}

/** The name itself, or an escape that may spell it. */
const MAY_HAVE_PROTO = /__proto__|\\u/;

/** As a name only: an id or a text may be called so. Without recursion, since records may be deep. */
function hasProtoKey(record: object): boolean {
  const open: object[] = [record];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (Object.hasOwn(value, "__proto__")) return true;
    for (const member of Object.values(value)) if (typeof member === "object" && member !== null) open.push(member);
  }
  return false;
}

/** The tail of the key always wins over what the value says of itself. */
function withId(key: RecordKey, value: Record<string, unknown>): StoredValue {
  // A user name may be longer than an id, so consumers carry theirs only as `username`.
  if (key.kind === "consumer") {
    value["username"] = key.id;
    delete value["id"];
  } else value["id"] = key.credential ?? key.id;
  return value;
}

/**
 * Tells a record that was stored under the directory of another kind. Schemas cannot: they let unknown members through,
 * so that a consumer may be read from a route's text, and would then be one that nobody meant.
 * Only members that make a kind what it is count, so that what a newer APISIX adds is still read.
 * Source: docs/spec/reliability.md section 4.6.
 */

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
