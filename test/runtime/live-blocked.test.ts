/** What cannot be enforced is not served open: 503 for its scope, and a problem that says so. */
import { describe, expect, test } from "vitest";
import { openWorld } from "./live-fixture.ts";

const upstream = { nodes: { "127.0.0.1:1": 1 } };
const open = { uri: "/*", upstream };
const NOT_LOADED = /^plugin nosuch is not loaded on this node: requests are answered 503; /;

const blocks = (world: ReturnType<typeof openWorld>): readonly string[] =>
  world.live
    .problems()
    .filter((problem) => problem.blocks)
    .map(({ key }) => key.slice("/apisix/".length));

describe("a plugin that is not loaded answers 503", () => {
  test.each<{ says: string; at: string; records: Record<string, unknown>; consumer?: string }>([
    { says: "its route", at: "routes/r", records: { "routes/r": { ...open, uri: "/a", plugins: { nosuch: {} } } } },
    {
      says: "the routes of its service",
      at: "services/s",
      records: { "services/s": { plugins: { nosuch: {} }, upstream }, "routes/r": { uri: "/a", service_id: "s" } },
    },
    {
      says: "the routes of its plugin config",
      at: "plugin_configs/p",
      records: { "plugin_configs/p": { plugins: { nosuch: {} } }, "routes/r": { ...open, plugin_config_id: "p" } },
    },
    {
      says: "requests of its consumer",
      at: "consumers/jack",
      records: { "consumers/jack": { username: "jack", plugins: { nosuch: {} } }, "routes/r": open },
      consumer: "jack",
    },
    {
      says: "requests of members of its group",
      at: "consumer_groups/g",
      records: {
        "consumer_groups/g": { plugins: { nosuch: {} } },
        "consumers/jack": { username: "jack", group_id: "g" },
        "routes/r": open,
      },
      consumer: "jack",
    },
    {
      says: "every request, by a global rule",
      at: "global_rules/1",
      records: { "global_rules/1": { plugins: { nosuch: {} } }, "routes/r": open },
    },
  ])("to $says", async ({ at, records, consumer }) => {
    const world = openWorld();
    expect(world.put({ "routes/free": { ...open, uri: "/free" }, ...records })).toBeUndefined();
    expect(world.problemsOf(at)).toEqual([expect.stringMatching(NOT_LOADED)]);
    expect(blocks(world)).toEqual([at]);
    expect((await world.ask({ target: "/a" }, consumer)).status).toBe(503);
    if (!at.startsWith("global")) expect((await world.ask({ target: "/free" })).status).toBe(200);
    world.put({ [at]: { ...(records[at] as object), plugins: {} } });
    expect((await world.ask({ target: "/a" }, consumer)).status).toBe(200);
    expect(world.live.problemCount).toBe(0);
  });

  test("to requests that match nothing, before any plugin of its record, whatever its priority", async () => {
    const world = openWorld();
    const nosuch = { _meta: { priority: -5 } };
    world.put({ "global_rules/1": { plugins: { nosuch, guard: {}, mark: { text: "x", phase: "rewrite" } } } });
    expect(await world.ask({ target: "/none" })).toMatchObject({ status: 503, notes: [] });
  });

  test("only where its filter holds; a filter that cannot be read holds everywhere", async () => {
    const world = openWorld();
    const withFilter = (filter: unknown) => ({ "routes/r": { ...open, plugins: { nosuch: { _meta: { filter } } } } });
    world.put(withFilter([["arg_a", "==", "1"]]));
    expect((await world.ask({ target: "/a?a=1" })).status).toBe(503);
    expect((await world.ask({ target: "/a?a=2" })).status).toBe(200);
    world.put(withFilter([["arg_a", "no such operator", "1"]]));
    expect((await world.ask({ target: "/a?a=2" })).status).toBe(500);
  });

  test("but not when its _meta.disable says so, on its record or a higher one", async () => {
    const world = openWorld();
    const off = { nosuch: { _meta: { disable: true } } };
    world.put({ "services/s": { plugins: off, upstream }, "routes/r": { uri: "/a", service_id: "s" } });
    expect((await world.ask({ target: "/a" })).status).toBe(200);
    expect(world.live.problemCount).toBe(0);
    world.put({ "services/s": { plugins: { nosuch: {} }, upstream } });
    expect((await world.ask({ target: "/a" })).status).toBe(503);
    world.put({ "routes/r": { uri: "/a", service_id: "s", plugins: off } });
    expect((await world.ask({ target: "/a" })).status).toBe(200);
  });

  test("but not when it may be missing; that it is stays a problem", async () => {
    const world = openWorld({ mayBeMissing: new Set(["nosuch"]) });
    world.put({ "routes/r": { ...open, plugins: { nosuch: {} } } });
    expect((await world.ask({ target: "/a" })).status).toBe(200);
    expect(world.problemsOf("routes/r")).toEqual(["plugin nosuch is not loaded on this node: it is left out"]);
    expect(blocks(world)).toEqual([]);
  });

  test("but not where it would only have let somebody in", async () => {
    const world = openWorld();
    world.put({
      "consumers/jack": { username: "jack", plugins: { "ldap-auth": { user_dn: "cn=jack" } } },
      "consumers/jack/credentials/c": { plugins: { nosuch: {} } },
      "routes/r": open,
    });
    expect((await world.ask({ target: "/a" }, "jack")).status).toBe(200);
    expect(world.problemsOf("consumers/jack")).toEqual([expect.stringMatching(/nobody is let in by it$/)]);
    expect(world.problemsOf("consumers/jack/credentials/c")).toEqual([
      expect.stringMatching(/nobody is let in by it$/),
    ]);
  });
});

