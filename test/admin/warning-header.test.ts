/** What the answer of a write warns of in its header `Warning`, beside a body that stays what APISIX answers. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Warning } from "../../src/admin/preview/warnings.ts";
import { warningHeader } from "../../src/admin/write/write-commit.ts";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld({ isVariableSet: () => false });
});
afterAll(() => world.close());

const nodes = { "127.0.0.1:1": 1 };
const upstream = { nodes };
const limited = { "limit-count": { count: 1, time_window: 1, rejected_kode: 429 } };

describe("a write that nodes will refuse or not enforce says so", () => {
  test.each<readonly [string, string, object, RegExp]>([
    [
      "a misspelt member",
      "/routes/w",
      { uri: "/a", upstream, plugins: limited },
      /^299 - "unknown_member: .*rejected_kode/,
    ],
    ["a uri that never matches", "/routes/w", { uri: "a", upstream }, /^299 - "uri_never_matches: .*write \\"\/a\\""$/],
    ["a host with a port", "/routes/w", { uri: "/a", host: "a.com:80", upstream }, /"host_never_matches: /],
    ["a stream route", "/stream_routes/w", { upstream }, /"without_effect: /],
    ["an upstream for TCP", "/upstreams/w", { scheme: "tcp", nodes }, /"without_effect: /],
    ["an upstream without nodes", "/upstreams/w", { nodes: {} }, /"upstream_without_nodes: /],
    [
      "a variable that is not set",
      "/consumers",
      { username: "w", plugins: { "key-auth": { key: "$ENV://NOT_SET" } } },
      /"variable_not_set: /,
    ],
    [
      "a secret manager that does not exist",
      "/consumers",
      { username: "w", plugins: { "key-auth": { key: "$secret://vault/none/a/b" } } },
      /"dangling_reference: \/apisix\/consumers\/w points to secret vault\/none, which does not exist"$/,
    ],
    [
      "a caller without a credential who does not exist",
      "/routes/w",
      { uri: "/a", upstream, plugins: { "key-auth": { anonymous_consumer: "nobody" } } },
      /"dangling_reference: .*consumer nobody/,
    ],
  ])("%s", async (_says, path, body, warning) => {
    const dry = await world.call("PUT", `${path}?dry_run=1`, { body });
    const answer = await world.call("PUT", path, { body });
    expect(answer.headers["warning"]).toMatch(warning);
    expect(Object.keys(answer.body).sort()).toEqual(["key", "value"]);
    const codes = (dry.body.warnings as Warning[]).map(({ code }) => code);
    for (const [, code] of (answer.headers["warning"] ?? "").matchAll(/299 - "(\w+):/g)) expect(codes).toContain(code);
  });

  test("a PATCH too, of what the record becomes", async () => {
    await world.call("PUT", "/routes/p", { body: { uri: "/a", upstream } });
    const answer = await world.call("PATCH", "/routes/p", { body: { plugins: limited } });
    expect([answer.status, answer.headers["warning"]]).toEqual([200, expect.stringContaining("rejected_kode")]);
  });

  test("a deletion by force, of who still points to what is gone", async () => {
    await world.call("PUT", "/upstreams/gone", { body: { nodes } });
    await world.call("PUT", "/routes/left", { body: { uri: "/left", upstream_id: "gone" } });
    const answer = await world.call("DELETE", "/upstreams/gone?force=true");
    expect(answer.headers["warning"]).toMatch(
      /^299 - "dangling_reference: \/apisix\/upstreams\/gone .*route \[left\] is/,
    );
    const unused = await world.call("DELETE", "/routes/left?force=true");
    expect([unused.status, unused.headers["warning"]]).toEqual([200, undefined]);
  });

  test("a rollback, of what its records become and of what cannot come back", async () => {
    await world.call("PUT", "/routes/back", { body: { uri: "/back", upstream, plugins: limited } });
    const { revision } = (await world.call("GET", "/history")).body.list[0];
    await world.call("PUT", "/routes/back", { body: { uri: "/back", upstream } });
    const answer = await world.call("POST", `/history/${revision}/rollback?key=routes/back`);
    expect(answer.status, answer.text).toBe(200);
    expect(answer.headers["warning"]).toContain("unknown_member: /apisix/routes/back");
  });

  test("the rotation of a key, of a consumer's and of an authorization server's", async () => {
    const body = {
      username: "turning",
      plugins: { "jwt-auth": { key: "turning", secret: "s".repeat(40) }, "key-auth": { key: "$ENV://NONE" } },
    };
    expect((await world.call("PUT", "/consumers", { body })).text).toContain("turning");
    const rotated = await world.call("POST", "/consumers/turning/rotate?plugin=jwt-auth");
    expect([rotated.status, rotated.headers["warning"]]).toEqual([200, expect.stringContaining("variable_not_set")]);
    await world.call("PUT", "/authorization_servers/turning", { body: { issuer: "https://turning.example" } });
    const keys = await world.call("POST", "/authorization_servers/turning/rotate");
    expect([keys.status, keys.headers["warning"]]).toEqual([200, expect.stringContaining("signing_keys_unsealed")]);
  });

  test("and nothing where there is nothing to say", async () => {
    const answer = await world.call("PUT", "/routes/fine", { body: { uri: "/fine", upstream } });
    expect([answer.status, answer.headers["warning"]]).toEqual([201, undefined]);
  });
});

test("names with quotes, line breaks and other scripts stand in the header as it allows", async () => {
  const odd = { 'é"\\\r\nX-Evil: 1': 1 };
  const plugins = { "limit-count": { ...limited["limit-count"], ...odd } };
  const answer = await world.call("PUT", "/routes/odd", { body: { uri: "/a", upstream, plugins } });
  expect(answer.status).toBe(201);
  expect(answer.headers["x-evil"]).toBeUndefined();
  expect(answer.headers["warning"]).toContain('no member %C3%A9\\"\\\\%0D%0AX-Evil: 1');
});

test("however much there is to say, the header stays short", async () => {
  const members = Object.fromEntries(Array.from({ length: 500 }, (_, at) => [`x${at}${"y".repeat(1_000)}`, 1]));
  const plugins = { "limit-count": { ...limited["limit-count"], ...members } };
  const answer = await world.call("PUT", "/routes/many", { body: { uri: "/a", upstream, plugins } });
  expect(answer.status).toBe(201);
  const { warning = "" } = answer.headers;
  expect(warning.length).toBeLessThan(4_000);
  expect(warning).toMatch(/"more: 493 further warnings, a dry run shows them"$/);
});

test("a whitelist of any size costs a few look-ups, and a name of any length none", async () => {
  const whitelist = ["z".repeat(5_000), ...Array.from({ length: 2_000 }, (_, at) => `user${at}`)];
  const plugins = { "consumer-restriction": { whitelist } };
  const all = await openAdminWorld({
    plugins: (await import("../../src/plugins/index.ts")).PLUGINS.map((entry) => entry.load()),
  });
  try {
    const answer = await all.call("PUT", "/routes/wide", { body: { uri: "/a", upstream, plugins } });
    expect(answer.status, answer.text).toBe(201);
    expect(answer.headers["warning"]?.match(/dangling_reference/g)).toHaveLength(8);
  } finally {
    await all.close();
  }
});

test("no warning, no header", () => {
  expect(warningHeader([])).toEqual({});
});
