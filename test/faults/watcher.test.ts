/**
 * Guarantees G3 (nothing lost), G7 (never apply nothing or another store), G8 (starts alone), on real etcd.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { type Fields, type Log, silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import type { Revision, Store, StoreSource } from "../../src/store/store.ts";
import { controlKeys } from "../../src/store/store-keys.ts";
import { LastKnownGood } from "../../src/sync/lkg/last-known-good.ts";
import type { Table } from "../../src/sync/table.ts";
import { Watcher, type WatcherOptions } from "../../src/sync/watcher.ts";
import { type EtcdCluster, type EtcdOptions, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { etcdctl } from "../support/etcdctl.ts";
import { fastClock } from "../support/fast-clock.ts";
import { bounded } from "../support/long-run.ts";
import { startRelay } from "../support/relay.ts";
import { contents, contentsOf, openTable, put, write } from "../support/stores.ts";
import { until } from "../support/until.ts";

const KEYS = controlKeys("/apisix");
const identity = (id: string, epoch: number) => put(KEYS.identity, { id, epoch });

/** Only what is minutes away comes sooner; how long silence may last stays as it is. */
const AUDITS_SOON: Clock = {
  nowMs: () => systemClock.nowMs(),
  monotonicMs: () => systemClock.monotonicMs(),
  after: (delayMs, run) => systemClock.after(delayMs > 60_000 ? delayMs / 500 : delayMs, run),
  every: (intervalMs, run) => systemClock.every(intervalMs, run),
};

let ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.reverse()) await end();
  ends = [];
});

async function cluster(options: EtcdOptions = {}): Promise<{ etcd: EtcdCluster; store: Store }> {
  const etcd = await startEtcd(options);
  const store = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog, rpcMs: 3_000 }).open();
  ends.push(
    () => etcd.stop(),
    () => store.close(),
  );
  return { etcd, store };
}

function startNode(hosts: readonly string[], options: Partial<WatcherOptions> & { clock?: Clock } = {}) {
  const clock = options.clock ?? systemClock;
  const { table, batches } = openTable(clock);
  const watcher = new Watcher({
    source: openEtcdSource({ hosts, clock, log: silentLog }),
    table,
    clock,
    log: silentLog,
    random: () => 0,
    ...options,
  });
  ends.push(() => watcher.stop());
  watcher.start();
  return { watcher, table: options.table ?? table, batches };
}

async function records(store: Store): Promise<Map<string, string>> {
  return new Map([...(await contents(store))].filter(([key]) => !key.startsWith(KEYS.control)));
}

