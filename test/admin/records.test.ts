import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { CERTIFICATE, OTHER_KEY, PRIVATE_KEY } from "../support/certificates.ts";
import { contents, put, remove, write } from "../support/stores.ts";

let world: AdminWorld;
const clock = new FakeClock(1_700_000_000_000);
beforeAll(async () => {
  world = await openAdminWorld({ clock });
});
afterAll(() => world.close());

const nodes = { "127.0.0.1:1980": 1 };
const route = { uri: "/a", upstream: { type: "roundrobin", nodes } };
const seconds = (): number => Math.floor(clock.nowMs() / 1000);

describe("every kind is put, read, listed and deleted in the same way", () => {
  test.each([
    { path: "/routes/k", body: route },
    { path: "/services/k", body: {} },
    { path: "/upstreams/k", body: { nodes } },
    { path: "/consumer_groups/k", body: { plugins: {} } },
    { path: "/plugin_configs/k", body: { plugins: { cors: {} } } },
    { path: "/global_rules/k", body: { plugins: { "request-id": {} } } },
    { path: "/protos/k", body: { content: 'syntax = "proto3";' } },
    { path: "/stream_routes/k", body: { server_port: 9100, upstream: { nodes } } },
    {
      path: "/secrets/vault/k",
      body: { uri: "http://127.0.0.1:8200", prefix: "kv/apisix", token: "t" },
      id: "vault/k",
      list: "/secrets",
    },
  ])("$path", async ({ path, body, id = "k", list = path.slice(0, path.lastIndexOf("/")) }) => {
    const key = `/apisix${path}`;
    const value = { ...body, id, create_time: seconds(), update_time: seconds() };
    expect(await world.call("PUT", path, { body })).toMatchObject({ status: 201, body: { key, value } });
    expect((await world.call("PUT", path, { body })).body).toEqual({ key, value });
    const got = await world.call("GET", path);
    expect(got.body).toEqual({ key, value, createdIndex: expect.any(Number), modifiedIndex: expect.any(Number) });
    expect(got.body.modifiedIndex).toBeGreaterThan(got.body.createdIndex);
    expect((await world.call("GET", list)).body).toEqual({ total: 1, list: [got.body] });
    expect((await world.call("GET", `${list}/`)).body.total).toBe(1);
    expect((await world.call("DELETE", path)).body).toEqual({ deleted: "1", key });
    expect(await world.call("DELETE", path)).toMatchObject({ status: 404, body: { message: "Key not found" } });
    expect(await world.call("GET", path)).toMatchObject({ status: 404, body: { message: "Key not found" } });
    expect((await world.call("GET", list)).body).toEqual({ list: [], total: 0 });
  });

  test("plugin metadata has an id and no times", async () => {
    const value = { a: 1, id: "cors" };
    expect((await world.call("PUT", "/plugin_metadata/cors", { body: { a: 1 } })).body.value).toEqual(value);
    expect((await world.call("GET", "/plugin_metadata")).body).toMatchObject({
      total: 1,
      list: [{ key: "/apisix/plugin_metadata/cors", value }],
    });
    await world.call("DELETE", "/plugin_metadata/cors");
  });
});

