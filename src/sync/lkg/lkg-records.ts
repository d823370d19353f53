/**
 * Records and positions as bytes of the last-known-good file.
 * Entry: `u8 flags | u32 key length | key | record | last good record`; record: `u64 create | u64 mod | u32 length | value`.
 */

import type { Clock } from "../../base/clock.ts";
import { Slice } from "../../store/store-follow.ts";
import type { Position, SavedPosition } from "../sync-status.ts";
import type { RestoredRecord, Table, TableRecord } from "../table.ts";

/** A record, or the deletion of one. */
export type FileEntry = RestoredRecord | { readonly key: string; readonly record: undefined };

interface FileHeader {
  readonly format: number;
  readonly prefix: string;
  readonly sealed: boolean;
}

export const FORMAT = 1;
const DELETED = 1;
const HAS_LAST_GOOD = 2;

export function encodeEntry(entry: FileEntry): Buffer {
  const key = Buffer.from(entry.key, "utf8");
  const head = Buffer.allocUnsafe(5);
  head.writeUInt32BE(key.length, 1);
  if (entry.record === undefined) {
    head.writeUInt8(DELETED, 0);
    return Buffer.concat([head, key]);
  }
  const { record, lastGood } = entry;
  head.writeUInt8(lastGood === undefined ? 0 : HAS_LAST_GOOD, 0);
  return Buffer.concat([head, key, ...encodeRecord(record), ...(lastGood === undefined ? [] : encodeRecord(lastGood))]);
}

/** @throws RangeError when the bytes are no entries; a sound frame never is */
export function* decodeEntries(bytes: Buffer): Generator<FileEntry> {
  for (let at = 0; at < bytes.length; ) {
    const flags = bytes.readUInt8(at);
    const keyEnd = at + 5 + bytes.readUInt32BE(at + 1);
    const key = bytes.toString("utf8", at + 5, keyEnd);
    at = keyEnd;
    if ((flags & DELETED) !== 0) {
      yield { key, record: undefined };
      continue;
    }
    const { record, end } = decodeRecord(bytes, at);
    at = end;
    if ((flags & HAS_LAST_GOOD) === 0) {
      yield { key, record };
      continue;
    }
    const good = decodeRecord(bytes, at);
    at = good.end;
    yield { key, record, lastGood: good.record };
  }
}

export function encodeHeader(header: FileHeader): Buffer {
  return Buffer.from(JSON.stringify(header), "utf8");
}

export function decodeHeader(bytes: Buffer): FileHeader {
  // True: the frame's sum says that we wrote it.
  return JSON.parse(bytes.toString("utf8")) as FileHeader;
}

export function encodePosition(position: Position, savedAtMs: number): Buffer {
  const { applied, identity, clusterId } = position;
  return Buffer.from(JSON.stringify({ applied: applied.toString(), identity, clusterId, savedAtMs }), "utf8");
}

export function decodePosition(bytes: Buffer): SavedPosition {
  // True: the frame's sum says that we wrote it.
  const parsed = JSON.parse(bytes.toString("utf8")) as Omit<SavedPosition, "applied"> & { readonly applied: string };
  return {
    applied: BigInt(parsed.applied),
    identity: parsed.identity,
    clusterId: parsed.clusterId,
    savedAtMs: parsed.savedAtMs,
  };
}

function encodeRecord(record: TableRecord): readonly Buffer[] {
  const head = Buffer.allocUnsafe(20);
  head.writeBigUInt64BE(record.createRevision, 0);
  head.writeBigUInt64BE(record.modRevision, 8);
  head.writeUInt32BE(record.value.length, 16);
  return [head, record.value];
}

function decodeRecord(bytes: Buffer, at: number): { readonly record: TableRecord; readonly end: number } {
  const end = at + 20 + bytes.readUInt32BE(at + 16);
  if (end > bytes.length) throw new RangeError("a record is cut off");
  const record = {
    createRevision: bytes.readBigUInt64BE(at),
    modRevision: bytes.readBigUInt64BE(at + 8),
    value: Buffer.from(bytes.subarray(at + 20, end)),
  };
  return { record, end };
}

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
