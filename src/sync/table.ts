/**
 * The records a node holds: etcd key → raw value and revisions, with every change handed on to one consumer.
 * Promise: a revision is applied in one turn; a list is applied as a diff, so that what did not change is not touched;
 * long work is cut into slices. No I/O.
 */
import { BigMap } from "../base/big-map.ts";
import type { Clock } from "../base/clock.ts";
import type { Change, KeyValue, Revision } from "../store/store.ts";
import { Slice } from "../store/turns.ts";
import { Listing, type ListResult } from "./listing.ts";

export interface TableRecord {
  readonly value: Buffer;
  readonly modRevision: Revision;
  readonly createRevision: Revision;
}

/** Changes that belong together: of one revision, or a piece of a list. */
export interface RecordBatch {
  readonly revision: Revision;
  readonly changes: readonly Change[];
}

export interface RecordConsumer {
  /**
   * Synchronous. Returns the keys whose new value it refused, so that their last good value is kept for a restart;
   * nothing when all were taken.
   */
  apply(batch: RecordBatch): readonly string[] | undefined;
}

export interface TableOptions {
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
const LOAD_CHUNK = 32;

export class Table {
  readonly #records = new BigMap<TableRecord>();
  /** For refused keys: what the consumer still serves. */
  readonly #lastGood = new Map<string, TableRecord>();
  readonly #consumer: RecordConsumer;
  readonly #clock: Clock;
  readonly #accepts: (key: string) => boolean;
  readonly #listeners = new Set<(batch: RecordBatch) => void>();

  constructor(options: TableOptions) {
    this.#consumer = options.consumer;
    this.#clock = options.clock;
    this.#accepts = options.accepts ?? (() => true);
  }

  get size(): number {
    return this.#records.size;
  }

  get(key: string): TableRecord | undefined {
    return this.#records.get(key);
  }

  /** The value that still serves because the newest was refused. */
  lastGood(key: string): TableRecord | undefined {
    return this.#lastGood.get(key);
  }

  /** Live view; may be walked over several turns, then it shows changes made meanwhile. */
  entries(): IterableIterator<[string, TableRecord]> {
    return this.#records.entries();
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
    const before = new Map<string, TableRecord>();
    for (const { key, kv } of ours) {
      const old = this.#records.get(key);
      if (kv === undefined) {
        this.#records.delete(key);
        this.#lastGood.delete(key);
        continue;
      }
      const good = this.#lastGood.get(key) ?? old;
      if (good !== undefined) before.set(key, good);
      this.#records.set(key, toRecord(kv));
    }
    this.#hand({ revision, changes: ours }, before);
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

  #hand(batch: RecordBatch, before: ReadonlyMap<string, TableRecord>): void {
    const refused = this.#consumer.apply(batch);
    if (this.#lastGood.size > 0) for (const { key } of batch.changes) this.#lastGood.delete(key);
    for (const key of refused ?? []) {
      const good = before.get(key);
      if (good !== undefined) this.#lastGood.set(key, good);
    }
    for (const listener of this.#listeners) listener(batch);
  }
}

export type { ListResult };

/** A copy of its own: the bytes of a page would otherwise live as long as one of its records. */
function toRecord(kv: KeyValue): TableRecord {
  return { value: Buffer.from(kv.value), modRevision: kv.modRevision, createRevision: kv.createRevision };
}

function toChange(key: string, record: TableRecord): Change {
  return { type: "put", key, kv: { key, ...record, version: 0n, lease: 0n } };
}
