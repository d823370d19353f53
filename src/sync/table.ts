/**
 * The records a node holds: etcd key → raw value and revisions, with every change handed on to one consumer.
 * Promise: a revision is applied in one turn, and what it deleted is seen by nobody from then on, though its bytes go in
 * slices; a list is applied as a diff, so that what did not change is not touched; long work is cut into slices. No I/O.
 */
import type { Clock } from "../base/clock.ts";
import { PackedMap, type PackedRecord, type PackedRecords } from "../base/packed/packed-map.ts";
import { isPlaceholder } from "../model/record.ts";
import type { Change, Revision } from "../store/store.ts";
import { Slice } from "../store/store-follow.ts";
import { ConfigHash } from "./config-hash.ts";
import { Listing, type ListResult, LOAD_CHUNK, LOAD_CHUNK_BYTES } from "./listing.ts";

export type TableRecord = PackedRecord;

/** Changes that belong together: of one revision, or a piece of a list. */
export interface RecordBatch {
  readonly revision: Revision;
  readonly changes: readonly Change[];
}

export interface RecordConsumer {
  /**
   * Synchronous; the table takes the batch in afterwards. Returns the keys whose new value it refused, so that their
   * last good value is kept; nothing when all were taken.
   * @param taken of every key the newest value that was not refused; what this batch deletes is not in it any more, what
   *   it puts is once `apply` has returned
   */
  apply(batch: RecordBatch, taken: PackedRecords): readonly string[] | undefined;
  /**
   * A deleted record's bytes go, in the same turn or in a later one, but before its key is put again: the rest of what
   * was made of it may go too. Never throws.
   * @param taken the value that was not refused, if there was one
   */
  forget?(key: string, taken: PackedRecord | undefined): void;
}

interface TableOptions {
  readonly consumer: RecordConsumer;
  readonly clock: Clock;
  /** Keys that are not kept, e.g. of unknown directories, cost nothing beyond the page they came in. Default: all are. */
  readonly accepts?: (key: string) => boolean;
}

/** As read from disk: the record, and the last good one where that was refused. */
export interface RestoredRecord {
  readonly key: string;
  readonly record: TableRecord;
  readonly lastGood?: TableRecord | undefined;
}

export class Table {
  readonly #records = new PackedMap();
  readonly #hash = new ConfigHash();
  /** Deleted, though their bytes are still here, with whether the hash still counts them. */
  readonly #going = new Map<string, boolean>();
  readonly #sweeping: Slice;
  #isSweepDue = false;
  /** For refused keys: what the consumer still serves, if anything. */
  readonly #lastGood = new Map<string, TableRecord | undefined>();
  readonly #consumer: RecordConsumer;
  readonly #clock: Clock;
  readonly #accepts: (key: string) => boolean;
  readonly #listeners = new Set<(batch: RecordBatch) => void>();

  readonly #taken: PackedRecords = {
    get: (key) => (this.#going.has(key) ? undefined : this.#takenOf(key)),
    keysOf: (hash) => this.#records.keysOf(hash),
  };

  constructor(options: TableOptions) {
    this.#consumer = options.consumer;
    this.#clock = options.clock;
    this.#accepts = options.accepts ?? (() => true);
    this.#sweeping = new Slice(options.clock);
  }

  get size(): number {
    return this.#records.size - this.#going.size;
  }

  /** Made for this call: the same record is another object next time. */
  get(key: string): TableRecord | undefined {
    return this.#going.has(key) ? undefined : this.#records.get(key);
  }

  /** The value that still serves because the newest was refused. */
  lastGood(key: string): TableRecord | undefined {
    return this.#going.has(key) ? undefined : this.#lastGood.get(key);
  }

