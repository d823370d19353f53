import { describe, expect, test } from "vitest";
import { type Fields, type Log, silentLog } from "../../src/base/log.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { CERTIFICATE, OTHER_KEY, PRIVATE_KEY } from "../support/certificates.ts";
import { openWorld, type World } from "./live-fixture.ts";

const upstream = (port: number) => ({ type: "roundrobin", nodes: { [`127.0.0.1:${port}`]: 1 } });
const mark = (text: string, phase = "access") => ({ mark: { text, phase } });

describe("merging", () => {
  test.each([
    {
      says: "the route's plugin replaces the plugin config's, which replaces the service's, whole configurations each",
      records: {
        "services/s": { plugins: { ...mark("service"), "mark-two": { text: "service" } }, upstream: upstream(1) },
        "plugin_configs/p": { plugins: { ...mark("config") } },
        "routes/r": { uri: "/a", service_id: "s", plugin_config_id: "p", plugins: {} },
      },
      want: { notes: ["mark-two:service", "mark:config"], upstream: "127.0.0.1:1", status: 200 },
    },
    {
      says: "the route wins over both",
      records: {
        "services/s": { plugins: mark("service"), upstream: upstream(1) },
        "plugin_configs/p": { plugins: mark("config") },
        "routes/r": { uri: "/a", service_id: "s", plugin_config_id: "p", plugins: mark("route") },
      },
      want: { notes: ["mark:route"], status: 200 },
    },
    {
      says: "a disabled plugin of the route hides the service's",
      records: {
        "services/s": { plugins: mark("service"), upstream: upstream(1) },
        "routes/r": { uri: "/a", service_id: "s", plugins: { mark: { _meta: { disable: true } } } },
      },
      want: { notes: [], status: 200 },
    },
    {
      says: "the route's inline upstream drops the service's upstream id",
      records: {
        "upstreams/u": upstream(1),
        "services/s": { upstream_id: "u" },
        "routes/r": { uri: "/a", service_id: "s", upstream: upstream(2) },
      },
      want: { upstream: "127.0.0.1:2" },
    },
    {
      says: "an upstream id goes before an inline upstream",
      records: { "upstreams/u": upstream(1), "routes/r": { uri: "/a", upstream_id: "u", upstream: upstream(2) } },
      want: { upstream: "127.0.0.1:1" },
    },
    {
      says: "a number as id finds the record",
      records: { "upstreams/7": upstream(7), "routes/r": { uri: "/a", upstream_id: 7 } },
      want: { upstream: "127.0.0.1:7" },
    },
    {
      says: "a missing upstream is a 502",
      records: { "routes/r": { uri: "/a", upstream_id: "none" } },
      want: { status: 502 },
    },
    { says: "no upstream at all is a 503", records: { "routes/r": { uri: "/a", plugins: {} } }, want: { status: 503 } },
    {
      says: "a missing service is a 404",
      records: { "routes/r": { uri: "/a", service_id: "none" } },
      want: { status: 404, route: "r" },
    },
    {
      says: "a missing plugin config is a 503",
      records: { "routes/r": { uri: "/a", plugin_config_id: "none", upstream: upstream(1) } },
      want: { status: 503, route: "r" },
    },
    {
      says: "a route that is switched off is not there",
      records: { "routes/r": { uri: "/a", status: 0, upstream: upstream(1) } },
      want: { status: 404, route: undefined },
    },
  ])("$says", async ({ records, want }) => {
    const world = openWorld();
    expect(world.put(records)).toBeUndefined();
    expect(await world.ask({ target: "/a" })).toMatchObject(want);
  });

  test("a service's hosts count only where the route has none, and follow the service", async () => {
    const world = openWorld();
    world.put({
      "routes/r": { uri: "/a", service_id: "s" },
      "routes/own": { uri: "/b", host: "own.com", service_id: "s" },
    });
    expect((await world.ask({ target: "/a", headers: { host: "any.com" } })).route).toBe("r");
    world.put({ "services/s": { hosts: ["S.com"], upstream: upstream(1) } });
    expect((await world.ask({ target: "/a", headers: { host: "any.com" } })).route).toBeUndefined();
    expect((await world.ask({ target: "/a", headers: { host: "s.com" } })).route).toBe("r");
    expect((await world.ask({ target: "/b", headers: { host: "s.com" } })).route).toBeUndefined();
    expect((await world.ask({ target: "/b", headers: { host: "own.com" } })).status).toBe(200);
    world.put({ "services/s": undefined });
    expect((await world.ask({ target: "/a", headers: { host: "any.com" } })).status).toBe(404);
  });

  test("websocket is the route's word, else the service's; the timeout is the route's", () => {
    const world = openWorld();
    world.put({
      "services/s": { enable_websocket: true },
      "routes/yes": { uri: "/yes", service_id: "s" },
      "routes/no": {
        uri: "/no",
        service_id: "s",
        enable_websocket: false,
        timeout: { connect: 1, send: 2, read: 0.5 },
      },
    });
    expect(world.live.route("yes")).toMatchObject({ websocket: true, timeouts: undefined });
    expect(world.live.route("no")).toMatchObject({
      websocket: false,
      timeouts: { connectMs: 1000, sendMs: 2000, readMs: 500 },
    });
  });

  test("what matched is told by pattern, host and names", () => {
    const world = openWorld();
    world.put({
      "services/s": { name: "svc", hosts: ["*.s.com"] },
      "routes/r": { name: "rt", uris: ["/a", "/b/*"], service_id: "s" },
    });
    const match = world.live.match(makeView({ target: "/b/c", headers: { host: "x.s.com" } }));
    expect(match?.facts).toEqual({
      id: "r",
      name: "rt",
      serviceId: "s",
      serviceName: "svc",
      matchedUri: "/b/*",
      matchedHost: "*.s.com",
    });
    expect(world.live.match(makeView({ target: "/b/c", headers: { host: "x.s.com" } }))).toBe(match);
  });
});

