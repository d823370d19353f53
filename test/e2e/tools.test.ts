/**
 * What APISIX's own tools send, call by call: the declarative command line (ADC) and the dashboard. The tools themselves
 * are not on npm; the sequences are theirs.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { admin, type Node, startNode } from "../support/process.ts";

interface Entry {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}
interface List {
  readonly list: readonly Entry[];
  readonly total: number;
}

const nodes = [{ host: "127.0.0.1", port: 1980, weight: 100 }];
const id = (n: number): string => String(n).repeat(40).slice(0, 40); // ADC's ids are SHA-1 digests

describe("ADC", () => {
  let node: Node;
  beforeAll(async () => {
    node = await startNode("start", { args: ["--server-header", "APISIX/3.13.0"] });
  });
  afterAll(() => node?.stop());

  const send = (method: string, path: string, body?: unknown) => admin(node, method, path, body);
  /** ADC repeats a call that failed, so doing it twice must come to the same. */
  const twice = async (method: string, path: string, body?: unknown): Promise<void> => {
    const first = await send(method, path, body);
    expect(first.status, `${method} ${path} ${JSON.stringify(first.body)}`).toBeLessThan(300);
    const second = await send(method, path, body);
    expect(second.status).toBe(method === "DELETE" ? 404 : 200);
  };
  const KINDS = [
    ...["services", "routes", "upstreams", "ssls", "consumers"],
    ...["plugin_configs", "global_rules", "plugin_metadata", "stream_routes"],
  ];
  const dump = async (): Promise<Record<string, List>> =>
    Object.fromEntries(
      await Promise.all(KINDS.map(async (kind) => [kind, (await send("GET", `/${kind}`)).body as List] as const)),
    );

  const wanted = {
    upstreams: [{ id: id(1), name: "up", type: "roundrobin", scheme: "http", nodes, labels: { "managed-by": "adc" } }],
    services: [{ id: id(2), name: "svc", upstream_id: id(1), labels: { "managed-by": "adc" } }],
    routes: [
      {
        id: id(3),
        name: "rt",
        uris: ["/anything"],
        methods: ["GET"],
        service_id: id(2),
        labels: { "managed-by": "adc" },
      },
    ],
    consumers: [{ username: "jack", plugins: { "key-auth": { key: "jack-key" } } }],
    global_rules: [{ id: "request-id", plugins: { "request-id": {} } }],
    plugin_metadata: [{ id: "cors", allow_origins: { a: "https://a.test" } }],
    ssls: [{ id: id(4), snis: ["a.test"], cert: CERTIFICATE, key: PRIVATE_KEY, type: "server" }],
  };

  test("ping: the version is in the Server header of the route list", async () => {
    const { status, headers } = await send("GET", "/routes");
    expect(status).toBe(200);
    expect(/APISIX\/(.*)/.exec(headers.get("server") ?? "")?.[1]).toBe("3.13.0");
  });

  test("dump of an empty gateway: every kind is a list", async () => {
    for (const [kind, list] of Object.entries(await dump())) expect(list, kind).toEqual({ list: [], total: 0 });
  });

  test("validate: a whole configuration, and where it is wrong", async () => {
    expect(await send("POST", "/configs/validate", wanted)).toMatchObject({ status: 200, body: {} });
    const bad = { ...wanted, routes: [...wanted.routes, { id: id(5), uris: "nope", service_id: id(2) }] };
    const reply = await send("POST", "/configs/validate", bad);
    expect(reply).toMatchObject({
      status: 400,
      body: { errors: [{ resource_type: "routes", resource_id: id(5), index: 1, error: expect.any(String) }] },
    });
  });

  test("sync: upstream, service, route, consumer, global rule, metadata, certificate; each call may be repeated", async () => {
    for (const kind of ["upstreams", "services", "routes", "ssls", "global_rules"] as const)
      for (const one of wanted[kind]) await twice("PUT", `/${kind}/${one.id}`, one);
    for (const one of wanted.consumers) await twice("PUT", `/consumers/${one.username}`, one);
    for (const { id: name, ...one } of wanted.plugin_metadata) await twice("PUT", `/plugin_metadata/${name}`, one);
    await twice("PUT", "/consumers/jack/credentials/c1", {
      plugins: { "basic-auth": { username: "j", password: "p" } },
    });
  });

  test("dump: what was synced comes back without additions, so that the next diff is empty", async () => {
    const now = await dump();
    for (const kind of ["upstreams", "services", "routes", "consumers", "global_rules"] as const) {
      const values = now[kind]?.list.map(({ value: { create_time: _, update_time: __, ...rest } }) => rest);
      expect(values, kind).toEqual(wanted[kind]);
    }
    expect(now["plugin_metadata"]?.list[0]).toMatchObject({ key: "/apisix/plugin_metadata/cors" });
    expect(now["ssls"]?.list[0]?.value).not.toHaveProperty("key");
    expect(now["consumers"]?.total).toBe(1);
    expect((await send("GET", "/consumers/jack/credentials")).body).toMatchObject({ total: 1 });
  });

  test("a consumer without credentials answers 404, which ADC takes for none", async () => {
    await send("PUT", "/consumers/bare", { username: "bare" });
    expect((await send("GET", "/consumers/bare/credentials")).status).toBe(404);
    await send("DELETE", "/consumers/bare");
  });

  test("sync to nothing: routes before services before upstreams; a second delete is 404", async () => {
    await twice("DELETE", "/consumers/jack/credentials/c1");
    for (const kind of ["routes", "services", "upstreams", "ssls", "global_rules"] as const)
      for (const one of wanted[kind]) await twice("DELETE", `/${kind}/${one.id}`);
    await twice("DELETE", "/consumers/jack");
    await twice("DELETE", "/plugin_metadata/cors");
    for (const [kind, list] of Object.entries(await dump())) expect(list.total, kind).toBe(0);
  });
});

