/**
 * What an admin node writes before it serves: placeholders that old APISIX nodes need, and the store's identity.
 * Promise: writes only what is missing, so any number of admins may start at once.
 * Source: spec/etcd-layout.md section 2, etcd.md section 6.
 */
import { randomUUID } from "node:crypto";
import { type Clock, sleep } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { PLACEHOLDER_DIRS } from "../model/kinds.ts";
import { PLACEHOLDER } from "../model/record.ts";
import type { Store } from "../store/store.ts";
import { storeIdentityKey } from "./places.ts";
import { Plan } from "./plan.ts";

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;

/** Tries once and waits for that; a store that is away is tried again, with growing pauses, until `stop`. */
export async function keepPreparing(options: {
  readonly store: Store;
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Log;
}): Promise<{ stop(): void }> {
  const { store, prefix, clock, log } = options;
  const stopped = new AbortController();
  const attempt = async (): Promise<boolean> => {
    try {
      await prepareStore(store, prefix);
      return true;
    } catch (error) {
      log.warn({ error: messageOf(error) }, "the store cannot be prepared yet");
      return false;
    }
  };
  const repeat = async (): Promise<void> => {
    for (let pauseMs = FIRST_PAUSE_MS; !stopped.signal.aborted; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
      await sleep(clock, pauseMs * (0.5 + Math.random()), stopped.signal);
      if (stopped.signal.aborted || (await attempt())) return;
    }
  };
  if (!(await attempt())) void repeat();
  return { stop: () => stopped.abort() };
}

/** @throws GatewayError STORE_* when the store is away */
export async function prepareStore(store: Store, prefix: string): Promise<void> {
  for (const dir of PLACEHOLDER_DIRS) await createOnce(store, `${prefix}/${dir}/`, PLACEHOLDER);
  await createOnce(store, storeIdentityKey(prefix), JSON.stringify({ id: randomUUID(), epoch: 1 }));
}

async function createOnce(store: Store, key: string, value: string): Promise<void> {
  const { kv } = await store.get(key);
  if (kv) return;
  // When the condition fails another admin was faster, which is as good.
  await store.txn(new Plan().expect(key, 0n).put(key, value).toTxn());
}
