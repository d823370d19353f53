/** The last line of `npm test` counts what failed, and nothing as skipped that was to run. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT, temporaryFolder } from "../support/process.ts";

test("a hook that fails makes its tests failures, and a file that cannot be loaded is one", () => {
  const file = join(temporaryFolder("totals"), "totals.json");
  const args = ["run", "--config", "test/scripts/fixture.config.ts", "--reporter=./scripts/vitest-totals.mjs"];
  const { stdout, stderr } = spawnSync(process.execPath, [join(ROOT, "node_modules/vitest/vitest.mjs"), ...args], {
    cwd: ROOT,
    env: { ...process.env, VITEST_TOTALS: file },
    encoding: "utf8",
  });
  const totals = JSON.parse(readFileSync(file, "utf8"));
  expect(totals, stdout + stderr).toMatchObject({ passed: 2, failed: 6, skipped: 4 });
  expect(totals.files).toEqual([
    { path: "test/scripts/broken-hooks.fixture.ts", project: "", passed: 2, failed: 5, skipped: 4 },
    { path: "test/scripts/no-such-export.fixture.mjs", project: "", passed: 0, failed: 1, skipped: 0 },
  ]);
});
