import { describe, expect, test } from "vitest";
import { isCodedError } from "../../src/base/errors.ts";
import { readScheme, readTargets } from "../../src/runtime/upstream/target-list.ts";
import { CERTIFICATE, OTHER_KEY, PRIVATE_KEY } from "../support/certificates.ts";
import { openBench } from "./upstream-fixture.ts";

describe("nodes of a record", () => {
  test.each([
    { says: "a map names host and port", nodes: { "a.test:81": 2 }, want: ["a.test:81", "a.test", 81, 2, "a.test:81"] },
    { says: "a map may leave out the port", nodes: { "a.test": 1 }, want: ["a.test:80", "a.test", 80, 1, "a.test"] },
    { says: "https has another default port", scheme: "https", nodes: { h: 1 }, want: ["h:443", "h", 443, 1, "h"] },
    { says: "grpcs has another default port", scheme: "grpcs", nodes: { h: 1 }, want: ["h:443", "h", 443, 1, "h"] },
    { says: "the default port is not shown", nodes: { "h:80": 1 }, want: ["h:80", "h", 80, 1, "h"] },
    { says: "80 is shown for https", scheme: "https", nodes: { "h:80": 1 }, want: ["h:80", "h", 80, 1, "h:80"] },
    { says: "IPv6 in brackets with a port", nodes: { "[::1]:81": 1 }, want: ["[::1]:81", "::1", 81, 1, "[::1]:81"] },
    { says: "IPv6 in brackets alone", nodes: { "[::1]": 1 }, want: ["[::1]:80", "::1", 80, 1, "[::1]"] },
    {
      says: "IPv6 without brackets has no port",
      nodes: { "fe80::1": 1 },
      want: ["[fe80::1]:80", "fe80::1", 80, 1, "[fe80::1]"],
    },
    { says: "a list item may leave out the port", nodes: [{ host: "h", weight: 0 }], want: ["h:80", "h", 80, 0, "h"] },
    {
      says: "a list item may have a bare IPv6 host",
      nodes: [{ host: "::1", port: 9, weight: 1 }],
      want: ["[::1]:9", "::1", 9, 1, "[::1]:9"],
    },
    {
      says: "a list item may have its port in the host",
      nodes: [{ host: "127.0.0.1:1980", weight: 1 }],
      want: ["127.0.0.1:1980", "127.0.0.1", 1980, 1, "127.0.0.1:1980"],
    },
    {
      says: "the port in the host counts, not the one beside it",
      nodes: [{ host: "[::1]:9", port: 80, weight: 1 }],
      want: ["[::1]:9", "::1", 9, 1, "[::1]:9"],
    },
    {
      says: "a list item may have brackets",
      nodes: [{ host: "[::1]", port: 9, weight: 1 }],
      want: ["[::1]:9", "::1", 9, 1, "[::1]:9"],
    },
  ])("$says", ({ nodes, scheme, want }) => {
    const [target] = readTargets(nodes, readScheme(scheme));
    expect([target?.id, target?.host, target?.port, target?.weight, target?.hostHeader]).toEqual(want);
  });

  test("of two with one address and priority the later counts", () => {
    const nodes = [
      { host: "h", port: 1, weight: 1 },
      { host: "h", port: 1, weight: 7 },
      { host: "h", port: 1, weight: 3, priority: -1 },
    ];
    expect(readTargets(nodes, "http").map(({ weight, priority }) => [weight, priority])).toEqual([
      [7, 0],
      [3, -1],
    ]);
  });

  test("no nodes are legal", () => {
    expect([readTargets({}, "http"), readTargets([], "http"), readTargets(undefined, "http")]).toEqual([[], [], []]);
  });

  test.each([
    { says: "port 0", nodes: { "h:0": 1 } },
    { says: "a port beyond 65535", nodes: { "h:65536": 1 } },
    { says: "a port that is no number", nodes: { "h:http": 1 } },
    { says: "a missing host", nodes: { ":80": 1 } },
    { says: "a host with a slash", nodes: { "h/x": 1 } },
    { says: "a host with a line break", nodes: [{ host: "h\r\nx", port: 80, weight: 1 }] },
    { says: "a port in the host that is none", nodes: [{ host: "h:99999", port: 80, weight: 1 }] },
    { says: "two ports in the host", nodes: [{ host: "h:1:2", weight: 1 }] },
    { says: "a name in brackets", nodes: { "[h]:80": 1 } },
    { says: "a negative weight", nodes: { h: -1 } },
    { says: "a fractional weight", nodes: { h: 0.5 } },
    { says: "a fractional priority", nodes: [{ host: "h", port: 80, weight: 1, priority: 0.5 }] },
  ])("$says is refused", ({ nodes }) => {
    expect(() => readTargets(nodes, "http")).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
  });
});

