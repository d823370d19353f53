/**
 * The bytes of the records that were taken. The table holds them, once in a process; whoever is dormant is read from there.
 * Promise: also between two changes of one batch everybody reads what was taken last, never what is still to be checked.
 */
import { hashOf } from "../base/packed/hash-index.ts";
import type { PackedRecord, PackedRecords } from "../base/packed/packed-map.ts";

export class TakenRecords implements PackedRecords {
  #table: PackedRecords = { get: () => undefined, keysOf: () => [] };
  /** Taken from the batch at hand, which the table writes when it is over. */
  readonly #batch = new Map<string, { readonly hash: number; readonly record: PackedRecord }>();

  /** @param table of every key what was taken before this batch; of this batch too once it is over */
  begin(table: PackedRecords): void {
    this.#table = table;
    this.#batch.clear();
  }

  end(): void {
    this.#batch.clear();
  }

  /** The record is read again when somebody asks for it. */
  add(key: string, record: PackedRecord): void {
    this.#batch.set(key, { hash: hashOf(key), record });
  }

  get(key: string): PackedRecord | undefined {
    return this.#batch.get(key)?.record ?? this.#table.get(key);
  }

  keysOf(hash: number): readonly string[] {
    const keys = this.#table.keysOf(hash);
    if (this.#batch.size === 0) return keys;
    return [...keys, ...[...this.#batch].flatMap(([key, one]) => (one.hash === hash ? [key] : []))];
  }
}
