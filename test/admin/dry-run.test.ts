/**
 * Dry runs: what a write would change, what is wrong or suspicious about it; and that nothing is ever written.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compileIpSet, METADATA_ADDRESSES } from "../../src/base/net/ip.ts";
import { accessToken } from "../../src/plugins/access-token/access-token.ts";
import { authorizationServer } from "../../src/plugins/authorization-server/authorization-server.ts";
import { consumerRestriction } from "../../src/plugins/consumer-restriction.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { limitCount } from "../../src/plugins/limit-count.ts";
import { mocking } from "../../src/plugins/mocking.ts";
import { multiAuth } from "../../src/plugins/multi-auth.ts";
import { openidConnect } from "../../src/plugins/openid-connect/openid-connect.ts";
import { publicApi } from "../../src/plugins/public-api.ts";
import { trafficSplit } from "../../src/plugins/traffic-split.ts";
import { type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";

const plugins = [
  accessToken,
  authorizationServer,
  jwtAuth,
  keyAuth,
  multiAuth,
  openidConnect,
  publicApi,
  mocking,
  limitCount,
  trafficSplit,
  consumerRestriction,
];
const nodes = { "127.0.0.1:80": 1 };
const upstream = { type: "roundrobin", nodes };
const auth = { "jwt-auth": {} };
const bearer = { discovery: "http://id.example/d", client_id: "a", client_secret: "s", bearer_only: true };

/** The configuration that the bad ideas below meet. */
const STANDING: readonly (readonly [string, object])[] = [
  ["/upstreams/u1", upstream],
  ["/services/guarded", { plugins: auth, upstream }],
  ["/services/hosted", { hosts: ["svc.test"], upstream }],
  ["/plugin_configs/guard", { plugins: auth }],
  ["/consumers/jack", { username: "jack", plugins: { "jwt-auth": { key: "jack-key", secret: "s1" } } }],
  [
    "/consumers/vera",
    { username: "vera", plugins: { "jwt-auth": { key: "$secret://vault/1/vera/key", secret: "s2" } } },
  ],
  ["/authorization_servers/main", { issuer: "https://auth.example" }],
  ["/token_issuers/idp", { issuer: "https://idp.example" }],
  ["/routes/tokens", { uri: "/tokens", plugins: { "access-token": { issuers: ["idp"], audiences: ["a"] } }, upstream }],
  ["/secrets/vault/1", { uri: "http://127.0.0.1:8200", prefix: "kv", token: "t" }],
  ["/routes/api", { uri: "/api/*", plugins: auth, upstream, labels: { kept: "1" } }],
  ["/routes/admin", { uri: "/admin", plugins: auth, upstream }],
  ["/routes/shop", { uri: "/shop/*", host: "shop.test", plugins: auth, upstream }],
  ["/routes/by-service", { uri: "/svc/*", service_id: "guarded" }],
  ["/routes/by-config", { uri: "/cfg/*", plugin_config_id: "guard", upstream }],
  ["/routes/first", { uri: "/first", priority: 10, upstream }],
  ["/routes/wide", { uri: "/wide/*", priority: 10, upstream }],
  ["/routes/get", { uri: "/get", methods: ["GET"], priority: 10, upstream }],
  ["/routes/local", { uri: "/local", remote_addrs: ["127.0.0.0/8"], priority: 10, upstream }],
  ["/routes/when", { uri: "/when", vars: [["arg_v", "==", "1"]], priority: 10, upstream }],
  ["/routes/any-host", { uri: "/everywhere/*", host: "*", upstream }],
  ["/routes/named", { uri: "/named", host: "a.test", priority: 10, upstream }],
  ["/routes/low", { uri: "/low", upstream }],
  ["/routes/uses-u1", { uri: "/u1", upstream_id: "u1" }],
  [
    "/routes/only-jack",
    { uri: "/jack", plugins: { ...auth, "consumer-restriction": { whitelist: ["jack"] } }, upstream },
  ],
];

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld({ plugins, isAddressDenied: compileIpSet(METADATA_ADDRESSES) });
  for (const [path, body] of STANDING) {
    const reply = await world.call("PUT", path, { body });
    if (reply.status !== 201) throw new Error(`${path}: ${reply.text}`);
  }
});
afterAll(() => world.close());

const headOf = async (): Promise<bigint> => (await world.store.get("/none")).revision;

interface Idea {
  readonly says: string;
  readonly method?: string;
  readonly path: string;
  readonly body?: object;
  /** A text of the refusal, or the code of the warning and what its message names. */
  readonly want: string | readonly [string, RegExp];
}

