import { describe, expect, test } from "vitest";
import { openWorld, type World } from "./live-fixture.ts";

const upstream = { nodes: { "127.0.0.1:1": 1 } };
const route = { "routes/r": { uri: "/a", plugins: { key: {} }, upstream } };
const consumer = (username: string, plugins: object, more: object = {}) => ({
  [`consumers/${username}`]: { username, plugins, ...more },
});
const call = (world: World, key: string) => world.ask({ target: "/a", headers: { k: key } });
const table = (world: World) => world.live.env.credentials("key");

describe("look-ups", () => {
  test("consumers and their credentials are found by key", async () => {
    const world = openWorld();
    world.put({
      ...route,
      ...consumer("jack", { key: { key: "k1", secret: "s1" } }),
      "consumers/jack/credentials/c1": { plugins: { key: { key: "k2", secret: "s2" } } },
    });
    expect(await call(world, "k1")).toMatchObject({ status: 200, notes: ["jack/:s1"] });
    expect(await call(world, "k2")).toMatchObject({ status: 200, notes: ["jack/c1:s2"] });
    expect((await call(world, "k3")).status).toBe(401);
    expect((await call(world, "")).status).toBe(401);
    expect(table(world).size).toBe(2);
  });

  test("a changed consumer is another object, and so is each of its credentials; the old ones are not current", () => {
    const world = openWorld();
    const one = consumer("jack", { key: { key: "k1" } });
    world.put({ ...one, "consumers/jack/credentials/c1": { plugins: { key: { key: "k2" } } } });
    const [own, other] = [table(world).get("k1"), table(world).get("k2")];
    expect(own?.current).toBe(true);
    world.put({ ...consumer("jack", { key: { key: "k1" } }, { labels: { custom_id: "77" } }) });
    expect(own?.current).toBe(false);
    expect(other?.current).toBe(false);
    expect(table(world).get("k2")?.consumer).toBe(world.live.env.consumer("jack"));
    expect(world.live.env.consumer("jack")).toMatchObject({ customId: "77", username: "jack", groupId: undefined });
  });

  test("a credential without its consumer waits for it", async () => {
    const world = openWorld();
    world.put({ ...route, "consumers/jack/credentials/c1": { plugins: { key: { key: "k2" } } } });
    expect((await call(world, "k2")).status).toBe(401);
    world.put(consumer("jack", {}));
    expect((await call(world, "k2")).status).toBe(200);
    world.put({ "consumers/jack": undefined });
    expect((await call(world, "k2")).status).toBe(401);
    world.put({ ...consumer("jack", {}), "consumers/jack/credentials/c1": undefined });
    expect((await call(world, "k2")).status).toBe(401);
    expect(table(world).size).toBe(0);
  });

  test("of two with one key the earlier created is found, the other is listed and takes its place", async () => {
    const world = openWorld();
    world.put({ ...route, ...consumer("first", { key: { key: "k" } }) });
    world.put(consumer("second", { key: { key: "k" } }));
    expect((await call(world, "k")).notes).toEqual(["first/:"]);
    expect(world.problemsOf("consumers/second")).toEqual(["its key key is already used by /apisix/consumers/first"]);
    const winner = table(world).get("k");
    world.put({ "consumers/first": undefined });
    expect(winner?.current).toBe(false);
    expect((await call(world, "k")).notes).toEqual(["second/:"]);
    expect(world.live.problemCount).toBe(0);
  });

  test("a repaired duplicate is listed no more", () => {
    const world = openWorld();
    world.put(consumer("first", { key: { key: "k" } }));
    world.put(consumer("second", { key: { key: "k" } }));
    world.put(consumer("second", { key: { key: "k2" } }));
    expect(world.live.problemCount).toBe(0);
    expect(table(world).get("k")?.consumer.username).toBe("first");
    expect(table(world).get("k2")?.consumer.username).toBe("second");
  });

  test("of two created in one transaction the one whose record's key is smaller is found", () => {
    const world = openWorld();
    world.put({ ...consumer("b", { key: { key: "k" } }), ...consumer("a", { key: { key: "k" } }) });
    expect(table(world).get("k")?.consumer.username).toBe("a");
  });

  test("a credential that cannot be compiled is listed at its first use and never found", () => {
    const world = openWorld();
    world.put(consumer("jack", { key: { key: "k", secret: "explode" } }));
    expect(table(world).get("k")).toBeUndefined();
    expect(world.problemsOf("consumers/jack")).toEqual(["its key is unusable: cannot compile"]);
    world.put(consumer("jack", { key: { key: "k", secret: "fine" } }));
    expect(table(world).get("k")?.data).toEqual({ secret: "fine" });
    expect(world.live.problemCount).toBe(0);
  });

  test("a bad consumer keeps its last good credentials", () => {
    const world = openWorld();
    world.put(consumer("jack", { key: { key: "k" } }));
    expect(world.put(consumer("jack", { key: {} }))).toEqual(["/apisix/consumers/jack"]);
    expect(world.problemsOf("consumers/jack")[0]).toContain('property "key" is required');
    expect(table(world).get("k")).toBeDefined();
  });

  test("a credential record may carry authentication only", () => {
    const world = openWorld();
    expect(world.put({ "consumers/j/credentials/c": { plugins: { mark: { text: "x" } } } })).toHaveLength(1);
  });
});

