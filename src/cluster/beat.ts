/**
 * Writes `P/jotgate/beat` = {at, nodes} about every 10 s, so that readers see their watch move, can compare clocks, and
 * know how many they are (gateways may not read the registry).
 * Any number of candidates may run this: whoever first sees that the beat stood still writes it, by compare-and-swap.
 */
import { type Clock, sleep, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Revision, Store } from "../store/store.ts";
import { controlKeys } from "../store/store-keys.ts";

interface BeatOptions {
  /** Long-lived; closed by its owner. */
  readonly store: Store;
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Default 10 s. */
  readonly everyMs?: number;
  /** How many nodes are registered; asked by whoever writes the beat. */
  readonly nodes?: () => Promise<number>;
  readonly random?: () => number;
}

const EVERY_MS = 10_000;
/** A store that is away is not waited for longer. */
const STOP_MS = 1_000;

/** Returns the way to stop it, which resolves when nothing is under way any more, or after a second. */
export function startBeat(options: BeatOptions): () => Promise<void> {
  const { store, clock, log } = options;
  const key = controlKeys(options.prefix).beat;
  const everyMs = options.everyMs ?? EVERY_MS;
  const random = options.random ?? Math.random;
  let seen: Revision | undefined;
  let stopped = false;
  let timer: Timer;
  let step: Promise<void> = Promise.resolve();

  const once = async (): Promise<void> => {
    const { kv } = await store.get(key);
    const revision = kv?.modRevision ?? 0n;
    if (revision !== seen && revision > 0n) {
      seen = revision; // somebody else beats
      return;
    }
    const nodes = await options.nodes?.();
    const value = Buffer.from(JSON.stringify({ at: clock.nowMs(), nodes }), "utf8");
    const swap = await store.txn({
      compare: [{ key, target: "modRevision", is: "==", value: revision }],
      then: [{ op: "put", key, value }],
    });
    seen = swap.succeeded ? swap.revision : undefined;
  };
  const plan = (delayMs: number): void => {
    timer = clock.after(delayMs, () => {
      step = once()
        .catch((error) => log.debug({ error: messageOf(error) }, "the beat could not be written")) // readers see it by themselves
        .then(() => {
          if (!stopped) plan(everyMs * (0.9 + 0.2 * random()));
        });
    });
  };
  plan(random() * 1_000);
  return () => {
    stopped = true;
    timer.cancel();
    return Promise.race([step, sleep(clock, STOP_MS)]);
  };
}

/** How many nodes a beat counts; undefined when it does not say. */
export function nodesInBeat(value: Buffer): number | undefined {
  try {
    const parsed: unknown = JSON.parse(value.toString("utf8"));
    const nodes = typeof parsed === "object" && parsed !== null ? (parsed as { nodes?: unknown }).nodes : undefined;
    return typeof nodes === "number" && Number.isSafeInteger(nodes) && nodes > 0 ? nodes : undefined;
  } catch {
    return undefined; // not a beat
  }
}
