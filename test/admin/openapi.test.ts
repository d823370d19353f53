/**
 * Our OpenAPI description against real answers: each is checked by what the description says of its path and status.
 */
import { Ajv2020 } from "ajv/dist/2020.js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { keyringCodec } from "../../src/admin/sealing/keyring-codec.ts";
import { systemClock } from "../../src/base/clock.ts";
import { readKeyPair } from "../../src/base/jose/key-pair.ts";
import { openKeyring } from "../../src/base/keyring.ts";
import { silentLog } from "../../src/base/log.ts";
import { Barrier } from "../../src/cluster/barrier.ts";
import { KINDS } from "../../src/model/kinds.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { declaredMembersOf, pluginFieldsOf } from "../../src/runtime/field-opener.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { type AdminWorld, openAdminWorld, type Reply, VIEWER_KEY } from "../support/admin.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { keyOf } from "../support/jwt.ts";
import { openTemporaryStore, put, type TemporaryStore, write } from "../support/stores.ts";

interface Operation {
  readonly operationId: string;
  readonly summary?: string;
  readonly description?: string;
  readonly tags?: readonly string[];
  readonly parameters?: readonly { readonly name: string; readonly in: string }[];
  readonly responses: Readonly<Record<string, Response>>;
}
interface Response {
  readonly content?: { readonly "application/json": { readonly schema: object } };
}
type PathItem = Readonly<Record<string, Operation>> & { readonly parameters?: readonly { readonly name: string }[] };
interface Document {
  readonly openapi: string;
  readonly tags: readonly { readonly name: string; readonly description: string }[];
  readonly paths: Readonly<Record<string, PathItem>>;
  readonly components: { readonly schemas: Readonly<Record<string, object>> };
}

let under: TemporaryStore;
let barrier: Barrier;
let world: AdminWorld;
let document: Document;
let ajv: Ajv2020;

beforeAll(async () => {
  under = await openTemporaryStore();
  const common = { store: under.store, prefix: "/apisix", clock: systemClock, log: silentLog };
  barrier = new Barrier({ ...common, source: under.source });
  barrier.start();
  await write(
    under.store,
    put("/apisix-jotgate/nodes/n1", {
      version: "1",
      address: "a:1",
      startedMs: 1,
      workers: 1,
      applied: "1",
      hash: "h",
    }),
  );
  const registry = openPluginRegistry([jwtAuth, keyAuth]);
  const codec = keyringCodec(
    openKeyring(["0123456789abcdef"], "gcm"),
    pluginFieldsOf(registry),
    "/apisix",
    declaredMembersOf(registry),
  );
  world = await openAdminWorld({ store: under.store, barrier, codec });
  document = (await world.call("GET", "/openapi.json")).body;
  ajv = new Ajv2020({ strict: false, unicodeRegExp: false, formats: { ipv4: true, ipv6: true } });
  ajv.addSchema(document, "api");
});
afterAll(async () => {
  await barrier.stop();
  await world.close();
  await under.stop();
});

const METHODS = ["get", "put", "post", "patch", "delete"];
const operations = (): [string, string, Operation][] =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method): [string, string, Operation][] => (item[method] ? [[path, method, item[method]]] : [])),
  );

/** The described path that a real one is, the most literal one. */
function templateOf(path: string): string | undefined {
  const parts = (path.split("?")[0] ?? "").split("/");
  const fits = (template: string): boolean => {
    const names = template.split("/");
    if (names.at(-1) === "{path}" && parts.length > names.length)
      names.push(...Array(parts.length - names.length).fill("{path}"));
    return names.length === parts.length && names.every((name, at) => name.startsWith("{") || name === parts[at]);
  };
  const literal = (template: string): number => template.split("/").filter((name) => !name.startsWith("{")).length;
  return Object.keys(document.paths)
    .filter(fits)
    .sort((a, b) => literal(b) - literal(a))[0];
}

const seen = new Set<string>();

