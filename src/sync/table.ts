/**
 * The records a node holds: etcd key → raw value and revisions, with every change handed on to one consumer.
 * Promise: a revision is applied in one turn; a list is applied as a diff, so that what did not change is not touched;
 * long work is cut into slices. No I/O.
 */
import type { Clock } from "../base/clock.ts";
import { PackedMap, type PackedRecord, type PackedRecords } from "../base/packed/packed-map.ts";
import { isPlaceholder } from "../model/record.ts";
import type { Change, Revision } from "../store/store.ts";
import { Slice } from "../store/store-follow.ts";
import { ConfigHash } from "./config-hash.ts";
import { Listing, type ListResult } from "./listing.ts";

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
   * @param taken of every key the newest value that was not refused; this batch is in it once `apply` has returned
   */
  apply(batch: RecordBatch, taken: PackedRecords): readonly string[] | undefined;
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

/** Changes applied in one go where atomicity does not matter (nothing serves from the table yet). */
const LOAD_CHUNK = 8;

export class Table {
  readonly #records = new PackedMap();
  readonly #hash = new ConfigHash();
  /** For refused keys: what the consumer still serves, if anything. */
  readonly #lastGood = new Map<string, TableRecord | undefined>();
  readonly #consumer: RecordConsumer;
  readonly #clock: Clock;
  readonly #accepts: (key: string) => boolean;
  readonly #listeners = new Set<(batch: RecordBatch) => void>();

  readonly #taken: PackedRecords = {
    get: (key) => (this.#lastGood.has(key) ? this.#lastGood.get(key) : this.#records.get(key)),
    keysOf: (hash) => this.#records.keysOf(hash),
  };

  constructor(options: TableOptions) {
    this.#consumer = options.consumer;
    this.#clock = options.clock;
    this.#accepts = options.accepts ?? (() => true);
  }

  get size(): number {
    return this.#records.size;
  }

  /** Made for this call: the same record is another object next time. */
  get(key: string): TableRecord | undefined {
    return this.#records.get(key);
  }

  /** The value that still serves because the newest was refused. */
  lastGood(key: string): TableRecord | undefined {
    return this.#lastGood.get(key);
  }

  /** May be walked over several turns: what is held all the while is shown once, as it is by then. */
  entries(): IterableIterator<[string, TableRecord]> {
    return this.#records.entries();
  }

  /** As `entries`, with the last good value of those whose newest was refused; without one they are left out. */
  *served(): IterableIterator<[string, TableRecord]> {
    for (const [key, newest] of this.#records.entries()) {
      const record = this.#lastGood.has(key) ? this.#lastGood.get(key) : newest;
      if (record !== undefined) yield [key, record];
    }
  }

  /** As `entries`; one that was deleted meanwhile may still be shown. */
  keys(): IterableIterator<string> {
    return this.#records.keys();
  }

  /** The same text on every node that holds the same records. */
  hash(): string {
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
    const batch = { revision, changes: ours };
    const refused = this.#consumer.apply(batch, this.#taken);
    const isRefused = refused && new Set(refused);
    for (const { key, kv } of ours) this.#write(key, kv, isRefused?.has(key) === true);
    for (const listener of this.#listeners) listener(batch);
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
      if (chunk.length < LOAD_CHUNK) continue;
      flush();
      if (slice.isOver()) await slice.yield();
    }
    flush();
  }

  #write(key: string, next: TableRecord | undefined, isRefused: boolean): void {
    const before = this.#records.get(key);
    if (before !== undefined && !isPlaceholder(before.value)) this.#hash.remove(key, before.modRevision, before.value);
    if (next === undefined) {
      this.#records.delete(key);
      this.#lastGood.delete(key);
      return;
    }
    if (!isRefused) this.#lastGood.delete(key);
    else if (!this.#lastGood.has(key)) this.#lastGood.set(key, before && ownCopy(before));
    this.#records.set(key, next.value, next.modRevision, next.createRevision);
    if (!isPlaceholder(next.value)) this.#hash.add(key, next.modRevision, next.value);
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
