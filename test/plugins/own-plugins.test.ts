import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { bodyText, makeEnv, makeView, metricValue, type Plugin, runPhases } from "../../src/index.ts";
import { PLUGINS } from "../../src/plugins/index.ts";
import { loadOwnPlugins } from "../../src/plugins/own/own-plugins.ts";
import { ROOT, temporaryFolder } from "../support/process.ts";

const EXAMPLE = join(ROOT, "docs/examples/tenant-header.js");
const folder = temporaryFolder("own-plugins");
let files = 0;

function moduleOf(text: string): string {
  const path = join(folder, `${++files}.mjs`);
  writeFileSync(path, text);
  return path;
}

const plain = (name: string): string =>
  `export const mine = { name: "${name}", version: 1, priority: 10, schema: { type: "object" }, compile: () => ({}) };`;

describe("own plugins", () => {
  test("the example of docs/writing-plugins.md loads and runs", async () => {
    const [plugin] = await loadOwnPlugins([EXAMPLE], PLUGINS);
    const env = makeEnv();
    const phases = env.compile(plugin as Plugin, { domain: "shop.example" });
    const view = makeView({ headers: { Host: "a.shop.example" } });
    expect(await runPhases(phases, view)).toBeUndefined();
    expect(view.header("x-tenant")).toBe("a");
    const refused = await runPhases(phases, makeView({ headers: { Host: "other.example" } }));
    expect([refused?.status, bodyText(refused)]).toEqual([404, '{"message":"unknown tenant"}\n']);
    expect(await metricValue(env, "tenant_refused_total")).toBe(1);
    expect(() => env.compile(plugin as Plugin, {})).toThrow('property "domain" is required');
  });

  test("a module needs nothing of the package, and may hold several plugins", async () => {
    const text = `${plain("one")} export const other = { ...mine, name: "two" }; export default mine; export const n = 1;`;
    expect((await loadOwnPlugins([moduleOf(text)], PLUGINS)).map((plugin) => plugin.name).sort()).toEqual([
      "one",
      "two",
    ]);
  });

  test.each([
    { says: "a module that is not there", path: () => join(folder, "none.mjs"), want: /none\.mjs: / },
    { says: "a module that throws", path: () => moduleOf("throw new Error('at load');"), want: /at load/ },
    { says: "a module without a plugin", path: () => moduleOf("export const a = {};"), want: /no plugin is exported/ },
    { says: "a built-in's name", path: () => moduleOf(plain("cors")), want: /a plugin called cors is there already/ },
    { says: "a name that is none", path: () => moduleOf(plain("My Plugin")), want: /no plugin is exported/ },
  ])("$says stops the start with its path", async ({ path, want }) => {
    await expect(loadOwnPlugins([path()], PLUGINS)).rejects.toMatchObject({
      code: "SETTINGS_INVALID",
      message: expect.stringMatching(want),
    });
  });

  test("two modules with one name stop the start", async () => {
    await expect(loadOwnPlugins([moduleOf(plain("x1")), moduleOf(plain("x1"))], [])).rejects.toThrow(
      /x1 is there already/,
    );
  });
});