describe("ids", () => {
  test.each([
    { method: "PUT", path: "/routes", body: route, want: "missing route id" },
    { method: "PUT", path: "/routes/1", body: { ...route, id: "2" }, want: "wrong route id" },
    { method: "POST", path: "/routes/1", body: route, want: "wrong route id, do not need it" },
    { method: "POST", path: "/routes", body: { ...route, id: "2" }, want: "wrong route id, do not need it" },
    { method: "DELETE", path: "/routes", want: "missing route id" },
    { method: "PATCH", path: "/routes", body: {}, want: "missing route id" },
    { method: "PUT", path: "/plugin_configs", body: { plugins: {} }, want: "missing plugin config id" },
    { method: "PUT", path: "/plugin_metadata", body: {}, want: "missing plugin name" },
    { method: "PUT", path: "/plugin_metadata/none", body: {}, want: "invalid plugin name" },
    { method: "PUT", path: "/secrets/foo/1", body: {}, want: "invalid secret manager: foo" },
    { method: "PUT", path: "/secrets/vault", body: {}, want: "missing secret id" },
    { method: "PUT", path: "/secrets/vault/1", body: { id: "vault/2" }, want: "wrong secret id" },
    { method: "DELETE", path: "/secrets/vault", want: "missing secret id" },
    { method: "PATCH", path: "/secrets/vault", body: {}, want: "no secret id" },
  ])("$method $path: $want", async ({ method, path, body, want }) => {
    expect(await world.call(method, path, { body })).toMatchObject({ status: 400, body: { error_msg: want } });
  });

  const BAD = 'invalid configuration: property "id" validation failed: object matches none of the required';
  test.each(["a%20b", "x".repeat(65), "..", "%2e", "a%2Fb", "%00", "%E2%80%AE", "a%3Fb", "__proto__%00"])(
    "%s is no id",
    async (id) => {
      expect(await world.call("PUT", `/routes/${id}`, { body: route })).toMatchObject({
        status: 400,
        body: { error_msg: BAD },
      });
    },
  );

  test.each(["__proto__", "constructor", "toString", "0", "a.b-c_d"])("%s is an id like any other", async (id) => {
    expect((await world.call("PUT", `/routes/${id}`, { body: route })).status).toBe(201);
    expect((await world.call("GET", `/routes/${id}`)).body.value.id).toBe(id);
    expect((await world.call("DELETE", `/routes/${id}`)).status).toBe(200);
  });

  test("a slash in an id names no other record", async () => {
    await world.call("PUT", "/secrets/vault/1", { body: { uri: "http://a", prefix: "kv", token: "t" } });
    for (const method of ["GET", "DELETE"]) {
      expect((await world.call(method, "/routes/..%2Fsecrets%2Fvault%2F1")).status).toBe(404);
      expect((await world.call(method, "/secrets/vault/..%2F..%2Froutes")).status).toBe(404);
    }
    expect((await world.call("DELETE", "/secrets/vault/1")).status).toBe(200);
  });

  test("the body may name the id; a number stays one", async () => {
    const reply = await world.call("PUT", "/routes", { body: { ...route, id: 7 } });
    expect(reply.body).toMatchObject({ key: "/apisix/routes/7", value: { id: 7 } });
    expect((await world.call("PUT", "/routes/7", { body: { ...route, id: 7 } })).body.value.id).toBe("7");
    await world.call("DELETE", "/routes/7");
  });

  test("a POST gets twenty digits, ascending", async () => {
    const first = await world.call("POST", "/routes", { body: route });
    const second = await world.call("POST", "/routes/", { body: route });
    expect(first).toMatchObject({ status: 201, body: { key: `/apisix/routes/${first.body.value.id}` } });
    expect(first.body.value.id).toMatch(/^\d{20}$/);
    expect(second.body.value.id > first.body.value.id).toBe(true);
    for (const { body } of [first, second]) await world.call("DELETE", `/routes/${body.value.id}`);
  });
});

describe("times", () => {
  test("a PUT keeps the creation, a PATCH refreshes the update", async () => {
    const created = seconds();
    await world.call("PUT", "/routes/t", { body: route });
    clock.advance(5_000);
    expect((await world.call("PUT", "/routes/t", { body: route })).body.value).toMatchObject({
      create_time: created,
      update_time: created + 5,
    });
    clock.advance(5_000);
    expect((await world.call("PATCH", "/routes/t", { body: { desc: "x" } })).body.value).toMatchObject({
      create_time: created,
      update_time: created + 10,
    });
    expect((await world.call("PATCH", "/routes/t", { body: { update_time: 3 } })).body.value.update_time).toBe(3);
    await world.call("DELETE", "/routes/t");
  });

  test.each([
    { body: { ...route, create_time: 1 }, want: "the property is forbidden:  create_time" },
    { body: { ...route, update_time: 1 }, want: "the property is forbidden:  update_time" },
    {
      body: { ...route, upstream: { nodes, create_time: 1 } },
      want: "the property is forbidden:  upstream.create_time",
    },
    { body: { ...route, plugins: { update_time: 1 } }, want: "the property is forbidden:  plugins.update_time" },
  ])("$want", async ({ body, want }) => {
    for (const [method, path] of [
      ["PUT", "/routes/t"],
      ["POST", "/routes"],
    ] as const) {
      expect(await world.call(method, path, { body })).toMatchObject({ status: 400, body: { error_msg: want } });
    }
  });
});

test("what is stored is the user's JSON with id and times, no defaults", async () => {
  await world.call("PUT", "/routes/s", { body: route });
  const stored = JSON.parse((await world.store.get("/apisix/routes/s")).kv?.value.toString() ?? "");
  expect(stored).toEqual({ ...route, id: "s", create_time: seconds(), update_time: seconds() });
  await world.call("DELETE", "/routes/s");
});

