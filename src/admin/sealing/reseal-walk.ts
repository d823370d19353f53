/**
 * How re-sealing goes through the store, and what it makes of one record.
 */
import { parseKey } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import type { KeyRange, KeyValue, Store } from "../../store/store.ts";
import type { ReadSide } from "../admin-context.ts";
import { toStored } from "../read/stored-record.ts";
import type { Resealed } from "./field-codec.ts";

const PAGE = 100;

/**
 * Pages of a range, each as it is when it is read: a walk may take longer than the store keeps old revisions.
 * What is created behind it is sealed by whoever creates it.
 */
export async function* pagesNow(store: Store, range: KeyRange): AsyncGenerator<readonly KeyValue[], void> {
  for (let start: string | undefined = range.start; start !== undefined; ) {
    let next: string | undefined;
    for await (const { kvs, more } of store.list({ start, end: range.end }, { pageSize: PAGE })) {
      const last = kvs.at(-1);
      if (more && last) next = `${last.key}\0`;
      yield kvs;
      break; // the next page is asked for anew
    }
    start = next;
  }
}

/** What becomes of a record. What is no JSON object holds no secret that anybody would open. */
export function resealedOf(admin: ReadSide, key: string, value: Buffer): Resealed {
  const parsed = parseKey(admin.prefix, key);
  const stored = toStored({ key, value, createRevision: 0n, modRevision: 0n, version: 0n, lease: 0n }).value;
  return parsed && stored ? admin.codec.reseal(KINDS[parsed.kind], parsed.id, stored) : { kind: "current" };
}
