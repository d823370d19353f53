import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { type Log, silentLog } from "../../src/base/log.ts";
import { LEASE_SECONDS, listNodes, type NodeReport, Registration } from "../../src/cluster/registry.ts";
import type { LeaseId } from "../../src/store/store.ts";
import { controlKeys } from "../../src/store/store-keys.ts";
import { openTemporaryStore, put, type TemporaryStore, write } from "../support/stores.ts";
import { until } from "../support/until.ts";

const PREFIX = "/apisix";
const KEY = `${controlKeys(PREFIX).nodes}n1`;
const REPORT: NodeReport = {
  version: "1.0.0",
  address: "http://127.0.0.1:9091",
  startedMs: 1,
  workers: 2,
  applied: "7",
  stalenessSeconds: 0.5,
  problems: 0,
  hash: "abc",
};

let clock: FakeClock;
let under: TemporaryStore;
let registration: Registration;
let report: NodeReport;
beforeEach(async () => {
  clock = new FakeClock();
  under = await openTemporaryStore(clock);
  report = REPORT;
  registration = new Registration({
    store: under.store,
    prefix: PREFIX,
    id: "n1",
    report: () => report,
    clock,
    log: silentLog,
    random: () => 0,
  });
  void registration.start();
  clock.advance(0);
  await until(async () => (await names()).length === 1, "registered");
});
afterEach(async () => {
  await registration.stop();
  await under.stop();
});

async function names(): Promise<string[]> {
  return (await listNodes(under.store, PREFIX)).nodes.map(({ id }) => id);
}

/** Moves time in steps and lets what became due be done. */
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 500) {
    clock.advance(Math.min(500, left));
    await until(() => new Promise((resolve) => setTimeout(resolve, 4, true)), "a moment");
  }
}

/** Moves time on until the fact holds: how long a write takes is the machine's affair. */
async function passUntil(fact: () => Promise<boolean>): Promise<void> {
  for (let i = 0; !(await fact()); i++) {
    if (i > 1_000) throw new Error("not within 500 s of the clock");
    await pass(500);
  }
}

test("a node shows what it reports, as long as it lives", async () => {
  expect((await listNodes(under.store, PREFIX)).nodes).toEqual([{ id: "n1", ...REPORT }]);
  await pass(LEASE_SECONDS * 3_000);
  expect(await names()).toEqual(["n1"]);
  await registration.stop();
  expect(await names()).toEqual([]);
  expect(await registration.stop()).toBeUndefined();
});

test("starting ends with the first try, and after a second where the store does not answer", async () => {
  const of = (id: string, store: typeof under.store): Registration =>
    new Registration({ store, prefix: PREFIX, id, report: () => report, clock, log: silentLog, random: () => 0 });
  const there = of("there", under.store);
  const started = there.start();
  clock.advance(0);
  await started;
  expect(await names()).toContain("there");
  const silent = new Proxy(under.store, {
    get: (target, name) => (name === "grantLease" ? () => new Promise(() => {}) : Reflect.get(target, name)),
  });
  let ended = false;
  const starting = of("silent", silent)
    .start()
    .then(() => {
      ended = true;
    });
  await pass(500);
  expect(ended).toBe(false);
  await pass(1_000);
  await starting;
  await there.stop();
});

test("a report is rewritten at most every 10 s, and not when nothing changed", async () => {
  const version = async (): Promise<bigint> => (await under.store.get(KEY)).kv?.version ?? 0n;
  await pass(12_000);
  expect(await version()).toBe(1n);
  for (let i = 0; i < 20; i++) {
    report = { ...REPORT, applied: `${100 + i}` };
    await pass(1_000);
  }
  expect(await version()).toBeLessThanOrEqual(4n);
  await passUntil(async () => (await version()) >= 3n);
});

test("a lost lease is replaced by itself", async () => {
  const lease = registration.lease();
  await under.store.revokeLease(lease ?? 0n);
  expect(await names()).toEqual([]);
  await passUntil(async () => (await names()).length === 1 && registration.facts().registered);
  expect(registration.lease()).not.toBe(lease);
  expect(registration.facts()).toEqual({ registered: true, problem: undefined });
});

test("a lease that ended is replaced as soon as that is known, and known as soon as the store is there again", async () => {
  const lease = registration.lease() as LeaseId;
  await under.store.revokeLease(lease);
  expect(await names()).toEqual([]);
  registration.look();
  for (let i = 0; i < 3; i++) {
    clock.advance(0);
    await until(async () => registration.lease() !== lease || i < 2, "it looked");
  }
  await until(async () => (await names()).length === 1, "registered again");
});

test("a node that stops says so before its record goes", async () => {
  const seen: unknown[] = [];
  const store = under.source.open();
  const stopping = new AbortController();
  const { revision } = await store.get(KEY);
  const watching = store.watch(
    { start: KEY, end: `${KEY}0` },
    revision,
    {
      created: () => {},
      progress: () => {},
      batch: (_, changes) => void seen.push(...changes.map(({ kv }) => kv && JSON.parse(String(kv.value)).leaving)),
    },
    stopping.signal,
  );
  await registration.stop();
  await until(() => seen.length === 2, "both are seen");
  expect(seen).toEqual([true, undefined]);
  stopping.abort();
  await watching;
});

test("a store that is away is said once a minute, however its errors are worded, and a new loss at once", async () => {
  let tries = 0;
  let away = true;
  const said: string[] = [];
  const log: Log = { ...silentLog, warn: (_, message) => void said.push(message), child: () => log };
  const grantLease = async (ttlSeconds: number): Promise<LeaseId> => {
    if (away) throw new Error(`no connection (try ${++tries})`);
    return await under.store.grantLease(ttlSeconds);
  };
  const store = new Proxy(under.store, {
    get(target, name) {
      if (name === "grantLease") return grantLease;
      const value: unknown = Reflect.get(target, name);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  const other = new Registration({
    ...{ store, prefix: PREFIX, id: "n2", clock, log },
    report: () => report,
    random: () => 0,
  });
  void other.start();
  await pass(50_000);
  expect(tries).toBeGreaterThan(5);
  expect(said).toEqual(["not registered; trying again"]);
  await pass(50_000);
  expect(said).toHaveLength(2);
  away = false;
  await passUntil(async () => other.facts().registered);
  away = true;
  await under.store.revokeLease(other.lease() ?? 0n);
  await passUntil(async () => said.length > 2);
  expect(said).toHaveLength(3);
  await other.stop();
});

test("what is no report is left out of the list", async () => {
  await write(
    under.store,
    put(`${controlKeys(PREFIX).nodes}x`, "garbage"),
    put(`${controlKeys(PREFIX).nodes}y`, "null"),
  );
  expect(await names()).toEqual(["n1"]);
});