/** Calls, and holds the answer to its description. */
async function call(method: string, path: string, body?: unknown, headers = {}): Promise<Reply> {
  const reply = await world.call(method, path, { body, headers });
  const template = templateOf(path);
  const operation = template === undefined ? undefined : document.paths[template]?.[method.toLowerCase()];
  expect(operation, `${method} ${path} is described`).toBeDefined();
  const response = operation?.responses[reply.status];
  expect(response, `${method} ${path}: ${reply.status} is described: ${reply.text}`).toBeDefined();
  seen.add(operation?.operationId ?? "");
  if (!response?.content) {
    expect(typeof reply.body === "object", `${method} ${path}: no body is described`).toBe(false);
    return reply;
  }
  const [type = ""] = Object.keys(response.content);
  if (type !== "application/json") {
    expect(reply.headers["content-type"]).toContain(type);
    return reply;
  }
  const pointer = [
    "paths",
    template ?? "",
    method.toLowerCase(),
    "responses",
    String(reply.status),
    "content",
    "application/json",
    "schema",
  ];
  const $ref = `api#/${pointer.map((part) => encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1"))).join("/")}`;
  const check = ajv.compile({ $ref });
  expect(check(reply.body), `${method} ${path}: ${reply.text}\n${ajv.errorsText(check.errors)}`).toBe(true);
  return reply;
}

const nodes = { "127.0.0.1:80": 1 };
const OWN_KEY = keyOf("ES256").conf.private_key ?? "";
const OWN_KID = readKeyPair("ES256", OWN_KEY).kid;
const RECORDS: readonly (readonly [string, object])[] = [
  ["/upstreams/1", { nodes, tls: { client_cert: CERTIFICATE, client_key: PRIVATE_KEY } }],
  ["/services/1", { upstream: { nodes }, hosts: ["a.test"] }],
  [
    "/routes/1",
    { uri: "/a", service_id: "1", plugins: { "jwt-auth": {} }, labels: { a: "b" }, vars: [["arg_a", "==", "1"]] },
  ],
  ["/consumer_groups/1", { plugins: { "limit-count": { count: 1, time_window: 1 } } }],
  ["/consumers/jack", { username: "jack", group_id: "1", plugins: { "jwt-auth": { key: "k", secret: "$ENV://S" } } }],
  ["/consumers/jack/credentials/1", { plugins: { "key-auth": { key: "k" } } }],
  ["/plugin_configs/1", { plugins: { cors: {} } }],
  ["/global_rules/1", { plugins: { "request-id": {} } }],
  ["/plugin_metadata/cors", { a: 1 }],
  ["/secrets/vault/1", { uri: "$ENV://VAULT", prefix: "kv", token: "t" }],
  ["/ssls/1", { sni: "a.test", cert: CERTIFICATE, key: PRIVATE_KEY }],
  ["/protos/1", { content: 'syntax = "proto3";' }],
  ["/token_issuers/1", { issuer: "https://id.example", consumer_claim: "/realm/x", bearer_token: "t" }],
  ["/authorization_servers/1", { issuer: "https://auth.example" }],
  [`/signing_keys/1/${OWN_KID}`, { algorithm: "ES256", private_key: OWN_KEY }],
  ["/stream_routes/1", { server_port: 9100, upstream: { nodes } }],
];

const WARNING_WRITES: readonly (readonly [string, string])[] = [
  ["/routes/{id}", "put"],
  ["/routes/{id}", "delete"],
  ["/history/{revision}/rollback", "post"],
  ["/consumers/{username}/rotate", "post"],
  ["/authorization_servers/{id}/rotate", "post"],
];

