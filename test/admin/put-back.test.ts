/** What GET shows can be put back, by admins as they read it and with what viewers are shown, and nothing is lost by it. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { readKeyPair } from "../../src/base/jose/key-pair.ts";
import { KINDS } from "../../src/model/kinds.ts";
import { type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { keyOf } from "../support/jwt.ts";

const clock = new FakeClock(1_700_000_000_000);
let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld({ clock });
  await world.call("PUT", "/consumers/owner", { body: { username: "owner" } });
});
afterAll(() => world.close());

const nodes = { "127.0.0.1:80": 1 };
const tls = { client_cert: CERTIFICATE, client_key: PRIVATE_KEY };
const upstream = {
  type: "roundrobin",
  nodes,
  scheme: "https",
  tls,
  checks: { active: { req_headers: ["X-Token: s3cret"] } },
};
const secretRoute = { plugins: { "proxy-rewrite": { headers: { set: { Authorization: "Bearer s3cret" } } } } };
const OWN_KEY = keyOf("ES256").conf.private_key ?? "";
const OWN_KID = readKeyPair("ES256", OWN_KEY).kid;

const ROWS: Readonly<Record<string, { path: string; body: Record<string, unknown> }>> = {
  route: { path: "/routes/r", body: { uri: "/a", upstream, ...secretRoute } },
  service: { path: "/services/s", body: { upstream, ...secretRoute } },
  upstream: { path: "/upstreams/u", body: upstream },
  consumer: { path: "/consumers/c", body: { username: "c", plugins: { "jwt-auth": { key: "k", secret: "s3cret" } } } },
  credential: {
    path: "/consumers/owner/credentials/x",
    body: { plugins: { "basic-auth": { username: "u", password: "s3cret" } } },
  },
  consumer_group: { path: "/consumer_groups/g", body: secretRoute },
  plugin_config: { path: "/plugin_configs/p", body: secretRoute },
  global_rule: { path: "/global_rules/g", body: secretRoute },
  plugin_metadata: { path: "/plugin_metadata/cors", body: { allow_origins: { key: "https://a.com" } } },
  secret: { path: "/secrets/vault/1", body: { uri: "http://127.0.0.1:8200", prefix: "kv", token: "s3cret" } },
  ssl: {
    path: "/ssls/1",
    body: { cert: CERTIFICATE, key: PRIVATE_KEY, certs: [CERTIFICATE], keys: [PRIVATE_KEY], snis: ["a.com"] },
  },
  proto: { path: "/protos/1", body: { content: 'syntax = "proto3";' } },
  token_issuer: {
    path: "/token_issuers/i",
    body: {
      issuer: "https://put-back.example",
      bearer_token: "s3cret",
      jwks_uri: "https://put-back.example/keys",
    },
  },
  authorization_server: {
    path: "/authorization_servers/a",
    body: { issuer: "https://put-back-server.example", key_rotation: { interval: 0 } },
  },
  signing_key: { path: `/signing_keys/a/${OWN_KID}`, body: { algorithm: "ES256", private_key: OWN_KEY } },
  stream_route: { path: "/stream_routes/1", body: { server_port: 9100, upstream: { nodes } } },
};

describe("what GET shows can be put back", () => {
  test("every kind has a row", () => {
    expect(Object.keys(ROWS).sort()).toEqual(Object.keys(KINDS).sort());
  });

  test.each(Object.entries(ROWS))("%s", async (_kind, { path, body }) => {
    const made = await world.call("PUT", path, { body });
    expect(made.status, made.text).toBe(201);
    const stored = async () => {
      const { kv } = await world.store.get(`/apisix${path}`);
      const { update_time: _, ...rest } = JSON.parse(kv?.value.toString() ?? "");
      return rest;
    };
    const before = await stored();
    for (const key of [undefined, VIEWER_KEY]) {
      const headers = key === undefined ? {} : { "X-API-KEY": key };
      const { value } = (await world.call("GET", path, { headers })).body;
      clock.advance(5_000);
      // Somebody else writes in between; what was read is put back all the same.
      expect((await world.call("PUT", path, { body })).status).toBe(200);
      const reply = await world.call("PUT", path, { body: value });
      expect(reply.status, reply.text).toBe(200);
      expect(await stored()).toEqual(before);
      const echo = await world.call("PUT", path, { body: reply.body.value });
      expect(echo.status, echo.text).toBe(200);
      expect(await stored()).toEqual(before);
    }
    if (body["content"] === undefined && !path.startsWith("/plugin_metadata")) {
      expect((await world.call("PATCH", path, { body: (await world.call("GET", path)).body.value })).status).toBeOneOf([
        200, 405,
      ]);
      expect(await stored()).toEqual(before);
    }
  });
});

describe("times that the record does not have are refused in APISIX's words", () => {
  test.each([
    { says: "another time of creation", more: { create_time: 5 }, name: "create_time" },
    { says: "a time of update that is to come", more: { update_time: 4_000_000_000 }, name: "update_time" },
    { says: "a time that is none", more: { update_time: "now" }, name: "update_time" },
  ])("$says", async ({ more, name }) => {
    await world.call("PUT", "/routes/t", { body: { uri: "/t", upstream: { nodes } } });
    const reply = await world.call("PUT", "/routes/t", { body: { uri: "/t", upstream: { nodes }, ...more } });
    expect(reply).toMatchObject({ status: 400, body: { error_msg: `the property is forbidden:  ${name}` } });
  });

  test("also of a record that is not there", async () => {
    const body = { uri: "/t", upstream: { nodes }, create_time: 1_700_000_000 };
    expect((await world.call("PUT", "/routes/nobody", { body })).status).toBe(400);
  });
});

describe("a mask stands for a secret only where it was shown", () => {
  test.each([
    {
      says: "under another name",
      path: "/routes/r",
      body: { uri: "/a", plugins: { "proxy-rewrite": { headers: { set: { "X-Api-Key": "********" } } } } },
    },
    {
      says: "in a new record",
      path: "/consumers/new",
      body: { username: "new", plugins: { "jwt-auth": { key: "k2", secret: "********" } } },
    },
    { says: "beside another certificate", path: "/ssls/1", body: { cert: `${CERTIFICATE}\n`, snis: ["a.com"] } },
  ])("$says", async ({ path, body }) => {
    expect((await world.call("PUT", path, { body })).status).toBe(400);
  });
});
