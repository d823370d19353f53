/**
 * How a worker that replaces another begins: with the table of its primary, as it is at that moment.
 * Promise: it begins with nothing older than what the node has acknowledged, whatever its file holds; the records are those
 * of one revision, though they are sent in pieces while changes go on.
 */
import type { Call, Channel } from "../../base/channel.ts";
import { type Clock, sleep } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
import {
  allEntries,
  decodeEntries,
  decodePosition,
  encodeEntry,
  encodePosition,
  entryOf,
  packEntries,
} from "../../sync/lkg/lkg-records.ts";
import type { Position, SavedPosition } from "../../sync/sync-status.ts";
import type { RestoredRecord, Table } from "../../sync/table.ts";

interface Piece {
  /** For `decodeEntries`; later ones replace earlier ones. */
  readonly entries: Uint8Array;
  /** For `decodePosition`; with the last piece only. */
  readonly position: Uint8Array | null;
}

/** The next piece; null: begin with the file, there is nothing newer. */
const TABLE: Call<null, Piece | null> = {
  name: "table",
  body: (value) => (value === null ? null : undefined),
  reply: (value) => (value === null || isPiece(value) ? value : undefined),
};

/** What the primary follows the store with. */
export interface Following {
  readonly table: Table;
  /** Undefined while a list is being applied. */
  position(): Position | undefined;
  stalenessMs(): number;
}

const PIECE_BYTES = 256 * 1024;
const PIECE_MS = 30_000;
const LISTING_MS = 20_000;
const AGAIN_MS = 50;

/** @param following undefined: nothing was loaded, or all workers begin together with the primary */
export function serveTable(channel: Channel, following: () => Following | undefined, clock: Clock): () => void {
  let pieces: AsyncGenerator<Piece> | undefined;
  channel.onCall(TABLE, async () => {
    const from = pieces === undefined ? following() : undefined;
    if (pieces === undefined && from === undefined) return null;
    if (from !== undefined) pieces = makePieces(from, clock);
    const next = await pieces?.next();
    if (next?.value === undefined || next.done) throw unavailable("the table was handed over already");
    return next.value;
  });
  return () => void pieces?.return(undefined);
}

async function* makePieces({ table, position, stalenessMs }: Following, clock: Clock): AsyncGenerator<Piece> {
  const changed = new Set<string>();
  const unsubscribe = table.subscribe(({ changes }) => {
    for (const { key } of changes) changed.add(key);
  });
  try {
    for await (const entries of packEntries(allEntries(table), PIECE_BYTES, clock)) yield { entries, position: null };
    const endMs = clock.monotonicMs() + LISTING_MS;
    let now = position();
    for (; now === undefined && clock.monotonicMs() < endMs; now = position()) await sleep(clock, AGAIN_MS);
    if (now === undefined) throw unavailable("the primary is applying a list");
    // One turn: these are the records of that position.
    const entries = Buffer.concat([...changed].map((key) => encodeEntry(entryOf(table, key))));
    yield { entries, position: encodePosition(now, clock.nowMs() - stalenessMs()) };
  } finally {
    unsubscribe();
  }
}

/**
 * Fills an empty table with what the primary holds.
 * @returns undefined when the worker is to begin with the file
 * @throws CodedError WORKER_UNAVAILABLE when the primary does not answer; an older table is no way out
 */
export async function inheritTable(channel: Channel, table: Table): Promise<SavedPosition | undefined> {
  const records = new Map<string, RestoredRecord>();
  for (;;) {
    const piece = await channel.call(TABLE, null, PIECE_MS);
    if (piece === null) return undefined;
    for (const entry of decodeEntries(bufferOf(piece.entries))) {
      if (entry.record === undefined) records.delete(entry.key);
      else records.set(entry.key, entry);
    }
    if (piece.position === null) continue;
    const position = decodePosition(bufferOf(piece.position));
    await table.restore(records.values(), position.applied);
    return position;
  }
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function isPiece(value: unknown): value is Piece {
  if (typeof value !== "object" || value === null) return false;
  const { entries, position } = value as Partial<Record<keyof Piece, unknown>>;
  return entries instanceof Uint8Array && (position === null || position instanceof Uint8Array);
}

function unavailable(message: string): CodedError {
  return new CodedError("WORKER_UNAVAILABLE", { message });
}
