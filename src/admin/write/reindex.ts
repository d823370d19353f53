/**
 * Enters identifying values of records that others have written (an APISIX beside us, a restored backup, ourselves with
 * another keyring) into the index of unique.ts. Runs at every start, in the background, page by page.
 * Promise: never overwrites an entry; two owners of one value are reported, not resolved; entries under digests that
 * nobody makes any more go once all records are entered anew.
 */
import { setImmediate } from "node:timers/promises";
import { dirOf, parseKey } from "../../model/keys.ts";
import { KINDS } from "../../model/kinds.ts";
import { type KeyValue, prefixRange } from "../../store/store.ts";
import type { ReadSide, StoreSide } from "../admin-context.ts";
import { toStored } from "../read/stored-record.ts";
import { uniqueDir, uniqueKey } from "../store-paths.ts";
import { claimsOf } from "./unique-index.ts";
import { Plan } from "./write-plan.ts";

const BATCH = 60; // claims per transaction: each is a condition and an operation

interface IndexEntry {
  readonly key: string;
  readonly owner: string;
}

/** @throws CodedError STORE_* when the store is away; to be repeated then */
export async function reindex(admin: ReadSide, signal: AbortSignal): Promise<void> {
  const known = await readIndex(admin, signal);
  let entered = 0;
  let batch: IndexEntry[] = [];
  for await (const page of admin.store.list(prefixRange(dirOf(admin.prefix, "consumer")), { signal })) {
    for (const kv of page.kvs) {
      for (const entry of entriesOf(admin, kv)) {
        const owners = known.get(entry.key);
        if (owners === undefined) batch.push(entry);
        else if (!owners.includes(JSON.stringify(entry.owner))) reportSecondOwner(admin, entry, owners);
      }
      if (batch.length < BATCH) continue;
      entered += await enter(admin, batch);
      batch = [];
    }
    if (signal.aborted) return;
    await setImmediate(); // requests go first
  }
  entered += await enter(admin, batch);
  if (entered > 0) admin.log.info({ entered }, "identifying values of existing consumers are indexed");
  const foreign = [...known.keys()].filter((key) => !admin.codec.owns(key.slice(key.lastIndexOf("/") + 1)));
  await remove(admin, foreign, signal);
}

/** Owners by key, as they lie in the store. */
async function readIndex(admin: StoreSide, signal: AbortSignal): Promise<Map<string, string>> {
  const known = new Map<string, string>();
  for await (const page of admin.store.list(prefixRange(uniqueDir(admin.prefix)), { signal })) {
    for (const { key, value } of page.kvs) known.set(key, value.toString("utf8"));
  }
  return known;
}

function entriesOf(admin: ReadSide, kv: KeyValue): IndexEntry[] {
  const parsed = parseKey(admin.prefix, kv.key);
  const { value } = toStored(kv);
  // What has a lifetime of its own is left to it.
  if (!parsed || !value || kv.lease !== 0n) return [];
  const plain = admin.codec.open(KINDS[parsed.kind], parsed.id, value);
  return claimsOf(admin.catalog, plain).map((claim) => ({
    key: uniqueKey(admin.prefix, claim.plugin, admin.codec.digests(claim.value)[0] ?? ""),
    owner: parsed.id,
  }));
}

/** All at once when none is there yet, else one by one. */
async function enter(admin: StoreSide, entries: readonly IndexEntry[]): Promise<number> {
  const keys = new Set(entries.map((entry) => entry.key));
  if (keys.size === entries.length) {
    const plan = new Plan();
    for (const { key, owner } of entries) plan.expect(key, 0n).put(key, JSON.stringify([owner]));
    if (entries.length === 0 || (await admin.store.txn(plan.toTxn())).succeeded) return entries.length;
  }
  let entered = 0;
  for (const entry of entries) {
    const { key, owner } = entry;
    const plan = new Plan().expect(key, 0n).put(key, JSON.stringify([owner]));
    if ((await admin.store.txn(plan.toTxn())).succeeded) {
      entered++;
      continue;
    }
    const owners = (await admin.store.get(key)).kv?.value.toString("utf8") ?? "";
    if (!owners.includes(JSON.stringify(owner))) reportSecondOwner(admin, entry, owners);
  }
  return entered;
}

function reportSecondOwner({ log }: StoreSide, { owner }: IndexEntry, owners: string): void {
  log.warn({ owner, owners }, "two consumers or credentials have the same identifying value");
}

async function remove(admin: StoreSide, keys: readonly string[], signal: AbortSignal): Promise<void> {
  for (let at = 0; at < keys.length && !signal.aborted; at += BATCH) {
    const plan = new Plan();
    for (const key of keys.slice(at, at + BATCH)) plan.delete(key);
    await admin.store.txn(plan.toTxn());
  }
}