describe("PATCH", () => {
  test.each([
    { path: "/routes/none", body: {}, status: 404, want: { message: "Key not found" } },
    { path: "/routes/p", body: "", status: 400, want: { error_msg: "missing new configuration" } },
    { path: "/routes/p", body: "1", status: 400, want: { error_msg: "invalid configuration" } },
    {
      path: "/routes/p",
      body: { uri: 1 },
      status: 400,
      want: {
        error_msg: 'invalid configuration: property "uri" validation failed: wrong type: expected string, got number',
      },
    },
    { path: "/routes/p", body: { id: "q" }, status: 400, want: { error_msg: "wrong route id" } },
    { path: "/routes/p/uri/x", body: "1", status: 400, want: { error_msg: "invalid sub-path: /uri" } },
    {
      path: "/routes/p/desc",
      body: "null",
      status: 400,
      want: {
        error_msg:
          'invalid configuration: property "desc" validation failed: wrong type: expected string, got userdata',
      },
    },
    {
      path: "/routes/p/__proto__/admin",
      body: "true",
      status: 400,
      want: { error_msg: "invalid configuration: additional properties forbidden, found __proto__" },
    },
    { path: "/routes/p", body: { plugins: { none: {} } }, status: 400, want: { error_msg: "unknown plugin [none]" } },
    {
      path: "/routes/p",
      body: { upstream_id: "9" },
      status: 400,
      want: { error_msg: "failed to fetch upstream info by upstream id [9], response code: 404" },
    },
  ])("$path $body", async ({ path, body, status, want }) => {
    await world.call("PUT", "/routes/p", { body: route });
    expect(await world.call("PATCH", path, { body })).toMatchObject({ status, body: want });
  });

  test("merges, replaces, removes", async () => {
    await world.call("PUT", "/routes/p", {
      body: { ...route, methods: ["GET"], desc: "d", plugins: { cors: { max_age: 1 } } },
    });
    const patch = { methods: ["PUT"], desc: null, plugins: { cors: { allow_origins: "*" } } };
    const { body } = await world.call("PATCH", "/routes/p", { body: patch });
    expect(body.value).toEqual({
      ...route,
      methods: ["PUT"],
      plugins: { cors: { max_age: 1, allow_origins: "*" } },
      id: "p",
      create_time: seconds(),
      update_time: seconds(),
    });
    expect(
      (await world.call("PATCH", "/routes/p/plugins/cors/max_age", { body: "7" })).body.value.plugins.cors.max_age,
    ).toBe(7);
    await world.call("DELETE", "/routes/p");
  });

  test("the id becomes the path's", async () => {
    await world.call("PUT", "/routes", { body: { ...route, id: 7 } });
    expect((await world.call("GET", "/routes/7")).body.value.id).toBe(7);
    expect((await world.call("PATCH", "/routes/7", { body: { id: 7, desc: "x" } })).body.value.id).toBe("7");
    await world.call("DELETE", "/routes/7");
  });

  test("secrets are patched below their manager", async () => {
    await world.call("PUT", "/secrets/vault/s", { body: { uri: "http://a", prefix: "kv", token: "t" } });
    expect((await world.call("PATCH", "/secrets/vault/s/token", { body: '"u"' })).body.value.token).toBe("u");
    expect((await world.call("PATCH", "/secrets/vault/s", { body: { prefix: "kv2" } })).body.value).toMatchObject({
      prefix: "kv2",
      token: "u",
      id: "vault/s",
    });
    await world.call("DELETE", "/secrets/vault/s");
  });
});

