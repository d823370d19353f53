/**
 * The one writer of an embedded store: takes jobs in order, commits several at once, and tells the watches what was committed.
 * Promise: nothing is told or answered before it is on disk; revisions are told in order, each once.
 */
import { randomBytes } from "node:crypto";
import type { Clock, Timer } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Change, LeaseId, Revision, Txn, TxnResult } from "../store.ts";
import { EmbeddedData } from "./embedded-data.ts";
import { applyOperations, applyTxn, type TxnWritten } from "./embedded-txn.ts";
import { storageError } from "./lmdb.ts";

/** History kept for readers that were away, whichever is less. */
const KEEP_REVISIONS = 10_000n;
const KEEP_MS = 3_600_000;
const COMPACT_EVERY_MS = 60_000;
const FORGET_PER_JOB = 500;
/** Operations in one commit: enough to share the flush, few enough not to hold the loop. */
const OPERATIONS_PER_COMMIT = 512;
/** Longest timer; a longer lease is looked at again. */
const LONGEST_TIMER_MS = 3_600_000;

interface Job {
  /** How many operations it does. */
  readonly weight: number;
  run(): void;
  done(): void;
  fail(error: CodedError): void;
}

interface LiveLease {
  readonly ttlMs: number;
  endsAtMonoMs: number;
  timer: Timer;
}

type ChangeListener = (revision: Revision, changes: readonly Change[]) => void;

export class EmbeddedEngine {
  readonly data: EmbeddedData;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #jobs: Job[] = [];
  readonly #listeners = new Set<ChangeListener>();
  readonly #leases = new Map<LeaseId, LiveLease>();
  readonly #marks: { readonly atMs: number; readonly revision: Revision }[] = [];
  readonly #compactor: Timer;
  /** Written by the jobs of the commit under way. */
  #written: TxnWritten[] = [];
  #compacting = false;
  #running: Promise<void> | undefined;
  #closed = false;

  constructor(folder: string, clock: Clock, log: Log) {
    this.data = new EmbeddedData(folder);
    this.#clock = clock;
    this.#log = log;
    for (const lease of this.data.leases()) {
      const leftMs = Math.min(Math.max(lease.endsAtMs - clock.nowMs(), 0), lease.ttlMs);
      this.#arm(lease.id, lease.ttlMs, leftMs);
    }
    this.#compactor = clock.every(COMPACT_EVERY_MS, () => this.#autoCompact());
  }

