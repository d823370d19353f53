/**
 * Re-seals what the history keeps for rollbacks: without it the old key would have to stay as long as an entry needs it,
 * and entries from before the keyring would keep secrets plainly in the store.
 */
import { isGatewayError } from "../../base/errors.ts";
import { prefixRange } from "../../store/store.ts";
import type { ReadSide, StoreSide } from "../admin-context.ts";
import { decodeRestorables, encodeRestorables, type Restorable } from "../history/history-entry.ts";
import { restoreDir } from "../store-paths.ts";
import { Plan } from "../write/write-plan.ts";
import { pagesNow, resealedOf } from "./reseal-walk.ts";

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
    if (isGatewayError(error, "STORE_TOO_LARGE")) return false; // sealed texts are longer
    throw error;
  }
}