describe("what consumers and groups lay over a route", () => {
  const over = (text: string, name = "mark", phase = "access") => ({ [name]: { text, phase } });
  test.each([
    {
      says: "the consumer's configuration goes before the group's, and both before the route's",
      group: over("group"),
      mine: over("mine"),
      want: ["mark:mine"],
    },
    { says: "the group's goes before the route's", group: over("group"), mine: {}, want: ["mark:group"] },
    { says: "what the consumer disables is off", group: {}, mine: { mark: { _meta: { disable: true } } }, want: [] },
    {
      says: "a plugin that only the consumer brings runs its rewrite phase",
      group: {},
      mine: over("mine", "mark-two", "rewrite"),
      want: ["mark-two:mine", "mark:route"],
    },
    {
      says: "a plugin that the route has too runs under the consumer's configuration in every phase",
      group: {},
      mine: over("mine", "mark", "rewrite"),
      want: ["mark:mine"],
    },
    { says: "who brings nothing changes nothing", group: {}, mine: { key: { key: "x" } }, want: ["mark:route"] },
  ])("$says", async ({ group, mine, want }) => {
    const world = openWorld();
    world.put({
      "consumer_groups/g": { plugins: group },
      ...consumer("jack", mine, { group_id: "g" }),
      "routes/r": { uri: "/a", plugins: over("route"), upstream },
    });
    expect(await world.ask({ target: "/a" }, "jack")).toMatchObject({ notes: want, status: 200 });
  });

  test("a group that is missing is a 503, and heals when it comes", async () => {
    const world = openWorld();
    world.put({ ...route, "routes/r": { uri: "/a", upstream }, ...consumer("jack", {}, { group_id: "g" }) });
    expect((await world.ask({ target: "/a" }, "jack")).status).toBe(503);
    world.put({ "consumer_groups/g": { plugins: over("g") } });
    expect(await world.ask({ target: "/a" }, "jack")).toMatchObject({ status: 200, notes: ["mark:g"] });
    world.put({ "consumer_groups/g": { plugins: over("g2") } });
    expect(await world.ask({ target: "/a" }, "jack")).toMatchObject({ notes: ["mark:g2"] });
  });

  test("a changed group reaches members that bring plugins of their own", async () => {
    const world = openWorld();
    world.put({
      "consumer_groups/g": { plugins: over("one") },
      ...consumer("jack", over("mine", "mark-two"), { group_id: "g" }),
      "routes/r": { uri: "/a", upstream },
    });
    expect((await world.ask({ target: "/a" }, "jack")).notes).toEqual(["mark-two:mine", "mark:one"]);
    world.put({ "consumer_groups/g": { plugins: over("two") } });
    expect((await world.ask({ target: "/a" }, "jack")).notes).toEqual(["mark-two:mine", "mark:two"]);
  });

  test("the pipeline of a consumer on a route is made once", () => {
    const world = openWorld();
    world.put({ "routes/r": { uri: "/a", upstream }, ...consumer("jack", over("j")), ...consumer("jill", {}) });
    const unit = world.live.route("r");
    const [jack, jill] = [world.live.env.consumer("jack"), world.live.env.consumer("jill")];
    if (!unit || !jack || !jill) throw new TypeError("the records were refused");
    expect(unit.pipelineFor(jack)).toBe(unit.pipelineFor(jack));
    expect(unit.pipelineFor(jill)).toBe(unit.pipeline);
  });
});