const put = (says: string, path: string, body: object, want: Idea["want"]): Idea => ({ says, path, body, want });

const REFUSED: readonly Idea[] = [
  put("a route without a path", "/routes/n", { upstream }, "invalid configuration"),
  put("a route with a path twice", "/routes/n", { uri: "/a", uris: ["/b"], upstream }, "invalid configuration"),
  put("a route that leads nowhere at all", "/routes/n", { uri: "/a" }, "invalid configuration"),
  put("an unknown member", "/routes/n", { uri: "/a", upstreams: 1, upstream }, "additional properties forbidden"),
  put("an unknown plugin", "/routes/n", { uri: "/a", plugins: { nope: {} }, upstream }, "unknown plugin [nope]"),
  put(
    "an issuer of tokens that is missing",
    "/routes/n",
    { uri: "/a", plugins: tokens({}), upstream },
    "issuer id [9]",
  ),
  put(
    "an issuer of tokens that is missing inside multi-auth",
    "/routes/n",
    { uri: "/a", plugins: { "multi-auth": { auth_plugins: [{ "key-auth": {} }, tokens({})] } }, upstream },
    "issuer id [9]",
  ),
  put("a plugin's own schema", "/routes/n", { uri: "/a", plugins: { "limit-count": {} } }, "limit-count err"),
  put("an unknown operator", "/routes/n", { uri: "/a", vars: [["a", "=", 1]], upstream }, "invalid operator '='"),
  put("an upstream that is missing", "/routes/n", { uri: "/a", upstream_id: "9" }, "upstream id [9]"),
  put("a service that is missing", "/routes/n", { uri: "/a", service_id: "9" }, "service id [9]"),
  put("a plugin config that is missing", "/routes/n", { uri: "/a", plugin_config_id: "9", upstream }, "[9]"),
  put("a port beyond ports", "/upstreams/n", { nodes: { "a:99999": 1 } }, "invalid port 99999"),
  put("an unknown balancer", "/upstreams/n", { type: "random", nodes }, '"type" validation failed'),
  put("chash without a key", "/upstreams/n", { type: "chash", nodes }, "missing key"),
  put("rewriting to no host", "/upstreams/n", { pass_host: "rewrite", nodes }, "upstream_host"),
  put("a key of somebody else", "/consumers/n", consumer("n", "jack-key"), "duplicate key of plugin jwt-auth"),
  put("another name in the path", "/consumers/m", { username: "n" }, "wrong username"),
  put("a consumer group that is missing", "/consumers/n", { username: "n", group_id: "9" }, "[9]"),
  put("a certificate that is none", "/ssls/n", { sni: "a.test", cert: "x".repeat(200), key: "y".repeat(200) }, "cert"),
  put("times of the client's", "/routes/n", { uri: "/a", upstream, create_time: 1 }, "forbidden:  create_time"),
  put("an id that disagrees", "/routes/n", { id: "m", uri: "/a", upstream }, "wrong route id"),
  { says: "an upstream that is used", method: "DELETE", path: "/upstreams/u1", want: "can not delete this upstream" },
  { says: "a service that is used", method: "DELETE", path: "/services/guarded", want: "is still using it" },
  { says: "a patch that breaks a record", method: "PATCH", path: "/routes/api", body: { uri: 7 }, want: "wrong type" },
];

function tokens(conf: object): object {
  return { "access-token": { issuers: ["9"], audiences: ["a"], ...conf } };
}

function consumer(username: string, key: string): object {
  return { username, plugins: { "jwt-auth": { key, secret: "s".repeat(32) } } };
}

