/**
 * Writes re-sealed records, several in one transaction, each under the condition that it is still what was read.
 * The run has one entry in the history, which is rewritten in each of its transactions: so it says by itself, in its value
 * and its own revision, which revisions of the store were nothing but re-sealing (history-entry.ts).
 */
import { isCodedError, messageOf } from "../../base/errors.ts";
import type { KeyValue, Revision } from "../../store/store.ts";
import type { AdminRequest, WriteSide } from "../admin-context.ts";
import { newHistoryId } from "../history/history.ts";
import { encodeEntry, spanned } from "../history/history-entry.ts";
import { historyDir } from "../store-paths.ts";
import { Plan } from "../write/write-plan.ts";

export interface ResealedRecord {
  /** As it was read. */
  readonly kv: KeyValue;
  readonly value: Buffer;
}

interface ResealWritten {
  readonly done: number;
  /** Deleted meanwhile. */
  readonly gone: number;
  readonly refused: readonly { readonly key: string; readonly reason: string }[];
  /** Written by others meanwhile, as they are now. */
  readonly changed: KeyValue[];
}

export interface ResealWriter {
  /** Of the last transaction; undefined before the first. */
  readonly revision: Revision | undefined;
  /** @throws CodedError STORE_* when the store is away */
  write(records: readonly ResealedRecord[]): Promise<ResealWritten>;
}

const TOGETHER = 50; // records per transaction
const TOGETHER_BYTES = 256 * 1024; // short transactions let others through

export function openResealWriter(admin: WriteSide, request: AdminRequest): ResealWriter {
  const { store, prefix, clock } = admin;
  const { actor, address, method, path } = request;
  const entryKey = `${historyDir(prefix)}${newHistoryId(clock)}`;
  const timeMs = clock.nowMs();
  let revisions: readonly (readonly [number, number])[] = [];
  let revision: Revision | undefined;
  let count = 0;

  /** @returns whether all of them were still what was read */
  async function attempt(records: readonly ResealedRecord[]): Promise<boolean> {
    const plan = new Plan();
    for (const { kv, value } of records) {
      plan.expect(kv.key, kv.modRevision).put(kv.key, value, kv.lease === 0n ? undefined : kv.lease);
    }
    if (admin.history.keeps) {
      const resealed = { records: count + records.length, revisions };
      plan.put(entryKey, encodeEntry({ timeMs, actor: actor.name, address, method, path, changes: [], resealed }));
    }
    const result = await store.txn(plan.toTxn());
    if (result.succeeded) note(result.revision, records.length);
    return result.succeeded;
  }

  function note(at: Revision, records: number): void {
    revision = at;
    revisions = spanned(revisions, Number(at));
    count += records;
  }

  async function writeOne(record: ResealedRecord, written: Mutable): Promise<void> {
    const { key } = record.kv;
    let unknown = false;
    try {
      if (await attempt([record])) {
        written.done++;
        return;
      }
    } catch (error) {
      if (isCodedError(error, "STORE_TOO_LARGE")) {
        written.refused.push({ key, reason: messageOf(error) });
        return;
      }
      unknown = isCodedError(error, "STORE_OUTCOME_UNKNOWN");
      // The lease of a record that was about to end may be gone before its key.
      if (!unknown && !isCodedError(error, "STORE_LEASE_GONE")) throw error;
    }
    const { kv } = await store.get(key);
    if (!kv) written.gone++;
    else if (unknown && kv.value.equals(record.value)) {
      note(kv.modRevision, 1);
      written.done++;
    } else written.changed.push(kv);
  }

  return {
    get revision() {
      return revision;
    },
    async write(records) {
      const written: Mutable = { done: 0, gone: 0, refused: [], changed: [] };
      for (const some of batchesOf(records)) {
        if (some.length > 1 && (await attemptTogether(() => attempt(some)))) written.done += some.length;
        else for (const record of some) await writeOne(record, written);
      }
      return written;
    },
  };
}

type Mutable = { -readonly [K in keyof ResealWritten]: ResealWritten[K] } & {
  readonly refused: { readonly key: string; readonly reason: string }[];
};

/** What one of them prevents is found out one by one; so is what an unknown outcome was. */
async function attemptTogether(attempt: () => Promise<boolean>): Promise<boolean> {
  try {
    return await attempt();
  } catch (error) {
    for (const code of ["STORE_TOO_LARGE", "STORE_OUTCOME_UNKNOWN", "STORE_LEASE_GONE"] as const) {
      if (isCodedError(error, code)) return false;
    }
    throw error;
  }
}

function* batchesOf(records: readonly ResealedRecord[]): Generator<readonly ResealedRecord[], void> {
  let batch: ResealedRecord[] = [];
  let bytes = 0;
  for (const record of records) {
    if (batch.length === TOGETHER || (batch.length > 0 && bytes + record.value.length > TOGETHER_BYTES)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(record);
    bytes += record.value.length;
  }
  if (batch.length > 0) yield batch;
}