  /** May be walked over several turns: what is held all the while is shown once, as it is by then. */
  *entries(): IterableIterator<[string, TableRecord]> {
    for (const entry of this.#records.entries()) if (!this.#going.has(entry[0])) yield entry;
  }

  /** As `entries`, with the last good value of those whose newest was refused; without one they are left out. */
  *served(): IterableIterator<[string, TableRecord]> {
    for (const [key, newest] of this.entries()) {
      const record = this.#lastGood.has(key) ? this.#lastGood.get(key) : newest;
      if (record !== undefined) yield [key, record];
    }
  }

  /** As `entries`; one that was deleted meanwhile may still be shown. */
  *keys(): IterableIterator<string> {
    for (const key of this.#records.keys()) if (!this.#going.has(key)) yield key;
  }

  /** The same text on every node that holds the same records. */
  hash(): string {
    for (const [key, isCounted] of this.#going) if (isCounted) this.#uncount(key);
    return this.#hash.text();
  }

  accepts(key: string): boolean {
    return this.#accepts(key);
  }

  /** Called after each batch, in the same turn. Returns the way to end it. */
  subscribe(listener: (batch: RecordBatch) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** All changes of one revision, in one turn. */
  apply(revision: Revision, changes: readonly Change[]): void {
    const ours = changes.filter((change) => this.#accepts(change.key));
    if (ours.length === 0) return;
    for (const { key, kv } of ours) {
      const isGoing = this.#going.has(key);
      if (kv !== undefined && isGoing) this.#forget(key);
      else if (kv === undefined && !isGoing && this.#records.has(key)) this.#going.set(key, true);
    }
    const batch = { revision, changes: ours };
    const refused = this.#consumer.apply(batch, this.#taken);
    const isRefused = refused && new Set(refused);
    for (const { key, kv } of ours) if (kv !== undefined) this.#write(key, kv, isRefused?.has(key) === true);
    for (const listener of this.#listeners) listener(batch);
    if (!this.#isSweepDue) this.#sweep();
  }

  /**
   * Starts a list.
   * @param serving true: collected and applied as a diff at the end, each revision whole; false: applied as it comes
   */
  beginList(revision: Revision, serving: boolean): Listing {
    return new Listing(this, revision, serving, this.#clock);
  }

  /** Fills an empty table, in slices; refused records get their last good value first, as it was before. */
  async restore(records: Iterable<RestoredRecord>, revision: Revision): Promise<void> {
    const slice = new Slice(this.#clock);
    let chunk: RestoredRecord[] = [];
    const flush = (): void => {
      const good = chunk.flatMap(({ key, lastGood }) => (lastGood === undefined ? [] : [toChange(key, lastGood)]));
      if (good.length > 0) this.apply(revision, good);
      this.apply(
        revision,
        chunk.map(({ key, record }) => toChange(key, record)),
      );
      chunk = [];
    };
    for (const record of records) {
      chunk.push(record);
      if (chunk.length < LOAD_CHUNK && record.record.value.length < LOAD_CHUNK_BYTES) continue;
      flush();
      if (slice.isOver()) await slice.yield();
    }
    flush();
  }

  #write(key: string, next: TableRecord, isRefused: boolean): void {
    const before = this.#records.get(key);
    if (before !== undefined && !isPlaceholder(before.value)) this.#hash.remove(key, before.modRevision, before.value);
    if (!isRefused) this.#lastGood.delete(key);
    else if (!this.#lastGood.has(key)) this.#lastGood.set(key, before && ownCopy(before));
    this.#records.set(key, next.value, next.modRevision, next.createRevision);
    if (!isPlaceholder(next.value)) this.#hash.add(key, next.modRevision, next.value);
  }

  /** A placeholder is taken by nobody. */
  #takenOf(key: string): TableRecord | undefined {
    const record = this.#lastGood.has(key) ? this.#lastGood.get(key) : this.#records.get(key);
    return record === undefined || isPlaceholder(record.value) ? undefined : record;
  }

  #sweep(): void {
    if (this.#going.size === 0) return;
    this.#sweeping.restart();
    for (const key of this.#going.keys()) {
      this.#forget(key);
      if (this.#sweeping.isOver()) break;
    }
    this.#isSweepDue = this.#going.size > 0;
    if (this.#isSweepDue) setImmediate(() => this.#sweep());
  }

  #forget(key: string): void {
    if (this.#going.get(key) === true) this.#uncount(key);
    const taken = this.#takenOf(key);
    this.#going.delete(key);
    this.#records.delete(key);
    this.#lastGood.delete(key);
    this.#consumer.forget?.(key, taken);
  }

  #uncount(key: string): void {
    const record = this.#records.get(key);
    if (record !== undefined && !isPlaceholder(record.value)) this.#hash.remove(key, record.modRevision, record.value);
    this.#going.set(key, false);
  }
}

export type { ListResult };

/** The table's own bytes would be kept with all that lies around them. */
function ownCopy({ value, modRevision, createRevision }: TableRecord): TableRecord {
  return { value: Buffer.from(value), modRevision, createRevision };
}

function toChange(key: string, record: TableRecord): Change {
  return { type: "put", key, kv: { key, ...record, version: 0n, lease: 0n } };
}
