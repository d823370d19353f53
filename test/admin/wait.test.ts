/**
 * The write barrier seen from a client: nodes that follow the store for real, one of which can be held back.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { Acknowledger } from "../../src/cluster/acknowledge.ts";
import { Barrier } from "../../src/cluster/barrier.ts";
import { type NodeReport, Registration } from "../../src/cluster/registry.ts";
import { openRecordJudge } from "../../src/node/workers/record-judge.ts";
import type { Plugin } from "../../src/plugin/plugin.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { Table } from "../../src/sync/table.ts";
import { Watcher } from "../../src/sync/watcher.ts";
import { type AdminWorld, openAdminWorld, PLUGINS, VIEWER_KEY } from "../support/admin.ts";
import { openTemporaryStore, type TemporaryStore } from "../support/stores.ts";
import { until } from "../support/until.ts";

const common = { clock: systemClock, log: silentLog, prefix: "/apisix" };
const route = { uri: "/a", upstream: { nodes: { "127.0.0.1:80": 1 } } };

let under: TemporaryStore;
let barrier: Barrier;
let admin: AdminWorld;
const stops: (() => Promise<unknown>)[] = [];
const held = new Map<string, Promise<void>>();
const tables = new Map<string, Table>();

/** A node that follows the store; `held` says how long it keeps its acknowledgements back. */
async function startNode(id: string, plugins: readonly Plugin[] = PLUGINS): Promise<void> {
  const { store, source } = under;
  const registry = openPluginRegistry(plugins);
  const env = { registry, upstreamError: () => undefined, mayBeMissing: () => false };
  const judge = openRecordJudge(common.prefix, env);
  const table = new Table({ clock: systemClock, consumer: judge });
  tables.set(id, table);
  const report = (): NodeReport => ({
    ...{ version: "1.2.3", address: "127.0.0.1:9091", startedMs: 1_700_000_000_000, workers: 2, hash: table.hash() },
    ...{ applied: watcher.facts().appliedRevision.toString(), stalenessSeconds: 0, problems: 1 },
  });
  const registration = new Registration({ ...common, store, id, report });
  const settled = async (): Promise<void> => await held.get(id);
  const lease = () => registration.lease();
  const acknowledger = new Acknowledger({
    ...common,
    store,
    id,
    lease,
    settled,
    state: report,
    refusals: () => judge.refusals(),
  });
  const watcher = new Watcher({ ...common, source, table, onControl: (change) => acknowledger.control(change) });
  watcher.start();
  await watcher.waitFor(0n);
  void registration.start();
  await until(() => registration.facts().registered, `${id} is registered`);
  stops.push(
    () => acknowledger.stop(),
    () => registration.stop(),
    () => watcher.stop(),
  );
}

/** Until called, the node says nothing. */
function holdBack(id: string): () => void {
  let release = (): void => undefined;
  held.set(
    id,
    new Promise((resolve) => {
      release = () => {
        held.delete(id);
        resolve();
      };
    }),
  );
  return () => release();
}

beforeAll(async () => {
  under = await openTemporaryStore();
  barrier = new Barrier({ ...common, source: under.source, store: under.store });
  admin = await openAdminWorld({ store: under.store, barrier });
  barrier.start();
  await startNode("one");
  await startNode(
    "two",
    PLUGINS.filter(({ name }) => name !== "key-auth"),
  );
});
afterAll(async () => {
  await barrier.stop();
  for (const stop of stops) await stop();
  await admin.close();
  await under.stop();
});

