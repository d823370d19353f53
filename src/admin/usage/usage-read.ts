/**
 * `GET /usage`: what was used when, and what was not. `?usage=1` on a credential: the same of that one.
 * Promise: what is shown belongs to records that are there, and to no former record of the same name.
 */
import {
  decodeShard,
  HOUR_SECONDS,
  type LastUse,
  type Shard,
  shardDir,
  shardKey,
  shardOf,
  usageSinceKey,
} from "../../model/usage.ts";
import { prefixRange } from "../../store/store.ts";
import { nextTurn } from "../../store/store-follow.ts";
import type { AdminRequest, StoreSide } from "../admin-context.ts";
import { type AdminAnswer, refuse } from "../admin-response.ts";
import type { Arguments } from "../request-target.ts";
import { listUsable, recordNameOf, type UsableRecord, type UsableRecords } from "./usable-records.ts";

const PAGE_SIZE = 100;
const PAGE_SIZE_MAX = 500;
const SHARDS_A_PAGE = 16;
const UNIT_SECONDS: Readonly<Record<string, number>> = { h: 3_600, d: 86_400 };
const KNOWN = new Set(["unused_since", "consumer", "credential", "issuer", "kid", "page", "page_size"]);

interface UsageQuery {
  /** Seconds since 1970: used before, or never. */
  readonly unusedBefore: number | undefined;
  readonly consumer: string | undefined;
  readonly credential: string | undefined;
  readonly issuer: string | undefined;
  readonly kid: string | undefined;
  readonly page: number;
  readonly size: number;
}

/** A record, or a key of an issuer. */
interface Row {
  readonly record: UsableRecord;
  readonly kid: string | undefined;
  readonly use: LastUse | undefined;
}

export async function listUsage(admin: StoreSide, request: AdminRequest): Promise<AdminAnswer> {
  const query = queryOf(request.args, admin.clock.nowMs() / 1_000);
  if ("status" in query) return query;
  const { consumer, unusedBefore, page, size } = query;
  const usable = await listUsable(admin, { withTimes: unusedBefore !== undefined, consumer });
  const uses = consumer === undefined ? await readUses(admin) : await readUsesOf(admin, usable.all.keys());
  // By hour, each in the order of names: sorting a hundred thousand would take a long turn.
  const byHour = new Map<number, Row[]>();
  let total = 0;
  for await (const row of rowsOf(usable, uses)) {
    if (!matches(row, query)) continue;
    total++;
    const hour = row.use?.hour ?? 0;
    const rows = byHour.get(hour);
    if (rows) rows.push(row);
    else byHour.set(hour, [row]);
  }
  const list: object[] = [];
  let skipped = (page - 1) * size;
  for (const hour of [...byHour.keys()].sort((x, y) => x - y)) {
    const rows = byHour.get(hour) ?? [];
    list.push(...rows.slice(skipped, skipped + size - list.length).map(shown));
    skipped = Math.max(0, skipped - rows.length);
    if (list.length === size) break;
  }
  const { kv } = await admin.store.get(usageSinceKey(admin.prefix));
  return { status: 200, body: { total, list, resolution: HOUR_SECONDS, recorded_since: sinceIn(kv?.value) } };
}

/** What stands beside a credential. */
export async function usageOf(admin: StoreSide, name: string, created: bigint): Promise<object> {
  const { kv } = await admin.store.get(shardKey(admin.prefix, shardOf(name)));
  const found = decodeShard(kv?.value).get(name);
  const use = found?.created === Number(created) ? found : undefined;
  return { last_used: secondsOf(use), resolution: HOUR_SECONDS, nodes: use?.nodes ?? [] };
}

function queryOf(args: Arguments, nowSeconds: number): UsageQuery | AdminAnswer {
  for (const name of args.keys()) if (!KNOWN.has(name)) return refuse(400, `unknown argument ${name.slice(0, 64)}`);
  const unused = args.get("unused_since");
  const parts = unused === undefined ? undefined : /^(\d{1,5})([hd])$/.exec(unused);
  if (parts === null) return refuse(400, "invalid argument unused_since: should be hours or days such as 12h or 30d");
  const [page, size] = [countIn(args.get("page"), 1), countIn(args.get("page_size"), PAGE_SIZE)];
  if (page === undefined) return refuse(400, "invalid argument page: should be a number from 1");
  if (size === undefined || size > PAGE_SIZE_MAX)
    return refuse(400, "invalid argument page_size: should be from 1 to 500");
  const [consumer, credential, issuer, kid] = ["consumer", "credential", "issuer", "kid"].map((name) => args.get(name));
  if (credential !== undefined && consumer === undefined) return refuse(400, "argument credential needs consumer");
  if (kid !== undefined && issuer === undefined) return refuse(400, "argument kid needs issuer");
  if (consumer !== undefined && issuer !== undefined) return refuse(400, "give consumer or issuer, not both");
  const ageSeconds = parts && Number(parts[1]) * (UNIT_SECONDS[parts[2] ?? ""] ?? 0);
  const unusedBefore = ageSeconds === undefined ? undefined : nowSeconds - ageSeconds;
  return { unusedBefore, consumer, credential, issuer, kid, page, size };
}

