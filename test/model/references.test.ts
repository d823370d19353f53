import { expect, test } from "vitest";
import { pluginReferencesOf, referencesOf } from "../../src/model/references.ts";
import { luaScript, routeAfterPlugins, routeBeforeSchema } from "../../src/model/route.ts";

test.each([
  {
    kind: "route",
    value: { upstream_id: 1, service_id: "s", plugin_config_id: "p" },
    want: ["upstream 1", "service s", "plugin_config p"],
  },
  {
    kind: "route",
    value: { upstream: { tls: { client_cert_id: "c" } }, upstream_id: "u" },
    want: ["ssl c", "upstream u"],
  },
  { kind: "upstream", value: { tls: { client_cert_id: 7 } }, want: ["ssl 7"] },
  { kind: "service", value: { upstream_id: "u", service_id: "ignored" }, want: ["upstream u"] },
  { kind: "consumer", value: { group_id: "g" }, want: ["consumer_group g"] },
  { kind: "route", value: { upstream: "x", upstream_id: { toString: 1 } }, want: [] },
] as const)("a $kind points to $want", ({ kind, value, want }) => {
  expect(referencesOf(kind, value).map((one) => `${one.kind} ${one.id}`)).toEqual(want);
});

test("plugins point to upstreams and protos", () => {
  const plugins = {
    "traffic-split": { rules: [{ weighted_upstreams: [{ upstream_id: 1 }, { upstream: {} }, null] }, {}] },
    "grpc-transcode": { proto_id: "p" },
  };
  expect(pluginReferencesOf({ plugins }).map((one) => `${one.kind} ${one.id}`)).toEqual(["upstream 1", "proto p"]);
  expect(pluginReferencesOf({ plugins: "x" })).toEqual([]);
});

test.each([
  { value: { host: "a", hosts: ["b"] }, want: "only one of host or hosts is allowed" },
  { value: { remote_addr: "a", remote_addrs: ["b"] }, want: "only one of remote_addr or remote_addrs is allowed" },
  { value: { host: "a", remote_addrs: ["b"] }, want: undefined },
])("before the schema: $want", ({ value, want }) => {
  expect(routeBeforeSchema(value)).toBe(want);
});

test.each([
  { value: { vars: [["a", "=", 1]] }, want: "failed to validate the 'vars' expression: invalid operator '='" },
  {
    value: { filter_func: "function() return true end" },
    want: /^failed to load 'filter_func' string: Lua is not supported/,
  },
  { value: { vars: [["a", "==", 1]] }, want: undefined },
])("after the plugins: $want", ({ value, want }) => {
  const error = routeAfterPlugins(value);
  if (want instanceof RegExp) expect(error).toMatch(want);
  else expect(error).toBe(want);
});

test("a script is refused", () => {
  expect(luaScript({ script: "return {}" })).toMatch(/^failed to load 'script' string: Lua is not supported/);
});