describe("lists", () => {
  beforeAll(async () => {
    await world.call("PUT", "/services/svc", { body: {} });
    for (let n = 0; n < 25; n++) {
      const id = `l${String((n * 7) % 25).padStart(2, "0")}`; // created in another order than the keys have
      const labels = n % 2 === 0 ? { even: "yes" } : { odd: "yes" };
      const body = {
        ...route,
        uri: `/list/${id}`,
        labels,
        ...(n < 5 && { service_id: "svc" }),
        ...(n !== 3 && { name: `name-${id}` }),
      };
      await world.call("PUT", `/routes/${id}`, { body });
    }
  });
  afterAll(async () => {
    for (let n = 0; n < 25; n++) await world.call("DELETE", `/routes/l${String(n).padStart(2, "0")}`);
    await world.call("DELETE", "/services/svc");
  });

  interface Entry {
    readonly key: string;
    readonly createdIndex: number;
  }
  const keys = (list: readonly Entry[]): string[] => list.map((entry) => entry.key);

  test("without paging keys ascend", async () => {
    const { body } = await world.call("GET", "/routes");
    expect(body.total).toBe(25);
    expect(keys(body.list)).toEqual(keys(body.list).sort());
  });

  test("with paging creation ascends and every record is on one page", async () => {
    const pages = [];
    for (const page of [1, 2, 3]) pages.push((await world.call("GET", `/routes?page=${page}&page_size=10`)).body);
    expect(pages.map((page) => [page.total, page.list.length])).toEqual([
      [25, 10],
      [25, 10],
      [25, 5],
    ]);
    const all: Entry[] = pages.flatMap((page) => page.list);
    const created = all.map((entry) => entry.createdIndex);
    expect(created).toEqual([...created].sort((a, b) => a - b));
    expect(new Set(keys(all)).size).toBe(25);
  });

  test.each([
    { query: "page=9&page_size=10", total: 25, length: 0 },
    { query: "page=0&page_size=10", total: 25, length: 10 },
    { query: "page=1", total: 25, length: 25 },
    { query: "page=x&page_size=10", total: 25, length: 25 },
    { query: "name=name-l0%5B0-3%5D%24", total: 4, length: 4 },
    { query: "name=L01", total: 0, length: 0 },
    { query: "name=(", total: 0, length: 0 },
    { query: "name=.", total: 24, length: 24 },
    { query: "label=even", total: 13, length: 13 },
    { query: "label=yes", total: 0, length: 0 },
    { query: "label=", total: 0, length: 0 },
    { query: "uri=list/l1", total: 10, length: 10 },
    { query: "label=even&uri=list/l1", total: 5, length: 5 },
    { query: "filter=service_id%3Dsvc", total: 5, length: 5 },
    { query: "filter=service_id%3Dx%26service_id%3Dsvc", total: 5, length: 5 },
    { query: "filter=service_id%3Dsvc%26unknown%3D1", total: 5, length: 5 },
    { query: "filter=upstream_id%3Dsvc", total: 0, length: 0 },
    { query: "label=even&page=2&page_size=10", total: 13, length: 3 },
  ])("$query", async ({ query, total, length }) => {
    const { status, body } = await world.call("GET", `/routes?${query}`);
    expect({ status, total: body.total, length: body.list.length }).toEqual({ status: 200, total, length });
  });

  test.each([9, 501])("a page of %i is refused by a bare text", async (size) => {
    expect(await world.call("GET", `/routes?page=1&page_size=${size}`)).toMatchObject({
      status: 400,
      text: "page_size must be between 10 and 500",
    });
  });
});

describe("plugins and schemas of a record are checked", () => {
  test.each([
    { body: { ...route, plugins: { none: {} } }, want: "unknown plugin [none]" },
    { body: { ...route, plugins: { cors: 1 } }, want: "invalid plugin conf 1 for plugin [cors]" },
    { body: { ...route, plugins: { cors: null } }, want: "invalid plugin conf null for plugin [cors]" },
    {
      body: { ...route, plugins: { cors: { max_age: "x" } } },
      want: 'failed to check the configuration of plugin cors err: property "max_age" validation failed: wrong type: expected integer, got string',
    },
    {
      body: { ...route, plugins: { cors: { _meta: { filter: [["a", "=", 1]] } } } },
      want: "failed to validate the 'vars' expression: invalid operator '='",
    },
    {
      body: { ...route, vars: [["a", "=", 1]] },
      want: "failed to validate the 'vars' expression: invalid operator '='",
    },
    {
      body: { ...route, vars: [["arg_a", "~~", "(?=a)"]] },
      want: "failed to validate the 'vars' expression: invalid regular expression \"(?=a)\": look-around is not supported",
    },
    {
      body: { ...route, vars: ["OR", [["post_arg.a[", "has", "x"]], ["post_arg.b", "==", 1]] },
      want: 'failed to validate the \'vars\' expression: invalid expression "$.a[" near "["',
    },
    { body: { ...route, host: "a.com", hosts: ["b.com"] }, want: "only one of host or hosts is allowed" },
    { body: { ...route, upstream: { type: "chash", nodes } }, want: "missing key" },
    {
      body: { ...route, filter_func: "function(vars) return true end" },
      want: "failed to load 'filter_func' string: Lua is not supported, use 'vars'",
    },
    { body: { uri: "/a", script: "return {} -- lua" }, want: "failed to load 'script' string: Lua is not supported" },
  ])("$want", async ({ body, want }) => {
    expect(await world.call("PUT", "/routes/c", { body })).toMatchObject({ status: 400, body: { error_msg: want } });
    expect((await world.call("GET", "/routes/c")).status).toBe(404);
  });

  test("a plugin that is switched off may be wrong", async () => {
    const plugins = { cors: { max_age: "x", _meta: { disable: true } } };
    expect((await world.call("PUT", "/routes/c", { body: { ...route, plugins } })).status).toBe(201);
    await world.call("DELETE", "/routes/c");
  });
});

