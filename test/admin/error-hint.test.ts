/** A refused write says what is wanted, in `description`, beside the sentence of APISIX that tools compare. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";
import { CERTIFICATE } from "../support/certificates.ts";

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world.close());

const nodes = { "127.0.0.1:80": 1 };
test.each([
  {
    says: "nodes as a list of texts",
    path: "/upstreams/1",
    body: { nodes: ["127.0.0.1:80"] },
    want: /upstream\.nodes.*list of.*host/,
  },
  {
    says: "a plugin without its members",
    path: "/routes/1",
    body: { uri: "/a", plugins: { "limit-count": {} } },
    want: /plugins\.limit-count needs count and time_window, or rules/,
  },
  {
    says: "a method that does not exist",
    path: "/routes/1",
    body: { uri: "/a", methods: ["FETCH"], upstream: { nodes } },
    want: /route\.methods\[0\] must be one of GET, POST/,
  },
  {
    says: "limit-count in redis that nobody names, which lacks no count",
    path: "/routes/1",
    body: { uri: "/a", plugins: { "limit-count": { count: 1, time_window: 1, policy: "redis" } }, upstream: { nodes } },
    want: /^plugins\.limit-count needs redis_host/,
  },
  {
    says: "a member that is misspelt, beside all that are needed",
    path: "/routes/1",
    body: { uri: "/a", methodss: ["GET"], upstream: { nodes } },
    want: /^route has no member methodss; did you mean methods\?$/,
  },
  {
    says: "a misspelt member further in",
    path: "/routes/1",
    body: { uri: "/a", upstream: { nodes, time_out: {} } },
    want: /^route\.upstream has no member time_out; did you mean timeout\?$/,
  },
  {
    says: "two members that exclude each other",
    path: "/routes/1",
    body: { uri: "/a", uris: ["/b"], upstream: { nodes } },
    want: /^route takes uri or uris, not both$/,
  },
  {
    says: "a route without a path",
    path: "/routes/1",
    body: { upstream: { nodes } },
    want: /^route needs plugins and uri, or upstream and uri,/,
  },
  {
    says: "a certificate that is too short to be one",
    path: "/ssls/1",
    body: { cert: "x", key: "y", sni: "a.com" },
    want: /^ssl\.cert must be a text of 128 to 65536 characters$/,
  },
  { says: "ssl without its key", path: "/ssls/1", body: { cert: CERTIFICATE, snis: ["a.com"] }, want: /key/ },
  {
    says: "chash without a key",
    path: "/upstreams/1",
    body: { type: "chash", nodes },
    want: /needs key: what is hashed, such as remote_addr/,
  },
  {
    says: "RS256 without public_key",
    path: "/consumers/c",
    body: { username: "c", plugins: { "jwt-auth": { key: "k", algorithm: "RS256" } } },
    want: /public_key/,
  },
  {
    says: "a balancer that does not exist",
    path: "/upstreams/1",
    body: { type: "roundrobbin", nodes },
    want: /^type of an upstream must be one of roundrobin, chash, ewma, least_conn; did you mean roundrobin\?$/,
  },
  {
    says: "the same in a route",
    path: "/routes/1",
    body: { uri: "/a", upstream: { type: "random", nodes } },
    want: /^type of an upstream must be one of roundrobin/,
  },
  {
    says: "what chash cannot hash",
    path: "/upstreams/1",
    body: { type: "chash", key: "zz", nodes },
    want: /^key of a chash upstream with hash_on vars must be uri, /,
  },
  {
    says: "a Host that is not named",
    path: "/upstreams/1",
    body: { pass_host: "rewrite", nodes },
    want: /^pass_host rewrite needs upstream_host/,
  },
  {
    says: "a label that is no text",
    path: "/upstreams/1",
    body: { nodes, labels: { a: 1 } },
    want: /^upstream\.labels\.a must be a text/,
  },
  {
    says: "a plugin that does not exist",
    path: "/routes/1",
    body: { uri: "/a", plugins: { "jwt-aut": {} } },
    want: /^this node has no plugin jwt-aut; did you mean jwt-auth\?; GET /,
  },
  {
    says: "a plugin without an object",
    path: "/routes/1",
    body: { uri: "/a", plugins: { "jwt-auth": null } },
    want: /^plugins\.jwt-auth must be an object/,
  },
  {
    says: "metadata of no plugin",
    path: "/plugin_metadata/jwt-aut",
    body: {},
    want: /no plugin jwt-aut; did you mean jwt-auth\?/,
  },
  {
    says: "metadata of a wrong form",
    path: "/plugin_metadata/cors",
    body: { allow_origins: 5 },
    want: /^metadata of cors\.allow_origins must be an object/,
  },
  {
    says: "a secret manager's address that is none",
    path: "/secrets/vault/1",
    body: { uri: "vault:8200", prefix: "kv", token: "t" },
    want: /^secret\.uri must be a text that matches/,
  },
  {
    says: "a secret manager without its key",
    path: "/secrets/aws/1",
    body: { access_key_id: "x" },
    want: /^secret needs secret_access_key/,
  },
  { says: "a secret manager that does not exist", path: "/secrets/azure/1", body: {}, want: /one of vault, aws, gcp$/ },
  { says: "a secret without its manager", path: "/secrets/1", body: {}, want: /\/secrets\/\{manager\}\/\{id\}/ },
  {
    says: "a list in place of a record",
    path: "/consumers",
    body: [1],
    want: /^consumer must be an object with username$/,
  },
  {
    says: "a credential of a plugin that has none",
    path: "/consumers/c/credentials/1",
    consumer: "c",
    body: { plugins: { cors: {} } },
    want: /^plugins of a credential must be one of .*key-auth/,
  },
])("$says", async ({ path, body, want, ...given }) => {
  if ("consumer" in given) await world.call("PUT", "/consumers", { body: { username: given.consumer } });
  for (const query of ["", "?dry_run=1"]) {
    const reply = await world.call("PUT", `${path}${query}`, { body });
    expect(reply.status, reply.text).toBe(400);
    expect(Object.keys(reply.body)[0]).toBe("error_msg");
    expect(reply.body.description, reply.text).toMatch(want);
  }
});

test.each(
  ["routes/1", "services/1", "upstreams/1", "consumers", "ssls/1", "global_rules/1", "plugin_configs/1"].concat([
    "consumer_groups/1",
    "protos/1",
    "stream_routes/1",
    "secrets/gcp/1",
    "token_issuers/1",
    "authorization_servers/1",
  ]),
)("null is no record of %s, and its members are named", async (path) => {
  const { body } = await world.call("PUT", `/${path}`, { body: null });
  expect(body.error_msg).toBe("invalid configuration: wrong type: expected object, got userdata");
  expect(body.description).toMatch(/^[a-z_]+ must be an object with [a-z_]+/);
});
