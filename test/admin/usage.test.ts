/**
 * Uses of a hundred thousand credentials: handed in by nodes, put together by two admins at once, read in pages, and gone
 * with their records.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { sweep, takeIn } from "../../src/admin/usage/usage-keeper.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { HandIn } from "../../src/cluster/hand-in.ts";
import { decodeShard, encodeShard, shardDir, shardKey, shardOf, type Use } from "../../src/model/usage.ts";
import { prefixRange } from "../../src/store/store.ts";
import { MAX_REQUEST_BYTES } from "../../src/store/store-limits.ts";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";
import { until } from "../support/process.ts";
import { openTemporaryStore, put, remove, type TemporaryStore, write } from "../support/stores.ts";

const CONSUMERS = 1_000;
const EACH = 100;
const TOTAL = CONSUMERS * EACH;
const HOUR = Math.floor(Date.now() / 3_600_000);

let under: TemporaryStore;
let world: AdminWorld;
/** Name → create revision. */
const created = new Map<string, number>();
const admin = () => ({ store: under.store, prefix: "/apisix", clock: systemClock, log: silentLog });

/** As a node of that name does it when it stops. */
async function handIn(id: string, uses: Iterable<Use>): Promise<void> {
  const all = [...uses];
  const options = { ...admin(), id, everyMs: 3_600_000, take: () => all.splice(0) };
  await new HandIn(options).stop();
}

function* usesOf(hour: number, from: number, to: number): Generator<Use> {
  let at = 0;
  for (const [name, revision] of created) if (at++ >= from && at <= to) yield { name, created: revision, hour };
}

const handedIn = async (): Promise<readonly { readonly key: string; readonly bytes: number }[]> => {
  const found: { key: string; bytes: number }[] = [];
  for await (const page of under.store.list(prefixRange("/apisix-jotgate/usage/in/")))
    for (const { key, value } of page.kvs) found.push({ key, bytes: value.length });
  return found;
};
const stored = async () => {
  const all = new Map<string, { readonly hour: number; readonly nodes: readonly string[] }>();
  for await (const page of under.store.list(prefixRange(shardDir("/apisix"))))
    for (const { value } of page.kvs) for (const [name, use] of decodeShard(value)) all.set(name, use);
  return all;
};

beforeAll(async () => {
  under = await openTemporaryStore();
  world = await openAdminWorld({ store: under.store });
  for (let i = 0; i < CONSUMERS; i++) {
    const puts = Array.from({ length: EACH }, (_, n) =>
      put(`/apisix/consumers/c${i}/credentials/k${n}`, { id: `k${n}`, create_time: 1, plugins: {} }),
    );
    const record = put(`/apisix/consumers/c${i}`, { username: `c${i}`, create_time: 1 });
    const revision = Number(await write(under.store, record, ...puts));
    for (let n = 0; n < EACH; n++) created.set(`consumers/c${i}/credentials/k${n}`, revision);
  }
}, 120_000);
afterAll(async () => {
  await world.close();
  await under.stop();
});