describe("configurations of one limit-count group are equal", () => {
  const limited = (count: number, group?: string): object => ({
    ...route,
    plugins: { "limit-count": { count, time_window: 60, ...(group !== undefined && { group }) } },
  });
  const MISMATCH = "failed to check the configuration of plugin limit-count err: group conf mismatched";

  test("over all records that carry plugins", async () => {
    await world.call("PUT", "/routes/g1", { body: limited(2, "shared") });
    expect((await world.call("PUT", "/routes/g1", { body: limited(3, "shared") })).status).toBe(200);
    expect((await world.call("PUT", "/routes/g2", { body: limited(3, "shared") })).status).toBe(201);
    const other = await world.call("PUT", "/services/g3", {
      body: { plugins: { "limit-count": { count: 4, time_window: 60, group: "shared" } } },
    });
    expect(other).toMatchObject({ status: 400, body: { error_msg: MISMATCH } });
    expect((await world.call("PUT", "/routes/g3", { body: limited(4, "other") })).status).toBe(201);
    expect((await world.call("PUT", "/routes/g4", { body: limited(4) })).status).toBe(201);
    for (const id of ["g1", "g2", "g3", "g4"]) await world.call("DELETE", `/routes/${id}`);
  });
});

describe("a plugin stands in one global rule only", () => {
  test("the second rule is refused, the first may be written again", async () => {
    const body = { plugins: { "request-id": {}, cors: {} } };
    await world.call("PUT", "/global_rules/g1", { body });
    expect((await world.call("PUT", "/global_rules/g1", { body })).status).toBe(200);
    expect(await world.call("PUT", "/global_rules/g2", { body: { plugins: { cors: {} } } })).toMatchObject({
      status: 400,
      body: { error_msg: "plugin 'cors' already exists in global rule with id 'g1'" },
    });
    await world.call("DELETE", "/global_rules/g1");
    expect((await world.call("PUT", "/global_rules/g2", { body: { plugins: { cors: {} } } })).status).toBe(201);
    await world.call("DELETE", "/global_rules/g2");
  });

  test("of several rules at once one gets through", async () => {
    const racing = await openAdminWorld({ store: world.store }); // on a clock that goes: losers wait a moment
    const body = { plugins: { cors: {} } };
    const ids = ["a", "b", "c", "d"];
    const replies = await Promise.all(ids.map((id) => racing.call("PUT", `/global_rules/${id}`, { body })));
    expect(replies.map((reply) => reply.status).sort()).toEqual([201, 400, 400, 400]);
    for (const id of ids) await racing.call("DELETE", `/global_rules/${id}`);
    await racing.close();
  });
});

