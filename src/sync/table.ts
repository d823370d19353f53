/**
 * The records a node holds: etcd key → raw value and revisions, with every change handed on to one consumer.
 * Promise: a revision is applied in one turn; a list is applied as a diff, so that what did not change is not touched;
 * long work is cut into slices. No I/O.
 */
import type { Clock } from "../base/clock.ts";
import { PackedMap } from "../base/packed/packed-map.ts";
import { isPlaceholder } from "../model/record.ts";
import type { Change, Revision } from "../store/store.ts";
import { Slice } from "../store/turns.ts";
import { ConfigHash } from "./config-hash.ts";
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
const LOAD_CHUNK = 8;

export class Table {
  readonly #records = new PackedMap();
  readonly #hash = new ConfigHash();
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
    const before = new Map<string, TableRecord>();
    for (const { key, kv } of ours) {
      const old = this.#records.get(key);
      if (old !== undefined) {
        if (!isPlaceholder(old.value)) this.#hash.remove(key, old.modRevision, old.value);
        if (kv === undefined) this.#records.delete(key);
      }
      if (kv === undefined) {
        this.#lastGood.delete(key);
        continue;
      }
      const good = this.#lastGood.get(key) ?? old;
      if (good !== undefined) before.set(key, good);
      this.#records.set(key, kv.value, kv.modRevision, kv.createRevision);
      if (!isPlaceholder(kv.value)) this.#hash.add(key, kv.modRevision, kv.value);
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
      if (good !== undefined) this.#lastGood.set(key, ownCopy(good));
    }
    for (const listener of this.#listeners) listener(batch);
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
