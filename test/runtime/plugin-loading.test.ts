/** When the modules of plugins are loaded: with the first configuration that names them, before it serves. */
import { describe, expect, test } from "vitest";
import { catalogOf } from "../../src/admin/plugin-catalog.ts";
import { entryOf, type PluginEntry } from "../../src/plugin/plugin.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { mocking } from "../../src/plugins/mocking.ts";
import { publicApi } from "../../src/plugins/public-api.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { openWorld } from "./live-fixture.ts";

/** Entries that tell which of them were loaded. */
function watched(): { readonly loaded: string[]; readonly plugins: readonly PluginEntry[] } {
  const loaded: string[] = [];
  const plugins = [keyAuth, mocking, publicApi].map((plugin) => ({
    ...entryOf(plugin),
    load() {
      loaded.push(plugin.name);
      return plugin;
    },
  }));
  return { loaded, plugins };
}

const node = { nodes: { "127.0.0.1:1980": 1 } };

describe("the module of a plugin", () => {
  test("is loaded with the first record that names it, once", async () => {
    const { loaded, plugins } = watched();
    const world = openWorld({ plugins });
    world.put({ "routes/plain": { uri: "/plain", upstream: node } });
    expect(loaded).toEqual([]);
    expect(
      world.put({
        "routes/mock": { uri: "/mock", plugins: { mocking: { response_status: 201, response_example: "a" } } },
      }),
    ).toBeUndefined();
    expect(loaded).toEqual(["mocking"]);
    expect((await world.ask({ target: "/mock" })).status).toBe(201);
    world.put({
      "routes/more": { uri: "/more", plugins: { mocking: { response_status: 202, response_example: "a" } } },
    });
    world.put({ "consumers/jo": { username: "jo", plugins: { "key-auth": { key: "a" } } } });
    expect(loaded).toEqual(["mocking", "key-auth"]);
    world.live.close();
  });

  test("that cannot be loaded is a problem of the records that name it, and of no other", async () => {
    const { plugins } = watched();
    const broken = plugins.map((entry) => ({
      ...entry,
      load() {
        if (entry.name === "mocking") throw new Error("the disk failed");
        return entry.load();
      },
    }));
    const world = openWorld({ plugins: broken });
    world.put({
      "routes/mock": { uri: "/mock", plugins: { mocking: { response_example: "a" } } },
      "routes/plain": { uri: "/plain", upstream: node },
    });
    expect(world.problemsOf("routes/mock").join()).toContain("the disk failed");
    expect((await world.ask({ target: "/mock" })).status).toBe(503);
    expect((await world.ask({ target: "/plain" })).status).toBe(200);
    world.live.close();
  });

  test("is not needed for the names of all plugins and their kinds", () => {
    const { loaded, plugins } = watched();
    const registry = openPluginRegistry(plugins);
    const catalog = catalogOf(registry, { compat: "default" });
    expect(catalog.names).toEqual(["mocking", "key-auth", "public-api"]);
    expect(catalog.credentialNames).toEqual(["key-auth"]);
    expect([registry.has("mocking"), registry.has("other"), catalog.get("other")]).toEqual([true, false, undefined]);
    expect(registry.checkAll({ other: {} }, "route", "read")).toBeUndefined();
    expect(loaded).toEqual([]);
    expect(catalog.get("mocking")?.schema).toHaveProperty("properties.response_status");
    expect(loaded).toEqual(["mocking"]);
    expect(catalog.plugins().map(({ name }) => name)).toEqual(catalog.names);
  });
});