describe("changes", () => {
  test("a change of a service, a plugin config or an upstream reaches the routes that point to it", async () => {
    const world = openWorld();
    world.put({
      "upstreams/u": upstream(1),
      "services/s": { plugins: mark("one"), upstream_id: "u" },
      "plugin_configs/p": { plugins: { "mark-two": { text: "one" } } },
      "routes/r": { uri: "/a", service_id: "s", plugin_config_id: "p", plugins: {} },
    });
    expect(await world.ask({ target: "/a" })).toMatchObject({
      notes: ["mark-two:one", "mark:one"],
      upstream: "127.0.0.1:1",
    });
    world.put({ "services/s": { plugins: mark("two"), upstream_id: "u" }, "upstreams/u": upstream(2) });
    expect(await world.ask({ target: "/a" })).toMatchObject({
      notes: ["mark-two:one", "mark:two"],
      upstream: "127.0.0.1:2",
    });
    world.put({ "plugin_configs/p": { plugins: {} } });
    expect(await world.ask({ target: "/a" })).toMatchObject({ notes: ["mark:two"] });
    world.put({ "upstreams/u": undefined });
    expect(await world.ask({ target: "/a" })).toMatchObject({ status: 502 });
    world.put({ "plugin_configs/p": undefined });
    expect(await world.ask({ target: "/a" })).toMatchObject({ status: 503 });
  });

  test("a change leaves the units of other routes as they are", () => {
    const world = openWorld();
    world.put({ "services/s": {}, "routes/r": { uri: "/a", service_id: "s" }, "routes/o": { uri: "/b", plugins: {} } });
    const [mine, other] = [world.live.route("r"), world.live.route("o")];
    world.put({ "services/s": { name: "x" } });
    expect(world.live.route("r")).not.toBe(mine);
    expect(world.live.route("o")).toBe(other);
  });

  test("a request keeps the unit it began with", async () => {
    const world = openWorld();
    world.put({ "routes/r": { uri: "/a", plugins: mark("old"), upstream: upstream(1) } });
    const before = world.live.route("r");
    world.put({ "routes/r": { uri: "/a", plugins: mark("new"), upstream: upstream(1) } });
    const view = makeView();
    const marks: string[] = [];
    view.setNote("marks", marks);
    for (const run of before?.pipeline.access ?? []) await run(view);
    expect(marks).toEqual(["mark:old"]);
  });

  test("state with the same key outlives a change of its record, and ends some time after its last user", async () => {
    const world = openWorld();
    const record = { uri: "/a", plugins: mark("same"), upstream: upstream(1) };
    world.put({ "routes/r": record });
    await world.ask({ target: "/a" });
    world.put({ "routes/r": { ...record, desc: "changed" } });
    await world.ask({ target: "/a" });
    const held = world.states.hold("mark same", () => ({ uses: -1 }));
    expect(held.state.uses).toBe(2);
    held.release();
    world.put({ "routes/r": undefined });
    expect(world.states.size).toBe(1);
    world.clock.advance(30_000);
    expect(world.states.size).toBe(0);
  });

  test("changed metadata reaches plugins that are compiled already", async () => {
    const world = openWorld();
    world.put({ "routes/r": { uri: "/a", plugins: mark("x"), upstream: upstream(1) } });
    expect((await world.ask({ target: "/a" })).notes).toEqual(["mark:x"]);
    world.put({ "plugin_metadata/mark": { suffix: "!" } });
    expect((await world.ask({ target: "/a" })).notes).toEqual(["mark:x!"]);
    world.put({ "plugin_metadata/mark": undefined });
    expect((await world.ask({ target: "/a" })).notes).toEqual(["mark:x"]);
  });
});

