/** The modules of plugins where a node looks for them: among what was compiled. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "../support/process.ts";

test("the module of every plugin is found, once", () => {
  const program = `
    const { PLUGINS } = await import(${JSON.stringify(join(ROOT, "dist/plugins/index.js"))});
    for (const entry of PLUGINS) {
      const plugin = entry.load();
      if (plugin.name !== entry.name || plugin !== entry.load()) throw new Error(entry.name);
    }
    console.log(PLUGINS.length);`;
  const child = spawnSync(process.execPath, ["--input-type=module", "-e", program], { encoding: "utf8" });
  expect([child.stderr, Number(child.stdout) > 40]).toEqual(["", true]);
});