describe("an upstream record", () => {
  const two = { "127.0.0.1:1": 1, "127.0.0.1:2": 1 };
  const pair = { client_cert: CERTIFICATE, client_key: PRIVATE_KEY };

  test.each([
    { says: "an unknown type with two nodes", record: { type: "fancy", nodes: two } },
    { says: "a scheme that is not HTTP", record: { scheme: "kafka", nodes: two } },
    { says: "rewrite without a host", record: { pass_host: "rewrite", nodes: two } },
    { says: "chash without a key", record: { type: "chash", nodes: two } },
    { says: "an unknown hash_on", record: { type: "chash", hash_on: "moon", key: "x", nodes: two } },
    {
      says: "a certificate without its key",
      record: { scheme: "https", tls: { client_cert: CERTIFICATE }, nodes: two },
    },
    { says: "a certificate that is none", record: { scheme: "https", tls: { ...pair, client_cert: "x" }, nodes: two } },
    { says: "a key that is none", record: { scheme: "https", tls: { ...pair, client_key: "x" }, nodes: two } },
    { says: "another's key", record: { scheme: "https", tls: { ...pair, client_key: OTHER_KEY }, nodes: two } },
    { says: "a probe path with a blank", record: { checks: { active: { http_path: "/a b" } }, nodes: two } },
    {
      says: "a probe header with a line break",
      record: { checks: { active: { req_headers: ["a: b\r\nc: d"] } }, nodes: two },
    },
    {
      says: "a probe header beyond latin1",
      record: { checks: { active: { req_headers: ["a: \u010a"] } }, nodes: two },
    },
  ])("$says is refused and holds nothing", ({ record }) => {
    const bench = openBench();
    expect(() => bench.compile(record)).toThrow(expect.objectContaining({ code: "CONFIG_INVALID" }));
    expect(bench.heldStates()).toBe(0);
  });

  test("an unknown type with one node works", () => {
    expect(() => openBench().compile({ type: "fancy", nodes: { "127.0.0.1:1": 1 } })).not.toThrow();
  });

  test("what is not said has APISIX's defaults", () => {
    const unit = openBench().compile({ nodes: two });
    expect(unit).toMatchObject({ id: "1", name: "one", scheme: "http", passHost: "pass", upstreamHost: "" });
    expect(unit.timeouts).toEqual({ connectMs: 60_000, sendMs: 60_000, readMs: 60_000 });
    expect(unit.pool).toMatchObject({ size: 320, idleMs: 60_000, requests: 1000 });
    expect(unit.tls).toBeUndefined();
  });

  test("what is said is kept, in milliseconds", () => {
    const unit = openBench().compile({
      nodes: two,
      pass_host: "rewrite",
      upstream_host: "x.test",
      timeout: { connect: 0.5, send: 2, read: 3 },
      keepalive_pool: { size: 5, idle_timeout: 1.5, requests: 7 },
    });
    expect(unit).toMatchObject({ passHost: "rewrite", upstreamHost: "x.test" });
    expect(unit.timeouts).toEqual({ connectMs: 500, sendMs: 2000, readMs: 3000 });
    expect(unit.pool).toMatchObject({ size: 5, idleMs: 1500, requests: 7 });
  });

  test("https is not verified unless asked, and sends the certificate of a pair or of an ssl record", () => {
    const bench = openBench();
    bench.script.certificates.set("7", { cert: `${CERTIFICATE}\n`, key: PRIVATE_KEY });
    const tlsOf = (tls: object) => bench.compile({ scheme: "https", nodes: two, tls }).tls;
    expect(tlsOf({})).toEqual({ verify: false, cert: undefined, key: undefined });
    expect(tlsOf({ ...pair, verify: true })).toEqual({ verify: true, cert: CERTIFICATE, key: PRIVATE_KEY });
    expect(tlsOf({ client_cert_id: 7 })).toEqual({
      verify: false,
      cert: `${CERTIFICATE}\n`,
      key: PRIVATE_KEY,
    });
  });

  test.each([
    { says: "the same settings share", other: {}, shared: true },
    { says: "the balancer does not matter", other: { type: "ewma" }, shared: true },
    { says: "another scheme does not share", other: { scheme: "grpcs" }, shared: false },
    { says: "another size does not share", other: { keepalive_pool: { size: 9 } }, shared: false },
    { says: "another idle time does not share", other: { keepalive_pool: { idle_timeout: 9 } }, shared: false },
    { says: "another request limit does not share", other: { keepalive_pool: { requests: 9 } }, shared: false },
    { says: "verification does not share with none", other: { tls: { verify: true } }, shared: false },
    { says: "another identity does not share", other: { tls: pair }, shared: false },
  ])("connections: $says", ({ other, shared }) => {
    const bench = openBench();
    const base = { scheme: "https", nodes: two };
    const one = bench.compile(base).pool.key;
    const another = bench.compile({ ...base, ...other }).pool.key;
    expect(one === another).toBe(shared);
    expect(another).not.toContain("KEY");
  });

  test("an error names the code", () => {
    try {
      openBench().compile({ scheme: "udp" });
      expect.unreachable();
    } catch (error) {
      expect(isCodedError(error, "CONFIG_INVALID")).toBe(true);
    }
  });
});
