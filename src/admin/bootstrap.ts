/**
 * What an admin node writes before it serves: placeholders that old APISIX nodes need, and the store's identity.
 * Promise: writes only what is missing, so any number of admins may start at once.
 * Source: docs/spec/etcd-layout.md section 2, docs/spec/etcd.md section 6.
 */
import { randomUUID } from "node:crypto";
import { sleep } from "../base/clock.ts";
import { isCodedError, messageOf } from "../base/errors.ts";
import { PLACEHOLDER_DIRS } from "../model/kinds.ts";
import { PLACEHOLDER } from "../model/record.ts";
import type { Store } from "../store/store.ts";
import type { ReadSide } from "./admin-context.ts";
import { storeIdentityKey } from "./store-paths.ts";
import { reindex } from "./write/reindex.ts";
import { Plan } from "./write/write-plan.ts";

const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 5_000;

/**
 * Prepares the store, then indexes what others have written. The first attempt to prepare is waited for; what fails is
 * tried again in the background, with growing pauses, until `stop`.
 */
export async function keepPreparing(admin: ReadSide): Promise<{ stop(): void }> {
  const { store, prefix, clock, log } = admin;
  const stopped = new AbortController();
  let lastReason = "";
  const attempt = async (step: () => Promise<void>): Promise<boolean> => {
    try {
      await step();
      return true;
    } catch (error) {
      const reason = isCodedError(error) ? error.code : messageOf(error); // the texts of gRPC have times in them
      if (!stopped.signal.aborted && reason !== lastReason)
        log.warn(
          { ...(isCodedError(error) && { code: error.code }), error: messageOf(error) },
          "the store cannot be prepared yet",
        );
      lastReason = reason;
      return false;
    }
  };
  const repeat = async (step: () => Promise<void>): Promise<void> => {
    for (let pauseMs = FIRST_PAUSE_MS; !stopped.signal.aborted; pauseMs = Math.min(LONGEST_PAUSE_MS, pauseMs * 2)) {
      if (await attempt(step)) return;
      await sleep(clock, pauseMs * (0.5 + Math.random()), stopped.signal);
    }
  };
  const prepare = (): Promise<void> => prepareStore(store, prefix);
  const finish = async (prepared: boolean): Promise<void> => {
    if (!prepared) await repeat(prepare);
    await repeat(() => reindex(admin, stopped.signal));
  };
  void finish(await attempt(prepare));
  return { stop: () => stopped.abort() };
}

/** @throws CodedError STORE_* when the store is away */
async function prepareStore(store: Store, prefix: string): Promise<void> {
  for (const dir of PLACEHOLDER_DIRS) await createOnce(store, `${prefix}/${dir}/`, PLACEHOLDER);
  await createOnce(store, storeIdentityKey(prefix), JSON.stringify({ id: randomUUID(), epoch: 1 }));
}

async function createOnce(store: Store, key: string, value: string): Promise<void> {
  const { kv } = await store.get(key);
  if (kv) return;
  // When the condition fails another admin was faster, which is as good.
  await store.txn(new Plan().expect(key, 0n).put(key, value).toTxn());
}
