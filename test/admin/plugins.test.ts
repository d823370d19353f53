import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world.close());

describe("plugins", () => {
  test("are listed by priority", async () => {
    const want = [
      "request-id",
      "cors",
      "basic-auth",
      "jwt-auth",
      "key-auth",
      "proxy-rewrite",
      "limit-count",
      "traffic-split",
    ];
    expect(await world.call("GET", "/plugins/list")).toMatchObject({ status: 200, body: want });
    expect((await world.call("GET", "/plugins/list?subsystem=http")).body).toEqual(want);
    expect((await world.call("GET", "/plugins/list?subsystem=stream")).body).toEqual([]);
    expect(await world.call("GET", "/plugins/list?subsystem=x")).toMatchObject({
      status: 400,
      text: "invalid subsystem passed",
    });
  });

  test.each(["/plugins/jwt-auth", "/schema/plugins/jwt-auth", "/plugins/jwt-auth?schema_type=other"])(
    "%s is the route schema",
    async (path) => {
      const { body } = await world.call("GET", path);
      expect(body).toMatchObject({
        type: "object",
        properties: { header: { default: "authorization" }, _meta: { properties: { disable: { type: "boolean" } } } },
      });
      expect(JSON.stringify(body)).not.toContain("~kind");
    },
  );

  test.each([
    { path: "/plugins/jwt-auth?schema_type=consumer", status: 200, want: { required: ["key"] } },
    { path: "/plugins/none", status: 404, want: { error_msg: "plugin not found in subsystem http" } },
    { path: "/plugins", status: 404, want: { error_msg: "plugin not found in subsystem http" } },
    { path: "/plugins/cors?schema_type=consumer", status: 400, want: { error_msg: "not found schema" } },
    { path: "/plugins/cors?subsystem=x", status: 400, want: { error_msg: "unsupported subsystem: x" } },
    {
      path: "/plugins/cors?subsystem=stream",
      status: 404,
      want: { error_msg: "plugin not found in subsystem stream" },
    },
    { path: "/plugins?all=true&subsystem=stream", status: 200, want: {} },
  ])("GET $path", async ({ path, status, want }) => {
    expect(await world.call("GET", path)).toMatchObject({ status, body: want });
  });

  test("all at once come with versions, priorities and schemas", async () => {
    const { body } = await world.call("GET", "/plugins?all=true");
    expect(body["jwt-auth"]).toMatchObject({
      priority: 2510,
      type: "auth",
      version: expect.any(Number),
      schema: { type: "object" },
      consumer_schema: { required: ["key"] },
    });
    expect(body["cors"]).toMatchObject({ priority: 4000, schema: { type: "object" } });
    expect(body["cors"].consumer_schema).toBeUndefined();
  });

  test("reloading is done at once, and by PUT alone", async () => {
    expect(await world.call("PUT", "/plugins/reload")).toMatchObject({ status: 200, text: "done" });
    for (const method of ["GET", "POST", "DELETE", "PATCH"]) {
      expect(await world.call(method, "/plugins/reload")).toMatchObject({
        status: 405,
        body: { error_msg: `please use PUT method to reload the plugins, ${method} method is not allowed.` },
      });
    }
  });
});

interface SchemaPart {
  readonly description?: string;
  readonly items?: SchemaPart;
  readonly properties?: Readonly<Record<string, SchemaPart>>;
}
type Schema = Required<Pick<SchemaPart, "properties">>;

describe("schemas", () => {
  test.each([
    "route",
    "service",
    "upstream",
    "consumer",
    "ssl",
    "global_rule",
    "plugin_config",
    "consumer_group",
    "proto",
    "stream_route",
    "credential",
  ])("of %s", async (name) => {
    expect(await world.call("GET", `/schema/${name}`)).toMatchObject({
      status: 200,
      body: { type: "object", properties: { id: {} } },
    });
  });

  test("carry the descriptions that tools show beside their fields", async () => {
    const ssl = (await world.call("GET", "/schema/ssl")).body as Schema;
    const regexes = ssl.properties["client"]?.properties?.["skip_mtls_uri_regex"]?.items;
    expect(regexes?.description).toBe("uri regular expression to skip mtls");
    expect(ssl.properties["status"]?.description).toBe("ssl status, 1 to enable, 0 to disable");
    const route = (await world.call("GET", "/schema/route")).body as Schema;
    expect(route.properties["remote_addr"]?.description).toBe("client IP");
    expect(route.properties["methods"]?.items?.description).toBe("HTTP method");
  });

  test.each(["x", "secret", "toString", "routes", ""])("of %j there is none", async (name) => {
    expect(await world.call("GET", `/schema/${name}`)).toMatchObject({
      status: 400,
      body: { error_msg: `not found schema: ${name}` },
    });
  });
});

