/**
 * Puts together what nodes hand in: 256 shards, each changed by compare-and-swap, so that any number of admins may do it
 * at once. Promise: a record of a node goes only after all that it says is in the shards; taking it in twice changes
 * nothing; what a deleted record was used for goes with the next sweep, and is not shown before.
 */
import type { Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import {
  addUse,
  decodeHandedIn,
  decodeShard,
  encodeShard,
  HOUR_SECONDS,
  handedInDir,
  SHARDS,
  type Shard,
  shardKey,
  shardOf,
  type Use,
  usageSinceKey,
} from "../../model/usage.ts";
import { type KeyValue, prefixRange } from "../../store/store.ts";
import type { StoreSide } from "../admin-context.ts";
import { listUsable } from "./usable-records.ts";

/** Handed-in records that are taken in together: a shard is then written once for all of them. */
const TAKEN_TOGETHER = 16;
const SWEEP_EVERY = 24;
/** A key that verified nothing for so long has long left its issuer's set. */
const KIDS_KEPT_HOURS = 400 * 24;
const ATTEMPTS = 20;

/** @param everyMs undefined: uses are not kept here @returns the way to stop it; resolves when nothing is under way */
export function keepUsage(admin: StoreSide, everyMs: number | undefined): () => Promise<void> {
  if (everyMs === undefined) return async () => undefined;
  let running: Promise<void> | undefined;
  let timer: Timer | undefined;
  let stopped = false;
  let rounds = 0;
  const plan = (delayMs: number): void => {
    timer = admin.clock.after(delayMs * (0.5 + Math.random()), () => {
      running = takeIn(admin)
        .then(() => (rounds++ % SWEEP_EVERY === 0 ? sweep(admin) : undefined))
        .catch((error) => admin.log.debug({ error: messageOf(error) }, "uses could not be put together")) // next time
        .finally(() => {
          if (!stopped) plan(everyMs);
        });
    });
  };
  plan(Math.min(everyMs, FIRST_MS)); // an admin that was away has some to take in
  return async () => {
    stopped = true;
    timer?.cancel();
    await running;
  };
}

const FIRST_MS = 60_000;

/** Takes in all that nodes have handed in by now. @throws CodedError STORE_* */
export async function takeIn(admin: StoreSide): Promise<void> {
  const { store, prefix, clock } = admin;
  const hour = Math.floor(clock.nowMs() / (HOUR_SECONDS * 1_000));
  const key = usageSinceKey(prefix);
  const since = { op: "put", key, value: Buffer.from(JSON.stringify({ hour }), "utf8") } as const;
  await store.txn({ compare: [{ key, target: "createRevision", is: "==", value: 0n }], then: [since] });
  for await (const page of store.list(prefixRange(handedInDir(prefix)), { pageSize: TAKEN_TOGETHER })) {
    await takeInPage(admin, page.kvs);
  }
}

async function takeInPage(admin: StoreSide, kvs: readonly KeyValue[]): Promise<void> {
  const byShard = new Map<number, [Use, string][]>();
  for (const { value } of kvs) {
    const handedIn = decodeHandedIn(value);
    for (const use of handedIn?.uses ?? []) {
      const shard = shardOf(use.name);
      const uses = byShard.get(shard) ?? [];
      byShard.set(shard, uses);
      uses.push([use, handedIn?.node ?? ""]);
    }
  }
  for (const [shard, uses] of byShard) {
    await changeShard(admin, shard, (known) => {
      let isChanged = false;
      for (const [use, node] of uses) isChanged = addUse(known, use, node) || isChanged;
      return isChanged;
    });
  }
  for (const { key, modRevision } of kvs) {
    const compare = [{ key, target: "modRevision", is: "==", value: modRevision }] as const;
    await admin.store.txn({ compare, then: [{ op: "delete", key }] });
  }
}

/** Takes away what records were used for that are gone. @throws CodedError STORE_* */
export async function sweep(admin: StoreSide): Promise<void> {
  const usable = await listUsable(admin);
  const oldest = Math.floor(admin.clock.nowMs() / (HOUR_SECONDS * 1_000)) - KIDS_KEPT_HOURS;
  for (let shard = 0; shard < SHARDS; shard++) {
    await changeShard(admin, shard, (known) => {
      const before = known.size;
      for (const [name, use] of known) {
        const isOld = name.includes("/kids/") && use.hour < oldest;
        // A record that was made after the listing is not known to it.
        if (isOld || (!usable.has(name, use.created) && usable.isComplete(use.created))) known.delete(name);
      }
      return known.size !== before;
    });
  }
}

/** @param change returns whether there is anything to write */
async function changeShard(admin: StoreSide, shard: number, change: (known: Shard) => boolean): Promise<void> {
  const key = shardKey(admin.prefix, shard);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const { kv } = await admin.store.get(key);
    const known = decodeShard(kv?.value);
    if (!change(known)) return;
    const compare = [{ key, target: "modRevision", is: "==", value: kv?.modRevision ?? 0n }] as const;
    const { succeeded } = await admin.store.txn({ compare, then: [{ op: "put", key, value: encodeShard(known) }] });
    if (succeeded) return;
  }
  throw new Error(`shard ${shard} of uses was changed by others ${ATTEMPTS} times in a row`);
}
