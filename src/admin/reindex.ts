/**
 * Enters identifying values of records that others have written (an APISIX before us, a restored backup) into the
 * index of unique.ts. Runs once per store and kind of digest, in the background, page by page.
 * Promise: never overwrites an entry; two owners of one value are reported, not resolved.
 */
import { setImmediate } from "node:timers/promises";
import { dirOf, parseKey } from "../model/keys.ts";
import { KINDS } from "../model/kinds.ts";
import { type KeyValue, prefixRange } from "../store/store.ts";
import type { Engine } from "./engine.ts";
import { indexedKey, uniqueKey } from "./places.ts";
import { Plan } from "./plan.ts";
import { toStored } from "./stored.ts";
import { claimsOf } from "./unique.ts";

const BATCH = 60; // claims per transaction: each is a condition and an operation

interface Entry {
  readonly key: string;
  readonly owner: string;
}

/** @throws GatewayError STORE_* when the store is away; to be repeated then */
export async function reindex(engine: Engine, signal: AbortSignal): Promise<void> {
  const { store, prefix, codec } = engine;
  const marker = indexedKey(prefix, codec.digests("jotgate")[0] ?? "");
  if ((await store.get(marker)).kv) return;
  let entered = 0;
  let batch: Entry[] = [];
  for await (const page of store.list(prefixRange(dirOf(prefix, "consumer")), { signal })) {
    for (const kv of page.kvs) {
      batch.push(...entriesOf(engine, kv));
      if (batch.length < BATCH) continue;
      entered += await enter(engine, batch);
      batch = [];
    }
    if (signal.aborted) return;
    await setImmediate(); // requests go first
  }
  entered += await enter(engine, batch);
  await store.txn(new Plan().put(marker, "1").toTxn());
  if (entered > 0) engine.log.info({ entered }, "identifying values of existing consumers are indexed");
}

function entriesOf(engine: Engine, kv: KeyValue): Entry[] {
  const parsed = parseKey(engine.prefix, kv.key);
  const { value } = toStored(kv);
  // What has a lifetime of its own is left to it.
  if (!parsed || !value || kv.lease !== 0n) return [];
  const plain = engine.codec.open(KINDS[parsed.kind], parsed.id, value);
  return claimsOf(engine.catalog, plain).map((claim) => ({
    key: uniqueKey(engine.prefix, claim.plugin, engine.codec.digests(claim.value)[0] ?? ""),
    owner: parsed.id,
  }));
}

/** All at once when none is there yet, else one by one. */
async function enter(engine: Engine, entries: readonly Entry[]): Promise<number> {
  const keys = new Set(entries.map((entry) => entry.key));
  if (keys.size === entries.length) {
    const plan = new Plan();
    for (const { key, owner } of entries) plan.expect(key, 0n).put(key, JSON.stringify([owner]));
    if (entries.length === 0 || (await engine.store.txn(plan.toTxn())).succeeded) return entries.length;
  }
  let entered = 0;
  for (const { key, owner } of entries) {
    const plan = new Plan().expect(key, 0n).put(key, JSON.stringify([owner]));
    if ((await engine.store.txn(plan.toTxn())).succeeded) entered++;
    else await reportSecondOwner(engine, key, owner);
  }
  return entered;
}

async function reportSecondOwner(engine: Engine, key: string, owner: string): Promise<void> {
  const { kv } = await engine.store.get(key);
  const text = kv?.value.toString("utf8") ?? "";
  if (!text.includes(JSON.stringify(owner))) {
    engine.log.warn({ owner, owners: text }, "two consumers or credentials have the same identifying value");
  }
}