describe("a write that waits", () => {
  test.each([
    { says: "PUT that creates", method: "PUT", path: "/routes/w", body: route, status: 201 },
    { says: "PUT that replaces", method: "PUT", path: "/routes/w", body: route, status: 200 },
    { says: "PATCH", method: "PATCH", path: "/routes/w", body: { desc: "x" }, status: 200 },
    { says: "POST", method: "POST", path: "/services", body: {}, status: 201 },
    { says: "DELETE", method: "DELETE", path: "/routes/w", body: undefined, status: 200 },
  ])("$says is answered as ever, with the nodes that have it", async ({ method, path, body, status }) => {
    const reply = await admin.call(method, `${path}?wait=all`, { body });
    expect(reply.status).toBe(status);
    expect(reply.body).toMatchObject({
      key: expect.any(String),
      revision: expect.any(Number),
      applied: ["one", "two"],
      waiting: [],
      left: [],
    });
  });

  test.each([
    { headers: { "X-Wait": "all" } },
    { headers: { "X-Wait": "all; timeout=2s" } },
    { headers: { "X-Wait": "all, timeout=500ms" } },
  ])("the header says the same: $headers", async ({ headers }) => {
    expect((await admin.call("PUT", "/routes/h", { body: route, headers })).body.applied).toEqual(["one", "two"]);
  });

  test("costs one commit of the store beside those of the nodes", async () => {
    const reply = await admin.call("PUT", "/routes/one?wait=all", { body: route });
    const { kv } = await under.store.get("/apisix/jotgate/ask");
    expect(kv?.modRevision).toBe(BigInt(reply.body.revision));
    expect((await under.store.get("/apisix/routes/one")).kv?.modRevision).toBe(kv?.modRevision);
    await admin.call("PUT", "/routes/one", { body: route });
    expect((await under.store.get("/apisix/jotgate/ask")).kv?.modRevision).toBe(kv?.modRevision);
  });

  test("a consumer that goes with its credentials asks the nodes once", async () => {
    await admin.call("PUT", "/consumers", { body: { username: "many" } });
    for (const id of ["a", "b", "c"]) await admin.call("PUT", `/consumers/many/credentials/${id}`, { body: {} });
    const before = (await under.store.get("/apisix/jotgate/ask")).kv?.version ?? 0n;
    const reply = await admin.call("DELETE", "/consumers/many?wait=all");
    expect(reply).toMatchObject({ status: 200, body: { applied: ["one", "two"] } });
    expect(((await under.store.get("/apisix/jotgate/ask")).kv?.version ?? 0n) - before).toBe(1n);
  });

  test("a node that lags makes it 202 that names the node; the write stays written", async () => {
    const release = holdBack("two");
    const reply = await admin.call("PUT", "/routes/lag?wait=all&timeout=100ms", { body: route });
    expect(reply).toMatchObject({
      status: 202,
      body: { key: "/apisix/routes/lag", value: { uri: "/a" }, applied: ["one"], waiting: ["two"], left: [] },
    });
    expect((await admin.call("GET", "/routes/lag")).status).toBe(200);
    release();
    expect((await admin.call("PUT", "/routes/lag?wait=all", { body: route })).status).toBe(200);
  });

  test("a node that has not the plugin is no node that applied it, and says why", async () => {
    const guarded = { ...route, plugins: { "key-auth": {} } };
    const reply = await admin.call("PUT", "/routes/guarded?wait=all", { body: guarded });
    expect(reply).toMatchObject({
      status: 202,
      body: {
        applied: ["one"],
        refused: [
          { node: "two", key: "/apisix/routes/guarded", reason: expect.stringMatching(/^plugin key-auth is not/) },
        ],
        message: "written; 1 nodes do not serve it as written, see refused",
      },
    });
    const open = await admin.call("PUT", "/routes/guarded?wait=all", { body: route });
    expect(open).toMatchObject({ status: 200, body: { applied: ["one", "two"], refused: [] } });
  });

  test("without asking for it, nothing waits and the answer is the plain one", async () => {
    const release = holdBack("two");
    const reply = await admin.call("PUT", "/routes/plain", { body: route });
    expect(Object.keys(reply.body).sort()).toEqual(["key", "value"]);
    release();
  });

  test("a write that is refused is answered at once", async () => {
    const release = holdBack("two");
    expect((await admin.call("PUT", "/routes/bad?wait=all&timeout=30s", { body: {} })).status).toBe(400);
    release();
  });
});

