/**
 * GET of one record and of a list.
 * Promise: a list shows one revision of the store and is produced page by page, so its size takes no memory; pages by
 * creation come from a kept list (record-lists.ts), or else keep one small entry per record while they are made.
 * Source: docs/spec/admin-api.md section 4.
 */
import type { Members } from "../../base/json/members.ts";
import { credentialsOf, dirOf, keyOf, parseKey } from "../../model/keys.ts";
import { type KeyRange, type KeyValue, prefixRange } from "../../store/store.ts";
import type { AdminContext, AdminRequest, ReadSide, RuleSide, StoreSide } from "../admin-context.ts";
import { type AdminAnswer, KEY_NOT_FOUND } from "../admin-response.ts";
import { type ResourceTarget, recordId } from "../request-target.ts";
import { usageOf } from "../usage/usage-read.ts";
import { etagOf } from "../write/write-options.ts";
import { type ListQuery, listQueryOf, type RecordFilter } from "./list-query.ts";
import { readable, readableText } from "./masking.ts";
import type { ListedPage } from "./record-lists.ts";
import { readStored, type StoredMembers, toStored } from "./stored-record.ts";

/** Beside what reads need, the lists that are kept. */
type ListSide = ReadSide & Pick<AdminContext, "lists">;

export async function getRecords(admin: ListSide, request: AdminRequest, target: ResourceTarget): Promise<AdminAnswer> {
  if (target.localId === undefined) return listRecords(admin, request, target);
  const id = recordId(target, target.localId);
  const record = await readStored(admin.store, keyOf(admin.prefix, target.kind.name, id));
  if (!record) return KEY_NOT_FOUND;
  const headers = { ETag: etagOf(record.modRevision) };
  const entry = entryOf(admin, request, target, id, record);
  if (target.kind.name !== "credential" || request.args.get("usage") !== "1")
    return { status: 200, body: entry, headers };
  const usage = await usageOf(admin, record.key.slice(admin.prefix.length + 1), record.createRevision);
  return { status: 200, body: { ...entry, usage }, headers };
}

function entryOf(
  admin: RuleSide,
  request: AdminRequest,
  target: ResourceTarget,
  id: string,
  record: StoredMembers,
): object {
  return {
    key: record.key,
    value: record.value
      ? readable(admin, target.kind, id, record.value, request.actor)
      : readableText(record.text, request.actor),
    createdIndex: Number(record.createRevision),
    modifiedIndex: Number(record.modRevision),
  };
}

async function listRecords(admin: ListSide, request: AdminRequest, target: ResourceTarget): Promise<AdminAnswer> {
  const query = listQueryOf(target.kind, request.args);
  if (typeof query === "string") return { status: 400, body: query };
  const range = rangeOf(admin, target);
  if (query.page) return listOnePage(admin, request, target, range, query);
  const entries = entriesOf(admin, request, target, range, query.matches);
  const first = await entries.next(); // before the head is sent: a store that is away is still a 503
  if (first.done && target.kind.name === "credential" && (await isEmpty(admin, range))) return KEY_NOT_FOUND;
  return { status: 200, body: encodeList(first, entries) };
}

function rangeOf(admin: StoreSide, target: ResourceTarget): KeyRange {
  const dir = dirOf(admin.prefix, target.kind.name);
  // Whatever manager a path names, all secrets are listed: APISIX does so.
  const within = target.kind.name === "signing_key" && target.manager !== undefined ? `${dir}${target.manager}/` : dir;
  const start = target.consumer === undefined ? within : credentialsOf(admin.prefix, target.consumer);
  return prefixRange(start);
}

async function isEmpty(admin: StoreSide, range: KeyRange): Promise<boolean> {
  for await (const page of admin.store.list(range, { keysOnly: true, pageSize: 1 })) return page.kvs.length === 0;
  return true;
}

/** Records of the target's kind that match, each as a JSON text. */
async function* entriesOf(
  admin: ReadSide,
  request: AdminRequest,
  target: ResourceTarget,
  range: KeyRange,
  matches: RecordFilter | undefined,
): AsyncGenerator<string, void> {
  for await (const page of admin.store.list(range)) {
    for (const kv of page.kvs) {
      const entry = readEntry(admin, request, target, kv, matches);
      if (entry !== undefined) yield JSON.stringify(entry);
    }
  }
}

