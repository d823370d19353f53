/**
 * One entry of the history, in two values: what may be shown (masked, bounded), and what a rollback needs (as stored).
 * The revision of an entry is the create revision of its key, since both are written in the transaction of the write.
 */
import { gunzipSync, gzipSync } from "node:zlib";
import type { StoredMembers } from "../read/stored-record.ts";

export interface HistoryEntry {
  /** Wall time in milliseconds. */
  readonly timeMs: number;
  /** Name of the key. */
  readonly actor: string;
  /** Of the socket. */
  readonly address: string;
  readonly method: string;
  /** Without query. */
  readonly path: string;
  readonly changes: readonly ShownEntryChange[];
  /** Of a run that sealed records anew; together with the entry's own, `revisions` are all that it made. */
  readonly resealed?: { readonly records: number; readonly revisions: readonly Span[] };
  /** Of revocations, which no rollback takes back. */
  readonly revoked?: Revoked;
}

/** Never a token: how many there were, and rules as answers show them. */
export interface Revoked {
  readonly tokens?: number;
  readonly rules?: readonly object[];
  readonly taken_back?: readonly object[];
}

/** From and to, both included. */
export type Span = readonly [number, number];

const SPANS_MAX = 1_000; // the entry is written with each transaction; more than these and the last one is stretched

/** @param revision larger than all that are there */
export function spanned(spans: readonly Span[], revision: number): readonly Span[] {
  const last = spans.at(-1);
  if (last && (revision === last[1] + 1 || spans.length === SPANS_MAX))
    return [...spans.slice(0, -1), [last[0], revision]];
  return [...spans, [revision, revision]];
}

interface ShownEntryChange {
  /** Store key of the record. */
  readonly key: string;
  readonly change: string;
  readonly diff: readonly unknown[];
}

/** A record as it was before the write. */
export interface Restorable {
  readonly key: string;
  /** As stored, sealed members sealed; null: there was none. */
  readonly before: string | null;
  /** Decimal; of what was there before. */
  readonly revision: string;
  /** It had a lifetime of its own. */
  readonly leased?: boolean;
}

export function restorableOf(key: string, previous: StoredMembers | undefined): Restorable {
  if (!previous) return { key, before: null, revision: "0" };
  const { text, modRevision, leased } = previous;
  return { key, before: text, revision: modRevision.toString(), ...(leased && { leased }) };
}

const PLAIN_BYTES_MAX = 1_024; // compressing less gains nothing

export function encodeRestorables(records: readonly Restorable[]): Buffer {
  const plain = Buffer.from(JSON.stringify(records), "utf8");
  return plain.length <= PLAIN_BYTES_MAX ? plain : gzipSync(plain, { level: 1 });
}

const RECORDS_BYTES_MAX = 64 * 1024 * 1024; // a rollback of 128 records of the largest size is below

/** @returns undefined for what is none of ours */
export function decodeRestorables(bytes: Buffer): readonly Restorable[] | undefined {
  try {
    const plain = bytes[0] === 0x1f ? gunzipSync(bytes, { maxOutputLength: RECORDS_BYTES_MAX }) : bytes;
    const records: unknown = JSON.parse(plain.toString("utf8"));
    return Array.isArray(records) ? (records as readonly Restorable[]) : undefined; // written by encodeRestorables
  } catch {
    return undefined;
  }
}

export function encodeEntry(entry: HistoryEntry): Buffer {
  return Buffer.from(JSON.stringify(entry), "utf8");
}

export function decodeEntry(bytes: Buffer): HistoryEntry | undefined {
  try {
    const entry: unknown = JSON.parse(bytes.toString("utf8"));
    const known = typeof entry === "object" && entry !== null && Array.isArray((entry as HistoryEntry).changes);
    return known ? (entry as HistoryEntry) : undefined;
  } catch {
    return undefined; // not ours
  }
}