describe("references", () => {
  const vault = { "secrets/vault/v": { uri: "http://127.0.0.1:8200", prefix: "kv", token: "t" } };
  const secret = consumer("jack", { key: { key: "$secret://vault/v/jack/key", secret: "$ENV://S" } });

  test("of the environment are resolved at once; a missing one is listed and is never a key", () => {
    const world = openWorld({ environment: { K: "from-env" } });
    world.put({
      ...consumer("jack", { key: { key: "$ENV://K" } }),
      ...consumer("jill", { key: { key: "$ENV://NONE" } }),
    });
    expect(table(world).get("from-env")?.consumer.username).toBe("jack");
    expect(table(world).resolvePending()).toBeUndefined();
    expect(table(world).get("$ENV://K")).toBeUndefined();
    expect(table(world).get("$ENV://NONE")).toBeUndefined();
    expect(world.problemsOf("consumers/jill")).toEqual(["its key is unresolved: $ENV://NONE"]);
    expect(table(world).size).toBe(2);
  });

  test("to a manager are asked for at the first miss, once for all who wait", async () => {
    const world = openWorld({ environment: { S: "s" } });
    world.vault.set("/v1/kv/jack", { key: "from-vault" });
    world.put({ ...route, ...vault, ...secret });
    expect(world.asked).toEqual([]);
    const [one, two] = await Promise.all([call(world, "from-vault"), call(world, "other")]);
    expect(one).toMatchObject({ status: 200, notes: ["jack/:s"] });
    expect(two.status).toBe(401);
    expect(world.asked).toEqual(["/v1/kv/jack"]);
    expect((await call(world, "other")).status).toBe(401);
    expect(table(world).resolvePending()).toBeUndefined();
  });

  test("that fail are listed, are not asked for at each miss, and heal", async () => {
    const world = openWorld({ environment: { S: "s" } });
    world.put({ ...route, ...vault, ...secret });
    expect((await call(world, "k")).status).toBe(401);
    expect((await call(world, "k")).status).toBe(401);
    expect(world.asked).toHaveLength(1);
    expect(world.problemsOf("consumers/jack")[0]).toContain("$secret://vault/v/jack/key");
    world.vault.set("/v1/kv/jack", { key: "k" });
    await pass(world, 70_000);
    expect((await call(world, "k")).status).toBe(200);
    expect(world.live.problemCount).toBe(0);
  });

  test("follow their value: the old key is refused, and what was verified with it is not current", async () => {
    const world = openWorld({ environment: { S: "s" } });
    world.vault.set("/v1/kv/jack", { key: "old" });
    world.put({ ...route, ...vault, ...secret });
    expect((await call(world, "old")).status).toBe(200);
    const before = table(world).get("old");
    world.vault.set("/v1/kv/jack", { key: "new" });
    await pass(world, 310_000);
    expect((await call(world, "old")).status).toBe(401);
    expect((await call(world, "new")).status).toBe(200);
    expect(before?.current).toBe(false);
  });

  test("keep the same credential while the value stays", async () => {
    const world = openWorld({ environment: { S: "s" } });
    world.vault.set("/v1/kv/jack", { key: "k" });
    world.put({ ...route, ...vault, ...secret });
    await call(world, "k");
    const before = table(world).get("k");
    await pass(world, 700_000);
    expect(world.asked.length).toBeGreaterThan(1);
    expect(table(world).get("k")).toBe(before);
  });

  test("are dropped when a refresh finds that the value is gone", async () => {
    const world = openWorld({ environment: { S: "s" } });
    world.vault.set("/v1/kv/jack", { key: "k" });
    world.put({ ...route, ...vault, ...secret });
    await call(world, "k");
    world.vault.clear();
    await pass(world, 310_000);
    expect((await call(world, "k")).status).toBe(401);
  });

  test("are pending again when the manager's record changes", async () => {
    const world = openWorld({ environment: { S: "s" } });
    world.vault.set("/v1/kv/jack", { key: "k" });
    world.vault.set("/v1/kv2/jack", { key: "k2" });
    world.put({ ...route, ...vault, ...secret });
    await call(world, "k");
    const before = table(world).get("k");
    world.put({ "secrets/vault/v": { uri: "http://127.0.0.1:8200", prefix: "kv2", token: "t" } });
    expect(before?.current).toBe(false);
    expect(table(world).get("k")).toBeUndefined();
    expect((await call(world, "k2")).status).toBe(200);
    expect((await call(world, "k")).status).toBe(401);
  });

  test("that come before their manager's record heal with it", async () => {
    const world = openWorld({ environment: { S: "s" } });
    world.vault.set("/v1/kv/jack", { key: "k" });
    world.put({ ...route, ...secret });
    expect((await call(world, "k")).status).toBe(401);
    world.put(vault);
    expect((await call(world, "k")).status).toBe(200);
  });

  test("in other plugins fail closed with a 503, and follow their value", async () => {
    const world = openWorld();
    world.put({
      ...vault,
      "routes/r": { uri: "/a", plugins: { mark: { text: "$secret://vault/v/t/text" } }, upstream },
    });
    expect((await world.ask({ target: "/a" })).status).toBe(503);
    world.vault.set("/v1/kv/t", { text: "one" });
    await pass(world, 70_000);
    expect(await world.ask({ target: "/a" })).toMatchObject({ status: 200, notes: ["mark:one"] });
    world.vault.set("/v1/kv/t", { text: "two" });
    await pass(world, 310_000);
    expect(await world.ask({ target: "/a" })).toMatchObject({ status: 200, notes: ["mark:two"] });
    world.vault.set("/v1/kv/t", { text: "refuse" });
    await pass(world, 310_000);
    expect((await world.ask({ target: "/a" })).status).toBe(503);
    expect(world.problemsOf("routes/r")[0]).toContain("refused by check");
  });
});

/** Moves time in steps and lets what waits for promises happen between them. */
async function pass(world: World, ms: number): Promise<void> {
  for (let gone = 0; gone < ms; gone += 10_000) {
    world.clock.advance(10_000);
    for (let turn = 0; turn < 20; turn++) await Promise.resolve();
  }
}
