/**
 * `GET /history` and `GET /history/{revision}`: who changed what, when and from where. Secrets are masked for everyone.
 */
import { isMembers, type Members } from "../../base/json/members.ts";
import { parseKey } from "../../model/keys.ts";
import { KINDS, type Kind } from "../../model/kinds.ts";
import type { KeyValue } from "../../store/store.ts";
import type { AdminRequest, ReadSide, RuleSide, StoreSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import type { DiffEntry } from "../preview/diff.ts";
import { masked } from "../read/masking.ts";
import { historyKeys } from "./history.ts";
import { decodeEntry, type HistoryEntry } from "./history-entry.ts";

const PAGE_SIZE = 50;
const PAGE_SIZE_MAX = 500;
/** Entries are small and bounded, but the store answers a request as a whole. */
const READ_TOGETHER = 50;

/** Newest first. `page` and `page_size` as in lists, `key` leaves what touched that record. */
export async function listHistory(admin: ReadSide, request: AdminRequest): Promise<AdminAnswer> {
  const size = wholeIn(request.args.get("page_size"), PAGE_SIZE);
  const number = wholeIn(request.args.get("page"), 1);
  if (size === undefined || number === undefined || size > PAGE_SIZE_MAX) {
    return refuse(400, `page and page_size should be whole numbers from 1, page_size at most ${PAGE_SIZE_MAX}`);
  }
  const newest = (await historyKeys(admin)).reverse();
  const from = (number - 1) * size;
  const wanted = request.args.get("key");
  if (wanted === undefined) {
    const list = await readEntries(admin, newest.slice(from, from + size));
    return { status: 200, body: { list: list.map((one) => shownEntry(admin, one)), total: newest.length } };
  }
  const key = storeKeyOf(admin, wanted);
  if (key === undefined) return BAD_KEY;
  const list: object[] = [];
  let total = 0;
  for (let at = 0; at < newest.length; at += READ_TOGETHER) {
    for (const one of await readEntries(admin, newest.slice(at, at + READ_TOGETHER))) {
      if (!one.entry.changes.some((change) => change.key === key)) continue;
      if (total >= from && list.length < size) list.push(shownEntry(admin, one));
      total++;
    }
  }
  return { status: 200, body: { list, total } };
}

export async function getHistoryEntry(admin: ReadSide, request: AdminRequest): Promise<AdminAnswer> {
  const revision = request.params["revision"] ?? "";
  const found = (await historyKeys(admin)).find((kv) => kv.createRevision.toString() === revision);
  const [entry] = found ? await readEntries(admin, [found]) : [];
  return entry ? { status: 200, body: shownEntry(admin, entry) } : noEntry(revision);
}

export function noEntry(revision: string): AdminAnswer {
  return refuse(404, `the history has no entry of revision ${revision.slice(0, 20)}`);
}

/** `routes/1` and `/apisix/routes/1` name the same record. @returns undefined for what names none */
export function storeKeyOf(admin: StoreSide, text: string): string | undefined {
  const key = text.startsWith("/") ? text : `${admin.prefix}/${text}`;
  return parseKey(admin.prefix, key) && key;
}

export const BAD_KEY = refuse(400, "invalid argument key: should name a record, such as routes/1");

interface ReadEntry {
  readonly entry: HistoryEntry;
  readonly revision: bigint;
}

/** Entries that went meanwhile are left out. */
async function readEntries(admin: StoreSide, keys: readonly KeyValue[]): Promise<ReadEntry[]> {
  const entries: ReadEntry[] = [];
  for (let at = 0; at < keys.length; at += READ_TOGETHER) {
    const some = keys.slice(at, at + READ_TOGETHER);
    for (const { kv } of await Promise.all(some.map(({ key }) => admin.store.get(key)))) {
      const entry = kv && decodeEntry(kv.value);
      if (entry) entries.push({ entry, revision: kv.createRevision });
    }
  }
  return entries;
}

function shownEntry(admin: ReadSide, { entry, revision }: ReadEntry): object {
  const { timeMs, actor, address, method, path, resealed, revoked } = entry;
  const time = Math.floor(timeMs / 1_000);
  const changes = entry.changes.map((change) => ({ ...change, diff: maskedDiff(admin, change.key, change.diff) }));
  const more = { ...(resealed && { resealed: resealed.records }), ...(revoked && { revoked }) };
  return { revision: Number(revision), time, actor, address, method, path, changes, ...more };
}

/** Entries were masked when they were written, by what was known as a secret then. */
function maskedDiff(admin: ReadSide, key: string, diff: readonly unknown[]): readonly unknown[] {
  const kind = parseKey(admin.prefix, key)?.kind;
  if (kind === undefined) return diff;
  return diff.map((operation) => {
    const { path = "", from, to, ...rest } = operation as Partial<DiffEntry>; // written by diffOf
    const names = path
      .split("/")
      .slice(1)
      .filter((name) => !/^\d+$/.test(name)); // lists count for nothing
    const shown = (value: unknown): unknown => maskedAt(admin, KINDS[kind], names, value);
    return {
      ...rest,
      path,
      ...(from !== undefined && { from: shown(from) }),
      ...(to !== undefined && { to: shown(to) }),
    };
  });
}

function maskedAt({ catalog }: RuleSide, kind: Kind, names: readonly string[], value: unknown): unknown {
  if (names.length === 0) return value;
  const plain = names.map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
  // True: there is at least one name, so it is an object.
  const record = plain.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Members;
  return plain.reduce<unknown>(
    (outer, name) => (isMembers(outer) ? outer[name] : outer),
    masked(catalog, kind, record),
  );
}

function wholeIn(text: string | undefined, otherwise: number): number | undefined {
  if (text === undefined) return otherwise;
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}