describe("what cannot be waited for is refused before anything is written", () => {
  const text = "invalid argument timeout: should be a duration such as 500ms or 2s, at most 30s";
  test.each([
    { query: "wait=all&timeout=soon", want: text },
    { query: "wait=all&timeout=", want: text },
    { query: "wait=all&timeout=0", want: text },
    { query: "wait=all&timeout=-1s", want: text },
    { query: "wait=all&timeout=31s", want: text },
    { query: "wait=all&timeout=1h", want: text },
    { query: "wait=some", want: "invalid argument wait: should be all" },
    { query: "wait=", want: "invalid argument wait: should be all" },
  ])("$query", async ({ query, want }) => {
    const reply = await admin.call("PUT", `/routes/refused?${query}`, { body: route });
    expect(reply).toMatchObject({ status: 400, body: { error_msg: want } });
    expect((await admin.call("GET", "/routes/refused")).status).toBe(404);
  });

  test("an admin node that follows nobody says so", async () => {
    const alone = await openAdminWorld();
    expect(await alone.call("PUT", "/routes/1?wait=all", { body: route })).toMatchObject({ status: 400 });
    await alone.close();
  });
});

describe("GET /nodes", () => {
  const nodesNow = async () => {
    let reply = await admin.call("GET", "/nodes");
    const seen = reply.body.revision;
    await until(async () => {
      reply = await admin.call("GET", "/nodes"); // kept for a second
      return reply.body.revision !== seen;
    }, "the list is asked for anew");
    return reply.body;
  };

  test("shows who is there, since when, and how far", async () => {
    const { list, total } = await nodesNow();
    expect(total).toBe(2);
    expect(list[0]).toEqual({
      ...{ id: "one", address: "127.0.0.1:9091", version: "1.2.3", started: 1_700_000_000, workers: 2 },
      ...{ applied: expect.any(Number), lag: 0, staleness_seconds: 0, problems: 1, hash: tables.get("one")?.hash() },
    });
  });

  test("the hash is of the revision that is shown, however short ago that was", async () => {
    for (const uri of ["/hash/1", "/hash/2"]) {
      const put = await admin.call("PUT", "/routes/hash", { body: { uri, upstream: { nodes: { "127.0.0.1:1": 1 } } } });
      expect(put.status).toBeLessThan(300);
      const { list } = await nodesNow();
      expect(list[0]).toMatchObject({ lag: 0, hash: tables.get("one")?.hash() });
    }
  });

  test("a node that lags shows by how much", async () => {
    const release = holdBack("two");
    const { list } = await nodesNow();
    expect(list.map(({ lag }: { lag: number }) => lag > 0)).toEqual([false, true]);
    release();
  });

  test("polling it does not write for every reader", async () => {
    const before = (await under.store.get("/apisix/jotgate/ask")).kv?.version ?? 0n;
    await Promise.all(Array.from({ length: 50 }, () => admin.call("GET", "/nodes")));
    const after = (await under.store.get("/apisix/jotgate/ask")).kv?.version ?? 0n;
    expect(after - before).toBeLessThanOrEqual(1n);
  });

  test("is for viewers too, and for nobody without a key", async () => {
    expect((await admin.call("GET", "/nodes", { headers: { "X-API-KEY": VIEWER_KEY } })).status).toBe(200);
    expect((await admin.call("GET", "/nodes", { headers: { "X-API-KEY": undefined } })).status).toBe(401);
    expect((await admin.call("PUT", "/nodes", { body: {} })).status).toBe(404);
  });
});

describe("the store's identity", () => {
  test("can be read, and its epoch raised by an admin", async () => {
    const { body } = await admin.call("GET", "/store");
    expect(body).toEqual({ id: expect.any(String), epoch: 1, revision: expect.any(Number) });
    const raised = await admin.call("POST", "/store/epoch?wait=all");
    expect(raised).toMatchObject({ status: 200, body: { id: body.id, epoch: 2, waiting: [] } });
    expect((await admin.call("GET", "/store")).body.epoch).toBe(2);
    const replacing = await admin.call("POST", "/store/epoch?replaces=gone-1");
    expect(replacing).toMatchObject({ status: 200, body: { id: body.id, epoch: 3, replaces: ["gone-1"] } });
    const bad = await admin.call("POST", "/store/epoch?replaces=%20");
    expect(bad).toMatchObject({
      status: 400,
      body: { error_msg: "invalid argument replaces: expected the id of a store" },
    });
    const viewer = { headers: { "X-API-KEY": VIEWER_KEY } };
    expect((await admin.call("POST", "/store/epoch", viewer)).status).toBe(401);
  });
});
