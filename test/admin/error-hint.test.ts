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
])("$says", async ({ path, body, want }) => {
  for (const query of ["", "?dry_run=1"]) {
    const reply = await world.call("PUT", `${path}${query}`, { body });
    expect(reply.status, reply.text).toBe(400);
    expect(Object.keys(reply.body)[0]).toBe("error_msg");
    expect(reply.body.description, reply.text).toMatch(want);
  }
});
