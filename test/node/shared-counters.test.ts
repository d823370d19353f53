import fc from "fast-check";
import { expect, test } from "vitest";
import { Channel } from "../../src/base/channel.ts";
import { FakeClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openLeasedCounters } from "../../src/node/workers/leased-counters.ts";
import { type CounterUser, SharedCounters } from "../../src/node/workers/shared-counters.ts";
import { COUNT, RECALL, RELEASE } from "../../src/node/workers/shared-messages.ts";
import type { Counters, WindowRule } from "../../src/plugin/counters.ts";
import { openLocalCounters } from "../../src/plugins/limits/local-counters.ts";
import { openStates } from "../../src/runtime/shared-states.ts";
import { makePipes } from "../support/pipes.ts";

interface TestWorker {
  readonly counters: Counters;
  /** Its process ends without a word. */
  die(): void;
}

function openNode(count: number): { readonly clock: FakeClock; readonly workers: readonly TestWorker[] } {
  const clock = new FakeClock();
  const shared = new SharedCounters({
    counters: openLocalCounters(openStates(clock), clock),
    ...{ workers: count, clock },
  });
  const workers = Array.from({ length: count }, (): TestWorker => {
    const [up, down] = makePipes();
    const primary = new Channel({ pipe: up, clock, log: silentLog });
    const worker = new Channel({ pipe: down, clock, log: silentLog });
    const user: CounterUser = {
      recall: (scope, key) =>
        primary.call(RECALL, { scope, key }, 500).then(
          ({ left }) => left,
          () => 0,
        ),
    };
    primary.onCall(COUNT, (ops) => shared.count(user, ops));
    primary.onTell(RELEASE, ({ scope }) => shared.release(user, scope));
    const die = (): void => {
      worker.close();
      primary.close();
      shared.forget(user);
    };
    return { counters: openLeasedCounters(worker, clock), die };
  });
  return { clock, workers };
}

const fixed = (limit: number): WindowRule => ({ limit, windowMs: 60_000, sliding: false });

test("exactly the limit passes, whichever worker is asked and however many at a time", async () => {
  const run = fc.record({
    workers: fc.integer({ min: 1, max: 4 }),
    limit: fc.integer({ min: 0, max: 300 }),
    sliding: fc.boolean(),
    // How many hits come together, and at which worker.
    bursts: fc.array(fc.record({ worker: fc.nat(3), hits: fc.integer({ min: 1, max: 40 }) }), { maxLength: 40 }),
  });
  type Run = typeof run extends fc.Arbitrary<infer Value> ? Value : never;
  const holds = async ({ workers: count, limit, sliding, bursts }: Run): Promise<void> => {
    const { workers } = openNode(count);
    const windows = workers.map(({ counters }) => counters.windows("scope"));
    let tried = 0;
    let passed = 0;
    for (const { worker, hits } of bursts) {
      const mine = windows[worker % count];
      if (!mine) continue;
      tried += hits;
      const rule = { limit, windowMs: 60_000, sliding };
      const uses = await Promise.all(Array.from({ length: hits }, () => mine.hit("key", rule, 1)));
      passed += uses.filter(({ allowed }) => allowed).length;
    }
    expect(passed).toBe(Math.min(tried, limit));
  };
  await fc.assert(fc.asyncProperty(run, holds), { numRuns: 60 });
});

test("workers that count at the same time pass the limit exactly", async () => {
  const { workers } = openNode(3);
  const windows = workers.map(({ counters }) => counters.windows("scope"));
  const uses = await Promise.all(Array.from({ length: 900 }, (_, at) => windows[at % 3]?.hit("key", fixed(250), 1)));
  let passed = uses.filter((use) => use?.allowed).length;
  // What one still has in advance, it has for its own next requests; asked long enough, nothing stays unused.
  for (const mine of windows) {
    for (let use = await mine.hit("key", fixed(250), 1); use.allowed; use = await mine.hit("key", fixed(250), 1))
      passed++;
  }
  expect(passed).toBe(250);
});