describe("certificates", () => {
  test("references to private keys are shown by writes", async () => {
    const reference = { cert: "$secret://vault/1/ssl/crt", key: "$secret://vault/1/ssl/key", sni: "a.com" };
    const { body } = await world.call("PUT", "/ssls/ref", { body: reference });
    expect(body.value).toMatchObject(reference);
    await world.call("DELETE", "/ssls/ref");
  });

  test("a key that is not the certificate's is refused, wherever a pair stands", async () => {
    const wrong = { cert: CERTIFICATE, key: OTHER_KEY };
    const good = { cert: CERTIFICATE, key: PRIVATE_KEY };
    const nodes = { "127.0.0.1:1": 1 };
    const tls = { client_cert: CERTIFICATE, client_key: OTHER_KEY };
    const upstream = { type: "roundrobin", scheme: "https", nodes, tls };
    const split = { "traffic-split": { rules: [{ weighted_upstreams: [{ upstream }] }] } };
    const says =
      /the private key does not belong to the certificate \(.*EC.*RSA 2048\): write certificate and key in one/;
    for (const [path, record] of [
      ["/ssls/1", { ...wrong, sni: "a.com" }],
      ["/ssls/1", { ...wrong, type: "client" }],
      ["/ssls/1", { ...good, certs: [CERTIFICATE], keys: [OTHER_KEY], sni: "a.com" }],
      ["/upstreams/1", upstream],
      ["/routes/1", { uri: "/x", upstream }],
      ["/routes/1", { uri: "/x", upstream: { nodes }, plugins: split }],
      ["/services/1", { plugins: split }],
      ["/plugin_configs/1", { plugins: split }],
      ["/global_rules/1", { plugins: split }],
      ["/consumers/split", { username: "split", plugins: split }],
    ] as const) {
      const { status, body } = await world.call("PUT", path, { body: record });
      expect(status).toBe(400);
      expect(body.error_msg).toMatch(says);
      expect(body.error_msg).not.toContain("BEGIN");
    }
    expect((await world.call("PUT", "/ssls/1", { body: { ...good, sni: "a.com" } })).status).toBe(201);
    expect((await world.call("PATCH", "/ssls/1", { body: { key: OTHER_KEY } })).status).toBe(400);
    await world.call("DELETE", "/ssls/1");
  });

  const body = { cert: CERTIFICATE, key: PRIVATE_KEY, certs: [CERTIFICATE], keys: [PRIVATE_KEY], snis: ["a.com"] };
  test("private keys come back from nothing", async () => {
    const replies = [
      await world.call("PUT", "/ssls/1", { body }),
      await world.call("GET", "/ssls/1"),
      await world.call("GET", "/ssls"),
      await world.call("GET", "/ssls?page=1&page_size=10"),
      await world.call("PATCH", "/ssls/1", { body: { snis: ["b.com"] } }),
      await world.call("POST", "/ssls", { body }),
    ];
    for (const { status, text } of replies) {
      expect(status).toBeLessThan(300);
      expect(text).toContain("BEGIN CERTIFICATE");
      expect(text).not.toContain("PRIVATE KEY");
    }
    const [put, get] = replies.map((reply) => reply.body.value);
    expect(put).toMatchObject({ key: "********", keys: ["********"] });
    expect([get.key, get.keys]).toEqual([undefined, undefined]);
    expect((await world.store.get("/apisix/ssls/1")).kv?.value.toString()).toContain("PRIVATE KEY");
    await world.call("DELETE", "/ssls/1");
    await world.call("DELETE", `/ssls/${replies.at(-1)?.body.value.id}`);
  });

  test("a broken certificate is refused without being quoted", async () => {
    const reply = await world.call("PUT", "/ssls/1", { body: { ...body, cert: "x".repeat(200) } });
    expect(reply).toMatchObject({ status: 400, body: { error_msg: expect.stringMatching(/^failed to parse cert: /) } });
  });
});

