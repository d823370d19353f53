import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { CodedError } from "../../src/base/errors.ts";
import { type Log, silentLog } from "../../src/base/log.ts";
import { controlKeys } from "../../src/store/store-keys.ts";
import type { Position } from "../../src/sync/sync-status.ts";
import { Table } from "../../src/sync/table.ts";
import { Watcher, type WatcherOptions } from "../../src/sync/watcher.ts";
import {
  contents,
  contentsOf,
  openTable,
  openTemporaryStore,
  put,
  remove,
  type TemporaryStore,
  write,
} from "../support/stores.ts";
import { until } from "../support/until.ts";

const KEYS = controlKeys("/apisix");
const IDENTITY = put(KEYS.identity, { id: "one", epoch: 1 });

let under: TemporaryStore;
let watchers: Watcher[] = [];
beforeEach(async () => {
  under = await openTemporaryStore();
});
afterEach(async () => {
  await Promise.all(watchers.map((watcher) => watcher.stop()));
  watchers = [];
  await under.stop();
});

function startWatcher(options: Partial<WatcherOptions> = {}) {
  const { table, batches } = openTable();
  const watcher = new Watcher({ source: under.source, table, clock: systemClock, log: silentLog, ...options });
  watchers.push(watcher);
  watcher.start();
  return { watcher, table, batches };
}

function positionOf(watcher: Watcher): Position {
  const position = watcher.position();
  if (position === undefined) throw new Error("not loaded");
  return position;
}

async function records(): Promise<Map<string, string>> {
  const all = await contents(under.store);
  for (const key of all.keys()) if (key.startsWith(KEYS.control)) all.delete(key);
  return all;
}

test("a fresh node lists once, then follows each revision", async () => {
  await write(under.store, IDENTITY, put("/apisix/routes/1"), put("/apisix/routes/2"));
  const { watcher, table, batches } = startWatcher();
  await until(() => watcher.facts().connected, "the watch is open");
  const revision = await write(under.store, put("/apisix/routes/1", { uri: "/x" }), remove("/apisix/routes/2"));
  expect(await watcher.waitFor(revision)).toBe(true);
  expect(contentsOf(table)).toEqual(await records());
  expect(batches.at(-1)).toMatchObject({ revision });
  expect(batches.at(-1)?.changes).toHaveLength(2);
  expect(watcher.facts()).toMatchObject({
    loaded: true,
    fresh: true,
    reachable: true,
    problem: undefined,
    appliedRevision: revision,
    storeHeadRevision: revision,
    records: 1,
  });
  expect(watcher.facts().lists).toMatchObject({ first: 1, compacted: 0 });
});

test("our own keys reach the control hook and never the table", async () => {
  await write(under.store, IDENTITY, put("/apisix/routes/1"));
  const seen: string[] = [];
  const { watcher, table } = startWatcher({ onControl: ({ key, kv }) => void seen.push(`${key}=${kv?.value}`) });
  await until(() => watcher.facts().connected, "the watch is open");
  await watcher.waitFor(await write(under.store, put(KEYS.ask, "nonce")));
  await watcher.waitFor(await write(under.store, put(KEYS.beat, { at: 1_000 })));
  expect(seen).toEqual([`${KEYS.identity}={"id":"one","epoch":1}`, `${KEYS.ask}=nonce`, `${KEYS.beat}={"at":1000}`]);
  expect([...table.entries()].map(([key]) => key)).toEqual(["/apisix/routes/1"]);
  expect(watcher.facts()).toMatchObject({ identity: { id: "one", epoch: 1 }, beat: { writtenMs: 1_000 } });
});

test("what cannot be applied is not fresh, however much is heard of the store, and comes again until it can", async () => {
  let isBroken = false;
  const table = new Table({
    clock: systemClock,
    consumer: {
      apply() {
        if (isBroken) throw new Error("it cannot be done");
        return undefined;
      },
    },
  });
  await write(under.store, IDENTITY, put("/apisix/routes/1"));
  const { watcher } = startWatcher({ table });
  await until(() => watcher.facts().fresh, "it is in step");
  isBroken = true;
  const revision = await write(under.store, put("/apisix/routes/1", { uri: "/x" }));
  const { broken } = watcher.facts().epochs;
  await until(() => watcher.facts().epochs.broken >= broken + 3, "it is tried again");
  const { appliedRevision, fresh, problem, stalenessSeconds } = watcher.facts();
  expect({ fresh, problem }).toMatchObject({
    fresh: false,
    problem: { code: "apply-failed", text: `revision ${revision} cannot be applied: it cannot be done` },
  });
  expect(appliedRevision).toBeLessThan(revision);
  await until(() => watcher.facts().stalenessSeconds > stalenessSeconds + 0.1, "the age grows");
  isBroken = false;
  expect(await watcher.waitFor(revision)).toBe(true);
  await until(() => watcher.facts().fresh && watcher.facts().problem === undefined, "it is in step again");
});

test("a log that fails changes nothing", async () => {
  const fail = (): never => {
    throw new Error("no space left on device");
  };
  const log: Log = { debug: fail, info: fail, warn: fail, error: fail, child: () => log };
  let isAway = true;
  const away = {
    kind: "embedded" as const,
    open: () => under.source.open(),
    openMember() {
      const store = under.source.openMember(0);
      if (isAway) store.get = () => Promise.reject(new CodedError("STORE_UNAVAILABLE", { message: "away" }));
      return store;
    },
  };
  await write(under.store, IDENTITY, put("/apisix/routes/1"));
  const { watcher } = startWatcher({ log, source: away });
  await until(() => watcher.facts().problem?.code === "store-unreachable", "it is away");
  isAway = false;
  const revision = await write(under.store, put("/apisix/routes/2"));
  expect(await watcher.waitFor(revision)).toBe(true);
  await until(() => watcher.facts().fresh, "it is in step");
});

