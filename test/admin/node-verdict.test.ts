/** One judge: what gateway nodes would refuse is refused by writes, dry runs and validation, and what is stored is taken. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openWorld, type World } from "../runtime/live-fixture.ts";
import { type AdminWorld, openAdminWorld, PLUGINS } from "../support/admin.ts";

let admin: AdminWorld;
let node: World;
beforeAll(async () => {
  admin = await openAdminWorld();
  node = openWorld({ plugins: PLUGINS });
});
afterAll(async () => {
  node.live.close();
  await admin.close();
});

const HOW = ': nodes are written "host:port", without a scheme ("scheme" is the upstream\'s) and without a path';
const ADDRESSES: readonly (readonly [string, string])[] = [
  ["http://127.0.0.1:8081", `upstream node "http://127.0.0.1:8081" has no valid port${HOW}`],
  ["http://127.0.0.1", `upstream node "http://127.0.0.1" has no valid port${HOW}`],
  ["a.com:80/path", `upstream node "a.com:80/path" has no valid port${HOW}`],
  ["a.com/path", `upstream node "a.com/path" is no host${HOW}`],
  ["a b:80", `upstream node "a b" is no host${HOW}`],
  ["user@a.com:80", `upstream node "user@a.com" is no host${HOW}`],
  ["a.com:", `upstream node "a.com:" has no valid port${HOW}`],
];
const HOLDERS: readonly (readonly [kind: string, hold: (upstream: object) => object])[] = [
  ["upstreams", (upstream) => upstream],
  ["routes", (upstream) => ({ uri: "/a", upstream })],
  ["services", (upstream) => ({ upstream })],
  [
    "routes",
    (upstream) => ({
      uri: "/a",
      plugins: {
        "traffic-split": { rules: [{ weighted_upstreams: [{ upstream: { type: "roundrobin", ...upstream } }] }] },
      },
    }),
  ],
];
const cases = ADDRESSES.flatMap(([address, error]) =>
  HOLDERS.map(([kind, hold]) => ({ kind, body: hold({ nodes: { [address]: 1 } }), error })),
);

describe("what no node would take", () => {
  test.each(cases)("$kind: $error", async ({ kind, body, error }) => {
    const message = `invalid configuration: ${error}`;
    for (const query of ["", "?dry_run=1"]) {
      expect(await admin.call("PUT", `/${kind}/bad${query}`, { body })).toMatchObject({
        status: 400,
        body: { error_msg: message },
      });
    }
    const all = { [kind]: [{ id: "bad", ...body }] };
    expect((await admin.call("POST", "/configs/validate", { body: all })).body.errors).toEqual([
      expect.objectContaining({ error: message }),
    ]);
    expect(node.put({ [`${kind}/bad`]: { id: "bad", ...body } })).toEqual([`/apisix/${kind}/bad`]);
  });
});

test.each([
  { says: "an id that is the name of a prototype", path: "routes/__proto__", body: { uri: "/a", plugins: {} } },
  { says: "a text that is", path: "routes/1", body: { uri: "/a", plugins: {}, desc: "__proto__ and \\u005f" } },
  { says: "an IPv6 address", path: "upstreams/1", body: { nodes: { "[::1]:80": 1 } } },
  { says: "a name with underscores", path: "upstreams/1", body: { nodes: { my_service: 1 } } },
  {
    says: "a node without weight in use",
    path: "upstreams/1",
    body: { nodes: [{ host: "a.com", port: 80, weight: 0 }] },
  },
  { says: "no node at all", path: "upstreams/1", body: { nodes: {} } },
  {
    says: "an inline upstream beside an id",
    path: "routes/1",
    body: { uri: "/a", upstream_id: "1", upstream: { nodes: { "a/b": 1 } } },
  },
])("what is stored is taken: $says", async ({ path, body }) => {
  const reply = await admin.call("PUT", `/${path}`, { body });
  expect(reply.status, reply.text).toBeLessThan(300);
  expect(node.put({ [path]: reply.body.value })).toBeUndefined();
});

test("a scheme for stream routes is stored, as APISIX does, though no route can use it", async () => {
  expect(
    (await admin.call("PUT", "/upstreams/tcp", { body: { scheme: "tcp", nodes: { "a.com:80": 1 } } })).status,
  ).toBe(201);
});
