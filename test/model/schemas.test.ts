import { describe, expect, test } from "vitest";
import { KINDS, type KindName, secretSchema, strictValidator } from "../../src/model/kinds.ts";
import { readRecord } from "../../src/model/record.ts";
import { checkSsl } from "../../src/model/ssl-check.ts";
import { checkUpstream } from "../../src/model/upstream.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";

const nodes = { "127.0.0.1:1980": 1 };
const upstream = { type: "roundrobin", nodes };
const ROUTE_WANTS =
  'object matches none of the required: ["plugins","uri"] or ["upstream","uri"] or ["upstream_id","uri"] or ["service_id","uri"] or ["plugins","uris"] or ["upstream","uris"] or ["upstream_id","uris"] or ["service_id","uris"] or ["script","uri"] or ["script","uris"]';

interface Row {
  readonly kind: KindName;
  readonly value: unknown;
  readonly want: string | undefined;
  readonly id?: string;
}

describe("strict schemas", () => {
  test.each<Row>([
    { kind: "route", value: {}, want: "allOf 1 failed: value should match only one schema, but matches none" },
    { kind: "route", value: { uri: "/a" }, want: ROUTE_WANTS },
    { kind: "route", value: { uri: "/a", plugin_config_id: 1 }, want: ROUTE_WANTS },
    {
      kind: "route",
      value: { uri: "/a", uris: ["/b"], upstream },
      want: "allOf 1 failed: value should match only one schema, but matches both schemas 1 and 2",
    },
    {
      kind: "route",
      value: { uri: 1, upstream },
      want: 'property "uri" validation failed: wrong type: expected string, got number',
    },
    {
      kind: "route",
      value: { uri: "/a", upstream, unknown_field: 1 },
      want: "additional properties forbidden, found unknown_field",
    },
    {
      kind: "route",
      value: { uri: "/a", upstream, status: 2 },
      want: 'property "status" validation failed: matches none of the enum values',
    },
    {
      kind: "route",
      value: { uri: "/a", upstream, methods: ["FETCH"] },
      want: 'property "methods" validation failed: failed to validate item 1: matches none of the enum values',
    },
    {
      kind: "route",
      value: { uri: "/a", upstream, id: "bad id" },
      want: 'property "id" validation failed: object matches none of the required',
    },
    {
      kind: "route",
      value: { uri: "/a", upstream, id: 0 },
      want: 'property "id" validation failed: object matches none of the required',
    },
    { kind: "route", value: { uri: "/a", upstream, id: "0", host: "*", remote_addr: "10.0.0.0/8" }, want: undefined },
    {
      kind: "route",
      value: { uri: "/a", upstream, hosts: ["*.foo.com", "[::1]:80"], remote_addrs: ["::1", "fe80::/10"] },
      want: undefined,
    },
    {
      kind: "route",
      value: { uri: "/a", upstream, remote_addr: "x" },
      want: 'property "remote_addr" validation failed: object matches none of the required',
    },
    {
      kind: "route",
      value: { uri: "/a", plugins: {}, script: "return {} --" },
      want: "value wasn't supposed to match schema",
    },
    {
      kind: "route",
      value: { uri: "/a", upstream, labels: { a: 1 } },
      want: 'property "labels" validation failed: failed to validate a (matching ".*"): wrong type: expected string, got number',
    },
    { kind: "route", value: { uri: "/a", upstream, labels: { "a b": "x" } }, want: undefined },
    {
      kind: "route",
      value: { uri: "/a", upstream, labels: { a: "x y" } },
      want: 'property "labels" validation failed: failed to validate a (matching ".*"): failed to match pattern "^\\\\S+$" with "x y"',
    },
    {
      kind: "route",
      value: { uri: "/a", upstream, name: "n".repeat(257) },
      want: 'property "name" validation failed: string too long, expected at most 256, got 257',
    },
    {
      kind: "route",
      value: { uri: "/a", upstream, timeout: { connect: 1 } },
      want: 'property "timeout" validation failed: property "send" is required',
    },
    { kind: "service", value: {}, want: undefined },
    { kind: "upstream", value: {}, want: "value should match only one schema, but matches none" },
    {
      kind: "upstream",
      value: { nodes: "x" },
      want: 'property "nodes" validation failed: object matches none of the required',
    },
    { kind: "upstream", value: { nodes: {} }, want: undefined },
    { kind: "upstream", value: { nodes: [{ host: "a", weight: 1 }] }, want: undefined },
    {
      kind: "upstream",
      value: { nodes, service_name: "s", discovery_type: "dns" },
      want: "value should match only one schema, but matches both schemas 1 and 2",
    },
    {
      kind: "upstream",
      value: { nodes, retries: -1 },
      want: 'property "retries" validation failed: expected -1 to be at least 0',
    },
    {
      kind: "upstream",
      value: { nodes, scheme: "gopher" },
      want: 'property "scheme" validation failed: matches none of the enum values',
    },
    {
      kind: "upstream",
      value: { nodes, checks: { passive: {} } },
      want: 'property "checks" validation failed: object matches none of the required: ["active"] or ["active","passive"]',
    },
    {
      kind: "upstream",
      value: { nodes, tls: { client_cert: "x".repeat(128) } },
      want: 'property "tls" validation failed: failed to validate dependent schema for "client_cert": property "client_key" is required',
    },
    { kind: "consumer", value: {}, want: 'property "username" is required' },
    { kind: "consumer", value: { username: "jack-1_x", plugins: [] }, want: undefined },
    {
      kind: "consumer",
      value: { username: "ja ck" },
      want: 'property "username" validation failed: failed to match pattern "^[a-zA-Z0-9_\\\\-]+$" with "ja ck"',
    },
    {
      kind: "credential",
      value: { plugins: { "key-auth": {}, "jwt-auth": {} } },
      want: 'property "plugins" validation failed: expect object to have at most 1 properties',
    },
    { kind: "credential", value: { id: "jack/credentials/c1" }, want: undefined },
    { kind: "consumer_group", value: { id: "g" }, want: 'property "plugins" is required' },
    { kind: "plugin_config", value: { id: "g", plugins: {}, name: "" }, want: undefined },
    { kind: "global_rule", value: { id: "g" }, want: 'property "plugins" is required' },
    { kind: "ssl", value: {}, want: "then clause did not match" },
    { kind: "ssl", value: { type: "client" }, want: "else clause did not match" },
    { kind: "ssl", value: { cert: "$secret://vault/1/a/cert", key: "$env://KEY", sni: "a.com" }, want: undefined },
    { kind: "proto", value: {}, want: 'property "content" is required' },
    { kind: "stream_route", value: { server_port: 9100, upstream }, want: undefined },
    {
      kind: "secret",
      id: "vault/1",
      value: { uri: "http://127.0.0.1:8200", prefix: "kv", token: "t", more: 1, kv_version: 2 },
      want: undefined,
    },
    {
      kind: "secret",
      id: "vault/1",
      value: { uri: "127.0.0.1", prefix: "kv", token: "t" },
      want: 'property "uri" validation failed: failed to match pattern "^[^\\\\/]+:\\\\/\\\\/([\\\\da-zA-Z.-]+|\\\\[[\\\\da-fA-F:]+\\\\])(:\\\\d+)?" with "127.0.0.1"',
    },
    {
      kind: "secret",
      id: "vault/1",
      value: { uri: "http://a", prefix: "kv", token: "t", kv_version: 3 },
      want: 'property "kv_version" validation failed: matches none of the enum values',
    },
    { kind: "secret", id: "aws/1", value: { access_key_id: "a" }, want: 'property "secret_access_key" is required' },
    { kind: "secret", id: "gcp/1", value: {}, want: "value should match only one schema, but matches none" },
  ])("$kind $value", ({ kind, value, want, id }) => {
    expect(strictValidator(KINDS[kind], id ?? "1").check(value)).toBe(want);
  });

  test("only known managers have a schema", () => {
    expect(secretSchema("vault")).toBeDefined();
    expect(secretSchema("toString")).toBeUndefined();
  });
});

