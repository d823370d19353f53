/**
 * Keeps what a node holds on disk, so that it starts and serves with the store away and needs no list afterwards.
 * Promise: the file is always whole: a base (temp file, fsync, rename, fsync of the folder) plus appended changes, each
 * with its commit; a write that is cut off leaves the commit before it. Failing to write never touches traffic.
 * It is a journal: changes are appended soon after they were applied, at most every second, and at once for whoever is
 * about to say that this node keeps them (`keep`). Beats are no changes.
 */
import { existsSync } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises";
import { dirname } from "node:path";
import { type Clock, sleep, type Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { type Log, unfailing } from "../../base/log.ts";
import { syncFolder } from "../../base/sync-folder.ts";
import type { Revision } from "../../store/store.ts";
import type { LastKnownGoodStatus, Position, SavedPosition } from "../sync-status.ts";
import type { Table } from "../table.ts";
import { Chain, COMMIT, HEADER, MAGIC, RECORDS } from "./lkg-frames.ts";
import { readLastKnownGood } from "./lkg-reader.ts";
import {
  allEntries,
  encodeHeader,
  encodePosition,
  entryOf,
  type FileEntry,
  FORMAT,
  packEntries,
} from "./lkg-records.ts";
import type { Sealer } from "./sealer.ts";

interface LastKnownGoodOptions {
  readonly file: string;
  readonly prefix: string;
  readonly table: Table;
  readonly clock: Clock;
  readonly log: Log;
  /** Encrypts the file when set. */
  readonly sealer?: Sealer | undefined;
}

const WRITE_EVERY_MS = 1_000;
/** Changes come in groups; the first of a quiet time is not written alone. */
const SETTLE_MS = 100;
/** While a list is being applied, there is nothing to keep yet. */
const KEEP_AGAIN_MS = 50;
/** The revision moves on without changes too (beats); saved now and then so that it is not compacted away. */
const REFRESH_MS = 600_000;
const FRAME_BYTES = 128 * 1024;
/** With more changed records than both the file is written anew: a set of a million stops the process when it grows. */
const DIRTY_MIN = 50_000;
const DIRTY_PART = 8;
/** Appended bytes after which the file is written anew, unless the base is larger. */
const APPENDED_LIMIT = 1024 * 1024;

export class LastKnownGood {
  readonly #options: LastKnownGoodOptions;
  readonly #clock: Clock;
  readonly #chain: Chain;
  /** Changed since the file was written; undefined where all records are to be written anyway. */
  #dirty: Set<string> | undefined;
  #handle: FileHandle | undefined;
  #baseBytes = 0;
  #bytes = 0;
  #position: (() => Position | undefined) | undefined;
  #writing: Promise<void> | undefined;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #refresh: Timer | undefined;
  #unsubscribe: () => void = () => {};
  #saved: SavedPosition | undefined;
  #problem: string | undefined;

  constructor(options: LastKnownGoodOptions) {
    this.#options = { ...options, log: unfailing(options.log) };
    this.#clock = options.clock;
    this.#chain = new Chain(options.sealer);
  }

  /**
   * Fills the table from the file.
   * @returns what the watcher resumes from; undefined when there is no usable file (see `facts().problem`)
   */
  async restore(): Promise<SavedPosition | undefined> {
    const { file, prefix, sealer, table, log } = this.#options;
    const result = await readLastKnownGood(file, prefix, sealer, this.#clock);
    if (result.kind === "none") return undefined;
    if (result.kind === "unusable") {
      this.#problem = `the last-known-good file is ignored: ${result.reason}`;
      log.warn({ file, reason: result.reason }, "the last-known-good file is ignored");
      return undefined;
    }
    if (result.torn)
      log.warn({ file }, "the last write of the last-known-good file was cut off; the one before counts");
    await table.restore(result.records.values(), result.position.applied);
    // Under an older key it is not continued but written anew, so that the key may leave the keyring.
    if (!result.outdated) await this.#continue(result.bytes, result.baseBytes, result.sum);
    this.#saved = result.position;
    return result.position;
  }

  /** @param position of the watcher that keeps the table; undefined means "not now" */
  start(position: () => Position | undefined): void {
    this.#position = position;
    this.#unsubscribe = this.#options.table.subscribe((batch) => {
      this.#note(batch.changes);
      this.#schedule();
    });
    this.#refresh = this.#clock.every(REFRESH_MS, () => this.#schedule());
    if (this.#handle === undefined) this.#schedule();
  }

  /** Writes what is left and closes the file. Idempotent. */
  async stop(): Promise<void> {
    this.#unsubscribe();
    this.#refresh?.cancel();
    this.#timer?.cancel();
    await this.#writing;
    if (this.#position !== undefined && this.#moved()) await this.#write();
    this.#position = undefined;
    await this.#close();
  }

  /**
   * Resolves once a restart cannot bring back anything older than `revision`, which has been applied: the file has it, or
   * there is no file at all and none can be written. Those who ask at the same time share a write.
   * @throws Error when an older file is there that cannot be brought up to date
   */
  async keep(revision: Revision): Promise<void> {
    while (!this.#keeps(revision)) {
      if (this.#position === undefined) throw new Error("the last-known-good file is closed");
      const isBusy = this.#writing !== undefined;
      await this.#writeNow();
      if (isBusy || this.#keeps(revision)) continue; // that write may have begun before the change
      if (this.#problem === undefined) await sleep(this.#clock, KEEP_AGAIN_MS);
      else if (this.#saved !== undefined || existsSync(this.#options.file)) throw new Error(this.#problem);
      else return;
    }
  }

  /** In the file, or nothing that differs from it has been applied since. */
  #keeps(revision: Revision): boolean {
    if ((this.#saved?.applied ?? -1n) >= revision) return true;
    const isCurrent = this.#handle !== undefined && this.#writing === undefined && !this.#isDirty();
    return isCurrent && (this.#position?.()?.applied ?? -1n) >= revision;
  }

  facts(): LastKnownGoodStatus {
    return { savedAtMs: this.#saved?.savedAtMs, savedRevision: this.#saved?.applied, problem: this.#problem };
  }

  #isDirty(): boolean {
    return this.#dirty === undefined || this.#dirty.size > 0;
  }

  #note(changes: readonly { readonly key: string }[]): void {
    const dirty = this.#dirty;
    if (dirty === undefined) return;
    for (const { key } of changes) dirty.add(key);
    if (dirty.size > Math.max(DIRTY_MIN, this.#options.table.size / DIRTY_PART)) this.#dirty = undefined;
  }

  #moved(): boolean {
    const now = this.#position?.();
    return now !== undefined && (this.#isDirty() || now.applied !== this.#saved?.applied);
  }

  #schedule(): void {
    if (this.#timer !== undefined || this.#position === undefined) return;
    const waitMs = Math.max(SETTLE_MS, this.#writtenAtMs + WRITE_EVERY_MS - this.#clock.monotonicMs());
    this.#timer = this.#clock.after(waitMs, () => {
      this.#timer = undefined;
      void this.#writeNow();
    });
  }

  /** The write under way, or a new one. Never rejects. */
  #writeNow(): Promise<void> {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      if (this.#isDirty()) this.#schedule();
    });
    return this.#writing;
  }

  async #write(): Promise<void> {
    const position = this.#position?.();
    this.#writtenAtMs = this.#clock.monotonicMs();
    if (position === undefined) return; // loading; scheduled again
    try {
      const appended = this.#bytes - this.#baseBytes;
      const handle = this.#handle;
      const isLong = this.#dirty === undefined || appended > Math.max(APPENDED_LIMIT, this.#baseBytes);
      const saved = await (handle === undefined || isLong ? this.#writeBase() : this.#append(handle));
      if (saved === undefined) return; // a list is being applied; scheduled again
      this.#problem = undefined;
      this.#saved = saved;
    } catch (error) {
      await this.#close(); // begin anew next time
      const problem = `the last-known-good file cannot be written: ${messageOf(error)}`;
      if (problem !== this.#problem)
        this.#options.log.warn(
          { file: this.#options.file, error: messageOf(error) },
          "the last-known-good file cannot be written",
        );
      this.#problem = problem;
    }
  }

  /** All records into a new file; what changes meanwhile is appended before the file takes its name. */
  async #writeBase(): Promise<SavedPosition | undefined> {
    const { file, prefix, table, sealer } = this.#options;
    await this.#close();
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const temporary = `${file}.new`;
    await rm(temporary, { force: true });
    const handle = await open(temporary, "wx", 0o600);
    try {
      this.#dirty = new Set();
      const fresh = new Chain(sealer);
      this.#chain.reset(fresh.sum);
      this.#bytes = 0;
      await this.#put(handle, MAGIC);
      await this.#put(
        handle,
        this.#chain.encode(HEADER, encodeHeader({ format: FORMAT, prefix, sealed: sealer !== undefined })),
      );
      await this.#putEntries(handle, allEntries(table));
      const saved = await this.#append(handle);
      if (saved !== undefined) {
        await rename(temporary, file);
        await syncFolder(dirname(file));
        this.#baseBytes = this.#bytes;
        this.#handle = handle;
      }
      return saved;
    } finally {
      if (this.#handle === undefined) {
        this.#dirty = undefined;
        await handle.close();
        await rm(temporary, { force: true });
      }
    }
  }

  /** The changed records and a commit; the file is consistent after it. Undefined when this is not the time. */
  async #append(handle: FileHandle): Promise<SavedPosition | undefined> {
    // One turn: the records are exactly those of the position.
    const position = this.#position?.();
    if (position === undefined) return undefined;
    const dirty = this.#dirty;
    if (dirty === undefined) return undefined; // so much has changed that a new file is shorter
    const changed = [...dirty].map((key) => entryOf(this.#options.table, key));
    this.#dirty = new Set();
    const savedAtMs = this.#clock.nowMs();
    try {
      await this.#putEntries(handle, changed);
      await this.#put(handle, this.#chain.encode(COMMIT, encodePosition(position, savedAtMs)));
      await handle.sync();
    } catch (error) {
      this.#note(changed);
      throw error;
    }
    return { ...position, savedAtMs };
  }

  async #putEntries(handle: FileHandle, entries: Iterable<FileEntry>): Promise<void> {
    for await (const bytes of packEntries(entries, FRAME_BYTES, this.#clock))
      await this.#put(handle, this.#chain.encode(RECORDS, bytes));
  }

  async #put(handle: FileHandle, bytes: Buffer): Promise<void> {
    await handle.write(bytes, 0, bytes.length, this.#bytes);
    this.#bytes += bytes.length;
  }

  /** Goes on behind the last sound commit. */
  async #continue(bytes: number, baseBytes: number, sum: Buffer): Promise<void> {
    try {
      const handle = await open(this.#options.file, "r+");
      await handle.truncate(bytes);
      this.#handle = handle;
      this.#bytes = bytes;
      this.#baseBytes = baseBytes;
      this.#chain.reset(sum);
      this.#dirty = new Set();
    } catch (error) {
      this.#problem = `the last-known-good file cannot be written: ${messageOf(error)}`; // read-only: written anew later, or not
    }
  }

  async #close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    this.#dirty = undefined;
    await handle?.close();
  }
}