describe("the dashboard", () => {
  let node: Node;
  beforeAll(async () => {
    node = await startNode("start");
  });
  afterAll(() => node?.stop());
  const send = (method: string, path: string, body?: unknown) => admin(node, method, path, body);
  const LISTS = [
    ...["routes", "stream_routes", "services", "upstreams", "consumers", "consumer_groups"],
    ...["plugin_configs", "protos", "ssls", "secrets"],
  ];

  test("a wrong key is 401 with a text to show", async () => {
    const { status, body } = await admin(node, "GET", "/routes", undefined, { "X-API-KEY": "wrong" });
    expect(status).toBe(401);
    expect(body).toMatchObject({ error_msg: expect.any(String) });
  });

  test("empty pages of every list", async () => {
    for (const kind of LISTS) {
      const { status, body } = await send("GET", `/${kind}?page=1&page_size=10`);
      expect(status, kind).toBe(200);
      expect(body).toEqual({ list: [], total: 0 });
    }
    expect((await send("GET", "/global_rules")).body).toEqual({ list: [], total: 0 });
    expect((await send("GET", "/plugin_metadata/cors")).status).toBe(404);
  });

  test("forms: what plugins there are, and their schemas", async () => {
    const all = (await send("GET", "/plugins?all=true")).body as Record<string, Record<string, unknown>>;
    expect(all["jwt-auth"]).toMatchObject({ type: "auth", schema: {}, consumer_schema: {} });
    expect((await send("GET", "/plugins?all=true&subsystem=stream")).body).toEqual({});
    expect((await send("GET", "/plugins/list")).body).toContain("key-auth");
    expect((await send("GET", "/plugins/cors")).body).toMatchObject({ type: "object" });
  });

  test("creating by POST, with times to show", async () => {
    const made: Record<string, Record<string, unknown>> = {};
    for (const [kind, body] of [
      ["upstreams", { name: "up", type: "roundrobin", nodes }],
      ["services", { name: "svc", upstream: { type: "roundrobin", nodes } }],
      ["routes", { name: "rt", uri: "/rt", upstream: { type: "roundrobin", nodes } }],
      ["stream_routes", { server_port: 9100, upstream: { type: "roundrobin", nodes } }],
      ["ssls", { sni: "a.test", cert: CERTIFICATE, key: PRIVATE_KEY }],
      ["protos", { content: 'syntax = "proto3";' }],
    ] as const) {
      const { status, body: answer } = await send("POST", `/${kind}`, body);
      expect(status, kind).toBe(201);
      made[kind] = (answer as Entry).value;
      expect(made[kind]).toMatchObject({ create_time: expect.any(Number), update_time: expect.any(Number) });
    }
    const service = made["services"]?.["id"];
    await send("PUT", "/routes/of-service", { uri: "/s", service_id: service });
    const page = await send("GET", `/routes?page=1&page_size=10&filter=service_id%3D${service}`);
    expect(page.body).toMatchObject({ total: 1, list: [{ value: { id: "of-service" } }] });
    expect((await send("GET", "/routes?page=1&page_size=10&name=rt")).body).toMatchObject({ total: 1 });
    expect((await send("GET", "/stream_routes?page=1&page_size=10&filter=service_id%3D1")).body).toMatchObject({
      total: 0,
    });
  });

  test("consumers are put without an id in the path; their credentials are listed, or 404", async () => {
    expect((await send("PUT", "/consumers", { username: "jack" })).status).toBe(201);
    expect((await send("GET", "/consumers/jack/credentials?username=jack")).status).toBe(404);
    await send("PUT", "/consumers/jack/credentials/c1", { plugins: { "key-auth": { key: "k" } } });
    expect((await send("GET", "/consumers/jack/credentials?username=jack")).body).toMatchObject({
      total: 1,
      list: [{ key: "/apisix/consumers/jack/credentials/c1" }],
    });
  });

  test("secrets carry manager and id as their id", async () => {
    await send("PUT", "/secrets/vault/1", { uri: "http://127.0.0.1:8200", prefix: "kv", token: "t" });
    const { list } = (await send("GET", "/secrets?page=1&page_size=10")).body as List;
    expect(list[0]?.value["id"]).toBe("vault/1");
  });

  test("editing: what was read, times and all but the id aside, is put back", async () => {
    const { value } = (await send("GET", "/routes/of-service")).body as Entry;
    const { create_time: _, update_time: __, ...form } = value;
    expect((await send("PUT", "/routes/of-service", { ...form, desc: "edited" })).status).toBe(200);
  });

  test("pages of a longer list, and one beyond the end", async () => {
    for (let n = 0; n < 12; n++) await send("PUT", `/plugin_configs/p${n}`, { plugins: {} });
    const page = async (number: number) =>
      (await send("GET", `/plugin_configs?page=${number}&page_size=10`)).body as List;
    expect([(await page(1)).list.length, (await page(2)).list.length, (await page(3)).list.length]).toEqual([10, 2, 0]);
    expect((await page(3)).total).toBe(12);
  });
});
