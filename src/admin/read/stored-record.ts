/**
 * Reads records for the Admin API: straight from the store, linearizable, as they are (not validated).
 */
import { type Members, parseMembers } from "../../base/json/members.ts";
import type { KeyValue, Store } from "../../store/store.ts";

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
    value: parseMembers(text),
    text,
    createRevision: kv.createRevision,
    modRevision: kv.modRevision,
    leased: kv.lease !== 0n,
  };
}