describe("an upstream that a plugin chose", () => {
  const base = { "upstreams/u": upstream(1), "upstreams/v": upstream(2) };
  test.each([
    { says: "by id goes before the route's", conf: { id: "v" }, want: { upstream: "127.0.0.1:2" } },
    { says: "inline goes before the route's", conf: { upstream: upstream(3) }, want: { upstream: "127.0.0.1:3" } },
    { says: "by an id that is missing is a 502", conf: { id: "none" }, want: { status: 502 } },
  ])("$says", async ({ conf, want }) => {
    const world = openWorld();
    world.put({ ...base, "routes/r": { uri: "/a", upstream_id: "u", plugins: { split: conf } } });
    expect(await world.ask({ target: "/a" })).toMatchObject(want);
  });

  test("follows its record without the route being touched", async () => {
    const world = openWorld();
    world.put({ ...base, "routes/r": { uri: "/a", upstream_id: "u", plugins: { split: { id: "v" } } } });
    await world.ask({ target: "/a" });
    world.put({ "upstreams/v": upstream(9) });
    expect(await world.ask({ target: "/a" })).toMatchObject({ upstream: "127.0.0.1:9" });
  });
});

describe("bad records", () => {
  const good = { uri: "/a", plugins: mark("good"), upstream: upstream(1) };
  test.each([
    { says: "empty", value: "" },
    { says: "null", value: "null" },
    { says: "a list", value: "[]" },
    { says: "a text", value: '"text"' },
    { says: "a number", value: "42" },
    { says: "cut off", value: '{"uri":"/a"' },
    { says: "not UTF-8", value: Buffer.from([0x7b, 0xff, 0x7d]) },
    { says: "zeros", value: Buffer.alloc(1_500_000) },
    { says: "of the wrong shape", value: { uri: 5, plugins: {} } },
    { says: "without uri", value: { plugins: {} } },
    { says: "with a plugin configuration that breaks its schema", value: { ...good, plugins: { mark: {} } } },
    { says: "with a plugin configuration that breaks its rules", value: { ...good, plugins: mark("refuse") } },
    {
      says: "with a bad filter",
      value: { ...good, plugins: { mark: { text: "x", _meta: { filter: [["a", "=", 1]] } } } },
    },
    { says: "with unknown _meta", value: { ...good, plugins: { mark: { text: "x", _meta: { nosuch: 1 } } } } },
    { says: "with bad vars", value: { ...good, vars: [["arg_a", "=", "1"]] } },
    { says: "with Lua", value: { ...good, filter_func: "function(vars) return true end" } },
    {
      says: "with an upstream in use that cannot be compiled",
      value: { ...good, upstream: { type: "nosuch", nodes: { "a:1": 1, "b:1": 1 } } },
    },
  ])("a record that is $says is listed, changes nothing, and heals", async ({ value }) => {
    const world = openWorld();
    world.put({ "routes/r": good, "routes/o": { uri: "/o", upstream: upstream(2) } });
    await world.ask({ target: "/a" });
    expect(world.put({ "routes/r": value, "routes/new": value })).toContain("/apisix/routes/r");
    expect(world.problemsOf("routes/r")).toHaveLength(1);
    expect(await world.ask({ target: "/a" })).toMatchObject({ notes: ["mark:good"], status: 200 });
    expect((await world.ask({ target: "/o" })).status).toBe(200);
    expect(world.put({ "routes/r": { ...good, uri: "/b" } })).toBeUndefined();
    expect(world.problemsOf("routes/r")).toEqual([]);
    expect((await world.ask({ target: "/b" })).route).toBe("r");
    world.put({ "routes/new": undefined });
    expect(world.live.problemCount).toBe(0);
  });

  test("placeholders, keys that are no records and members we do not know are no problem", () => {
    const world = openWorld();
    expect(
      world.put({
        "routes/": "init_dir",
        "routes/x": "init_dir",
        "nosuch/1": "garbage",
        gen_id: "1",
        "routes/r": { ...good, brand_new_member: true },
        "protos/1": { content: 'syntax = "proto3";' },
      }),
    ).toBeUndefined();
    expect(world.live.problemCount).toBe(0);
    expect(world.live.counts.route).toBe(1);
  });

  test("the id of a key wins over the id of a value", () => {
    const world = openWorld();
    world.put({ "routes/r": { ...good, id: "other" } });
    expect(world.live.route("r")?.facts.id).toBe("r");
  });

  test("an upstream that cannot be compiled keeps the last good one", async () => {
    const world = openWorld();
    world.put({ "upstreams/u": upstream(1), "routes/r": { uri: "/a", upstream_id: "u" } });
    expect(world.put({ "upstreams/u": { type: "nosuch", nodes: { "a:1": 1, "b:1": 1 } } })).toEqual([
      "/apisix/upstreams/u",
    ]);
    expect(await world.ask({ target: "/a" })).toMatchObject({ upstream: "127.0.0.1:1" });
  });

  describe("an upstream that names a client certificate", () => {
    const value = { scheme: "https", nodes: { "127.0.0.1:1": 1 }, tls: { client_cert_id: "c" } };
    const pair = { cert: CERTIFICATE, key: PRIVATE_KEY };
    const open = (ssl?: object) => {
      const world = openWorld({ environment: { CLIENT_KEY: PRIVATE_KEY } });
      const records = { "upstreams/u": value, "routes/r": { uri: "/a", upstream_id: "u" } };
      expect(world.put(ssl ? { "ssls/c": ssl, ...records } : records)).toBeUndefined();
      return world;
    };
    const statusOf = async (world: World) => (await world.ask({ target: "/a" })).status;

    test.each([
      { says: "does not exist", ssl: undefined, told: /there is no such ssl record/ },
      { says: "is for servers", ssl: { ...pair, sni: "a.test" }, told: /not of type client/ },
      {
        says: "has a reference without a value",
        ssl: { ...pair, key: "$ENV://NOT_THERE", type: "client" },
        told: /unresolved: \$ENV:\/\/NOT_THERE/,
      },
      {
        says: "has another's key",
        ssl: { cert: CERTIFICATE, key: OTHER_KEY, type: "client" },
        told: /the private key does not belong to the certificate/,
      },
    ])("answers 502 while it $says, says so, and heals without being touched", async ({ ssl, told }) => {
      const world = open(ssl);
      expect(await statusOf(world)).toBe(502);
      expect(world.problemsOf("upstreams/u")).toEqual([expect.stringMatching(told)]);
      world.put({ "ssls/c": { ...pair, type: "client" } });
      expect(world.live.problemCount).toBe(0);
      expect(await statusOf(world)).toBe(200);
      world.put({ "ssls/c": undefined });
      expect(await statusOf(world)).toBe(502);
    });

    test("shows what its references stand for", async () => {
      const world = open({ cert: CERTIFICATE, key: "$ENV://CLIENT_KEY", type: "client" });
      expect(world.live.clientCertificate("c")).toEqual(pair);
      expect(await statusOf(world)).toBe(200);
      expect(world.live.problemCount).toBe(0);
    });

    test("keeps the former pair when the new one does not fit together", async () => {
      const world = open({ ...pair, type: "client" });
      world.put({ "ssls/c": { cert: CERTIFICATE, key: OTHER_KEY, type: "client" } });
      expect(world.live.clientCertificate("c")).toEqual(pair);
      expect(await statusOf(world)).toBe(200);
      expect(world.problemsOf("ssls/c")).toEqual([expect.stringMatching(/does not belong/)]);
    });
  });

  test("a plugin that throws when it is compiled answers 500 and is listed", async () => {
    const world = openWorld();
    world.put({ "routes/r": { uri: "/a", plugins: mark("explode"), upstream: upstream(1) } });
    expect((await world.ask({ target: "/a" })).status).toBe(500);
    expect(world.problemsOf("routes/r")).toEqual(["plugin mark: cannot compile"]);
    world.put({ "routes/r": { uri: "/a", plugins: mark("fine"), upstream: upstream(1) } });
    expect(world.live.problemCount).toBe(0);
    expect((await world.ask({ target: "/a" })).status).toBe(200);
  });

  test("many bad records do not flood the log", () => {
    const lines: string[] = [];
    const log: Log = { ...silentLog, warn: (_fields: Fields, message: string) => void lines.push(message) };
    const world = openWorld({ log });
    world.put(Object.fromEntries(Array.from({ length: 500 }, (_, at) => [`routes/${at}`, "{}"])));
    expect(world.live.problemCount).toBe(500);
    expect(lines.length).toBeLessThanOrEqual(60);
  });
});