describe("a plugin that stands in two global rules", () => {
  test("counts once where one of them disables it", async () => {
    const world = openWorld();
    const plugins = { mark: { text: "one", phase: "rewrite" } };
    world.put({ "routes/r": open, "global_rules/1": { plugins } });
    world.put({ "global_rules/2": { plugins: { mark: { text: "two", _meta: { disable: true } } } } });
    expect(await world.ask({ target: "/a" })).toMatchObject({ status: 200, notes: ["mark:one"] });
    expect(world.live.problemCount).toBe(0);
  });

  test("runs in neither and refuses nothing where it may be missing", async () => {
    const world = openWorld({ mayBeMissing: new Set(["mark"]) });
    const plugins = { mark: { text: "one", phase: "rewrite" } };
    world.put({ "routes/r": open, "global_rules/1": { plugins }, "global_rules/2": { plugins } });
    expect(await world.ask({ target: "/a" })).toMatchObject({ status: 200, notes: [] });
    expect(world.live.problemCount).toBe(2);
    expect(blocks(world)).toEqual([]);
  });
});

describe("a record that was refused while nothing older serves", () => {
  test.each<{ says: string; value: unknown }>([
    { says: "no JSON", value: "{" },
    { says: "no object", value: "[]" },
    { says: "without plugins", value: {} },
    { says: "with a plugin that refuses its configuration", value: { plugins: { mark: { text: "refuse" } } } },
    { says: "not UTF-8", value: Buffer.from([0xff, 0xfe]) },
  ])("refuses every request as a global rule: $says", async ({ value }) => {
    const world = openWorld();
    world.put({ "routes/r": open, "global_rules/1": value });
    expect((await world.ask({ target: "/a" })).status).toBe(503);
    expect((await world.ask({ target: "/a" }, "nobody")).status).toBe(503);
    expect(blocks(world)).toEqual(["global_rules/1"]);
    expect(world.problemsOf("global_rules/1")[0]).toMatch(/answered 503 until it is repaired or deleted$/);
    world.put({ "global_rules/1": undefined });
    expect((await world.ask({ target: "/a" })).status).toBe(200);
    expect(world.live.problemCount).toBe(0);
  });

  test("leaves a global rule that served as it was", async () => {
    const world = openWorld();
    world.put({ "routes/r": open, "global_rules/1": { plugins: { mark: { text: "x", phase: "rewrite" } } } });
    world.put({ "global_rules/1": "{" });
    expect(await world.ask({ target: "/a" })).toMatchObject({ status: 200, notes: ["mark:x"] });
    expect(blocks(world)).toEqual([]);
  });

  test("refuses what a route would have matched, and leaves it to no other route", async () => {
    const world = openWorld();
    const bad = { uri: "/jwt/*", plugins: { mark: { text: "refuse" } }, upstream };
    world.put({ "routes/open": open, "routes/jwt": bad });
    expect(await world.ask({ target: "/jwt/secret" })).toMatchObject({ status: 503, route: "jwt" });
    expect((await world.ask({ target: "/a" })).status).toBe(200);
    expect(blocks(world)).toEqual(["routes/jwt"]);
    world.put({ "routes/jwt": { ...bad, uri: "/other/*" } });
    expect((await world.ask({ target: "/jwt/secret" })).status).toBe(200);
    expect((await world.ask({ target: "/other/x" })).status).toBe(503);
    world.put({ "routes/jwt": { uri: "/jwt/*", upstream } });
    expect((await world.ask({ target: "/other/x" })).route).toBe("open");
    expect((await world.ask({ target: "/jwt/x" })).route).toBe("jwt");
    expect(world.live.problemCount).toBe(0);
  });

  test("refuses nothing as a route that does not say what it would match", async () => {
    const world = openWorld();
    world.put({ "routes/open": open, "routes/bad": { uris: [1], plugins: {} }, "routes/worse": "{" });
    expect((await world.ask({ target: "/a" })).status).toBe(200);
    expect(blocks(world)).toEqual([]);
  });

  test("refuses the routes of a service, whatever they bring themselves", async () => {
    const world = openWorld();
    world.put({ "services/s": { plugins: { mark: { text: "refuse" } } }, "routes/r": { ...open, service_id: "s" } });
    expect((await world.ask({ target: "/a" })).status).toBe(503);
    expect(blocks(world)).toEqual(["services/s"]);
    world.put({ "services/s": undefined });
    expect((await world.ask({ target: "/a" })).status).toBe(404);
  });
});