describe("upstream checks", () => {
  const tls = (cert: string, key: string): object => ({ nodes, tls: { client_cert: cert, client_key: key } });
  test.each([
    { value: { nodes }, want: undefined },
    { value: {}, want: "invalid configuration: value should match only one schema, but matches none" },
    { value: { nodes: { "127.0.0.1:99999": 1 } }, want: "invalid port 99999" },
    { value: { nodes: { "127.0.0.1:0": 1 } }, want: "invalid port 0" },
    { value: { nodes: { "foo.com": 1, "[::1]:80": 1 } }, want: undefined },
    {
      value: { nodes: [{ host: "::1", port: 80, weight: 1 }] },
      want: "invalid configuration: IPv6 address must be enclosed with '[' and ']'",
    },
    { value: { nodes, pass_host: "rewrite" }, want: "`upstream_host` can't be empty when `pass_host` is `rewrite`" },
    { value: { nodes, pass_host: "rewrite", upstream_host: "a.com" }, want: undefined },
    {
      value: { nodes, type: "fastest" },
      want: 'invalid configuration: property "type" validation failed: matches none of the enum values',
    },
    { value: { nodes, type: "chash" }, want: "missing key" },
    { value: { nodes, type: "chash", hash_on: "consumer" }, want: undefined },
    { value: { nodes, type: "chash", key: "arg_x" }, want: undefined },
    {
      value: { nodes, type: "chash", hash_on: "header", key: "a b" },
      want: 'invalid configuration: failed to match pattern "^[a-zA-Z0-9-_]+$" with "a b"',
    },
    { value: { nodes, type: "chash", hash_on: "vars_combinations", key: "$uri-$host" }, want: undefined },
    { value: tls(CERTIFICATE, PRIVATE_KEY), want: undefined },
    { value: tls("x".repeat(128), PRIVATE_KEY), want: "failed to parse cert: PEM_read_bio_X509_AUX() failed" },
    { value: tls(CERTIFICATE, `---${"x".repeat(128)}`), want: "failed to parse key: PEM_read_bio_PrivateKey() failed" },
    { value: tls(CERTIFICATE, "x".repeat(128)), want: "failed to decrypt previous encrypted key" },
  ])("$value", ({ value, want }) => {
    expect(checkUpstream(value, () => undefined)).toEqual(want && expect.stringContaining(want));
  });
});