describe("a viewer sees no secret", () => {
  const viewer = { headers: { "X-API-KEY": VIEWER_KEY } };
  const SECRETS = ["vault-token", "hidden-access", "hmac-secret", "key-auth-key", "basic-pass", "unknown-secret"];

  test("masked in single answers and in lists, references excepted", async () => {
    await world.call("PUT", "/secrets/vault/m", {
      body: { uri: "http://a", prefix: "kv", token: "vault-token", other: "hidden-access" },
    });
    await world.call("PUT", "/secrets/vault/r", { body: { uri: "http://a", prefix: "kv", token: "$ENV://TOKEN" } });
    await world.call("PUT", "/consumers/mask", {
      body: { username: "mask", plugins: { "jwt-auth": { key: "jwt-key", secret: "hmac-secret" } } },
    });
    await world.call("PUT", "/consumers/mask/credentials/k", {
      body: { plugins: { "key-auth": { key: "key-auth-key" } } },
    });
    await world.call("PUT", "/consumers/mask/credentials/b", {
      body: { plugins: { "basic-auth": { username: "u", password: "basic-pass" } } },
    });
    await write(
      world.store,
      put("/apisix/routes/foreign", { ...route, plugins: { "openid-connect": { client_secret: "unknown-secret" } } }),
    );
    const paths = [
      "/secrets",
      "/secrets/vault/m",
      "/consumers",
      "/consumers/mask",
      "/consumers/mask/credentials",
      "/routes",
      "/routes/foreign",
    ];
    for (const path of paths) {
      const reply = await world.call("GET", path, viewer);
      expect(reply.status).toBe(200);
      for (const secret of SECRETS) expect(reply.text).not.toContain(secret);
    }
    expect((await world.call("GET", "/secrets/vault/r", viewer)).body.value.token).toBe("$ENV://TOKEN");
    // An open sign endpoint gives a token to whoever knows the key.
    expect((await world.call("GET", "/consumers/mask", viewer)).body.value.plugins["jwt-auth"].key).toBe("********");
    expect((await world.call("GET", "/consumers/mask")).text).toContain("hmac-secret");
    for (const path of ["/secrets/vault/m", "/secrets/vault/r", "/consumers/mask", "/routes/foreign"])
      await world.call("DELETE", path);
  });

  test("nor one that stands in a list, a header line, a condition or a URL", async () => {
    const plugins = {
      "proxy-rewrite": { headers: { set: { "X-Api-Key": "hidden-1" } } },
      "response-rewrite": {
        headers: { add: ["Authorization: Bearer hidden-2", "X-Team: blue"] },
        vars: [["http_x_token", "==", "hidden-3"]],
      },
      unknown: {
        passwords: ["hidden-4", ["hidden-5"]],
        secret: { any: "hidden-6", n: 1 },
        to: "redis://u:hidden-7@h/0",
      },
    };
    await write(world.store, put("/apisix/routes/listed", { ...route, plugins }));
    const reply = await world.call("GET", "/routes/listed", viewer);
    expect(reply.text).not.toContain("hidden-");
    expect(reply.body.value.plugins).toEqual({
      "proxy-rewrite": { headers: { set: { "X-Api-Key": "********" } } },
      "response-rewrite": {
        headers: { add: ["Authorization: ********", "X-Team: blue"] },
        vars: [["http_x_token", "==", "********"]],
      },
      unknown: { passwords: ["********", ["********"]], secret: { any: "********", n: 1 }, to: "redis://********@h/0" },
    });
    const dry = { body: { ...route, plugins: { ...plugins, unknown: undefined } } };
    expect((await world.call("PUT", "/routes/listed?dry_run=1", dry)).text).not.toContain("hidden-");
    await world.call("DELETE", "/routes/listed");
    expect((await world.call("GET", "/history", viewer)).text).not.toContain("hidden-");
  });
});

