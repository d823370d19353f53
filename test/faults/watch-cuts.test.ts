/**
 * Guarantees: reliable, resumable. etcd3's own watcher fails the first test: it skips ahead to the head on reconnecting.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import type { Revision, Store } from "../../src/store/store.ts";
import { Watcher } from "../../src/sync/watcher.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { contents, contentsOf, openTable, put, remove, write } from "../support/stores.ts";
import { until } from "../support/until.ts";

const BACKLOG = 5_000;
/** What the node held before it was away. */
const SEED = "/apisix/routes/seed";
const common = { clock: systemClock, log: silentLog };

describe.skipIf(!etcdAvailable())("cutting the connection loses nothing", () => {
  let etcd: EtcdCluster;
  let relay: Relay;
  let direct: Store;
  let start: Revision;

  beforeAll(async () => {
    etcd = await startEtcd();
    relay = await startRelay(etcd.endpoints[0] ?? "");
    direct = openEtcdSource({ ...common, hosts: etcd.endpoints }).open();
    start = await write(direct, put(SEED, "held"));
    // One revision each, in flight together: puts of new and old keys, and deletes.
    const writers = Array.from({ length: 50 }, async (_, w) => {
      for (let i = w; i < BACKLOG; i += 50) {
        const key = `/apisix/routes/${i % 700}`;
        await write(direct, i % 7 === 3 ? remove(key) : put(key, { i, pad: "x".repeat(300) }));
      }
    });
    await Promise.all(writers);
  });
  afterAll(async () => {
    await direct?.close();
    await relay?.stop();
    await etcd?.stop();
  });

  function resume(endpoint: string, applied: Revision) {
    const { table, batches } = openTable();
    const kv = {
      key: SEED,
      value: Buffer.from("held"),
      createRevision: start,
      modRevision: start,
      version: 1n,
      lease: 0n,
    };
    table.apply(start, [{ type: "put", key: SEED, kv }]);
    batches.length = 0;
    const watcher = new Watcher({
      ...common,
      table,
      source: openEtcdSource({ ...common, hosts: [endpoint] }),
      restored: { applied, identity: undefined, clusterId: undefined, savedAtMs: Date.now() },
    });
    watcher.start();
    return { watcher, table, batches };
  }

  test.each([
    {
      says: "after 200 bytes again and again, then anywhere",
      bytes: sequence([200, 200, 900, 400_000, 900_000]),
      least: 5,
    },
    { says: "at random places, 40 times", bytes: random(40, 4, 250_000), least: 20 },
  ])("cut during catch-up: $says", async ({ bytes, least }) => {
    const before = relay.cuts;
    relay.cutAfter(bytes);
    const head = (await direct.get("x")).revision;
    const node = resume(relay.endpoint, start);
    await node.watcher.waitFor(head);
    await until(() => node.watcher.facts().connected, "the watch is open again", 10_000);
    relay.cutAfter(undefined);
    expect(contentsOf(node.table)).toEqual(await contents(direct));
    expect(relay.cuts - before).toBeGreaterThanOrEqual(least);
    const revisions = node.batches.map((batch) => batch.revision);
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => Number(a - b))); // each once, in order
    expect(node.watcher.facts().lists).toMatchObject({ first: 0, compacted: 0, behind: 0 });
    await node.watcher.stop();
  });

  test("cut and refused while others write, every change arrives within the bound", async () => {
    const node = resume(relay.endpoint, (await direct.get("x")).revision);
    await until(() => node.watcher.facts().connected, "the watch is open");
    let last: Revision = 0n;
    for (let i = 0; i < 60; i++) {
      if (i % 20 === 5) relay.cut();
      if (i % 20 === 10) relay.refuse();
      if (i % 20 === 15) relay.heal();
      last = await write(direct, put(`/apisix/upstreams/${i % 9}`, { i }));
    }
    expect(await node.watcher.waitFor(last)).toBe(true);
    const held = new Map([...contentsOf(node.table)].filter(([key]) => key.startsWith("/apisix/upstreams/")));
    expect(held).toEqual(await contents(direct, { start: "/apisix/upstreams/", end: "/apisix/upstreams0" }));
    await node.watcher.stop();
  });
});

function sequence(values: readonly number[]): () => number {
  let i = 0;
  return () => values[Math.floor(i++ / 2)] ?? Number.POSITIVE_INFINITY; // an epoch opens two connections: calls and watch
}

/** Seeded, so that a failure can be repeated. */
function random(times: number, seed: number, upTo: number): () => number {
  let state = seed;
  let left = times;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return left-- > 0 ? 500 + (state % upTo) : Number.POSITIVE_INFINITY;
  };
}