const open = { upstream };
const SUSPICIOUS: readonly Idea[] = [
  put("an equal path of lower priority", "/routes/n", { uri: "/first", ...open }, ["route_unreachable", /first/]),
  put("an equal prefix of lower priority", "/routes/n", { uri: "/wide/*", ...open }, ["route_unreachable", /wide/]),
  put("a narrower pattern behind its prefix", "/routes/n", { uri: "/wide/*/x", ...open }, [
    "route_unreachable",
    /wide/,
  ]),
  put("a path that came later", "/routes/n", { uri: "/low", ...open }, ["route_unreachable", /low/]),
  put("fewer methods behind more", "/routes/n", { uri: "/first", methods: ["GET"], ...open }, [
    "route_unreachable",
    /./,
  ]),
  put("the same method twice", "/routes/n", { uri: "/get", methods: ["GET"], ...open }, ["route_unreachable", /get/]),
  put("the same addresses", "/routes/n", { uri: "/local", remote_addrs: ["127.0.0.0/8"], ...open }, [
    "route_unreachable",
    /local/,
  ]),
  put("the same conditions", "/routes/n", { uri: "/when", vars: [["arg_v", "==", "1"]], ...open }, [
    "route_unreachable",
    /when/,
  ]),
  put("a path behind a route of every host", "/routes/n", { uri: "/everywhere/x", ...open }, [
    "route_unreachable",
    /any/,
  ]),
  put("the same host", "/routes/n", { uri: "/named", host: "A.test", ...open }, ["route_unreachable", /named/]),
  put("every path of several", "/routes/n", { uris: ["/first", "/low"], ...open }, ["route_unreachable", /first/]),
  put("a route that hides another", "/routes/n", { uri: "/low", priority: 5, ...open }, [
    "route_unreachable",
    /route n/,
  ]),
  put("an open route before a guarded one", "/routes/n", { uri: "/admin", priority: 1, ...open }, [
    "unprotected_route_first",
    /all requests of route admin/,
  ]),
  put("an open exact path inside a guarded prefix", "/routes/n", { uri: "/api/health", ...open }, [
    "unprotected_route_first",
    /some requests of route api/,
  ]),
  put("an open longer prefix inside a guarded one", "/routes/n", { uri: "/api/v2/*", ...open }, [
    "unprotected_route_first",
    /some requests of route api/,
  ]),
  put("an open route of a more particular host", "/routes/n", { uri: "/*", host: "x.test", ...open }, [
    "unprotected_route_first",
    /route api/,
  ]),
  put("an open route before a guarded service", "/routes/n", { uri: "/svc/a", ...open }, [
    "unprotected_route_first",
    /by-service/,
  ]),
  put("an open route before a guarded plugin config", "/routes/n", { uri: "/cfg/a", ...open }, [
    "unprotected_route_first",
    /by-config/,
  ]),
  put(
    "a guard that is switched off",
    "/routes/n",
    { uri: "/api/x", plugins: { "jwt-auth": { _meta: { disable: true } } }, ...open },
    ["unprotected_route_first", /route api/],
  ),
  put("a guarded route behind an open one", "/routes/n", { uri: "/first", methods: ["PUT"], plugins: auth, upstream }, [
    "route_unreachable",
    /first/,
  ]),
  put("a guarded prefix behind an open path", "/routes/n", { uri: "/firs*", plugins: auth, upstream }, [
    "unprotected_route_first",
    /some requests of route n/,
  ]),
  put("an open signing endpoint", "/routes/n", { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } }, [
    "sign_endpoint_open",
    /token/,
  ]),
  put(
    "an open signing endpoint at another path",
    "/routes/n",
    { uri: "/sign", plugins: { "public-api": { uri: "/apisix/plugin/jwt/sign" } } },
    ["sign_endpoint_open", /token/],
  ),
  put("an open signing endpoint under a prefix", "/routes/n", { uri: "/apisix/*", plugins: { "public-api": {} } }, [
    "sign_endpoint_open",
    /token/,
  ]),
  put("a plugin nobody has a credential of", "/routes/n", { uri: "/k", plugins: { "key-auth": {} }, upstream }, [
    "nobody_can_pass",
    /key-auth/,
  ]),
  put(
    "a token endpoint where secrets can be guessed",
    "/routes/n",
    { uri: "/oauth2/*", plugins: { "authorization-server": { id: "main" } } },
    ["token_endpoint_open_to_guessing", /limit-req/],
  ),
  put(
    "a token endpoint at another path",
    "/routes/n",
    { uri: "/token", plugins: { "public-api": { uri: "/apisix/plugin/authorization-server/main/token" } } },
    ["token_endpoint_open_to_guessing", /limit-req/],
  ),
  put(
    "a token endpoint under a prefix",
    "/routes/n",
    { uri: "/apisix/plugin/authorization-server/main/*", plugins: { "public-api": {} } },
    ["token_endpoint_open_to_guessing", /limit-req/],
  ),
  put(
    "access tokens for anybody",
    "/routes/n",
    {
      uri: "/k",
      plugins: tokens({ issuers: ["idp"], audiences: undefined, skip_audience_check: true, consumer_by: "none" }),
      upstream,
    },
    ["audience_unchecked", /audiences/],
  ),
  put(
    "id tokens on a route that wants no scope",
    "/routes/n",
    { uri: "/k", plugins: tokens({ issuers: ["idp"] }), upstream },
    ["id_tokens_accepted", /id tokens of idp/],
  ),
  put(
    "an issuer that no credential names",
    "/routes/n",
    { uri: "/k", plugins: tokens({ issuers: ["idp"], any_scopes: ["r"] }), upstream },
    ["issuer_without_consumers", /begins with "idp\/"/],
  ),
  put(
    "a credential of an issuer that is not there",
    "/consumers/n",
    { username: "n", plugins: { "access-token": { identity: "nope/a" } } },
    ["dangling_reference", /points to token_issuer nope/],
  ),
  put(
    "an issuer of APISIX's plugin over http, believed whoever it is",
    "/routes/n",
    { uri: "/k", plugins: { "openid-connect": { ...bearer, ssl_verify: false } }, upstream },
    ["keys_over_http", /plugins.openid-connect: .*over http/],
  ),
  put(
    "an issuer of APISIX's plugin at a denied address",
    "/routes/n",
    {
      uri: "/k",
      plugins: { "openid-connect": { ...bearer, introspection_endpoint: "https://169.254.169.254/i" } },
      upstream,
    },
    ["address_denied", /169\.254\.169\.254/],
  ),
  put("keys at a denied address", "/token_issuers/n", { issuer: "n", jwks_uri: "https://[fd00:ec2::254]/keys" }, [
    "address_denied",
    /fd00:ec2::254/,
  ]),
  put("an upstream without nodes", "/upstreams/n", { nodes: {} }, ["upstream_without_nodes", /no nodes/]),
  put("an upstream whose nodes weigh nothing", "/upstreams/n", { nodes: { "a:80": 0 } }, [
    "upstream_without_nodes",
    /weight 0/,
  ]),
  put("a route whose nodes weigh nothing", "/routes/n", { uri: "/n", upstream: { nodes: { "a:80": 0 } } }, [
    "upstream_without_nodes",
    /weight 0/,
  ]),
  put("a route with plugins and no upstream", "/routes/n", { uri: "/n", plugins: { "limit-count": limit() } }, [
    "upstream_without_nodes",
    /leads nowhere/,
  ]),
  put("an upstream found elsewhere", "/upstreams/n", { service_name: "s", discovery_type: "dns" }, [
    "upstream_without_nodes",
    /discovery/,
  ]),
  put("a secret manager that is missing", "/consumers/n", consumer("n", "$secret://vault/9/n/key"), [
    "dangling_reference",
    /secret vault\/9/,
  ]),
  put(
    "a split to an upstream that is missing",
    "/routes/n",
    { uri: "/n", plugins: { "traffic-split": split() }, upstream },
    ["dangling_reference", /upstream 9/],
  ),
  put(
    "a restriction to nobody",
    "/routes/n",
    { uri: "/n", plugins: { ...auth, "consumer-restriction": { whitelist: ["nobody"] } }, upstream },
    ["dangling_reference", /consumer nobody/],
  ),
  put(
    "an anonymous consumer that is missing",
    "/routes/n",
    { uri: "/n", plugins: { "jwt-auth": { anonymous_consumer: "anon" } }, upstream },
    ["dangling_reference", /consumer anon/],
  ),
  put("one secret as two keys", "/consumers/n", consumer("n", "$secret://vault/1/vera/key"), ["key_collision", /vera/]),
  {
    says: "forcing an upstream away",
    method: "DELETE",
    path: "/upstreams/u1?force=true",
    want: ["dangling_reference", /upstream u1/],
  },
  {
    says: "a secret manager that is still asked",
    method: "DELETE",
    path: "/secrets/vault/1",
    want: ["dangling_reference", /secret vault\/1/],
  },
  {
    says: "an issuer whose tokens a route still accepts",
    method: "DELETE",
    path: "/token_issuers/idp",
    want: ["dangling_reference", /token_issuer idp/],
  },
  {
    says: "a consumer that is still named",
    method: "DELETE",
    path: "/consumers/jack",
    want: ["dangling_reference", /consumer jack/],
  },
  {
    says: "a service that loses its guard",
    path: "/services/guarded",
    body: { upstream: { nodes: {} } },
    want: ["upstream_without_nodes", /no nodes/],
  },
  {
    says: "a patch that opens a route before a guarded one",
    method: "PATCH",
    path: "/routes/first",
    body: { uri: "/admin" },
    want: ["unprotected_route_first", /route admin/],
  },
];