test("chatty keys beside the prefix are not seen", async () => {
  const revision = await write(under.store, IDENTITY, put("/apisix/routes/1"));
  const { watcher } = startWatcher();
  await until(() => watcher.facts().connected, "the watch is open");
  await write(under.store, put(`${KEYS.nodes}a`));
  await write(under.store, put("/apisix0"));
  const last = await write(under.store, put("/apisix/routes/2"));
  await watcher.waitFor(last);
  expect(watcher.facts().appliedRevision).toBe(last);
  expect(revision).toBeLessThan(last);
});

test("a node that finds nothing under its prefix says so and is not loaded until something comes", async () => {
  const { watcher } = startWatcher();
  await until(() => watcher.facts().connected, "the watch is open");
  expect(watcher.facts()).toMatchObject({ loaded: false, fresh: false, problem: { code: "store-empty" } });
  expect(await watcher.waitFor(0n, 1)).toBe(false);
  await watcher.waitFor(await write(under.store, put("/apisix/routes/1")));
  expect(watcher.facts()).toMatchObject({ loaded: true, problem: undefined, records: 1 });
});

test("the prefix is a setting", async () => {
  await write(under.store, put("/apisix/routes/1"), put("/other/routes/9"));
  const { watcher, table } = startWatcher({ prefix: "/other" });
  await watcher.waitFor(0n);
  expect([...table.entries()].map(([key]) => key)).toEqual(["/other/routes/9"]);
});

test("a restart with a saved position resumes without a list", async () => {
  await write(under.store, IDENTITY, put("/apisix/routes/1"));
  const first = startWatcher();
  await first.watcher.waitFor(0n);
  await first.watcher.stop();
  const position = positionOf(first.watcher);
  const missed = await write(under.store, put("/apisix/routes/2"));
  const { table, batches } = openTable();
  table.apply(position.applied, [...first.batches.flatMap((batch) => batch.changes)]);
  const watcher = new Watcher({
    source: under.source,
    table,
    clock: systemClock,
    log: silentLog,
    restored: { ...position, savedAtMs: Date.now() },
  });
  watchers.push(watcher);
  expect(watcher.facts()).toMatchObject({ loaded: true, fresh: false, connected: false });
  watcher.start();
  await watcher.waitFor(missed);
  expect(contentsOf(table)).toEqual(await records());
  expect(Object.values(watcher.facts().lists)).toEqual([0, 0, 0, 0, 0]);
  expect(batches.at(-1)?.revision).toBe(missed);
});

test("a position that was compacted away leads to one list that leaves unchanged records alone", async () => {
  await write(under.store, IDENTITY, put("/apisix/routes/1"), put("/apisix/routes/2"));
  const first = startWatcher();
  await first.watcher.waitFor(0n);
  await first.watcher.stop();
  const touched: string[] = [];
  first.table.subscribe(({ changes }) => void touched.push(...changes.map(({ key }) => key)));
  await write(under.store, put("/apisix/routes/2", { new: true }));
  await under.store.compact(await write(under.store, put("/apisix/routes/3")));
  const watcher = new Watcher({
    source: under.source,
    table: first.table,
    clock: systemClock,
    log: silentLog,
    restored: { ...positionOf(first.watcher), savedAtMs: Date.now() },
  });
  watchers.push(watcher);
  watcher.start();
  await until(() => watcher.facts().lists.compacted === 1 && watcher.facts().connected, "it listed and watches");
  expect(contentsOf(first.table)).toEqual(await records());
  expect(touched.sort()).toEqual(["/apisix/routes/2", "/apisix/routes/3"]);
  expect(watcher.facts()).toMatchObject({ epochs: { compacted: 1 }, lists: { first: 0, compacted: 1 } });
});

test("a consumer that fails on a change gets the same change again and nothing is skipped", async () => {
  await write(under.store, IDENTITY, put("/apisix/routes/1"));
  let failures = 2;
  const { table } = openTable();
  const order: string[] = [];
  table.subscribe((batch) => {
    if (batch.changes[0]?.key === "/apisix/routes/bad" && failures-- > 0) throw new Error("not now");
    order.push(batch.changes.map((c) => c.key).join());
  });
  const { watcher } = startWatcher({ table });
  await watcher.waitFor(0n);
  await write(under.store, put("/apisix/routes/bad"));
  expect(await watcher.waitFor(await write(under.store, put("/apisix/routes/2")), 10_000)).toBe(true);
  expect(order).toEqual(["/apisix/routes/1", "/apisix/routes/bad", "/apisix/routes/2"]);
  expect(watcher.facts().epochs.broken).toBe(2);
});

test("waiting ends false at its time-out and when the watcher stops", async () => {
  await write(under.store, put("/apisix/routes/1"));
  const { watcher } = startWatcher();
  await watcher.waitFor(0n);
  expect(await watcher.waitFor(1_000_000n, 10)).toBe(false);
  const waiting = watcher.waitFor(1_000_000n);
  await watcher.stop();
  expect(await waiting).toBe(false);
  expect(await watcher.waitFor(1_000_000n)).toBe(false);
});