describe("certificate checks", () => {
  const good = { cert: CERTIFICATE, key: PRIVATE_KEY, snis: ["a.com"] };
  test.each([
    { says: "a good pair", value: good, want: undefined },
    {
      says: "no sni",
      value: { cert: CERTIFICATE, key: PRIVATE_KEY },
      want: "invalid configuration: then clause did not match",
    },
    {
      says: "a client pair needs no sni",
      value: { type: "client", cert: CERTIFICATE, key: PRIVATE_KEY },
      want: undefined,
    },
    {
      says: "more certs than keys",
      value: { ...good, certs: [CERTIFICATE] },
      want: "mismatched number of certs and keys",
    },
    {
      says: "a bad further pair",
      value: { ...good, certs: ["x".repeat(128)], keys: [PRIVATE_KEY] },
      want: "failed to handle cert-key pair[1]: failed to parse cert: PEM_read_bio_X509_AUX() failed",
    },
    {
      says: "a bad client ca",
      value: { ...good, client: { ca: "x".repeat(128) } },
      want: "failed to validate client_cert: failed to parse cert: PEM_read_bio_X509_AUX() failed",
    },
    { says: "an encrypted key that opens", value: { ...good, key: "c".repeat(128) }, want: undefined },
  ])("$says", ({ value, want }) => {
    expect(checkSsl(value, (text) => (text.startsWith("c") ? PRIVATE_KEY : undefined))).toEqual(
      want && expect.stringContaining(want),
    );
  });
});

describe("reading is tolerant", () => {
  test("unknown members are let through and the id comes from the key", () => {
    const text = JSON.stringify({ uri: "/a", upstream: { ...upstream, new_member: 1 }, future: true, id: "other" });
    expect(readRecord({ kind: "route", id: "1" }, text)).toMatchObject({ ok: true, value: { id: "1", future: true } });
  });
  test("the user name comes from the key, however long", () => {
    const id = "j".repeat(200);
    expect(readRecord({ kind: "consumer", id }, "{}")).toEqual({ ok: true, value: { username: id } });
  });
  test("a credential's id is the last part of its key", () => {
    const key = { kind: "credential", id: "jack/credentials/c1", consumer: "jack", credential: "c1" } as const;
    expect(readRecord(key, '{"plugins":{}}')).toEqual({ ok: true, value: { id: "c1", plugins: {} } });
  });
  test("secrets of unknown managers are read", () => {
    expect(readRecord({ kind: "secret", id: "other/1" }, '{"a":1}').ok).toBe(true);
  });
  test.each([
    ["consumer", '{"uri":"/a"}', 'not a consumer: "uri" belongs to a route'],
    ["service", '{"nodes":{}}', 'not a service: "nodes" belongs to an upstream'],
    ["global_rule", '{"plugins":{},"upstream":{}}', 'not a global rule: "upstream" belongs to a route or service'],
  ] as const)("of another kind is a problem of a %s: %s", (kind, text, problem) => {
    expect(readRecord({ kind, id: "1" }, text)).toEqual({ ok: false, problem });
  });
  test.each([
    ["consumer", '{"uri":null,"brand_new":1}'],
    ["plugin_metadata", '{"uri":"/a","username":"x"}'],
    ["secret", '{"username":"x"}'],
  ] as const)("a %s may hold %s", (kind, text) => {
    expect(readRecord({ kind, id: kind === "secret" ? "other/1" : "1" }, text).ok).toBe(true);
  });
  test.each(["init_dir", "[]", "1", "null", '{"uri":1}', '{"__proto__":{}}', ""])("%j is a problem", (text) => {
    expect(readRecord({ kind: "route", id: "1" }, text).ok).toBe(false);
  });
});

test("there is one description per kind", () => {
  expect(Object.keys(KINDS)).toHaveLength(16);
  for (const [name, kind] of Object.entries(KINDS)) expect(kind.name).toBe(name);
});
