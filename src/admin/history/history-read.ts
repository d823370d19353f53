/**
 * `GET /history` and `GET /history/{revision}`: who changed what, when and from where. Secrets are masked for everyone.
 */
import { parseKey } from "../../model/keys.ts";
import type { KeyValue } from "../../store/store.ts";
import type { AdminRequest, Engine } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import { historyKeys } from "./history.ts";
import { decodeEntry, type HistoryEntry } from "./history-entry.ts";

const PAGE_SIZE = 50;
const PAGE_SIZE_MAX = 500;
/** Entries are small and bounded, but the store answers a request as a whole. */
const READ_TOGETHER = 50;

/** Newest first. `page` and `page_size` as in lists, `key` leaves what touched that record. */
export async function listHistory(engine: Engine, request: AdminRequest): Promise<AdminAnswer> {
  const size = wholeIn(request.args.get("page_size"), PAGE_SIZE);
  const number = wholeIn(request.args.get("page"), 1);
  if (size === undefined || number === undefined || size > PAGE_SIZE_MAX) {
    return refuse(400, `page and page_size should be whole numbers from 1, page_size at most ${PAGE_SIZE_MAX}`);
  }
  const newest = (await historyKeys(engine)).reverse();
  const from = (number - 1) * size;
  const wanted = request.args.get("key");
  if (wanted === undefined) {
    const list = await readEntries(engine, newest.slice(from, from + size));
    return { status: 200, body: { list: list.map(shownEntry), total: newest.length } };
  }
  const key = storeKeyOf(engine, wanted);
  if (key === undefined) return BAD_KEY;
  const list: object[] = [];
  let total = 0;
  for (let at = 0; at < newest.length; at += READ_TOGETHER) {
    for (const one of await readEntries(engine, newest.slice(at, at + READ_TOGETHER))) {
      if (!one.entry.changes.some((change) => change.key === key)) continue;
      if (total >= from && list.length < size) list.push(shownEntry(one));
      total++;
    }
  }
  return { status: 200, body: { list, total } };
}

export async function getHistoryEntry(engine: Engine, request: AdminRequest): Promise<AdminAnswer> {
  const revision = request.segments[1] ?? "";
  const found = (await historyKeys(engine)).find((kv) => kv.createRevision.toString() === revision);
  const [entry] = found ? await readEntries(engine, [found]) : [];
  return entry ? { status: 200, body: shownEntry(entry) } : noEntry(revision);
}

export function noEntry(revision: string): AdminAnswer {
  return refuse(404, `the history has no entry of revision ${revision.slice(0, 20)}`);
}

/** `routes/1` and `/apisix/routes/1` name the same record. @returns undefined for what names none */
export function storeKeyOf(engine: Engine, text: string): string | undefined {
  const key = text.startsWith("/") ? text : `${engine.prefix}/${text}`;
  return parseKey(engine.prefix, key) && key;
}

export const BAD_KEY = refuse(400, "invalid argument key: should name a record, such as routes/1");

interface ReadEntry {
  readonly entry: HistoryEntry;
  readonly revision: bigint;
}

/** Entries that went meanwhile are left out. */
async function readEntries(engine: Engine, keys: readonly KeyValue[]): Promise<ReadEntry[]> {
  const entries: ReadEntry[] = [];
  for (let at = 0; at < keys.length; at += READ_TOGETHER) {
    const some = keys.slice(at, at + READ_TOGETHER);
    for (const { kv } of await Promise.all(some.map(({ key }) => engine.store.get(key)))) {
      const entry = kv && decodeEntry(kv.value);
      if (entry) entries.push({ entry, revision: kv.createRevision });
    }
  }
  return entries;
}

function shownEntry({ entry, revision }: ReadEntry): object {
  const { timeMs, actor, address, method, path, changes, resealed } = entry;
  const time = Math.floor(timeMs / 1_000);
  const more = resealed && { resealed: resealed.records };
  return { revision: Number(revision), time, actor, address, method, path, changes, ...more };
}

function wholeIn(text: string | undefined, otherwise: number): number | undefined {
  if (text === undefined) return otherwise;
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}
