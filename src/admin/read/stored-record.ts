/**
 * Reads records for the Admin API: straight from the store, linearizable, as they are (not validated).
 */
import type { KeyValue, Store } from "../../store/store.ts";

export type Members = Readonly<Record<string, unknown>>;

export interface StoredMembers {
  readonly key: string;
  /** undefined when the bytes are no JSON object; then `text` is all there is. */
  readonly value: Members | undefined;
  readonly text: string;
  readonly createRevision: bigint;
  readonly modRevision: bigint;
  /** It has a lifetime, see `?ttl=`. */
  readonly leased: boolean;
}

export async function readStored(store: Store, key: string): Promise<StoredMembers | undefined> {
  const { kv } = await store.get(key);
  return kv && toStored(kv);
}

export function toStored(kv: KeyValue): StoredMembers {
  const text = kv.value.toString("utf8");
  return {
    key: kv.key,
    value: readMembers(text),
    text,
    createRevision: kv.createRevision,
    modRevision: kv.modRevision,
    leased: kv.lease !== 0n,
  };
}

function readMembers(text: string): Members | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined; // written by others; shown as text
  }
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Members) : undefined;
}

/** The member, if it is the value's own. */
export function own(value: Members | undefined, name: string): unknown {
  return value !== undefined && Object.hasOwn(value, name) ? value[name] : undefined;
}

/** The member as an object's members; an empty one when it is none. */
export function ownMembers(value: Members | undefined, name: string): Members {
  const member = own(value, name);
  return typeof member === "object" && member !== null && !Array.isArray(member) ? (member as Members) : NOTHING;
}

const NOTHING: Members = Object.freeze(Object.create(null) as Members);