function readEntry(
  admin: ReadSide,
  request: AdminRequest,
  target: ResourceTarget,
  kv: KeyValue,
  matches: RecordFilter | undefined,
): object | undefined {
  const parsed = parseKey(admin.prefix, kv.key);
  if (parsed?.kind !== target.kind.name) return undefined; // placeholders, and credentials among the consumers
  const record = toStored(kv);
  if (matches && !(record.value && matches(record.value, parsed.id))) return undefined;
  return entryOf(admin, request, target, parsed.id, record);
}

const CHUNK_LENGTH = 64 * 1024; // characters per piece: one write per record would cost more than the records

async function* encodeList(
  first: IteratorResult<string, void>,
  rest: AsyncGenerator<string, void>,
): AsyncGenerator<string, void> {
  let total = 0;
  let chunk = '{"list":[';
  for (let next = first; !next.done; next = await rest.next()) {
    chunk += total === 0 ? next.value : `,${next.value}`;
    total++;
    if (chunk.length < CHUNK_LENGTH) continue;
    yield chunk;
    chunk = "";
  }
  yield `${chunk}],"total":${total}}\n`;
}

/** Records that are read at the same time. */
const READ_AT_ONCE = 32;

async function listOnePage(
  admin: ListSide,
  request: AdminRequest,
  target: ResourceTarget,
  range: KeyRange,
  query: ListQuery,
): Promise<AdminAnswer> {
  const { kind } = target;
  const isWhole = kind.name !== "credential" && range.start === dirOf(admin.prefix, kind.name);
  const page = (isWhole && (await admin.lists.page(kind, query))) || (await readOnePage(admin, target, range, query));
  if (page === undefined) return KEY_NOT_FOUND;
  const { keys, total, revision } = page;
  const list: object[] = [];
  for (let at = 0; at < keys.length; at += READ_AT_ONCE) {
    const some = await Promise.all(
      keys.slice(at, at + READ_AT_ONCE).map(async (key) => {
        const kv = await readAt(admin, key, revision);
        return kv && readEntry(admin, request, target, kv, undefined);
      }),
    );
    list.push(...some.filter((entry) => entry !== undefined));
  }
  return { status: 200, body: { list, total } };
}

/** By reading the whole range. @returns undefined for a consumer without credentials */
async function readOnePage(
  admin: StoreSide,
  target: ResourceTarget,
  range: KeyRange,
  query: ListQuery,
): Promise<ListedPage | undefined> {
  const places: { readonly key: string; readonly createRevision: bigint }[] = [];
  let revision = 0n;
  let any = false;
  for await (const page of admin.store.list(range, { keysOnly: query.matches === undefined })) {
    revision = page.revision;
    for (const kv of page.kvs) {
      const parsed = parseKey(admin.prefix, kv.key);
      if (parsed?.kind !== target.kind.name) continue;
      any = true;
      if (query.matches && !matchesKv(kv, parsed.id, query.matches)) continue;
      places.push({ key: kv.key, createRevision: kv.createRevision });
    }
  }
  if (!any && target.kind.name === "credential") return undefined;
  places.sort((a, b) => (a.createRevision < b.createRevision ? -1 : a.createRevision > b.createRevision ? 1 : 0));
  const { number, size } = query.page ?? { number: 1, size: places.length };
  const keys = places.slice((number - 1) * size, number * size).map(({ key }) => key);
  return { keys, total: places.length, revision };
}

function matchesKv(kv: KeyValue, id: string, matches: RecordFilter): boolean {
  const value: Members | undefined = toStored(kv).value;
  return value !== undefined && matches(value, id);
}

/** The record as it was at the revision of the listing. */
async function readAt(admin: StoreSide, key: string, revision: bigint): Promise<KeyValue | undefined> {
  for await (const page of admin.store.list({ start: key, end: `${key}\0` }, { revision, pageSize: 1 })) {
    return page.kvs[0];
  }
  return undefined;
}
