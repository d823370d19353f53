/**
 * Works out, from the history, what every record was right after a write: what each later write found before it.
 * Promise: says what it cannot know (records that others changed past the history) instead of guessing.
 */
import { isDeepStrictEqual } from "node:util";
import { dirOf, parseKey } from "../../model/keys.ts";
import { KINDS, type KindName } from "../../model/kinds.ts";
import { revocationsDir } from "../../model/revocation.ts";
import { type KeyValue, prefixRange } from "../../store/store.ts";
import type { ReadSide, RecordChange, StoreSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { readStored, type StoredMembers, toStored } from "../read/stored-record.ts";
import { historyDir, restoreDir } from "../store-paths.ts";
import { historyKeys } from "./history.ts";
import { decodeEntry, decodeRestorables, type HistoryEntry, type Restorable, type Span } from "./history-entry.ts";
import { BAD_KEY, storeKeyOf } from "./history-read.ts";

export interface Reconstruction {
  /** What has to change. */
  readonly records: readonly { readonly change: RecordChange; readonly sealed: Buffer | undefined }[];
  readonly warnings: readonly HistoryWarning[];
}

interface HistoryWarning {
  readonly code: "changed_outside" | "had_lifetime" | "not_rolled_back";
  readonly key: string;
  readonly message: string;
}

/**
 * @param revision of the entry @param only this record, as `?key=` names it
 * @returns undefined when there is no such entry
 */
export async function reconstruct(
  admin: ReadSide,
  revision: string,
  only: string | undefined,
): Promise<Reconstruction | { readonly refusal: AdminAnswer } | undefined> {
  const wanted = only === undefined ? undefined : storeKeyOf(admin, only);
  if (only !== undefined && wanted === undefined) return { refusal: BAD_KEY };
  const keys = await historyKeys(admin);
  const at = keys.findIndex((kv) => kv.createRevision.toString() === revision);
  if (at < 0) return undefined;
  const moment = BigInt(revision);
  const found = new Map<string, Found>();
  const sealing = await spansBefore(admin, keys.slice(0, at + 1), moment);
  const warnings: HistoryWarning[] = [];
  const later = keys.slice(at + 1);
  for (let from = 0; from < later.length; from += READ_TOGETHER) {
    const some = later.slice(from, from + READ_TOGETHER);
    const reads = await Promise.all(some.map(({ key }) => readRestorables(admin, key)));
    for (const [n, { createRevision }] of some.entries()) {
      const read = reads[n];
      if (read === undefined) return { refusal: unrestorable(createRevision) };
      sealing.push(...read.sealing);
      if (read.revokes && wanted === undefined) warnings.push(notRolledBack(admin, createRevision));
      for (const one of read.records) {
        const known = found.get(one.key);
        if (known) known.last = createRevision;
        else found.set(one.key, { target: one, last: createRevision });
      }
    }
  }
  const records: { change: RecordChange; sealed: Buffer | undefined }[] = [];
  for (const [key, { target, last }] of found) {
    if (wanted !== undefined && key !== wanted) continue;
    const record = await recordAt(admin, key, target);
    if ("refusal" in record) return record;
    warnings.push(...doubts(key, target, last, record.previous, moment, sealing));
    if (target.leased)
      warnings.push({ code: "had_lifetime", key, message: "had a lifetime (ttl), and is left as it is" });
    else if (record.restored) records.push(record.restored);
  }
  if (wanted === undefined) warnings.push(...(await changedOutside(admin, moment, found, sealing)));
  return { records, warnings };
}

interface Found {
  /** What the record was at the moment. */
  readonly target: Restorable;
  /** Revision of the newest entry that knows it. */
  last: bigint;
}

const READ_TOGETHER = 20;

interface ReadEntry {
  readonly records: readonly Restorable[];
  /** Revisions that only sealed records anew. */
  readonly sealing: readonly Span[];
  readonly revokes?: boolean;
}

function notRolledBack({ prefix }: StoreSide, revision: bigint): HistoryWarning {
  const message = `what was revoked by the write of revision ${revision} stays as it is`;
  return { code: "not_rolled_back", key: revocationsDir(prefix), message };
}

/** undefined: this write kept nothing to restore. */
async function readRestorables(admin: StoreSide, entryKey: string): Promise<ReadEntry | undefined> {
  const id = entryKey.slice(historyDir(admin.prefix).length);
  const { kv } = await admin.store.get(`${restoreDir(admin.prefix)}${id}`);
  if (kv) {
    const records = decodeRestorables(kv.value);
    return records && { records, sealing: [] };
  }
  // Some entries are of no record at all.
  const entry = (await admin.store.get(entryKey)).kv;
  const decoded = entry && decodeEntry(entry.value);
  if (!entry || decoded?.changes.length !== 0) return undefined;
  return { records: [], sealing: spansOf(decoded, entry), revokes: decoded.revoked !== undefined };
}

function spansOf({ resealed }: HistoryEntry, { modRevision }: KeyValue): readonly Span[] {
  return resealed ? [...resealed.revisions, [Number(modRevision), Number(modRevision)]] : [];
}

/** Runs that began before the moment and were not over: the only entries that are ever written again. */
async function spansBefore(admin: StoreSide, keys: readonly KeyValue[], moment: bigint): Promise<Span[]> {
  const spans: Span[] = [];
  for (const { key, modRevision } of keys) {
    if (modRevision <= moment) continue;
    const { kv } = await admin.store.get(key);
    const entry = kv && decodeEntry(kv.value);
    if (entry) spans.push(...spansOf(entry, kv));
  }
  return spans;
}

function isIn(spans: readonly Span[], revision: bigint): boolean {
  const at = Number(revision);
  return spans.some(([from, to]) => from <= at && at <= to);
}

function unrestorable(revision: bigint): AdminAnswer {
  return refuse(
    400,
    `the write of revision ${revision} was too large to be kept for a rollback: nothing before it can be restored`,
  );
}

type RecordAt =
  | {
      readonly previous: StoredMembers | undefined;
      /** undefined: it is already so. */
      readonly restored: { readonly change: RecordChange; readonly sealed: Buffer | undefined } | undefined;
    }
  | { readonly refusal: AdminAnswer };

async function recordAt(admin: ReadSide, key: string, target: Restorable): Promise<RecordAt> {
  const parsed = parseKey(admin.prefix, key);
  const previous = await readStored(admin.store, key);
  if (!parsed || (previous?.text ?? null) === target.before) return { previous, restored: undefined };
  const kind = KINDS[parsed.kind];
  const { id } = parsed;
  const previousValue = previous?.value && admin.codec.open(kind, id, previous.value);
  const change = { kind, id, key, previous, previousValue };
  if (target.before === null) {
    return { previous, restored: { change: { ...change, candidate: undefined }, sealed: undefined } };
  }
  const then = toStored({ ...NO_KV, key, value: Buffer.from(target.before, "utf8") });
  if (!then.value) return { refusal: refuse(400, `${key} was no JSON object then, and is not restored`) };
  const opened = admin.codec.openGiven(kind, id, then.value, then.value);
  if ("error" in opened) return { refusal: refuse(400, `${key} cannot be restored: ${opened.error}`) };
  const candidate = opened.value;
  // Sealed anew meanwhile it has another text and says the same.
  if (previousValue && !previous?.leased && isDeepStrictEqual(previousValue, candidate))
    return { previous, restored: undefined };
  // Sealed anew, since keyrings change; without one, the very bytes that were there.
  const text = admin.codec.seals ? JSON.stringify(admin.codec.seal(kind, id, candidate)) : target.before;
  return { previous, restored: { change: { ...change, candidate }, sealed: Buffer.from(text, "utf8") } };
}

const NO_KV = { createRevision: 0n, modRevision: 0n, version: 0n, lease: 0n };

function doubts(
  key: string,
  target: Restorable,
  last: bigint,
  previous: StoredMembers | undefined,
  moment: bigint,
  sealing: readonly Span[],
): HistoryWarning[] {
  const between = BigInt(target.revision) > moment && !isIn(sealing, BigInt(target.revision));
  const after = previous !== undefined && previous.modRevision !== last && !isIn(sealing, previous.modRevision);
  if (!between && !after) return [];
  const message = between
    ? "was changed by others before the history knew it: what is restored may be newer than the moment"
    : "was changed by others since its last entry: that change is undone too";
  return [{ code: "changed_outside", key, message }];
}

const OUTSIDE_MAX = 100;

/** Records that changed after the moment without an entry: by an APISIX or etcdctl on the same store. */
async function changedOutside(
  admin: StoreSide,
  moment: bigint,
  found: ReadonlyMap<string, Found>,
  sealing: readonly Span[],
): Promise<HistoryWarning[]> {
  const warnings: HistoryWarning[] = [];
  for (const kind of Object.keys(KINDS) as KindName[]) {
    if (kind === "credential") continue; // they stand among the consumers
    for await (const page of admin.store.list(prefixRange(dirOf(admin.prefix, kind)), { keysOnly: true })) {
      for (const { key, modRevision, lease } of page.kvs) {
        if (
          modRevision <= moment ||
          isIn(sealing, modRevision) ||
          found.has(key) ||
          lease !== 0n ||
          !parseKey(admin.prefix, key)
        )
          continue;
        const message = "was changed past the history and is left as it is";
        if (warnings.length < OUTSIDE_MAX) warnings.push({ code: "changed_outside", key, message });
      }
    }
  }
  return warnings;
}
