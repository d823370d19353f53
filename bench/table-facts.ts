/**
 * What a big table costs one gateway beside the load: loading it, holding it, changing it.
 */
import { setTimeout as delay } from "node:timers/promises";
import type { Store } from "../src/store/store.ts";
import type { Record } from "./etcd.ts";
import { usageOf } from "./machine.ts";
import type { Server } from "./servers.ts";

export interface TableFacts {
  readonly routes: number;
  readonly consumers: number;
  /** From the start of the process until it serves. */
  readonly readyMs: number;
  /** Longest time the event loop did nothing else, from when its status port first answered until it was ready. */
  readonly longestTurnMs: number;
  /** The same before that: the program itself is read and compiled then. */
  readonly startTurnMs: number;
  /** At rest. */
  readonly rssMiB: number;
  /** CPU time of the whole process per changed route, beyond what it needs when nothing changes. */
  readonly changeCpuMs: number;
}

/** prom-client shows the longest gap between two firings of a timer of 10 ms, since it was last asked. */
const LAG_TIMER_MS = 10;
const CHANGES = 200;
const CHANGES_PER_SECOND = 50;
const ASK_MS = 500;
/** A process at rest uses less than this part of a processor. */
const RESTING = 0.03;
const REST_TRIES = 24;

async function longestTurnMs(status: string): Promise<number> {
  const text = await (await fetch(`${status}/metrics`)).text();
  const seconds = /^nodejs_eventloop_lag_max_seconds (\S+)$/m.exec(text)?.[1];
  return Math.max(0, Number(seconds) * 1_000 - LAG_TIMER_MS);
}

/** Runs `until` and asks for the longest turn all the while, so that what is shown is never more than `ASK_MS` old. */
export async function turnsUntil(status: string, until: Promise<void>): Promise<{ start: number; longest: number }> {
  let isOver = false;
  const over = until.finally(() => {
    isOver = true;
  });
  const start = await longestTurnMs(status);
  let longest = 0;
  while (!isOver) {
    await Promise.race([delay(ASK_MS), over]);
    longest = Math.max(longest, await longestTurnMs(status));
  }
  await over;
  return { start, longest };
}

/** CPU microseconds of a span in which nothing changes, once what loading left to do is done. @throws Error when that never ends */
export async function restingMicros(server: Server, spanMs: number): Promise<number> {
  for (let tries = 0; tries < REST_TRIES; tries++) {
    const before = usageOf(server.pid).cpuMicros;
    await delay(spanMs);
    const used = usageOf(server.pid).cpuMicros - before;
    if (used < spanMs * 1_000 * RESTING) return used;
  }
  throw new Error("the gateway does not come to rest, so what a change costs cannot be told");
}

/**
 * Changes one route after the other and reads what the gateway used.
 * @param route the record to write at the n-th change
 * @returns CPU milliseconds per change
 * @throws Error when the gateway does not come to rest before, or did not apply the last change
 */
export async function changeCpuMs(server: Server, store: Store, route: (n: number) => Record): Promise<number> {
  const spanMs = (CHANGES / CHANGES_PER_SECOND) * 1_000 + 1_000;
  const resting = await restingMicros(server, spanMs);
  const before = usageOf(server.pid).cpuMicros;
  const began = performance.now();
  let revision = 0n;
  for (let n = 0; n < CHANGES; n++) {
    const { key, value } = route(n);
    const then = [{ op: "put", key, value: Buffer.from(JSON.stringify(value)) } as const];
    revision = (await store.txn({ compare: [], then })).revision;
    await delay(1_000 / CHANGES_PER_SECOND);
  }
  await delay(Math.max(0, spanMs - (performance.now() - began)));
  const after = usageOf(server.pid).cpuMicros;
  const config = (await (await fetch(`${server.status}/config`)).json()) as { revision: number };
  if (config.revision < Number(revision)) throw new Error(`revision ${config.revision}, not ${revision}, is applied`);
  return (after - before - resting) / CHANGES / 1_000;
}

/**
 * Deletes every consumer whose name begins with c1 or c2 in one revision: of 100,000 these are 22,222.
 * @returns how many they were, and the longest turn of the gateway's loop until it had applied that
 */
export async function deletionTurn(
  status: string,
  store: Store,
  prefix: string,
): Promise<{ deleted: number; ms: number }> {
  const range = { start: `${prefix}/consumers/c1`, end: `${prefix}/consumers/c3` };
  await longestTurnMs(status); // what was before does not count
  const { revision, results } = await store.txn({ compare: [], then: [{ op: "deleteRange", range }] });
  const [result] = results;
  const applied = async (): Promise<void> => {
    for (let at = 0; at < Number(revision); await delay(ASK_MS)) {
      at = ((await (await fetch(`${status}/config`)).json()) as { revision: number }).revision;
    }
  };
  const { start, longest } = await turnsUntil(status, applied());
  return { deleted: result?.op === "deleteRange" ? result.deleted : 0, ms: Math.max(start, longest) };
}