describe("a certificate record that is refused", () => {
  const told = (world: ReturnType<typeof openWorld>): unknown => Object.fromEntries(world.live.ssls())["1"];
  const good = {
    cert: `${"c".repeat(128)}`,
    key: `${"k".repeat(128)}`,
    sni: "a.test",
    client: { ca: "c".repeat(128) },
  };

  test.each([
    ["by its schema", { ...good, cert: "short" }, ["a.test"]],
    ["with several names", { key: 1, snis: ["a.test", 7, "*.b.test"], client: {} }, ["a.test", "*.b.test"]],
    ["with a client that is none", { sni: "a.test", client: "yes" }, ["a.test"]],
  ])("%s leaves its names closed where it verifies clients", (_says, value, snis) => {
    const world = openWorld();
    expect(world.put({ "ssls/1": value })).toEqual(["/apisix/ssls/1"]);
    expect(told(world)).toEqual({ snis, client: {} });
    expect(blocks(world)).toEqual(["ssls/1"]);
    world.put({ "ssls/1": good });
    expect(told(world)).toMatchObject({ sni: "a.test" });
    expect(blocks(world)).toEqual([]);
    world.put({ "ssls/1": value });
    expect(told(world)).toMatchObject({ sni: "a.test" });
    expect(blocks(world)).toEqual([]);
    world.put({ "ssls/1": undefined });
    expect(told(world)).toBeUndefined();
  });

  test.each([
    ["verifies nobody", { ...good, cert: "short", client: undefined }],
    ["is switched off", { ...good, cert: "short", status: 0 }],
    ["is for upstreams", { ...good, cert: "short", type: "client" }],
    ["has no name", { cert: "short", client: {} }],
    ["is no object", "{"],
  ])("leaves nothing where it %s", (_says, value) => {
    const world = openWorld();
    expect(world.put({ "ssls/1": value })).toEqual(["/apisix/ssls/1"]);
    expect(told(world)).toBeUndefined();
    expect(blocks(world)).toEqual([]);
  });
});