function countIn(text: string | undefined, otherwise: number): number | undefined {
  if (text === undefined) return otherwise;
  return /^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined;
}

async function readUses(admin: StoreSide): Promise<Shard> {
  const uses: Shard = new Map();
  for await (const page of admin.store.list(prefixRange(shardDir(admin.prefix)), { pageSize: SHARDS_A_PAGE })) {
    for (const { value } of page.kvs) for (const [name, use] of decodeShard(value)) uses.set(name, use);
  }
  return uses;
}

/** Of some names, mostly few. */
async function readUsesOf(admin: StoreSide, names: Iterable<string>): Promise<Shard> {
  const uses: Shard = new Map();
  for (const shard of new Set([...names].map(shardOf))) {
    const { kv } = await admin.store.get(shardKey(admin.prefix, shard));
    for (const [name, use] of decodeShard(kv?.value)) uses.set(name, use);
  }
  return uses;
}

const ROWS_A_TURN = 2_000;

/** Records first, then keys; a consumer was used when any of its credentials was. */
async function* rowsOf({ all, has }: UsableRecords, uses: Shard): AsyncGenerator<Row, void> {
  const ofConsumer = new Map<string, LastUse>();
  let count = 0;
  for (const [name, record] of all) {
    if (++count % ROWS_A_TURN === 0) await nextTurn();
    const use = record.consumer === undefined ? undefined : currentUse(uses.get(name), record);
    if (use === undefined || record.consumer === undefined) continue;
    const known = ofConsumer.get(record.consumer);
    if (known === undefined || known.hour < use.hour) ofConsumer.set(record.consumer, use);
  }
  for (const [name, record] of all) {
    const own = currentUse(uses.get(name), record);
    const any = record.kind === "consumer" ? ofConsumer.get(record.id) : undefined;
    yield { record, kid: undefined, use: any !== undefined && any.hour > (own?.hour ?? 0) ? any : own };
    if (++count % ROWS_A_TURN === 0) await nextTurn();
  }
  for (const [name, use] of uses) {
    const issuer = recordNameOf(name);
    const record = all.get(issuer);
    if (issuer !== name && record && has(name, use.created))
      yield { record, kid: name.slice(issuer.length + "/kids/".length), use };
    if (++count % ROWS_A_TURN === 0) await nextTurn();
  }
}

/** What is said of a former record of that name is not said of this one. Issuers' uses have no revision. */
function currentUse(use: LastUse | undefined, { created }: UsableRecord): LastUse | undefined {
  return use && (use.created === 0 || use.created === created) ? use : undefined;
}

function matches({ record, kid, use }: Row, query: UsageQuery): boolean {
  const { unusedBefore, credential, issuer } = query; // of the consumer alone were read where one is named
  if (credential !== undefined && record.credential !== credential) return false;
  if (issuer !== undefined && (record.id !== issuer || !isIssuer(record))) return false;
  if (query.kid !== undefined && kid !== query.kid) return false;
  if (unusedBefore === undefined) return true;
  // What is younger than that could not have been used before.
  return (record.createdAt ?? 0) <= unusedBefore && ((use?.hour ?? 0) + 1) * HOUR_SECONDS <= unusedBefore;
}

const isIssuer = ({ kind }: UsableRecord): boolean => kind === "token_issuer" || kind === "authorization_server";

function shown({ record, kid, use }: Row): object {
  const { kind, id, consumer, credential } = record;
  const name = kind === "credential" ? { consumer, credential } : { [kind === "token_issuer" ? "issuer" : kind]: id };
  return { ...name, ...(kid !== undefined && { kid }), last_used: secondsOf(use), nodes: use?.nodes ?? [] };
}

/** The begin of the hour. */
function secondsOf(use: LastUse | undefined): number | null {
  return use === undefined ? null : use.hour * HOUR_SECONDS;
}

function sinceIn(value: Buffer | undefined): number | null {
  const hour = /^\{"hour":(\d{1,9})\}$/.exec(value?.toString("utf8") ?? "")?.[1];
  return hour === undefined ? null : Number(hour) * HOUR_SECONDS;
}