describe("global rules", () => {
  test("run before the route, and for requests that match nothing", async () => {
    const world = openWorld();
    world.put({
      "global_rules/1": { plugins: mark("g", "rewrite") },
      "routes/r": { uri: "/a", plugins: mark("r", "rewrite"), upstream: upstream(1) },
    });
    expect(await world.ask({ target: "/a" })).toMatchObject({ notes: ["mark:g", "mark:r"] });
    expect(await world.ask({ target: "/none" })).toMatchObject({ notes: ["mark:g"], status: 404 });
  });

  test("a plugin in two rules runs in none, requests are refused, both are told, and it heals", async () => {
    const world = openWorld();
    world.put({
      "global_rules/1": { plugins: mark("one", "rewrite") },
      "global_rules/2": { plugins: { ...mark("two", "rewrite"), "mark-two": { text: "x", phase: "rewrite" } } },
    });
    expect(await world.ask({ target: "/" })).toMatchObject({ notes: [], status: 503 });
    expect(world.problemsOf("global_rules/1")).toHaveLength(1);
    expect(world.problemsOf("global_rules/2")).toHaveLength(1);
    world.put({ "global_rules/1": undefined });
    expect(await world.ask({ target: "/" })).toMatchObject({ notes: ["mark-two:x", "mark:two"] });
    expect(world.live.problemCount).toBe(0);
  });

  test("a plugin that prefers the route is left to a route that has it", async () => {
    const world = openWorld();
    world.put({
      "global_rules/1": { plugins: { guard: { status: 418 } } },
      "routes/r": { uri: "/a", plugins: { guard: { status: 403 } }, upstream: upstream(1) },
      "routes/o": { uri: "/o", upstream: upstream(1) },
    });
    expect((await world.ask({ target: "/a" })).status).toBe(403);
    expect((await world.ask({ target: "/o" })).status).toBe(418);
    expect((await world.ask({ target: "/none" })).status).toBe(418);
  });
});

test("certificates are kept and their listeners told", () => {
  const world = openWorld();
  const told: string[] = [];
  world.live.onSslChange((id, value) => told.push(`${id} ${value?.["sni"] ?? "gone"}`));
  const pem = "-----BEGIN CERTIFICATE-----\n".padEnd(200, "x");
  expect(world.put({ "ssls/1": { cert: pem, key: pem, sni: "a.com" } })).toBeUndefined();
  expect([...world.live.ssls()].map(([id, value]) => `${id} ${value["sni"]}`)).toEqual(["1 a.com"]);
  world.put({ "ssls/1": undefined });
  expect(told).toEqual(["1 a.com", "1 gone"]);
  expect([...world.live.ssls()]).toEqual([]);
});