describe("validating by schema alone", () => {
  test.each([
    { kind: "routes", body: { uri: "/a", plugins: { none: 1 } }, status: 200, want: undefined },
    {
      kind: "routes",
      body: { uri: 1, plugins: {} },
      status: 400,
      want: 'property "uri" validation failed: wrong type: expected string, got number',
    },
    { kind: "consumers", body: {}, status: 400, want: 'property "username" is required' },
    { kind: "x", body: {}, status: 404, want: "Unsupported resource type: x" },
    { kind: "routes", body: "", status: 400, want: "wrong type: expected object, got nil" },
  ])("$kind $body: $status", async ({ kind, body, status, want }) => {
    const reply = await world.call("POST", `/schema/validate/${kind}`, { body });
    expect(reply.status).toBe(status);
    if (want === undefined) expect(reply.text).toBe("");
    else expect(reply.body).toEqual({ error_msg: want });
  });
});

describe("validating a whole configuration", () => {
  const route = { id: "r1", uri: "/a", upstream: { nodes: { "127.0.0.1:80": 1 } } };
  const errors = async (body: unknown, headers?: Record<string, string>): Promise<unknown> => {
    const reply = await world.call("POST", "/configs/validate", { body, ...(headers && { headers }) });
    if (reply.status === 200) return reply.body;
    expect(reply).toMatchObject({ status: 400, body: { error_msg: "Configuration validation failed" } });
    return reply.body.errors;
  };

  test("a good one has no errors, whether or not what it points to exists", async () => {
    expect(
      await errors({
        routes: [route, { ...route, id: "r2", service_id: "none" }],
        services: [{ id: "s" }],
        upstreams: [{ id: "u", nodes: {} }],
        consumers: [
          { username: "a", plugins: { "jwt-auth": { key: "k" } } },
          { id: "a/credentials/c", plugins: { "key-auth": { key: "x" } } },
        ],
        global_rules: [{ id: "g", plugins: { cors: {} } }],
        plugin_metadata: [{ id: "cors" }],
        secrets: [{ id: "vault/1", uri: "http://a", prefix: "kv", token: "t" }],
        stream_routes: [{ id: "x", server_port: 1 }],
      }),
    ).toEqual({});
  });

  test.each([
    {
      body: { routes: [route, { id: "r2", uri: 1, plugins: {} }] },
      want: [
        {
          resource_type: "routes",
          resource_id: "r2",
          index: 1,
          error: 'invalid configuration: property "uri" validation failed: wrong type: expected string, got number',
        },
      ],
    },
    {
      body: { routes: [route, route] },
      want: [{ resource_type: "routes", resource_id: "r1", index: 1, error: "found duplicate id r1 in routes" }],
    },
    {
      body: { consumers: [{ username: "x" }, { username: "x" }] },
      want: [
        { resource_type: "consumers", resource_id: "x", index: 1, error: "found duplicate username x in consumers" },
      ],
    },
    {
      body: { consumers: [{ username: "x", plugins: { none: {} } }] },
      want: [
        {
          resource_type: "consumers",
          resource_id: "x",
          index: 0,
          error: "invalid plugins configuration: unknown plugin [none]",
        },
      ],
    },
    {
      body: { plugin_metadata: [{ id: "none" }] },
      want: [{ resource_type: "plugin_metadata", resource_id: "none", index: 0, error: "invalid plugin name" }],
    },
    {
      body: { secrets: [{ id: "1" }] },
      want: [{ resource_type: "secrets", resource_id: "1", index: 0, error: "invalid secret id: 1" }],
    },
    {
      body: { routes_conf_version: "1" },
      want: [{ resource_type: "routes", error: "routes_conf_version must be a number, got string" }],
    },
  ])("errors name their place: $want", async ({ body, want }) => {
    expect(await errors(body)).toEqual(want);
  });

  test("all errors are listed", async () => {
    expect(await errors({ routes: [{}, {}], services: [1] })).toHaveLength(3);
  });

  test("YAML is read when it is said to be YAML", async () => {
    const headers = { "Content-Type": "application/yaml" };
    expect(await errors("routes:\n  - id: r\n    uri: /a\n    plugins: {}\n", headers)).toEqual({});
    expect(await errors("routes:\n  - id: r\n    uri: 1\n    plugins: {}\n", headers)).toHaveLength(1);
    const bomb = `a: &a [1]\n${[..."bcdefghi"].map((name, at) => `${name}: &${name} [${`*${"abcdefghi"[at]},`.repeat(9)}]`).join("\n")}\n`;
    const reply = await world.call("POST", "/configs/validate", { body: bomb, headers });
    expect(reply).toMatchObject({ status: 400, body: { error_msg: expect.stringMatching(/^invalid request body: /) } });
  });

  test.each([
    { body: "", want: "invalid request body: empty request body" },
    { body: "{", want: "invalid request body: Expected object key string but found T_END at character 2" },
  ])("$want", async ({ body, want }) => {
    expect((await world.call("POST", "/configs/validate", { body })).body.error_msg).toBe(want);
  });
});