describe("the description", () => {
  test("is OpenAPI 3.1 in which everything named exists, once", () => {
    expect(document.openapi).toBe("3.1.0");
    const text = JSON.stringify(document);
    for (const [, name = ""] of text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)) {
      expect(document.components.schemas, name).toHaveProperty([name]);
    }
    const ids = operations().map(([, , { operationId }]) => operationId);
    expect(new Set(ids).size).toBe(ids.length);
    for (const [path] of operations()) {
      const named = (document.paths[path]?.parameters ?? []).map(({ name }) => name);
      expect(named).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]));
    }
  });

  test("has what linters and generators of clients ask for: summaries, tags, items, no members that OpenAPI lacks", () => {
    const tags = document.tags.map(({ name }) => name);
    expect(new Set(tags).size).toBe(tags.length);
    for (const { name, description } of document.tags) expect(description, name).toMatch(/\.$/);
    for (const [path, method, operation] of operations()) {
      for (const text of [operation.summary, operation.description]) expect(text, `${method} ${path}`).toMatch(/\.$/);
      expect(operation.tags, `${method} ${path}`).not.toEqual([]);
      for (const tag of operation.tags ?? []) expect(tags).toContain(tag);
    }
    const walk = (value: unknown, at: string): void => {
      if (typeof value !== "object" || value === null) return;
      const members = value as Readonly<Record<string, unknown>>;
      if (members["type"] === "array") expect(members["items"], at).toBeDefined();
      expect(Array.isArray(members["encrypt_fields"]), at).toBe(false);
      for (const [name, member] of Object.entries(members)) walk(member, `${at}/${name}`);
    };
    walk(document, "");
  });

  test("says what members of plugins mean, which /schema leaves away: clients compare it with APISIX's", async () => {
    const described = document.components.schemas["Plugin_limit-count"] as {
      readonly properties: Readonly<Record<string, { readonly description?: string }>>;
    };
    const plain = (await world.call("GET", "/schema/plugins/limit-count")).body;
    for (const name of Object.keys(plain.properties).filter((one) => one !== "_meta"))
      expect(described.properties[name]?.description, name).toMatch(/\w/);
    expect(plain.properties.count.description).toBeUndefined();
  });

  test("gives the answer of a write one shape, dry run or not, and names the header of its warnings", () => {
    const resolved = (schema: Readonly<Record<string, unknown>> = {}): object => {
      const name = String(schema["$ref"] ?? "").replace("#/components/schemas/", "");
      return name === "" ? schema : (document.components.schemas[name] ?? {});
    };
    for (const [path, method, { parameters = [], responses }] of operations()) {
      if (!parameters.some(({ name }) => name === "dry_run")) continue;
      const schema = resolved(responses["200"]?.content?.["application/json"].schema as Record<string, unknown>);
      expect(schema, `${method} ${path}`).toMatchObject({ type: "object", properties: { dry_run: { const: true } } });
    }
    for (const [path, method] of WARNING_WRITES)
      expect(document.paths[path]?.[method]?.responses["200"], `${method} ${path}`).toHaveProperty("headers.Warning");
  });

  test("every schema of it compiles", () => {
    for (const name of Object.keys(document.components.schemas)) {
      const $ref = `api#/components/schemas/${encodeURIComponent(name)}`;
      expect(() => ajv.compile({ $ref }), name).not.toThrow();
    }
  });

  test("what it says may be written is written, and what it refuses is refused", async () => {
    const route = ajv.compile({ $ref: "api#/components/schemas/Route" });
    for (const [body, fine] of [
      [{ uri: "/x", upstream: { nodes } }, true],
      [{ uri: "/x", upstream: { nodes }, plugins: { "limit-count": { count: 1, time_window: 1 } } }, true],
      [{ uri: "/x", upstream: { nodes }, plugins: { "limit-count": { count: 0, time_window: 1 } } }, false],
      [{ uri: 1, upstream: { nodes } }, false],
      [{ uri: "/x", nope: 1, upstream: { nodes } }, false],
    ] as const) {
      expect(route(body)).toBe(fine);
      expect((await world.call("PUT", "/routes/x?dry_run=1", { body })).status).toBe(fine ? 200 : 400);
    }
  });

  test("is for those who have a key, viewers too", async () => {
    expect((await world.call("GET", "/openapi.json", { headers: { "X-API-KEY": undefined } })).status).toBe(401);
    expect((await world.call("GET", "/openapi.json", { headers: { "X-API-KEY": VIEWER_KEY } })).status).toBe(200);
  });
});

