/**
 * One list on its way into a table: compared record by record, applied as a diff.
 * Promise: while the table serves, nothing is applied before `commit`, and records written by one transaction change in
 * one turn; unchanged records are not touched. An abandoned listing leaves the table as it was, unless that is loading.
 */
import type { Clock } from "../base/clock.ts";
import type { Change, KeyValue, Revision } from "../store/store.ts";
import { Slice } from "../store/store-follow.ts";
import type { Table } from "./table.ts";

export interface ListResult {
  readonly put: number;
  readonly removed: number;
  readonly unchanged: number;
}

/** A diff this small is applied in one turn, deletes included. */
const ONE_TURN = 256;
/** Changes applied in one go where atomicity does not matter (nothing serves from the table yet): turns stay short. */
export const LOAD_CHUNK = 8;
/** A record so long is the last of its piece: thousands of revoked tokens may be in it. */
export const LOAD_CHUNK_BYTES = 16 * 1024;

export class Listing {
  readonly #table: Table;
  readonly #revision: Revision;
  readonly #serving: boolean;
  readonly #slice: Slice;
  /** Undefined where nothing can be missing: the table was empty. */
  readonly #seen: Set<string> | undefined;
  #diff: Change[] = [];
  #put = 0;
  #unchanged = 0;

  constructor(table: Table, revision: Revision, serving: boolean, clock: Clock) {
    this.#table = table;
    this.#revision = revision;
    this.#serving = serving;
    this.#slice = new Slice(clock);
    this.#seen = table.size === 0 ? undefined : new Set();
  }

  /** Takes one page; resolves when it is compared, and applied when the table does not serve yet. */
  async page(kvs: readonly KeyValue[]): Promise<void> {
    this.#slice.restart();
    for (const kv of kvs) {
      if (!this.#table.accepts(kv.key)) continue;
      this.#seen?.add(kv.key);
      const held = this.#table.get(kv.key);
      // Bytes are compared too: revisions of another store may be equal by chance.
      if (
        held?.modRevision === kv.modRevision &&
        held.createRevision === kv.createRevision &&
        held.value.equals(kv.value)
      ) {
        this.#unchanged++;
      } else {
        this.#put++;
        this.#diff.push({ type: "put", key: kv.key, kv });
      }
      const isFull = this.#diff.length >= LOAD_CHUNK || kv.value.length >= LOAD_CHUNK_BYTES;
      if (!this.#serving && isFull) this.#apply(this.#take());
      if (this.#slice.isOver()) await this.#slice.yield();
    }
    if (!this.#serving) this.#apply(this.#take());
  }

  /** Applies the diff and removes what the list did not show. */
  async commit(): Promise<ListResult> {
    const removed = await this.#missing();
    if (this.#diff.length + removed.length <= ONE_TURN) this.#apply([...this.#take(), ...removed]);
    else {
      await this.#applyByRevision(this.#take());
      for (let i = 0; i < removed.length; i += LOAD_CHUNK) {
        this.#apply(removed.slice(i, i + LOAD_CHUNK)); // last: what refers to them has changed by now
        if (this.#slice.isOver()) await this.#slice.yield();
      }
    }
    return { put: this.#put, removed: removed.length, unchanged: this.#unchanged };
  }

  async #missing(): Promise<Change[]> {
    const missing: Change[] = [];
    const seen = this.#seen;
    if (seen === undefined) return missing;
    this.#slice.restart();
    for (const key of this.#table.keys()) {
      if (!seen.has(key)) missing.push({ type: "delete", key, kv: undefined });
      if (this.#slice.isOver()) await this.#slice.yield();
    }
    return missing;
  }

  async #applyByRevision(diff: readonly Change[]): Promise<void> {
    const groups = new Map<number, Change[]>();
    for (const change of diff) {
      const revision = Number(change.kv?.modRevision ?? 0n);
      const group = groups.get(revision);
      if (group === undefined) groups.set(revision, [change]);
      else group.push(change);
      if (this.#slice.isOver()) await this.#slice.yield();
    }
    for (const revision of Float64Array.from(groups.keys()).sort()) {
      this.#apply(groups.get(revision) ?? []);
      if (this.#slice.isOver()) await this.#slice.yield();
    }
  }

  #apply(changes: readonly Change[]): void {
    if (changes.length > 0) this.#table.apply(this.#revision, changes);
  }

  #take(): Change[] {
    const diff = this.#diff;
    this.#diff = [];
    return diff;
  }
}
