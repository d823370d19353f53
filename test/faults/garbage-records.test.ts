/**
 * 40, G9: values that nobody should have put into etcd. Each under a key that serves and under a new one: a problem per key,
 * what served goes on, neighbours do not notice, and after the repair the problem is gone.
 */
import { Etcd3 } from "etcd3";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Store } from "../../src/store/store.ts";
import { hashOf } from "../support/checker.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { reportFault } from "../support/fault-report.ts";
import { listAll, openDirect } from "../support/history.ts";
import { recordOf } from "../support/ledger.ts";
import { type Load, startLoad } from "../support/load.ts";
import { allowTime, bounded, slack } from "../support/long-run.ts";
import { type Node, startNode, until } from "../support/process.ts";
import { configOf, type NodeConfig } from "../support/scrape.ts";
import { put, remove, write } from "../support/stores.ts";

allowTime();

const route = (uri: string, more: Readonly<Record<string, unknown>> = {}): string =>
  JSON.stringify({ ...recordOf(uri), ...more });

const UPSTREAM = '{"type":"roundrobin","nodes":{"127.0.0.1:9":1}}';
const CONSUMER = '{"username":"jack","plugins":{}}';
const SERVICE = `{"plugins":{},"upstream":${UPSTREAM}}`;

const GARBAGE: readonly { says: string; value: string | Buffer; fine?: true; dir?: string }[] = [
  { says: "an empty value", value: "" },
  { says: "null", value: "null" },
  { says: "a list", value: "[]" },
  { says: "a text", value: '"text"' },
  { says: "a number", value: "42" },
  { says: "JSON that ends in the middle", value: route("/cut").slice(0, -5) },
  { says: "JSON with a byte order mark", value: `\uFEFF${route("/bom")}` },
  { says: "JSON with a trailing comma", value: '{"uri":"/comma",}' },
  { says: "JSON with a comment", value: '{/* hi */"uri":"/comment"}' },
  { says: "bytes that are no UTF-8", value: Buffer.concat([Buffer.from('{"uri":"/\xff'), Buffer.from([0xff, 0xfe])]) },
  { says: "a megabyte of zeros", value: Buffer.alloc(1_400_000) },
  { says: "100,000 levels", value: `{"uri":${"[".repeat(100_000)}${"]".repeat(100_000)}}` },
  { says: "a route that is too deep to be read", value: deep(6_000) },
  { says: "a route whose uri is a number", value: '{"uri":7}' },
  { says: "a prototype", value: '{"__proto__":{"uri":"/polluted"},"uri":"/proto"}' },
  { says: "an upstream where a route should be", value: '{"type":"roundrobin","nodes":{"127.0.0.1:1":1}}' },
  {
    says: "the configuration of a plugin that does not fit",
    value: route("/bad", { plugins: { "limit-count": { count: -1 } } }),
  },
  { says: "a pattern that no engine reads", value: route("/bad", { vars: [["uri", "~~", "("]] }) },
  { says: "a list of plugins under consumers", value: '{"username":"x","plugins":["jwt-auth"]}', dir: "consumers" },
  { says: "a route under consumers", value: route("/wrong/1"), dir: "consumers" },
  { says: "a route under services", value: route("/wrong/2"), dir: "services" },
  { says: "a consumer under services", value: CONSUMER, dir: "services" },
  { says: "an upstream under services", value: UPSTREAM, dir: "services" },
  { says: "a consumer under routes", value: CONSUMER },
  { says: "a service under global_rules", value: SERVICE, dir: "global_rules" },
  { says: "a service under plugin_configs", value: SERVICE, dir: "plugin_configs" },
  { says: "a consumer under consumer_groups", value: CONSUMER, dir: "consumer_groups" },
  { says: "a consumer under a consumer's credentials", value: CONSUMER, dir: "consumers/load/credentials" },
  { says: "a consumer under upstreams", value: '{"username":"jack","plugins":{}}', dir: "upstreams" },
];