describe("a hundred thousand credentials", () => {
  test("are handed in within the limits of one record of the store", async () => {
    await handIn("node-a", usesOf(HOUR - 1_000, 0, TOTAL));
    const records = await handedIn();
    expect(records.length).toBeLessThan(10);
    for (const { bytes } of records) expect(bytes).toBeLessThan(MAX_REQUEST_BYTES);
  });

  test("are put together by two admins at once, each use once and the latest hour of all", async () => {
    await handIn("node-b", usesOf(HOUR, 0, 1_000));
    await handIn("node-c", usesOf(HOUR, 500, 1_500));
    await Promise.all([takeIn(admin()), takeIn(admin())]);
    expect(await handedIn()).toEqual([]);
    const all = await stored();
    expect(all.size).toBe(TOTAL);
    const hours = [...all.values()].map(({ hour }) => hour);
    expect(hours.filter((hour) => hour === HOUR)).toHaveLength(1_500);
    const both = all.get([...created.keys()][700] ?? "");
    expect([...(both?.nodes ?? [])].sort()).toEqual(["node-b", "node-c"]);
    expect(all.get([...created.keys()][99_999] ?? "")?.nodes).toEqual(["node-a"]);
  });

  test("are read in pages, the longest unused first", async () => {
    const first = (await world.call("GET", "/usage?unused_since=30d")).body;
    expect(first.total).toBe(TOTAL - 1_500 + (CONSUMERS - 15));
    expect(first.list).toHaveLength(100);
    const second = (await world.call("GET", "/usage?unused_since=30d&page=2&page_size=500")).body;
    expect(second.list).toHaveLength(500);
    expect(second.list[0]).toMatchObject({ last_used: (HOUR - 1_000) * 3_600, nodes: ["node-a"] });
    expect((await world.call("GET", "/usage?consumer=c3&credential=k7")).body.list).toEqual([
      { consumer: "c3", credential: "k7", last_used: HOUR * 3_600, nodes: ["node-b"] },
    ]);
  });

  test("lose what deleted ones were used for with the next sweep, and nothing else", async () => {
    await write(under.store, remove("/apisix/consumers/c0/credentials/k0"));
    await write(under.store, remove("/apisix/consumers/c1/credentials/k0"));
    await write(under.store, put("/apisix/consumers/c1/credentials/k0", { id: "k0", create_time: 1, plugins: {} }));
    expect((await world.call("GET", "/usage?consumer=c1&credential=k0")).body.list[0].last_used).toBeNull();
    await sweep(admin());
    const all = await stored();
    expect(all.size).toBe(TOTAL - 2);
    expect(all.has("consumers/c0/credentials/k0")).toBe(false);
  });
});

describe("a store of its own", () => {
  let large: TemporaryStore;
  beforeAll(async () => {
    large = under;
    under = await openTemporaryStore();
  });
  afterAll(async () => {
    await under.stop();
    under = large;
  });

  test("what a node hands in waits in a fixed number of records, and is complete when an admin comes", async () => {
    const waiting: Use[] = [];
    const node = new HandIn({ ...admin(), id: "node-d", everyMs: 10, take: () => waiting.splice(0) });
    node.start();
    for (let n = 0; n < 60; n++) {
      waiting.push({ name: `token_issuers/i/kids/k${n}`, created: 0, hour: HOUR });
      await until("it is taken", () => waiting.length === 0, 10_000, 5);
    }
    expect((await handedIn()).length).toBe(32);
    await takeIn(admin());
    await node.stop();
    await takeIn(admin());
    expect((await stored()).size).toBe(60);
  });

  test.each(["", "[]", '{"node":"n","uses":{}}', '{"node":"n","uses":[[1,2],["a",-1,3],["b",1e99,3],null]}'])(
    "%s in the store is nobody's use, and goes",
    async (value) => {
      const before = (await stored()).size;
      await write(under.store, put("/apisix-jotgate/usage/in/odd/0", value));
      await takeIn(admin());
      expect((await stored()).size).toBe(before);
      expect(await handedIn()).toEqual([]);
    },
  );

  test("a shard that is none is begun anew", async () => {
    const name = "token_issuers/i/kids/new";
    await write(under.store, put(shardKey("/apisix", shardOf(name)), "{"));
    await handIn("node-e", [{ name, created: 0, hour: HOUR }]);
    await takeIn(admin());
    expect((await stored()).get(name)).toMatchObject({ hour: HOUR, nodes: ["node-e"] });
  });
});

test("a shard that grows beyond a record of the store forgets what was used longest ago", () => {
  const name = (n: number): string => `consumers/${"x".repeat(500)}/credentials/${n}`;
  const shard = new Map(
    Array.from({ length: 4_000 }, (_, n) => [name(n), { created: 1, hour: n, nodes: ["a"] }] as const),
  );
  const kept = decodeShard(encodeShard(shard));
  expect(kept.size).toBeGreaterThan(1_000);
  expect(kept.has(name(3_999))).toBe(true);
  expect(kept.has(name(0))).toBe(false);
});