  txn(txn: Txn): Promise<TxnResult> {
    return this.#enqueue(
      () => {
        const { result, written } = applyTxn(this.data, txn);
        if (written !== undefined) this.#written.push(written);
        return result;
      },
      txn.compare.length + txn.then.length + 1,
    );
  }

  grant(ttlSeconds: number): Promise<LeaseId> {
    const id = randomBytes(8).readBigUInt64BE() >> 1n;
    const ttlMs = Math.max(1, Math.ceil(ttlSeconds)) * 1_000;
    const grant = this.#enqueue(() => this.data.putLease({ id, ttlMs, endsAtMs: this.#clock.nowMs() + ttlMs }));
    return grant.then(() => {
      this.#arm(id, ttlMs, ttlMs);
      return id;
    });
  }

  /** The remaining seconds, 0 when it is gone. */
  async keepAlive(id: LeaseId): Promise<number> {
    const lease = this.#leases.get(id);
    if (lease === undefined) return 0;
    const { ttlMs } = lease;
    lease.endsAtMonoMs = this.#clock.monotonicMs() + ttlMs;
    const alive = await this.#enqueue(() => {
      if (!this.data.hasLease(id)) return false;
      this.data.putLease({ id, ttlMs, endsAtMs: this.#clock.nowMs() + ttlMs });
      return true;
    });
    return alive ? ttlMs / 1_000 : 0;
  }

  /** Deletes its keys in one revision. */
  revoke(id: LeaseId, onlyExpired = false): Promise<void> {
    return this.#enqueue(() => {
      const lease = this.#leases.get(id);
      if (lease === undefined || (onlyExpired && lease.endsAtMonoMs > this.#clock.monotonicMs())) return false;
      const written = applyOperations(
        this.data,
        this.data.keysOf(id).map((key) => ({ op: "delete", key })),
      );
      this.data.dropLease(id);
      if (written !== undefined) this.#written.push(written);
      return true;
    }).then((gone) => {
      if (!gone) return;
      this.#leases.get(id)?.timer.cancel();
      this.#leases.delete(id);
    });
  }

  async compact(revision: Revision): Promise<void> {
    await this.#enqueue(() => {
      if (revision <= this.data.compacted())
        throw new CodedError("STORE_COMPACTED", { message: `revision ${revision} has been compacted` });
      if (revision > this.data.head())
        throw new CodedError("STORE_BAD_REVISION", { message: `revision ${revision} lies in the future` });
      this.data.setCompacted(revision);
    });
    await this.#forget();
  }

  listen(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#compactor.cancel();
    for (const lease of this.#leases.values()) lease.timer.cancel();
    await this.#running;
    await this.data.close();
  }

  #enqueue<T>(run: () => T, weight = 1): Promise<T> {
    if (this.#closed) return Promise.reject(new CodedError("STORE_CLOSED", { message: "the store is closed" }));
    return new Promise((resolve, reject) => {
      let outcome: { readonly value: T } | { readonly error: unknown } | undefined;
      this.#jobs.push({
        weight,
        run: () => {
          try {
            outcome = { value: run() };
          } catch (error) {
            if (!(error instanceof CodedError)) throw error; // storage failed: the whole commit is void
            outcome = { error };
          }
        },
        done: () => (outcome !== undefined && "value" in outcome ? resolve(outcome.value) : reject(outcome?.error)),
        fail: reject,
      });
      this.#running ??= this.#work();
    });
  }

  async #work(): Promise<void> {
    await Promise.resolve(); // jobs of the same turn share a commit
    while (this.#jobs.length > 0) {
      const jobs = this.#take();
      try {
        await this.data.write(() => {
          this.#written = [];
          for (const job of jobs) job.run();
        });
      } catch (thrown) {
        const error = await storageError(thrown, this.data.folder);
        for (const job of jobs) job.fail(error);
        this.#log.error({ error: error.message }, "the embedded store could not commit");
        continue;
      }
      for (const { revision, changes } of this.#written) {
        for (const listener of this.#listeners) listener(revision, changes);
      }
      for (const job of jobs) job.done();
    }
    this.#running = undefined; // in the turn that saw no more jobs, or one that comes now would wait for ever
  }

  #take(): Job[] {
    let count = 0;
    for (let weight = 0; count < this.#jobs.length && weight < OPERATIONS_PER_COMMIT; count++)
      weight += this.#jobs[count]?.weight ?? 0;
    return this.#jobs.splice(0, count);
  }

  #arm(id: LeaseId, ttlMs: number, leftMs: number): void {
    const endsAtMonoMs = this.#clock.monotonicMs() + leftMs;
    const existing = this.#leases.get(id);
    existing?.timer.cancel();
    const timer = this.#clock.after(Math.min(leftMs, LONGEST_TIMER_MS), () => this.#due(id));
    this.#leases.set(id, { ttlMs, endsAtMonoMs, timer });
  }

  #due(id: LeaseId): void {
    const lease = this.#leases.get(id);
    if (lease === undefined || this.#closed) return;
    const leftMs = lease.endsAtMonoMs - this.#clock.monotonicMs();
    if (leftMs > 0) {
      this.#arm(id, lease.ttlMs, leftMs);
      return;
    }
    this.revoke(id, true).catch((error: CodedError) => {
      if (this.#closed) return;
      this.#log.warn({ error: error.message }, "an expired lease could not be removed; trying again");
      this.#leases.set(id, { ...lease, timer: this.#clock.after(1_000, () => this.#due(id)) });
    });
  }

  #autoCompact(): void {
    this.data.refresh();
    const now = this.#clock.monotonicMs();
    const head = this.data.head();
    this.#marks.push({ atMs: now, revision: head });
    let old = 0n;
    while ((this.#marks[0]?.atMs ?? now) <= now - KEEP_MS) old = this.#marks.shift()?.revision ?? old;
    const many = head - KEEP_REVISIONS;
    const to = old > many ? old : many;
    if (this.#compacting || to <= this.data.compacted()) return;
    this.compact(to).catch((error: CodedError) =>
      this.#log.warn({ error: error.message }, "compaction failed; trying again"),
    );
  }

  /** In small jobs, so that writers get their turns. */
  async #forget(): Promise<void> {
    if (this.#compacting) return;
    this.#compacting = true;
    try {
      for (let done = false; !done; )
        done = await this.#enqueue(() => this.data.forget(this.data.compacted(), FORGET_PER_JOB), FORGET_PER_JOB);
    } finally {
      this.#compacting = false;
    }
  }
}