/** What is read in spite of looking odd. */
const ODD: readonly { says: string; id: string; value: string; path: string }[] = [
  {
    says: "an id that differs from the key",
    id: "odd-id",
    value: route("/odd/id", { id: "another" }),
    path: "/odd/id",
  },
  {
    says: "a member nobody knows",
    id: "odd-member",
    value: route("/odd/member", { from_the_future: [1] }),
    path: "/odd/member",
  },
];

function deep(levels: number): string {
  return route("/deep", { labels: "LABELS" }).replace('"LABELS"', `${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`);
}

let etcd: EtcdCluster;
let store: Store;
let node: Node;
let load: Load;

const dirOf = (row: { dir?: string }): string => row.dir ?? "routes";
const goodKey = (i: number): string => `/apisix/${dirOf(GARBAGE[i] ?? {})}/good${i}`;
/** A bad record hurts its own scope only, and that of a global rule is every request. */
const HURTS_ALL: ReadonlySet<number> = new Set(GARBAGE.flatMap(({ dir }, i) => (dir === "global_rules" ? [i] : [])));
const newKey = (i: number): string => `/apisix/${dirOf(GARBAGE[i] ?? {})}/new${i}`;
const goodValue = (i: number): string => {
  const dir = dirOf(GARBAGE[i] ?? {});
  if (dir === "consumers") return JSON.stringify({ username: `good${i}`, plugins: {} });
  if (dir === "upstreams") return UPSTREAM;
  return dir === "routes" ? route(`/good/${i}`) : '{"plugins":{}}';
};
const problemOf = (config: NodeConfig, key: string) => config.problems.find((problem) => problem.key === key);

async function applied(revision: bigint): Promise<NodeConfig> {
  return await until("the node has applied it", async () => {
    const config = await configOf(node);
    return BigInt(config.revision) >= revision ? config : undefined;
  });
}