test("with few hits left nothing is given in advance, so what remains is exact", async () => {
  const { workers } = openNode(2);
  const [one, other] = workers.map(({ counters }) => counters.windows("scope"));
  const seen = [];
  for (let i = 0; i < 4; i++) seen.push((await (i % 2 ? one : other)?.hit("key", fixed(3), 1))?.remaining);
  expect(seen).toEqual([2, 1, 0, 0]);
});

test("most hits of a large limit wait for nobody", async () => {
  const { workers } = openNode(2);
  const windows = workers[0]?.counters.windows("scope");
  let waited = 0;
  for (let i = 0; i < 1_000; i++) {
    const use = windows?.hit("key", fixed(100_000), 1);
    if (use instanceof Promise) waited++;
    expect((await use)?.allowed).toBe(true);
  }
  expect(waited).toBeLessThan(20);
});

test("a refusal is remembered until the window ends, then the next window begins", async () => {
  const { clock, workers } = openNode(2);
  const windows = workers[0]?.counters.windows("scope");
  expect((await windows?.hit("key", fixed(1), 1))?.allowed).toBe(true);
  expect((await windows?.hit("key", fixed(1), 1))?.allowed).toBe(false);
  const refused = windows?.hit("key", fixed(1), 1);
  expect(refused).toMatchObject({ allowed: false, remaining: 0, resetMs: 60_000 });
  clock.advance(60_000);
  expect((await windows?.hit("key", fixed(1), 1))?.allowed).toBe(true);
});

test("a worker that dies takes no more with it than it had in advance", async () => {
  const { workers } = openNode(2);
  const [victim, other] = workers;
  expect((await victim?.counters.windows("scope").hit("key", fixed(200), 1))?.allowed).toBe(true);
  victim?.die();
  const windows = other?.counters.windows("scope");
  let passed = 1;
  for (let use = await windows?.hit("key", fixed(200), 1); use?.allowed; use = await windows?.hit("key", fixed(200), 1))
    passed++;
  expect(passed).toBeLessThanOrEqual(200);
  expect(passed).toBeGreaterThanOrEqual(200 - 200 / 20);
});

test("one key under two limits is counted as one, each by its own limit", async () => {
  const { workers } = openNode(2);
  const [one, other] = workers.map(({ counters }) => counters.windows("scope"));
  for (let i = 0; i < 5; i++) await one?.hit("key", fixed(10), 1);
  expect((await other?.hit("key", fixed(5), 1))?.allowed).toBe(false);
  expect((await other?.hit("key", fixed(10), 1))?.allowed).toBe(true);
});

test("places are shared, and free again when requests or their workers end", async () => {
  const { workers } = openNode(2);
  const [one, other] = workers;
  const [here, there] = [one?.counters.concurrency("scope"), other?.counters.concurrency("scope")];
  const first = await here?.enter("key", 2);
  const second = await there?.enter("key", 2);
  expect([first?.count, second?.count]).toEqual([1, 2]);
  expect(await there?.enter("key", 2)).toBeUndefined();
  second?.leave();
  second?.leave();
  expect((await there?.enter("key", 2))?.count).toBe(2);
  one?.die();
  expect((await there?.enter("key", 2))?.count).toBe(2);
});

test("a bucket leaks for all workers alike", async () => {
  const { clock, workers } = openNode(2);
  const [one, other] = workers.map(({ counters }) => counters.buckets("scope"));
  const rule = { perSecond: 1, burst: 1 };
  expect(await one?.pour("key", rule)).toEqual({ allowed: true, delayMs: 0 });
  expect(await other?.pour("key", rule)).toEqual({ allowed: true, delayMs: 1_000 });
  expect((await one?.pour("key", rule))?.allowed).toBe(false);
  clock.advance(1_000);
  expect((await other?.pour("key", rule))?.allowed).toBe(true);
});
