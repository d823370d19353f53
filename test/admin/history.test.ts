/**
 * Who changed what: entries of writes, their bounds, what they show to whom.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { prefixRange } from "../../src/store/store.ts";
import { type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { contents } from "../support/stores.ts";
import { until } from "../support/until.ts";

let world: AdminWorld;
const clock = new FakeClock(1_700_000_000_000);
beforeAll(async () => {
  world = await openAdminWorld({ clock });
});
afterAll(() => world.close());

const nodes = { "127.0.0.1:80": 1 };
const route = { uri: "/a", upstream: { nodes } };
const SECRET = "plain-secret-never-to-be-shown";

const newest = async () => (await world.call("GET", "/history?page=1&page_size=1")).body.list[0];

describe("every write has one entry, with the revision it has itself", () => {
  test.each([
    { method: "PUT", path: "/routes/e", body: route, key: "routes/e", change: "created" },
    { method: "PUT", path: "/routes/e", body: { ...route, desc: "x" }, key: "routes/e", change: "updated" },
    { method: "PATCH", path: "/routes/e", body: { desc: "y" }, key: "routes/e", change: "updated" },
    { method: "PATCH", path: "/routes/e/labels", body: { a: "b" }, key: "routes/e", change: "updated" },
    { method: "PUT", path: "/services/ttl?ttl=60", body: {}, key: "services/ttl", change: "created" },
    { method: "PUT", path: "/consumers", body: { username: "eve" }, key: "consumers/eve", change: "created" },
    {
      method: "PUT",
      path: "/consumers/eve/credentials/c",
      body: { plugins: { "key-auth": { key: "k" } } },
      key: "consumers/eve/credentials/c",
      change: "created",
    },
    { method: "PUT", path: "/plugin_metadata/cors", body: { a: 1 }, key: "plugin_metadata/cors", change: "created" },
    { method: "DELETE", path: "/routes/e", body: undefined, key: "routes/e", change: "deleted" },
  ])("$method $path", async ({ method, path, body, key, change }) => {
    const { body: before } = await world.call("GET", "/history");
    expect((await world.call(method, path, { body })).status).toBeLessThan(300);
    const { body: after } = await world.call("GET", "/history");
    expect(after.total).toBe(before.total + 1);
    const [entry] = after.list;
    expect(entry).toMatchObject({
      ...{ time: 1_700_000_000, actor: "ops", address: "127.0.0.1", method },
      path: `/apisix/admin${path.split("?")[0]}`,
      changes: [{ key: `/apisix/${key}`, change }],
    });
    const { kv } = await world.store.get(`/apisix/${key}`);
    if (kv) expect(entry.revision).toBe(Number(kv.modRevision));
    expect((await world.call("GET", `/history/${entry.revision}`)).body).toEqual(entry);
  });

  test("POST, with the id it was given", async () => {
    const { body } = await world.call("POST", "/services", { body: {} });
    expect(await newest()).toMatchObject({ method: "POST", changes: [{ key: body.key, change: "created" }] });
  });

  test("a consumer that goes, and each of its credentials", async () => {
    await world.call("PUT", "/consumers", { body: { username: "fay" } });
    for (const n of [1, 2])
      await world.call("PUT", `/consumers/fay/credentials/${n}`, {
        body: { plugins: { "key-auth": { key: `fay${n}` } } },
      });
    await world.call("DELETE", "/consumers/fay");
    const { list } = (await world.call("GET", "/history?page_size=3&page=1")).body;
    expect(list.map((entry: { changes: { key: string }[] }) => entry.changes[0]?.key)).toEqual([
      "/apisix/consumers/fay",
      "/apisix/consumers/fay/credentials/2",
      "/apisix/consumers/fay/credentials/1",
    ]);
  });

  test("the store's epoch, though it is no record", async () => {
    await world.call("POST", "/store/epoch");
    expect(await newest()).toMatchObject({ path: "/apisix/admin/store/epoch", changes: [] });
  });

  test.each([
    { says: "a refused write", method: "PUT", path: "/routes/e", body: {} },
    { says: "a dry run", method: "PUT", path: "/routes/e?dry_run=1", body: route },
    { says: "a read", method: "GET", path: "/services", body: undefined },
    { says: "a deletion of nothing", method: "DELETE", path: "/routes/none", body: undefined },
  ])("but not $says", async ({ method, path, body }) => {
    const { total } = (await world.call("GET", "/history")).body;
    await world.call(method, path, { body });
    expect((await world.call("GET", "/history")).body.total).toBe(total);
  });
});

describe("the list", () => {
  test("is paged, newest first", async () => {
    for (const n of [1, 2, 3]) await world.call("PUT", "/routes/paged", { body: { ...route, priority: n } });
    const page = async (number: number) => (await world.call("GET", `/history?page=${number}&page_size=2`)).body;
    const [first, second] = [await page(1), await page(2)];
    const revisions = [...first.list, ...second.list].map(({ revision }: { revision: number }) => revision);
    expect(revisions).toHaveLength(4);
    expect(revisions).toEqual([...new Set(revisions)].sort((a, b) => b - a));
    expect((await page(9_999)).list).toEqual([]);
  });

  test.each(["routes/paged", "/apisix/routes/paged"])("leaves what touched %s", async (key) => {
    const { list, total } = (await world.call("GET", `/history?key=${key}`)).body;
    expect(total).toBe(3);
    expect(list.map((one: { changes: { diff: object[] }[] }) => one.changes[0]?.diff)).toEqual([
      [{ op: "replace", path: "/priority", from: 2, to: 3 }],
      [{ op: "replace", path: "/priority", from: 1, to: 2 }],
      [
        { op: "add", path: "/uri", to: "/a" },
        { op: "add", path: "/upstream", to: { nodes } },
        { op: "add", path: "/priority", to: 1 },
        { op: "add", path: "/id", to: "paged" },
      ],
    ]);
    expect((await world.call("GET", `/history?key=${key}&page_size=1&page=3`)).body.list).toHaveLength(1);
  });

  test.each(["page=0", "page=x", "page_size=0", "page_size=501", "page_size=1e2"])("refuses %s", async (query) => {
    expect((await world.call("GET", `/history?${query}`)).status).toBe(400);
  });

  test("of an entry that is not there is 404", async () => {
    for (const revision of ["1", "abc", "99999999"]) {
      expect((await world.call("GET", `/history/${revision}`)).status).toBe(404);
      expect((await world.call("POST", `/history/${revision}/rollback`)).status).toBe(404);
    }
  });
});

describe("secrets in the history", () => {
  beforeAll(async () => {
    const ssl = { sni: "a.test", cert: CERTIFICATE, key: PRIVATE_KEY };
    const writes: [string, object][] = [
      ["/consumers/gil", { username: "gil", plugins: { "jwt-auth": { key: "gil-key", secret: SECRET } } }],
      ["/consumers/gil", { username: "gil", plugins: { "jwt-auth": { key: "gil-key", secret: `${SECRET}-2` } } }],
      ["/consumers/hal", { username: "hal", plugins: { "key-auth": { key: SECRET }, "basic-auth": basic() } }],
      ["/secrets/vault/1", { uri: "http://127.0.0.1:8200", prefix: "kv", token: SECRET }],
      ["/ssls/1", ssl],
      ["/upstreams/tls", { nodes, tls: { client_cert: CERTIFICATE, client_key: PRIVATE_KEY } }],
      ["/routes/limit", { ...route, plugins: { "proxy-rewrite": { headers: { set: { Authorization: SECRET } } } } }],
    ];
    for (const [path, body] of writes) {
      const reply = await world.call("PUT", path, { body });
      if (reply.status > 201) throw new Error(`${path}: ${reply.text}`);
    }
  });

  function basic(): object {
    return { username: "hal", password: SECRET };
  }

  test.each([undefined, VIEWER_KEY])("are shown to nobody (key %s)", async (key) => {
    const { text, body } = await world.call(
      "GET",
      "/history?page_size=500",
      key ? { headers: { "X-API-KEY": key } } : {},
    );
    expect(body.total).toBeGreaterThan(10);
    expect(text).not.toContain(SECRET);
    expect(text).not.toContain("PRIVATE KEY");
  });

  test("show that they changed", async () => {
    const { list } = (await world.call("GET", "/history?key=consumers/gil")).body;
    expect(list[0].changes[0].diff).toEqual([
      { op: "replace", path: "/plugins/jwt-auth/secret", from: "********", to: "********" },
    ]);
  });

  test("lie in the store only where what a rollback needs lies", async () => {
    const shown = await contents(world.store, prefixRange("/apisix-jotgate/history/"));
    const texts = [...shown.values()].join("\n");
    expect(texts).not.toContain(SECRET);
    expect(texts).not.toContain("PRIVATE KEY");
  });

  test("a viewer may read the history and roll nothing back", async () => {
    const { revision } = await newest();
    const viewer = { headers: { "X-API-KEY": VIEWER_KEY } };
    expect((await world.call("GET", `/history/${revision}`, viewer)).status).toBe(200);
    expect((await world.call("POST", `/history/${revision}/rollback`, viewer)).status).toBe(401);
    expect((await world.call("GET", "/history", { headers: { "X-API-KEY": undefined } })).status).toBe(401);
  });
});

describe("bounds", () => {
  test("the oldest entries go, with what they keep for a rollback", async () => {
    const small = await openAdminWorld({ historyEntries: 20 });
    for (let n = 0; n < 60; n++) await small.call("PUT", "/routes/b", { body: { ...route, priority: n } });
    const count = async () => (await small.call("GET", "/history?page_size=500")).body.list;
    await until(async () => (await count()).length <= 22, "the history is trimmed");
    const list = await count();
    expect(list.length).toBeGreaterThanOrEqual(20);
    expect(list[0].changes[0].diff[0].to).toBe(59);
    await until(
      async () => (await contents(small.store, prefixRange("/apisix-jotgate/restore/"))).size <= 22,
      "what they kept goes too",
    );
    await small.close();
  });

  test("none are kept where none are wanted", async () => {
    const none = await openAdminWorld({ historyEntries: 0 });
    await none.call("PUT", "/routes/b", { body: route });
    expect((await none.call("GET", "/history")).body).toEqual({ list: [], total: 0 });
    await none.close();
  });

  test("a large record has a small entry, and a write that fits still fits", async () => {
    const content = `syntax = "proto3";${"/".repeat(1_000_000)}`;
    await world.call("PUT", "/protos/big", { body: { content } });
    const reply = await world.call("PUT", "/protos/big", { body: { content: `${content}/` } });
    expect(reply.status).toBe(200);
    const { changes } = await newest();
    expect(JSON.stringify(changes).length).toBeLessThan(2_000);
    expect(changes[0].diff).toEqual([
      { op: "replace", path: "/content", from: "(1000022 characters)", to: "(1000023 characters)" },
    ]);
  });

  test("a change of many members is cut", async () => {
    const many = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`10.0.${n >> 8}.${n & 255}:80`, n]));
    const other = Object.fromEntries(Object.keys(many).map((name) => [name, 1_000]));
    await world.call("PUT", "/upstreams/many", { body: { nodes: many } });
    await world.call("PUT", "/upstreams/many", { body: { nodes: other } });
    const { diff } = (await newest()).changes[0];
    expect(diff).toHaveLength(201);
    expect(diff.at(-1).op).toBe("cut");
  });
});