test("nothing that is described, and nothing beside it, answers without a key", async () => {
  const described = operations().map(
    ([path, method]) => [method.toUpperCase(), path.replace(/\{\w+\}/g, "x")] as const,
  );
  const others = [
    ...["POST", "PUT", "PATCH", "DELETE", "HEAD", "TRACE"].map((method) => [method, "/history"] as const),
    ...["/nodes/", "/openapi.json/", "//apisix/admin", "//apisix/adminx", "/%2e%2e/nodes"].map(
      (path) => ["GET", path] as const,
    ),
  ];
  for (const [method, path] of [...described, ...others]) {
    const reply = await world.call(method, path, { headers: { "X-API-KEY": undefined } });
    expect(reply.status, `${method} ${path}`).toBe(401);
  }
});

describe("real answers are as described", () => {
  test.each(RECORDS)("%s", async (path, body) => {
    const nested = ["/secrets", "/signing_keys"].find((dir) => path.startsWith(dir));
    const list = nested ?? path.slice(0, path.lastIndexOf("/"));
    const total = path.startsWith("/signing_keys") ? 2 : 1; // its server has made one
    expect((await call("PUT", `${path}?dry_run=1`, body)).status).toBe(200);
    expect((await call("PUT", path, body)).status).toBe(201);
    expect((await call("PUT", path, body)).status).toBe(200);
    expect((await call("PUT", `${path}?wait=all&timeout=50ms`, body)).status).toBe(202);
    expect((await call("PUT", path, body, { "If-Match": '"1"' })).status).toBe(412);
    expect((await call("PUT", path, { nope: [] })).status).toBe(path.includes("metadata") ? 200 : 400);
    await call("PUT", path, body);
    for (const key of [undefined, VIEWER_KEY]) {
      const headers = key === undefined ? {} : { "X-API-KEY": key };
      expect((await call("GET", path, undefined, headers)).status).toBe(200);
      expect((await call("GET", list, undefined, headers)).body.total).toBe(total);
    }
    expect((await call("GET", `${list}?page=1&page_size=10`)).body.total).toBe(total);
    expect((await call("GET", `${path.slice(0, path.lastIndexOf("/"))}/none`)).status).toBe(404);
    expect((await call("GET", path, undefined, { "X-API-KEY": "wrong" })).status).toBe(401);
  });

  test.each([
    "/routes/1",
    "/services/1",
    "/upstreams/1",
    "/plugin_configs/1",
    "/consumer_groups/1",
    "/global_rules/1",
    "/ssls/1",
    "/secrets/vault/1",
    "/token_issuers/1",
    "/authorization_servers/1",
  ])("PATCH %s", async (path) => {
    const body = path.startsWith("/secrets")
      ? { prefix: "kv2" }
      : path.startsWith("/global")
        ? { plugins: {} }
        : { labels: { x: "y" } };
    const patch = path.startsWith("/consumer_groups") ? { desc: "x" } : body;
    expect((await call("PATCH", path, patch)).status).toBe(200);
    const [name, value] = Object.entries(patch)[0] as [string, unknown];
    expect((await call("PATCH", `${path}/${name}`, JSON.stringify(value))).status).toBe(200);
  });

  test.each(["routes", "services", "upstreams", "ssls", "protos", "stream_routes", "token_issuers"])(
    "POST and named PUT of %s",
    async (dir) => {
      const [one, body] = RECORDS.find(([path]) => path.startsWith(`/${dir}/`)) ?? ["", {}];
      if (dir === "token_issuers") await call("DELETE", one); // an iss belongs to one record
      const { status, body: answer } = await call("POST", `/${dir}`, body);
      expect(status).toBe(201);
      if (dir === "token_issuers") await call("DELETE", `/${dir}/${answer.value.id}`);
      expect((await call("PUT", `/${dir}`, { id: "named", ...body })).status).toBe(201);
      await call("DELETE", `/${dir}/named`);
      await call("DELETE", `/${dir}/${answer.value.id}`);
      if (dir === "token_issuers") await call("PUT", one, body);
    },
  );

  test("of authorization servers and the rotation of their keys", async () => {
    const body = { issuer: "https://named.example" };
    expect((await call("PUT", "/authorization_servers", { id: "named", ...body })).status).toBe(201);
    expect((await call("POST", "/authorization_servers/named/rotate?dry_run=1")).status).toBe(200);
    expect((await call("POST", "/authorization_servers/named/rotate")).status).toBe(200);
    expect((await call("POST", "/authorization_servers/named/rotate?emergency=1")).status).toBe(200);
    expect((await call("POST", "/authorization_servers/none/rotate")).status).toBe(404);
    expect((await call("DELETE", "/authorization_servers/named")).status).toBe(200);
  });

  test("of what stands beside the records", async () => {
    await call("PUT", "/consumers", { username: "named" });
    await call("PUT", "/consumer_groups", { id: "named", plugins: {} });
    await call("PUT", "/plugin_configs", { id: "named", plugins: {} });
    await call("PUT", "/global_rules", { id: "named", plugins: {} });
    await call("PUT", "/consumers/jack/credentials", { id: "named", plugins: {} });
    await call("GET", "/usage?unused_since=1h");
    expect((await call("GET", "/consumers/jack/credentials/named?usage=1")).body.usage.last_used).toBeNull();
    await call("GET", "/plugins/list");
    await call("GET", "/plugins?all=true");
    await call("GET", "/plugins/cors");
    await call("PUT", "/plugins/reload");
    await call("GET", "/schema/route");
    await call("GET", "/schema/plugins/jwt-auth?schema_type=consumer");
    await call("POST", "/schema/validate/routes", { uri: "/a", upstream: { nodes } });
    await call("POST", "/configs/validate", { routes: [] });
    await call("POST", "/configs/validate", { routes: [{}] });
    const exported = (await call("GET", "/configs/export?masked=1")).text.trim().split("\n");
    expect(JSON.parse(exported.at(-1) ?? "")).toMatchObject({ end: true, records: exported.length - 1 });
    expect((await call("POST", "/configs/export", { key: "short" })).status).toBe(400);
    expect((await call("POST", "/configs/export", { key: "k".repeat(43) })).text).toContain('"end":true');
    await call("GET", "/nodes");
    expect((await call("GET", "/whoami")).body).toMatchObject({ role: "admin", prefix: "/apisix" });
    expect((await call("GET", "/overview")).body.silent).toEqual(["n1"]);
    expect((await call("GET", "/problems")).body.silent).toEqual(["n1"]);
    for (const view of ["config", "status", "metrics", "healthcheck", "problems", "issuers"])
      await call("GET", `/nodes/n1/${view}`);
    expect((await call("POST", "/explain", { route: "r1" })).status).toBe(502); // nobody listens there
    expect((await call("POST", "/explain", { route: "" })).status).toBe(400);
    expect((await call("GET", "/refusals")).body.silent).toEqual(["n1"]);
    await call("GET", "/nodes/n1/refusals");
    expect((await call("GET", "/token_issuers/1/status")).body.nodes).toMatchObject([{ id: "n1", age: null }]);
    await call("POST", "/token_issuers/1/refresh?dry_run=1");
    expect((await call("POST", "/token_issuers/1/refresh?wait=all&timeout=50ms")).status).toBe(202);
    expect((await call("POST", "/token_issuers/1/refresh")).status).toBe(200);
    expect((await call("POST", "/token_issuers/none/refresh")).status).toBe(404);
    await call("GET", "/store");
    await call("POST", "/store/epoch?dry_run=1");
    await call("POST", "/store/epoch");
    await write(under.store, put("/apisix/secrets/vault/plain", { uri: "http://v", prefix: "kv", token: "plain" }));
    expect((await call("POST", "/encryption/reseal?dry_run=1")).body.resealed).toBe(1);
    expect((await call("POST", "/encryption/reseal")).body.resealed).toBe(1);
    const { list } = (await call("GET", "/history?page_size=500")).body;
    const { revision } = list[5];
    await call("GET", `/history/${revision}`);
    await call("POST", `/history/${revision}/rollback?dry_run=1`);
    await call("POST", `/history/${revision}/rollback?key=routes/1`);
    await call("POST", "/history/1/rollback");
    await call("GET", "/openapi.json");
  });

  test("of revocations", async () => {
    const exp = Math.floor(Date.now() / 1_000) + 60;
    const all = [
      { consumer: "jack", reason: "r" },
      { issuer: "i", kid: "k" },
      { issuer: "i", jti: "j", exp },
    ];
    await call("POST", "/revocations?dry_run=1", [...all, { consumer: "nobody" }]);
    const { rules } = (await call("POST", "/revocations", all)).body;
    expect((await call("POST", "/revocations?wait=all&timeout=50ms", { issuer: "i", subject: "s" })).status).toBe(202);
    expect((await call("POST", "/revocations", { jti: "j" })).status).toBe(400);
    expect((await call("POST", "/revocations/check", { issuer: "i", jti: "j", exp })).body.revoked).toBe(true);
    await call("GET", "/revocations");
    await call("GET", "/history");
    await call("GET", `/revocations/${rules[0].name}`);
    await call("DELETE", `/revocations/${rules[0].name}?dry_run=1`);
    await call("DELETE", `/revocations/${rules[0].name}`);
    expect((await call("GET", `/revocations/${rules[0].name}`)).status).toBe(404);
  });

  test("of rotations", async () => {
    const conf = { plugins: { "jwt-auth": { key: "rotated", secret: "0123456789abcdef0123456789abcdef" } } };
    await call("PUT", "/consumers/jack/credentials/rotated", conf);
    expect((await call("POST", "/consumers/jack/credentials/rotated/rotate?dry_run=1")).status).toBe(200);
    expect((await call("POST", "/consumers/jack/credentials/rotated/rotate")).status).toBe(200);
    expect((await call("POST", "/consumers/jack/credentials/rotated/token", { lifetime: 60 })).status).toBe(200);
    expect((await call("POST", "/consumers/jack/credentials/rotated/token", { lifetime: 0 })).status).toBe(400);
    expect((await call("POST", "/consumers/jack/credentials/none/token")).status).toBe(404);
    expect((await call("POST", "/consumers/jack/token", { claims: [] })).status).toBe(400);
    expect((await call("POST", "/consumers/jack/credentials/rotated/rotate?wait=all&timeout=50ms")).status).toBe(202);
    expect((await call("POST", "/consumers/jack/rotate?overlap=x")).status).toBe(400);
    expect((await call("POST", "/consumers/nobody/rotate")).status).toBe(404);
    await call("DELETE", "/consumers/jack/credentials/rotated");
  });

  test("of deletions", async () => {
    for (const [path] of [...RECORDS].reverse()) {
      expect((await call("DELETE", `${path}?dry_run=1&force=true`)).status).toBe(200);
      expect((await call("DELETE", `${path}?force=true`)).status).toBe(200);
      expect((await call("DELETE", `${path}?force=true`)).status).toBe(404);
    }
  });

  test("no operation is described that was not called", () => {
    expect(
      operations()
        .map(([, , { operationId }]) => operationId)
        .filter((id) => !seen.has(id)),
    ).toEqual([]);
  });

  test("every kind has its schemas", () => {
    const names = Object.keys(document.components.schemas);
    for (const kind of Object.keys(KINDS)) {
      const title = kind.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
      expect(names).toEqual(
        expect.arrayContaining([title, `Stored${title}`, `${title}Answer`, `${title}Entry`, `${title}List`]),
      );
    }
  });
});