function limit(): object {
  return { count: 1, time_window: 1 };
}

function split(): object {
  return { rules: [{ weighted_upstreams: [{ upstream_id: "9", weight: 1 }] }] };
}

describe("a dry run of what would be refused answers as the write would", () => {
  test.each(REFUSED)("$says", async ({ method = "PUT", path, body, want }) => {
    const before = await headOf();
    const query = path.includes("?") ? "&dry_run=1" : "?dry_run=1";
    const dry = await world.call(method, `${path}${query}`, { body });
    expect(dry).toMatchObject({ status: 400, body: { error_msg: expect.stringContaining(want as string) } });
    expect(await headOf()).toBe(before);
    expect((await world.call(method, path, { body })).text).toBe(dry.text);
  });
});

describe("a dry run warns of what nothing forbids", () => {
  test.each(SUSPICIOUS)("$says", async ({ method = "PUT", path, body, want }) => {
    const before = await headOf();
    const query = path.includes("?") ? "&dry_run=1" : "?dry_run=1";
    const reply = await world.call(method, `${path}${query}`, { body });
    expect(reply).toMatchObject({ status: 200, body: { dry_run: true } });
    const [code, message] = want as readonly [string, RegExp];
    const said = reply.body.warnings.map((one: { code: string; key: string; message: string }) =>
      one.code === code ? `${one.key.replace("/apisix/routes/", "route ")} ${one.message}` : "",
    );
    expect(
      said.some((text: string) => text !== "" && message.test(text)),
      reply.text,
    ).toBe(true);
    expect(await headOf()).toBe(before);
  });

  test("the corpus is as large as promised", () => {
    expect(REFUSED.length + SUSPICIOUS.length).toBeGreaterThanOrEqual(50);
  });

  test.each([
    put("a new path", "/routes/n", { uri: "/new", ...open }, ""),
    put("an open prefix around guarded ones", "/routes/n", { uri: "/*", ...open }, ""),
    put("another method of the same path", "/routes/n", { uri: "/get", methods: ["PUT"], ...open }, ""),
    put("other conditions", "/routes/n", { uri: "/when", vars: [["arg_v", "==", "2"]], ...open }, ""),
    put("other hosts", "/routes/n", { uri: "/named", host: "b.test", ...open }, ""),
    put("a wider set of addresses", "/routes/n", { uri: "/local", ...open }, ""),
    put("a guarded route inside a guarded one", "/routes/n", { uri: "/api/x", plugins: auth, upstream }, ""),
    put("a route that is switched off", "/routes/n", { uri: "/first", status: 0, ...open }, ""),
    put("a mock without an upstream", "/routes/n", { uri: "/n", plugins: { mocking: { response_example: "x" } } }, ""),
    put(
      "a guarded signing endpoint",
      "/routes/n",
      { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {}, ...auth } },
      "",
    ),
    put("a consumer with a key of its own", "/consumers/n", consumer("n", "n-key"), ""),
  ])("not of $says", async ({ path, body }) => {
    expect((await world.call("PUT", `${path}?dry_run=1`, { body })).body.warnings).toEqual([]);
  });
});

