import { describe, expect, test } from "vitest";
import { credentialId, credentialsOf, dirOf, keyOf, parseKey } from "../../src/model/keys.ts";

describe("records", () => {
  test.each([
    { key: "/apisix/routes/1", want: { kind: "route", id: "1" } },
    { key: "/apisix/services/a.b-c_d", want: { kind: "service", id: "a.b-c_d" } },
    { key: "/apisix/upstreams/1", want: { kind: "upstream", id: "1" } },
    { key: "/apisix/consumers/jack", want: { kind: "consumer", id: "jack" } },
    {
      key: "/apisix/consumers/jack/credentials/c1",
      want: { kind: "credential", id: "jack/credentials/c1", consumer: "jack", credential: "c1" },
    },
    { key: "/apisix/consumers/credentials", want: { kind: "consumer", id: "credentials" } },
    { key: "/apisix/secrets/vault/jwt", want: { kind: "secret", id: "vault/jwt" } },
    { key: "/apisix/plugin_metadata/http-logger", want: { kind: "plugin_metadata", id: "http-logger" } },
    { key: "/apisix/consumer_groups/g", want: { kind: "consumer_group", id: "g" } },
    { key: "/apisix/plugin_configs/p", want: { kind: "plugin_config", id: "p" } },
    { key: "/apisix/global_rules/1", want: { kind: "global_rule", id: "1" } },
    { key: "/apisix/ssls/1", want: { kind: "ssl", id: "1" } },
    { key: "/apisix/protos/1", want: { kind: "proto", id: "1" } },
    { key: "/apisix/stream_routes/1", want: { kind: "stream_route", id: "1" } },
  ] as const)("$key", ({ key, want }) => {
    expect(parseKey("/apisix", key)).toEqual(want);
    expect(keyOf("/apisix", want.kind, want.id)).toBe(key);
  });
});

test.each([
  "/apisix/routes/",
  "/apisix/routes",
  "/apisix/",
  "/apisix",
  "/apisix/gen_id",
  "/apisix/plugins/",
  "/apisix/plugins",
  "/apisix/plugins/x",
  "/apisix/jotgate/store",
  "/apisix/data_plane/server_info/1",
  "/apisix/routes/1/2",
  "/apisix/services/1/graphql_cost_decorations/2",
  "/apisix/credentials/c1",
  "/apisix/consumers/jack/credentials/",
  "/apisix/consumers/jack/credentials/a/b",
  "/apisix/consumers/jack/other/a",
  "/apisix/consumers//credentials/a",
  "/apisix/secrets/vault",
  "/apisix/secrets/vault/",
  "/apisix/secrets/vault/a/b",
  "/apisixx/routes/1",
  "/apisix-jotgate/nodes/1",
  "/other/routes/1",
])("%s is no record", (key) => {
  expect(parseKey("/apisix", key)).toBeUndefined();
});

test("directories end with a slash", () => {
  expect(dirOf("/apisix", "route")).toBe("/apisix/routes/");
  expect(credentialsOf("/apisix", "jack")).toBe("/apisix/consumers/jack/credentials/");
  expect(keyOf("/apisix", "credential", credentialId("jack", "c1"))).toBe("/apisix/consumers/jack/credentials/c1");
});
