/**
 * Re-seals what the history keeps for rollbacks: without it the old key would have to stay as long as an entry needs it,
 * and entries from before the keyring would keep secrets plainly in the store.
 */
import { isCodedError } from "../../base/errors.ts";
import { parseKey } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import { type KeyRange, type KeyValue, prefixRange, type Store } from "../../store/store.ts";
import type { ReadSide, StoreSide } from "../admin-context.ts";
import { decodeRestorables, encodeRestorables, type Restorable } from "../history/history-entry.ts";
import { toStored } from "../read/stored-record.ts";
import { restoreDir } from "../store-paths.ts";
import { Plan } from "../write/write-plan.ts";
import type { Resealed } from "./keyring-codec.ts";

/**
 * What no key opens stays as it is and cannot be rolled back to, as before; so does what would not fit the store any more.
 * Neither is one of the two that are counted.
 */
export async function resealRestorables(
  admin: ReadSide,
  counts: { total: number; resealed: number; unchanged: number },
  dryRun: boolean,
): Promise<void> {
  for await (const kvs of pagesNow(admin.store, prefixRange(restoreDir(admin.prefix)))) {
    for (const { key, value, modRevision } of kvs) {
      counts.total++;
      const records = decodeRestorables(value);
      const resealed = records && resealEach(admin, records);
      if (resealed === undefined) continue;
      if (resealed === records) counts.unchanged++;
      else if (dryRun || (await replace(admin, key, modRevision, encodeRestorables(resealed)))) counts.resealed++;
      else if (!(await admin.store.get(key)).kv) counts.total--; // trimmed meanwhile
    }
  }
}

/** The same list when nothing is to be done; undefined when nothing can be: one that no key opens. */
function resealEach(admin: ReadSide, records: readonly Restorable[]): readonly Restorable[] | undefined {
  let changed = false;
  const resealed: Restorable[] = [];
  for (const record of records) {
    const after =
      record.before === null ? undefined : resealedOf(admin, record.key, Buffer.from(record.before, "utf8"));
    if (after?.kind === "unopenable") return undefined;
    changed ||= after?.kind === "resealed";
    resealed.push(after?.kind === "resealed" ? { ...record, before: JSON.stringify(after.value) } : record);
  }
  return changed ? resealed : records;
}

async function replace(admin: StoreSide, key: string, modRevision: bigint, value: Buffer): Promise<boolean> {
  try {
    return (await admin.store.txn(new Plan().expect(key, modRevision).put(key, value).toTxn())).succeeded;
  } catch (error) {
    if (isCodedError(error, "STORE_TOO_LARGE")) return false; // sealed texts are longer
    throw error;
  }
}

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
