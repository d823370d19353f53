/**
 * The history of writes: each one puts its entry into its own transaction, so there is an entry exactly if it happened.
 * Promise: bounded in number and in size; nothing that may be shown holds a secret; what a rollback needs is as well
 * protected as the records themselves, since it is what they were, byte for byte, next to them in the store.
 */
import { randomBytes } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { type KeyValue, prefixRange } from "../../store/store.ts";
import { MAX_REQUEST_BYTES } from "../../store/store-limits.ts";
import type { AdminRequest, ReadSide, RecordChange, StoreSide, WriteSide } from "../admin-context.ts";
import { boundedDiff } from "../preview/diff.ts";
import { shownChange } from "../preview/dry-run.ts";
import { historyDir, historyGuardKey, restoreDir } from "../store-paths.ts";
import { Plan } from "../write/write-plan.ts";
import { encodeEntry, encodeRestorables, type HistoryEntry, restorableOf } from "./history-entry.ts";

const PATH_LENGTH_MAX = 1_024;
const RESTORE_BYTES_MAX = 256 * 1_024;
/** What else a transaction holds: keys, index entries. */
const MARGIN_BYTES = 64 * 1_024;

export interface History {
  /** Whether writes are remembered at all. */
  readonly keeps: boolean;
  /** Adds the entry of a write to its plan; to be called last. Without changes it only says that it happened. */
  plan(admin: WriteSide, plan: Plan, request: AdminRequest, changes: readonly RecordChange[]): void;
  /** Something was committed: now and then the oldest entries go. Never throws, never waits. */
  written(admin: WriteSide): void;
  /** Resolves when nothing is under way. */
  idle(): Promise<void>;
}

/** @param entries how many are kept; 0: no history */
export function openHistory(entries: number): History {
  const slack = Math.max(1, Math.min(100, Math.floor(entries / 10)));
  let since = slack; // the first write of a process looks too
  let trimming: Promise<void> | undefined;
  return {
    keeps: entries > 0,
    plan(admin, plan, request, changes) {
      if (entries > 0) planEntry(admin, plan, request, changes);
    },
    written(admin) {
      if (++since < slack || trimming || entries === 0) return;
      since = 0;
      trimming = trim(admin, entries)
        .catch((error) => admin.log.debug({ error: messageOf(error) }, "the history could not be trimmed")) // later
        .finally(() => {
          trimming = undefined;
        });
    },
    async idle() {
      await trimming;
    },
  };
}

/** No key comes back by a rollback: what was revoked must stay so. */
function isRestorable({ kind }: RecordChange): boolean {
  return kind.name !== "signing_key";
}

/** Ordered by time. */
export function newHistoryId(clock: Clock): string {
  return `${String(clock.nowMs()).padStart(15, "0")}-${randomBytes(6).toString("hex")}`;
}

function planEntry(admin: ReadSide, plan: Plan, request: AdminRequest, changes: readonly RecordChange[]): void {
  const { clock, prefix } = admin;
  const roomy = plan.bytes < MAX_REQUEST_BYTES - 2 * MARGIN_BYTES;
  const id = newHistoryId(clock);
  const entry: HistoryEntry = {
    timeMs: clock.nowMs(),
    actor: request.actor.name,
    address: request.address,
    method: request.method,
    path: request.path.slice(0, PATH_LENGTH_MAX),
    changes: changes.filter(isRestorable).map((one) => {
      const { key, change, diff } = shownChange(admin, one);
      return { key, change, diff: roomy ? boundedDiff(diff, changes.length) : [{ op: "cut", path: "" }] };
    }),
  };
  plan.put(`${historyDir(prefix)}${id}`, encodeEntry(entry));
  plan.put(historyGuardKey(prefix), id);
  if (changes.length === 0) return;
  const restore = encodeRestorables(
    changes.filter(isRestorable).map(({ key, previous }) => restorableOf(key, previous)),
  );
  const room = Math.min(RESTORE_BYTES_MAX, MAX_REQUEST_BYTES - MARGIN_BYTES - plan.bytes);
  // Without it the write still has its entry; a rollback beyond it says that it cannot be.
  if (restore.length <= room) plan.put(`${restoreDir(prefix)}${id}`, restore);
}

/** Entries in the order of their revisions, oldest first, without values. */
export async function historyKeys(admin: StoreSide): Promise<KeyValue[]> {
  const kvs: KeyValue[] = [];
  for await (const page of admin.store.list(prefixRange(historyDir(admin.prefix)), { keysOnly: true })) {
    kvs.push(...page.kvs);
  }
  // Clocks of several admins differ; revisions do not.
  return kvs.sort((a, b) => Number(a.createRevision - b.createRevision));
}

const TRIM_BATCH = 60; // two keys each

async function trim(admin: StoreSide, entries: number): Promise<void> {
  const { prefix } = admin;
  const ids = (await historyKeys(admin)).map(({ key }) => key.slice(historyDir(prefix).length));
  const old = ids.slice(0, Math.max(0, ids.length - entries));
  for (let at = 0; at < old.length; at += TRIM_BATCH) {
    const plan = new Plan();
    for (const id of old.slice(at, at + TRIM_BATCH)) {
      plan.delete(`${historyDir(prefix)}${id}`).delete(`${restoreDir(prefix)}${id}`);
    }
    await admin.store.txn(plan.toTxn());
  }
}