describe("a viewer sees no secret that only its name or look tells", () => {
  const viewer = { headers: { "X-API-KEY": VIEWER_KEY } };
  const checks = {
    active: {
      http_path: "/health?api_key=hidden-1&deep=1",
      req_headers: ["Cookie: a=hidden-2", "X-Auth: hidden-3", "X-Team: blue"],
    },
  };
  const upstream = { nodes: { "127.0.0.1:80": 1 }, checks, key: "remote_addr", hash_on: "cookie" };
  const RECORDS: readonly (readonly [string, object])[] = [
    ["upstreams/s", upstream],
    ["services/s", { upstream }],
    [
      "routes/s",
      {
        uri: "/s",
        upstream,
        labels: { auth: "hidden-4" },
        desc: "see https://u:hidden-5@wiki/",
        vars: [["cookie_session", "==", "hidden-6"]],
        plugins: {
          "proxy-rewrite": { uri: "/x?token=hidden-7", headers: { set: { Cookie: "hidden-8", "X-Auth": "hidden-9" } } },
          redirect: { uri: "https://u:hidden-10@h/$1?sig=hidden-11" },
          "limit-count": { count: 1, time_window: 1, key: "remote_addr" },
          "jwt-auth": { cookie: "jwt", header: "authorization" },
          "forward-auth": { uri: "http://h", extra: [{ name: "X-Key", value: "hidden-12" }] },
          "key-auth": "hidden-13",
          body: { text: '{"password":"hidden-14"}' },
        },
      },
    ],
    ["global_rules/s", { plugins: { "http-logger": { auth_header: "hidden-15", uri: "http://h?key=hidden-16" } } }],
    ["plugin_metadata/cors", { headers: { "X-Session": "hidden-17" } }],
    ["consumers/s", { username: "s", plugins: ["hidden-18"] }],
  ];

  test("in the record, in a list, and where the record is no object", async () => {
    await write(world.store, ...RECORDS.map(([path, value]) => put(`/apisix/${path}`, value)));
    await write(world.store, put("/apisix/routes/text", "hidden-19"), put("/apisix/routes/list", ["hidden-20"]));
    for (const path of [...RECORDS.map(([one]) => one), "routes", "routes/text", "routes/list"]) {
      const reply = await world.call("GET", `/${path}`, viewer);
      expect(reply.status).toBe(200);
      expect(reply.text, path).not.toContain("hidden-");
    }
    const shown = (await world.call("GET", "/routes/s", viewer)).body.value;
    expect(shown.upstream).toMatchObject({ key: "remote_addr", hash_on: "cookie" });
    expect(shown.upstream.checks.active).toEqual({
      http_path: "/health?api_key=********&deep=1",
      req_headers: ["Cookie: ********", "X-Auth: ********", "X-Team: blue"],
    });
    expect(shown.plugins["limit-count"].key).toBe("remote_addr");
    expect(shown.plugins["jwt-auth"]).toEqual({ cookie: "jwt", header: "authorization" });
    expect(shown.plugins.redirect.uri).toBe("https://********@h/$1?sig=********");
  });

  test("nor in the history; and what a viewer was shown is no value", async () => {
    expect((await world.call("PUT", "/upstreams/s", { body: upstream })).status).toBe(200);
    expect((await world.call("GET", "/history")).text).not.toContain("hidden-");
    const { create_time, update_time, ...value } = (await world.call("GET", "/upstreams/s", viewer)).body.value;
    expect([create_time, update_time]).toEqual([expect.any(Number), expect.any(Number)]);
    const before = (await world.call("GET", "/upstreams/s")).body.value;
    expect((await world.call("PUT", "/upstreams/s", { body: value })).status).toBe(200);
    expect((await world.call("GET", "/upstreams/s")).body.value).toEqual({
      ...before,
      update_time: expect.any(Number),
    });
    const moved = { ...value, checks: { active: { ...value.checks.active, http_path: "/other?api_key=********" } } };
    expect(await world.call("PUT", "/upstreams/s", { body: moved })).toMatchObject({
      status: 400,
      body: { error_msg: expect.stringContaining("checks.active.http_path is") },
    });
    const written = [...RECORDS.map(([path]) => path), "routes/text", "routes/list"];
    await write(world.store, ...written.map((path) => remove(`/apisix/${path}`)));
  });
});

describe("what others have written", () => {
  test("is shown as it is", async () => {
    await write(world.store, put("/apisix/routes/raw", "not json"), put("/apisix/routes/old", { ...route, future: 1 }));
    expect((await world.call("GET", "/routes/raw")).body.value).toBe("not json");
    expect((await world.call("GET", "/routes")).body.total).toBe(2);
    expect((await world.call("PATCH", "/routes/raw", { body: {} })).status).toBe(400);
    expect((await world.call("PUT", "/routes/raw", { body: route })).status).toBe(200);
    expect((await world.call("PATCH", "/routes/old", { body: { future: null } })).body.value.future).toBeUndefined();
    for (const id of ["raw", "old"]) await world.call("DELETE", `/routes/${id}`);
  });
});

test("the store has placeholders and an identity, and no record is left", async () => {
  const all = await contents(world.store);
  const placeholders = [...all].filter(([key, value]) => key.endsWith("/") && value.startsWith("init_dir@"));
  expect(placeholders.map(([key]) => key)).toEqual(
    [
      "authorization_servers",
      "consumer_groups",
      "consumers",
      "global_rules",
      "plugin_configs",
      "plugin_metadata",
      "plugins",
      "protos",
      "routes",
      "secrets",
      "services",
      "signing_keys",
      "ssls",
      "stream_routes",
      "token_issuers",
      "upstreams",
    ].map((dir) => `/apisix/${dir}/`),
  );
  expect(JSON.parse((await world.store.get("/apisix/jotgate/store")).kv?.value.toString() ?? "")).toMatchObject({
    epoch: 1,
    id: expect.any(String),
  });
  expect([...all.keys()].filter((key) => !key.endsWith("/"))).toEqual(["/apisix/gen_id", "/apisix/jotgate/store"]);
});

test("a second admin changes neither placeholders nor identity", async () => {
  const before = await contents(world.store);
  await (await openAdminWorld({ store: world.store })).close();
  expect(await contents(world.store)).toEqual(before);
});
