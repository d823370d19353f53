/**
 * Clients that others wrote for APISIX, unmodified, against real nodes.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { ADMIN_KEY, type Node, startNode } from "../support/process.ts";

/** What a package exports by default; its types are for other settings than ours. */
async function load(name: string, member: string): Promise<new (...args: unknown[]) => Loose> {
  let exported = (await import(name)) as Loose;
  while (exported[member] === undefined && exported["default"] !== undefined) exported = exported["default"];
  return exported[member] ?? exported;
}
// biome-ignore lint/suspicious/noExplicitAny: clients of others, used as a script would
type Loose = any;

const nodes = { "127.0.0.1:1980": 1 };

describe.skipIf(!etcdAvailable())("apisix-client, which also reads etcd itself", () => {
  let etcd: EtcdCluster;
  let node: Node;
  let client: Loose;
  beforeAll(async () => {
    etcd = await startEtcd();
    node = await startNode("admin", { etcd: etcd.endpoints });
    const Client = await load("apisix-client", "ApisixAdminClient");
    client = new Client({ baseURL: node.admin, headers: { "X-API-KEY": ADMIN_KEY } }, { hosts: [...etcd.endpoints] });
  });
  afterAll(async () => {
    client?.etcd.close();
    await node?.stop();
    await etcd?.stop();
  });

  test("keeps upstreams: create, read, list, replace, patch, delete", async () => {
    const made = await client.upstream.create({ name: "posted", type: "roundrobin", nodes }, true);
    expect(made.key).toMatch(/^\/apisix\/upstreams\/\d{20}$/);
    await client.upstream.upsert("u1", { name: "first", type: "roundrobin", nodes });
    expect(await client.upstream.get("u1")).toMatchObject({ key: "/apisix/upstreams/u1", value: { name: "first" } });
    await client.upstream.update("u1", { desc: "patched" });
    await client.upstream.updateByPath("u1", "nodes", { "127.0.0.1:1981": 2 });
    const { value } = await client.upstream.get("u1");
    expect(value).toMatchObject({ desc: "patched", nodes: { "127.0.0.1:1981": 2 } });
    const page = await client.upstream.getList(undefined, undefined, "first", 1, 10);
    expect(page).toMatchObject({ total: 1, list: [{ key: "/apisix/upstreams/u1" }] });
    await client.upstream.delete(made.value.id);
    expect((await client.upstream.getList()).total).toBe(1);
  });

  test("keeps routes, with lifetimes, filters and its own look into etcd", async () => {
    await client.route.upsert(
      "r1",
      { name: "one", uri: "/one", upstream_id: "u1", labels: { team: "a" } },
      "600",
      true,
    );
    await client.route.create({ name: "two", uri: "/two", upstream: { type: "roundrobin", nodes } });
    expect(await client.route.isExists("r1")).toBe(true);
    expect(await client.route.isExists("none")).toBe(false);
    expect((await client.route.getByPath("/one")).total).toBe(0); // it sends `label=`, which matches nothing in APISIX
    expect(
      (await client.route.getList("one", undefined, undefined, undefined, undefined, undefined, undefined, 1, 10))
        .total,
    ).toBe(1);
    const seen = await client.route.filter("u1", "one", "/one", undefined, "127.0.0.1:1981", "r1");
    expect(seen).toMatchObject({ total: 1, list: [{ id: "r1", upstream: { nodes: { "127.0.0.1:1981": 2 } } }] });
    await client.route.delete("r1");
    expect(await client.route.isExists("r1")).toBe(false);
  });

  test("asks for plugins and validation", async () => {
    expect(await client.plugin.isExists("jwt-auth")).toBe(true);
    expect(await client.plugin.getList()).toContain("limit-count");
    expect(await client.plugin.getProperties("limit-count")).toMatchObject({ type: "object" });
    expect(await client.plugin.reload()).toBe("done");
    await client.validation.validate("routes", { uri: "/a", upstream: { type: "roundrobin", nodes } });
    await expect(client.validation.validate("routes", { uri: 1 })).rejects.toMatchObject({ response: { status: 400 } });
  });
});

describe("apisix-sdk, which also asks the Control API", () => {
  let node: Node;
  let sdk: Loose;
  beforeAll(async () => {
    node = await startNode("start");
    const Sdk = await load("apisix-sdk", "ApisixSDK");
    sdk = new Sdk({
      adminAPI: { baseURL: node.admin, apiKey: ADMIN_KEY, timeout: 5_000 },
      controlAPI: { baseURL: node.control },
    });
  });
  afterAll(() => node?.stop());
  /** It keeps what it read for half a minute. */
  const fresh = (): Loose => {
    sdk.getClient().clearCache();
    return sdk;
  };

  test("finds both APIs, and a version it understands", async () => {
    expect(await sdk.testConnection()).toBe(true);
    expect(await sdk.testControlConnection()).toBe(true);
    expect(await sdk.getVersion()).toMatch(/^\d+\.\d+\.\d+/);
  });

  test.each([
    { kind: "upstreams", id: "u1", body: { type: "roundrobin", nodes } },
    { kind: "services", id: "s1", body: { upstream_id: "u1" } },
    { kind: "routes", id: "r1", body: { uri: "/r1", service_id: "s1" } },
    { kind: "pluginConfigs", id: "p1", body: { plugins: { cors: {} } } },
    { kind: "consumerGroups", id: "g1", body: { plugins: { "limit-count": { count: 1, time_window: 1 } } } },
    { kind: "globalRules", id: "1", body: { plugins: { "request-id": {} } } },
    { kind: "protos", id: "1", body: { content: 'syntax = "proto3";' } },
    { kind: "streamRoutes", id: "1", body: { server_port: 9100, upstream: { type: "roundrobin", nodes } } },
  ])("keeps $kind: create, read, list, replace", async ({ kind, id, body }) => {
    expect(await sdk[kind].create(body, id)).toMatchObject({ ...body, id });
    expect(await fresh()[kind].get(id)).toMatchObject(body);
    expect(await fresh()[kind].list()).toHaveLength(1);
    expect(await sdk[kind].update(id, body)).toMatchObject(body);
  });

  test("patches, pages and deletes", async () => {
    expect(await sdk.routes.patch("r1", { desc: "patched" })).toMatchObject({ desc: "patched" });
    await sdk.routes.create({ uri: "/posted", service_id: "s1" });
    expect(await fresh().routes.listPaginated(1, 10)).toMatchObject({ total: 2 });
    await sdk.routes.delete("r1");
    expect(await fresh().routes.list()).toHaveLength(1);
  });

  test("keeps consumers and secrets", async () => {
    await sdk.consumers.create({ username: "jack", plugins: { "jwt-auth": { key: "jack-key" } } }, "jack");
    expect(await fresh().consumers.get("jack")).toMatchObject({ username: "jack" });
    const vault = { uri: "http://127.0.0.1:8200", prefix: "kv", token: "t" };
    await sdk.secrets.createVaultSecret(vault, "1");
    expect(await fresh().secrets.getVaultSecret("1")).toMatchObject(vault);
  });

  test("reads schemas and health over the Control API", async () => {
    const client = sdk.getClient();
    expect(await client.get("/v1/schema/plugin/jwt-auth")).toHaveProperty("schema");
    expect(await client.get("/v1/healthcheck")).toEqual([]);
  });
});
