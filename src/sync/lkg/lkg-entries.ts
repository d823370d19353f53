/**
 * The entries of a table as bytes, for the last-known-good file and for a worker that begins with its primary's table.
 */
import type { Clock } from "../../base/clock.ts";
import { Slice } from "../../store/turns.ts";
import type { Table } from "../table.ts";
import { encodeEntry, type FileEntry } from "./lkg-records.ts";

/** May be walked over several turns, as the table's own. */
export function* allEntries(table: Table): Generator<FileEntry> {
  for (const key of table.keys()) yield entryOf(table, key);
}

export function entryOf(table: Table, key: string): FileEntry {
  const record = table.get(key);
  return record === undefined ? { key, record } : { key, record, lastGood: table.lastGood(key) };
}

/** Pieces of about `size` bytes, for `decodeEntries`; made in slices. */
export async function* packEntries(entries: Iterable<FileEntry>, size: number, clock: Clock): AsyncGenerator<Buffer> {
  const slice = new Slice(clock);
  let parts: Buffer[] = [];
  let bytes = 0;
  for (const entry of entries) {
    const part = encodeEntry(entry);
    parts.push(part);
    bytes += part.length;
    if (bytes >= size) {
      yield Buffer.concat(parts);
      parts = [];
      bytes = 0;
    }
    if (slice.isOver()) await slice.yield();
  }
  if (parts.length > 0) yield Buffer.concat(parts);
}