describe.skipIf(!etcdAvailable())("garbage in the store", () => {
  beforeAll(async () => {
    etcd = await startEtcd();
    store = openDirect(etcd.endpoints);
    await write(store, put("/apisix/jotgate/store", { id: "garbage", epoch: 1 }));
    await write(store, put("/apisix/routes/load", route("/load/*")));
    await write(store, ...GARBAGE.map((_, i) => put(goodKey(i), goodValue(i))));
    node = await startNode("gateway", { etcd: etcd.endpoints, args: ["--workers", "1"] });
    await until("the routes", async () => (await fetch(`${node.gateway}/load/x`)).ok);
    const targets = [{ name: "gateway", origin: node.gateway }];
    load = startLoad({ targets, rate: 100, request: (n) => ({ path: `/load/${n}` }) });
  });

  afterAll(async () => {
    await load?.stop();
    await node?.stop("SIGKILL");
    await store?.close();
    await etcd?.stop();
  });

  test("G9: 40 each is a problem of its own key, what served goes on, the repair ends it", async () => {
    const before = load.sent;
    const lines = node.output().split("\n").length;
    let last = 0n;
    for (const [i, { value }] of GARBAGE.entries())
      for (const key of HURTS_ALL.has(i) ? [goodKey(i)] : [goodKey(i), newKey(i)])
        last = await write(store, { op: "put", key, value: Buffer.from(value as string) });
    const putMs = performance.now();
    const config = await applied(last);
    const shownMs = performance.now() - putMs;
    for (const [i, { says }] of GARBAGE.entries()) {
      expect(problemOf(config, goodKey(i)), `${says} where something served`).toBeDefined();
      if (!HURTS_ALL.has(i)) expect(problemOf(config, newKey(i)), `${says} under a new key`).toBeDefined();
      if (goodKey(i).startsWith("/apisix/routes/"))
        expect((await fetch(`${node.gateway}/good/${i}`)).status, `${says}: the good route`).toBe(200);
    }
    expect(config.problems_total).toBe(2 * GARBAGE.length - HURTS_ALL.size);
    expect(node.output().split("\n").length - lines).toBeLessThanOrEqual(60);
    expect(node.output()).not.toMatch(/at .*\.js:\d+/); // no stack of anything unexpected
    expect((await fetch(`${node.control}/v1/routes`)).status).toBe(200);

    for (const [i] of GARBAGE.entries()) {
      await write(store, put(goodKey(i), goodValue(i)));
      last = await write(store, remove(newKey(i)));
    }
    const repaired = await applied(last);
    expect(repaired.problems).toEqual([]);
    expect(repaired.hash).toBe(hashOf(await listAll(store)));
    expect(load.failures).toEqual([]);
    reportFault({
      fault: `40 garbage of ${GARBAGE.length} kinds, each under a good and a new key`,
      how: "put into etcd",
      ...{ sent: load.sent - before, failed: load.failed, freshMs: shownMs, guarantees: "G9", held: true },
    });
  });

  test("G9: 40 a consumer and a service that are overwritten by records of another kind serve on as they were", async () => {
    const mocking = recordOf("")["plugins"];
    await write(
      store,
      put("/apisix/consumers/kate", { username: "kate", plugins: { "key-auth": { key: "of-kate" } } }),
    );
    await write(store, put("/apisix/services/kept", { plugins: mocking }));
    const kept = put("/apisix/routes/kept", { uri: "/kept", service_id: "kept", plugins: { "key-auth": {} } });
    await applied(await write(store, kept));
    const status = async () => (await fetch(`${node.gateway}/kept`, { headers: { apikey: "of-kate" } })).status;
    expect(await status()).toBe(200);
    await write(store, put("/apisix/consumers/kate", route("/kate")));
    const config = await applied(await write(store, put("/apisix/services/kept", CONSUMER)));
    expect(problemOf(config, "/apisix/consumers/kate")?.reason).toBe('not a consumer: "uri" belongs to a route');
    expect(problemOf(config, "/apisix/services/kept")?.reason).toBe('not a service: "username" belongs to a consumer');
    expect(await status()).toBe(200);
    await write(store, remove("/apisix/routes/kept"), remove("/apisix/services/kept"));
    expect((await applied(await write(store, remove("/apisix/consumers/kate")))).problems).toEqual([]);
  });

  test("G9: 40 a node that starts among garbage lists it and serves everything else", async () => {
    for (const [i, { value }] of GARBAGE.entries())
      if (!HURTS_ALL.has(i)) await write(store, { op: "put", key: newKey(i), value: Buffer.from(value as string) });
    const fresh = await startNode("gateway", { etcd: etcd.endpoints, args: ["--workers", "1"] });
    try {
      const config = await configOf(fresh);
      for (const [i, { says }] of GARBAGE.entries())
        if (!HURTS_ALL.has(i)) expect(problemOf(config, newKey(i)), says).toBeDefined();
      expect(config.problems_total).toBe(GARBAGE.length - HURTS_ALL.size);
      expect((await fetch(`${fresh.gateway}/load/x`)).status).toBe(200);
      expect((await fetch(`${fresh.gateway}/good/0`)).status).toBe(200);
    } finally {
      await fresh.stop("SIGKILL");
    }
    let last = 0n;
    for (const [i] of GARBAGE.entries()) last = await write(store, remove(newKey(i)));
    expect((await applied(last)).problems).toEqual([]);
  });

  test("G9: 40 what only looks odd is served", async () => {
    let last = 0n;
    for (const { id, value } of ODD) last = await write(store, put(`/apisix/routes/${id}`, value));
    const config = await applied(last);
    for (const { says, id, path } of ODD) {
      expect(problemOf(config, `/apisix/routes/${id}`), says).toBeUndefined();
      expect((await fetch(`${node.gateway}${path}`)).status, says).toBe(200);
    }
    for (const { id } of ODD) last = await write(store, remove(`/apisix/routes/${id}`));
    await applied(last);
  });

  test("G9 G10: 40 keys that are no records of ours are no problem and cost no memory", async () => {
    const config = await configOf(node);
    const client = new Etcd3({ hosts: [...etcd.endpoints] });
    const keys = [
      "/apisix/routes/a\0b",
      "/apisix/routes/%2F",
      "/apisix/routes/a/b/c",
      "/apisix/consumers/",
      "/apisix/x",
    ];
    const bytes = Buffer.from([...Buffer.from("/apisix/routes/"), 0xff, 0xfe]);
    for (const key of [...keys, bytes]) await client.put(key).value(route("/never"));
    await client.put("/apisix/routes/placeholder").value("init_dir");
    const count = bounded(5_000, 100_000);
    let last = 0n;
    for (let i = 0; i < count; i += 100)
      last = await write(
        store,
        ...Array.from({ length: 100 }, (_, j) => put(`/apisix/unknown/${i + j}`, "x".repeat(200))),
      );
    const after = await applied(last);
    expect(after.records - config.records).toBeLessThanOrEqual(4); // ids may hold odd characters; directories may not be unknown
    expect(after.problems_total).toBeLessThanOrEqual(4);
    expect((await fetch(`${node.status}/ready`)).status).toBe(200);
    await client.delete().prefix("/apisix/unknown/");
    for (const key of [...keys, bytes, "/apisix/routes/placeholder"]) await client.delete().key(key);
    client.close();
    expect((await applied((await store.get("/")).revision)).problems).toEqual([]);
    expect(load.failures).toEqual([]);
  });

  test("G9: 40 a route whose service is missing heals when the service comes, untouched itself", async () => {
    await write(store, put("/apisix/routes/waits", { uri: "/waits", service_id: "later" }));
    await until("it is refused", async () => (await fetch(`${node.gateway}/waits`)).status >= 400);
    await write(store, put("/apisix/services/later", { plugins: recordOf("")["plugins"] }));
    await until("it is served", async () => (await fetch(`${node.gateway}/waits`)).ok, slack(5_000));
    await write(store, remove("/apisix/services/later"));
    await until("it is refused again", async () => (await fetch(`${node.gateway}/waits`)).status >= 400);
    const last = await write(store, remove("/apisix/routes/waits"));
    await applied(last);
  });

  test("G9: 40 of two records with the same credential the older one counts, on every node, and the other is a problem", async () => {
    const consumer = (username: string) => ({
      username,
      plugins: { "key-auth": { key: "the-same-key" } },
    });
    await write(
      store,
      put(
        "/apisix/routes/keyed",
        route("/keyed", { plugins: { "key-auth": {}, ...(recordOf("")["plugins"] as object) } }),
      ),
    );
    await write(store, put("/apisix/consumers/zoe", consumer("zoe")));
    let last = await write(store, put("/apisix/consumers/adam", consumer("adam")));
    const config = await applied(last);
    expect(problemOf(config, "/apisix/consumers/adam")?.reason).toMatch(/zoe/);
    expect(problemOf(config, "/apisix/consumers/zoe")).toBeUndefined();
    expect((await fetch(`${node.gateway}/keyed`, { headers: { apikey: "the-same-key" } })).status).toBe(200);
    last = await write(store, remove("/apisix/consumers/zoe"));
    const healed = await applied(last);
    expect(healed.problems).toEqual([]);
    expect((await fetch(`${node.gateway}/keyed`, { headers: { apikey: "the-same-key" } })).status).toBe(200);
    last = await write(store, remove("/apisix/consumers/adam"), remove("/apisix/routes/keyed"));
    await applied(last);
    expect((await configOf(node)).hash).toBe(hashOf(await listAll(store)));
  });

  test("G5: 40 a key that is deleted and made again, and a record whose lease ends, are ordinary changes", async () => {
    await write(store, put("/apisix/routes/again", route("/again/1")));
    await write(store, remove("/apisix/routes/again"));
    await write(store, put("/apisix/routes/again", route("/again/2")));
    await until("the second life", async () => (await fetch(`${node.gateway}/again/2`)).ok);
    expect((await fetch(`${node.gateway}/again/1`)).status).toBe(404);
    const lease = await store.grantLease(1);
    await store.txn({
      compare: [],
      then: [{ op: "put", key: "/apisix/routes/leased", value: Buffer.from(route("/leased")), lease }],
    });
    await until("it is served", async () => (await fetch(`${node.gateway}/leased`)).ok);
    await until("its lease ended", async () => (await fetch(`${node.gateway}/leased`)).status === 404, 15_000);
    expect(load.failures).toEqual([]);
  });
});