/** Writes until it succeeds, as an admin with a patient user would. */
async function persist(store: Store, key: string, value: unknown): Promise<Revision> {
  for (let attempt = 0; ; attempt++) {
    try {
      return await write(store, put(key, value));
    } catch (error) {
      if (attempt >= 20) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

/** Bounded by real time, whatever the watcher's clock is. */
async function untilApplied(watcher: Watcher, revision: Revision): Promise<void> {
  await until(() => watcher.facts().loaded && watcher.facts().appliedRevision >= revision, `revision ${revision}`);
}

/** A progress request is answered, without which silence means nothing: bytes came although nothing was written. */
async function untilAnswered(watcher: Watcher): Promise<void> {
  let staleness = 0;
  const fell = (): boolean => {
    const before = staleness;
    staleness = watcher.facts().stalenessSeconds;
    return staleness < before;
  };
  await until(fell, "a progress request is answered");
}

async function agree(store: Store, table: Table): Promise<void> {
  expect(contentsOf(table)).toEqual(await records(store));
}

describe.skipIf(!etcdAvailable())("a watcher in trouble", () => {
  test("G3: 10 compaction while cut off costs one list that leaves unchanged records alone", async () => {
    const { etcd, store } = await cluster();
    const relay = await startRelay(etcd.endpoints[0] ?? "");
    ends.push(() => relay.stop());
    await write(store, identity("one", 1), ...Array.from({ length: 100 }, (_, i) => put(`/apisix/routes/${i}`)));
    const { watcher, table, batches } = startNode([relay.endpoint]);
    await watcher.waitFor(0n);
    const held = new Map(table.entries());
    batches.length = 0;
    relay.refuse();
    for (let i = 0; i < 20; i++) await write(store, put("/apisix/routes/7", { i }));
    await store.compact(await write(store, put("/apisix/routes/new")));
    const last = await write(store, put("/apisix/routes/newer"));
    relay.heal();
    await untilApplied(watcher, last);
    await agree(store, table);
    for (const [key, record] of held) if (key !== "/apisix/routes/7") expect(table.get(key)).toEqual(record);
    expect(watcher.facts().lists).toMatchObject({ first: 1, compacted: 1 });
    expect(
      batches
        .flatMap((batch) => batch.changes)
        .map((c) => c.key)
        .sort(),
    ).toEqual(["/apisix/routes/7", "/apisix/routes/new", "/apisix/routes/newer"]);
  });

  test("a wiped store is refused, empty, foreign and rewritten; the operator's epoch is believed", async () => {
    const { etcd, store } = await cluster();
    await write(store, identity("one", 1), put("/apisix/routes/1"), put("/apisix/routes/2"));
    for (let i = 0; i < 20; i++) await write(store, put("/apisix/routes/2", { i }));
    const { watcher, table } = startNode(etcd.endpoints);
    await until(() => watcher.facts().fresh, "in step");
    const held = new Map(table.entries());
    const refusals = (): number => watcher.facts().epochs.foreign;
    const refusedAgain = async (what: string): Promise<void> => {
      const before = refusals();
      await until(() => refusals() > before + 1, what, 10_000);
      expect(watcher.facts()).toMatchObject({ loaded: true, fresh: false, problem: { code: "store-changed" } });
      expect(new Map(table.entries())).toEqual(held);
    };
    await etcd.restart(0, { wipe: true }); // same flags: same cluster id
    await refusedAgain("the empty store is refused");
    for (let i = 0; i < 40; i++) await write(store, put("/apisix/routes/9", { i }));
    await refusedAgain("a store without our identity is refused, although its revision is higher");
    await write(store, identity("two", 1));
    await refusedAgain("another identity is refused");
    expect(watcher.facts().problem?.text).toContain("store two, not one");
    await write(store, identity("one", 2));
    await until(
      () => watcher.facts().fresh && watcher.facts().lists.raised === 1,
      "the raised epoch is believed",
      10_000,
    );
    await agree(store, table);
    expect([...table.entries()].map(([key]) => key)).toEqual(["/apisix/routes/9"]);
    expect(watcher.facts().problem).toBeUndefined();
  });

  test("the leader is killed: every acknowledged write arrives, without a list", async () => {
    const { etcd, store } = await cluster({ members: 3 });
    await write(store, identity("one", 1), put("/apisix/routes/0"));
    const nodes = [0, 1, 2].map((i) => startNode([...etcd.endpoints.slice(i), ...etcd.endpoints.slice(0, i)]));
    await Promise.all(nodes.map(({ watcher }) => watcher.waitFor(0n)));
    let last: Revision = 0n;
    let leader = 0;
    for (let i = 0; i < 60; i++) {
      if (i === 20) {
        leader = await etcd.leader();
        await etcd.kill(leader);
      }
      last = await persist(store, `/apisix/routes/${i}`, { i });
    }
    for (const { watcher, table } of nodes) {
      await untilApplied(watcher, last);
      await agree(store, table);
      expect(watcher.facts().lists).toMatchObject({ compacted: 0, behind: 0 });
    }
    // The others may notice too: no leader is known until the election is over.
    expect(nodes[leader]?.watcher.facts().epochs.broken).toBeGreaterThanOrEqual(1);
  });

  test("a paused member is noticed by its silence and another one used", async () => {
    const { etcd, store } = await cluster({ members: 3 });
    await write(store, identity("one", 1), put("/apisix/routes/0"));
    const follower = ((await etcd.leader()) + 1) % 3;
    const hosts = [...etcd.endpoints.slice(follower), ...etcd.endpoints.slice(0, follower)]; // random() = 0: begins there
    const said: string[] = [];
    const note = (fields: Fields): void => void said.push(String(fields["text"]));
    const log: Log = { ...silentLog, warn: note, child: () => log };
    const { watcher, table } = startNode(hosts, { clock: fastClock(4), log });
    await until(() => watcher.facts().connected, "the watch is open");
    await untilAnswered(watcher);
    etcd.pause(follower);
    const last = await persist(store, "/apisix/routes/1", "while paused");
    await untilApplied(watcher, last);
    expect(said[0]).toBe("etcd fell silent"); // before the connection's own keep-alive, which has real time
    await agree(store, table);
    expect(watcher.facts().lists).toMatchObject({ first: 1, behind: 0 });
    etcd.resume(follower);
  });

  test("a member without a majority does not keep a node quietly stale", async () => {
    const { etcd, store } = await cluster({ members: 3 });
    await write(store, identity("one", 1), put("/apisix/routes/0"));
    const { watcher } = startNode(etcd.endpoints);
    await until(() => watcher.facts().connected, "the watch is open");
    etcd.pause(1);
    etcd.pause(2);
    await until(() => watcher.facts().epochs.broken > 0, "the watch ended", 10_000);
    expect(watcher.facts().loaded).toBe(true);
    etcd.resume(1);
    etcd.resume(2);
    const last = await persist(store, "/apisix/routes/1", "after");
    await untilApplied(watcher, last);
    await until(() => watcher.facts().fresh && watcher.facts().problem === undefined, "in step again");
  });

  test("a node starts from the disk file with etcd away and needs no list when it is back", async () => {
    const { etcd, store } = await cluster();
    const folder = mkdtempSync(join(tmpdir(), "jotgate-lkg-"));
    ends.push(() => rmSync(folder, { recursive: true, force: true }));
    const keep = (table: Table) =>
      new LastKnownGood({ file: join(folder, "lkg"), prefix: "/apisix", table, clock: systemClock, log: silentLog });
    await write(store, identity("one", 1), ...Array.from({ length: 50 }, (_, i) => put(`/apisix/routes/${i}`)));
    const first = startNode(etcd.endpoints);
    const keeper = keep(first.table);
    keeper.start(() => first.watcher.position());
    await first.watcher.waitFor(0n);
    await first.watcher.stop();
    await keeper.stop();
    await write(store, put("/apisix/routes/7", "missed"));
    await etcd.kill(0);

    const { table } = openTable();
    const again = keep(table);
    ends.push(() => again.stop());
    const restored = await again.restore();
    const { watcher } = startNode(etcd.endpoints, { table, restored });
    expect(watcher.facts()).toMatchObject({ loaded: true, fresh: false }); // at once; the 2 s of G8 are in node-start
    expect(contentsOf(table)).toEqual(contentsOf(first.table));
    await until(() => watcher.facts().epochs.unreachable > 0, "it tries");
    expect(watcher.facts().problem?.code).toBe("store-unreachable");
    await etcd.restart(0);
    const last = await persist(store, "/apisix/routes/8", "later");
    await untilApplied(watcher, last);
    await agree(store, table);
    expect(Object.values(watcher.facts().lists)).toEqual([0, 0, 0, 0, 0]);
  });

  test("a watch that shows nothing while beats are read is dead, whatever it says", async () => {
    const { etcd, store } = await cluster();
    await write(store, identity("one", 1), put("/apisix/routes/0"));
    const real = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog });
    let deaf = true; // the first watch opens and then shows nothing
    const source = {
      kind: real.kind,
      open: () => real.open(),
      openMember: (turn: number) => {
        const member = real.openMember(turn);
        const watch: Store["watch"] = (range, after, sink, signal) =>
          member.watch(range, after, deaf ? { ...sink, batch: () => {} } : sink, signal);
        return new Proxy(member, { get: (target, name) => (name === "watch" ? watch : bind(target, name)) });
      },
    };
    const { watcher, table } = startNode(etcd.endpoints, { source, clock: fastClock(8) });
    await until(() => watcher.facts().connected, "the watch is open");
    await write(store, put(KEYS.beat, { at: 1 }), put("/apisix/routes/1"));
    await until(() => watcher.facts().epochs.dead >= 1, "noticed by the beat");
    deaf = false;
    await until(() => table.size === 2, "the next watch shows it");
    await agree(store, table);
  });

  test("G3: 11 compaction between the pages of a list: it begins again, three times, then pauses; then it is whole", async () => {
    const { etcd, store } = await cluster();
    await write(store, identity("one", 1), ...Array.from({ length: 50 }, (_, i) => put(`/apisix/routes/${i}`)));
    const real = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog });
    let pages = 0;
    let compactions = 5; // more than one epoch's patience
    const source: StoreSource = {
      kind: real.kind,
      open: () => real.open(),
      openMember: (turn) => {
        const member = real.openMember(turn);
        const list: Store["list"] = async function* (range, options) {
          for await (const page of member.list(range, { ...options, pageSize: 20 })) {
            yield page;
            if (++pages > 0 && page.more && compactions-- > 0)
              await store.compact(await write(store, put("/apisix/routes/49", { pages })));
          }
        };
        return new Proxy(member, { get: (target, name) => (name === "list" ? list : bind(target, name)) });
      },
    };
    const { watcher, table } = startNode(etcd.endpoints, { source });
    await until(() => watcher.facts().fresh, "in step", 20_000);
    await agree(store, table);
    expect(watcher.facts().lists.first).toBe(6);
    expect(watcher.facts().epochs.compacted).toBe(1); // after the third list it paused
    expect(pages).toBe(5 + 3);
  });

  test("G3 G5: many keys deleted in one revision are applied by the watch that is open", async () => {
    const many = bounded(40_000, 100_000);
    const { etcd, store } = await cluster();
    await write(store, identity("one", 1), put("/apisix/routes/0"));
    const key = (n: number): string => `/apisix/plugin_configs/${n}`;
    for (let i = 0; i < many; i += 100)
      await write(store, ...Array.from({ length: 100 }, (_, j) => put(key(i + j), "v")));
    const { watcher, table } = startNode(etcd.endpoints);
    await until(() => watcher.facts().connected && table.size > many, "the watch is open");
    await untilAnswered(watcher);
    await etcdctl(etcd.endpoints, ["del", "--prefix", "/apisix/plugin_configs/", "--command-timeout=60s"]);
    const { revision } = await store.get("/");
    await untilApplied(watcher, revision);
    await agree(store, table);
    expect(Object.values(watcher.facts().epochs).every((count) => count === 0)).toBe(true);
  });

  test("G3: a backlog larger than one message may be comes in pieces", async () => {
    const { etcd, store } = await cluster();
    const start = await write(store, identity("one", 1), put("/apisix/routes/0"));
    let last: Revision = 0n;
    for (let i = 0; i < 100; i++) last = await write(store, put(`/apisix/routes/${i}`, "x".repeat(60_000)));
    const { table } = openTable();
    const { kv } = await store.get("/apisix/routes/0");
    if (!kv) throw new Error("no record");
    table.apply(start, [{ type: "put", key: kv.key, kv: { ...kv, modRevision: start } }]);
    const source = openEtcdSource({
      hosts: etcd.endpoints,
      clock: systemClock,
      log: silentLog,
      messageBytes: 2_500_000,
    });
    const restored = { applied: start, identity: { id: "one", epoch: 1 }, clusterId: undefined, savedAtMs: Date.now() };
    const { watcher } = startNode(etcd.endpoints, { source, table, restored });
    await untilApplied(watcher, last);
    expect(table.size).toBe(100);
    expect(watcher.facts().epochs).toMatchObject({ broken: 1 });
    expect(Object.values(watcher.facts().lists).every((count) => count === 0)).toBe(true);
  });

  test("the audit finds a difference and a list repairs it", async () => {
    const { etcd, store } = await cluster();
    await write(store, identity("one", 1), put("/apisix/routes/0"), put("/apisix/routes/1"));
    const { watcher, table } = startNode(etcd.endpoints, { clock: AUDITS_SOON });
    await until(() => watcher.facts().connected, "the watch is open");
    table.apply(1n, [{ type: "delete", key: "/apisix/routes/1", kv: undefined }]); // as a lost event would leave it
    await until(() => watcher.facts().lists.audit >= 1, "the audit listed", 10_000);
    await until(() => table.size === 2, "repaired");
    expect(watcher.facts().auditDifferences).toBe(1);
    await agree(store, table);
  });
});

function bind(target: Store, name: string | symbol): unknown {
  const value: unknown = Reflect.get(target, name);
  return typeof value === "function" ? value.bind(target) : value;
}