describe("a dry run shows what would change", () => {
  const changeOf = async (method: string, path: string, body?: object) =>
    (await world.call(method, path, { body })).body;

  test("of a new record, all of it", async () => {
    const reply = await changeOf("PUT", "/routes/n?dry_run=1", { uri: "/new", ...open });
    expect(reply).toEqual({
      ...{ key: "/apisix/routes/n", value: expect.objectContaining({ id: "n", uri: "/new" }) },
      dry_run: true,
      status: 201,
      changes: [
        {
          key: "/apisix/routes/n",
          change: "created",
          diff: [
            { op: "add", path: "/uri", to: "/new" },
            { op: "add", path: "/upstream", to: upstream },
            { op: "add", path: "/id", to: "n" },
          ],
        },
      ],
      warnings: [],
    });
  });

  test("of a record that is replaced, the differences", async () => {
    const body = {
      uri: "/new*",
      plugins: auth,
      upstream: { ...upstream, nodes: { "a:80": 1 } },
      desc: "~",
      labels: { kept: "1", "a/b": "c" },
    };
    const { changes, status } = await changeOf("PUT", "/routes/api?dry_run=true", body);
    expect(status).toBe(200);
    expect(changes[0].diff).toEqual([
      { op: "replace", path: "/uri", from: "/api/*", to: "/new*" },
      { op: "remove", path: "/upstream/nodes/127.0.0.1:80", from: 1 },
      { op: "add", path: "/upstream/nodes/a:80", to: 1 },
      { op: "add", path: "/labels/a~1b", to: "c" },
      { op: "add", path: "/desc", to: "~" },
    ]);
  });

  test("of a record written as it is, nothing", async () => {
    const { changes } = await changeOf("PUT", "/routes/first?dry_run=1", { uri: "/first", priority: 10, upstream });
    expect(changes).toEqual([{ key: "/apisix/routes/first", change: "unchanged", diff: [] }]);
  });

  test("of secrets, only that they change", async () => {
    const body = { username: "jack", plugins: { "jwt-auth": { key: "jack-key", secret: "brand-new-secret" } } };
    const reply = await world.call("PUT", "/consumers?dry_run=1", { body });
    expect(reply.body.changes[0].diff).toEqual([
      { op: "replace", path: "/plugins/jwt-auth/secret", from: "********", to: "********" },
    ]);
    expect(reply.text).not.toContain("brand-new-secret");
  });

  test("of a consumer that goes, its credentials too", async () => {
    const body = { plugins: { "key-auth": { key: "k1" } } };
    await world.call("PUT", "/consumers/vera/credentials/c1", { body });
    const { changes } = await changeOf("DELETE", "/consumers/vera?dry_run=1");
    expect(changes.map(({ key, change }: { key: string; change: string }) => [key, change])).toEqual([
      ["/apisix/consumers/vera/credentials/c1", "deleted"],
      ["/apisix/consumers/vera", "deleted"],
    ]);
    expect((await world.call("GET", "/consumers/vera/credentials/c1")).status).toBe(200);
  });

  test("of a POST, without using up an id or a lease", async () => {
    const before = await headOf();
    const reply = await changeOf("POST", "/services?dry_run=1&ttl=60", {});
    expect(reply).toMatchObject({ status: 201, changes: [{ change: "created" }] });
    expect(await headOf()).toBe(before);
  });

  test("of the store's epoch", async () => {
    const reply = await changeOf("POST", "/store/epoch?dry_run=1");
    expect(reply.changes[0].diff).toEqual([{ op: "replace", path: "/epoch", from: 1, to: 2 }]);
    const replacing = await changeOf("POST", "/store/epoch?dry_run=1&replaces=old-1");
    expect(replacing.changes[0].diff[1]).toEqual({ op: "replace", path: "/replaces", to: ["old-1"] });
    expect((await world.call("GET", "/store")).body.epoch).toBe(1);
  });

  test("beside routes that others wrote and no node takes", async () => {
    const key = "/apisix/routes/garbage";
    for (const garbage of ['{"uri":"/g","vars":[["x","nosuch",1]]}', '{"uris":[7],"remote_addrs":["no address"]}']) {
      await world.store.txn({ compare: [], then: [{ op: "put", key, value: Buffer.from(garbage) }] });
      const reply = await changeOf("PUT", "/routes/sound?dry_run=1", { uri: "/sound", plugins: {} });
      expect(reply).toMatchObject({ status: 201, changes: [{ change: "created" }] });
    }
    await world.store.txn({ compare: [], then: [{ op: "delete", key }] });
  });

  test("to admins only, and only when asked for in a way that is understood", async () => {
    const viewer = { body: {}, headers: { "X-API-KEY": VIEWER_KEY } };
    expect((await world.call("PUT", "/services/n?dry_run=1", viewer)).status).toBe(401);
    expect(await world.call("PUT", "/services/n?dry_run=maybe", { body: {} })).toMatchObject({
      status: 400,
      body: { error_msg: "invalid argument dry_run: should be 1 or 0" },
    });
    expect((await world.call("GET", "/services/n")).status).toBe(404);
    expect((await world.call("PUT", "/services/n?dry_run=0", { body: {} })).status).toBe(201);
  });
});

test("a write that opens the signing endpoint says so in its answer; one with authentication does not", async () => {
  const open = { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } };
  const answer = await world.call("PUT", "/routes/sign-open", { body: open });
  expect(answer.status).toBe(201);
  expect(answer.headers["warning"]).toMatch(/^299 - "sign_endpoint_open: \/apisix\/routes\/sign-open hands out tokens/);
  const closed = { ...open, plugins: { ...open.plugins, "key-auth": {} } };
  expect((await world.call("PUT", "/routes/sign-open", { body: closed })).headers["warning"]).toBeUndefined();
  await world.call("DELETE", "/routes/sign-open");
});
