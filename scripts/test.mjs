/**
 * `npm test`: everything a user can run, from a fresh clone, in one go. Installs what is missing, says plainly what it
 * could not run, and ends with one line: `N passed, N failed` (`, N skipped`). A step that fails counts as one failure.
 * Further arguments go to vitest: `npm test -- test/unit`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildIfNeeded, has, installIfNeeded, ROOT, run } from "./project.mjs";

const tool = (path) => join(ROOT, "node_modules", path);
const durations = [];
const failedSteps = [];

/** Runs one step; remembers how long it took and whether it failed. @returns whether it went well */
async function step(name, action) {
  console.log(`\n== ${name}`);
  const begin = Date.now();
  const good = await action().catch((error) => {
    console.error(error.message);
    return false;
  });
  durations.push(`${name} ${((Date.now() - begin) / 1000).toFixed(1)} s`);
  if (!good) failedSteps.push(name);
  return good;
}

const node = (...args) =>
  run(process.execPath, args, { stdio: ["ignore", "inherit", "inherit"] }).then((code) => code === 0);

/** Installs etcd where apt-get may; elsewhere the tests that need it skip themselves, and say so. */
async function ensureEtcd() {
  if (has("etcd")) return true;
  if (process.getuid?.() === 0 && has("apt-get")) {
    const options = {
      stdio: ["ignore", "inherit", "inherit"],
      env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    };
    await run("apt-get", ["update", "-qq"], options);
    await run("apt-get", ["install", "-y", "-qq", "etcd-server", "etcd-client"], options);
  }
  if (!has("etcd")) {
    console.log("SKIPPED: no etcd is installed and none could be; every test on etcd is skipped.");
    console.log("         Get it by `apt-get install etcd-server etcd-client`, or from etcd's releases.");
  }
  return true;
}

async function vitest(report) {
  const args = [
    tool("vitest/vitest.mjs"),
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
  ];
  return node(...args, ...process.argv.slice(2));
}

function totals(report) {
  if (!existsSync(report)) return { passed: 0, failed: 0, skipped: 0 };
  const found = JSON.parse(readFileSync(report, "utf8"));
  return {
    passed: found.numPassedTests,
    failed: found.numFailedTests,
    skipped: found.numPendingTests + found.numTodoTests,
  };
}

const folder = mkdtempSync(join(tmpdir(), "jotgate-test-"));
const report = join(folder, "report.json");
let result = { passed: 0, failed: 0, skipped: 0 };
try {
  const installed = await step("packages", async () => {
    await installIfNeeded();
    return true;
  });
  if (installed) {
    await step("etcd", ensureEtcd);
    await step("lint", () => node(tool("@biomejs/biome/bin/biome"), "check", "."));
    await step("house", () => node(join(ROOT, "scripts/house.mjs")));
    await step("types", () => node(tool("typescript/bin/tsc"), "-p", "tsconfig.json", "--noEmit"));
    await step("build", async () => {
      await buildIfNeeded();
      return true;
    });
    const good = await step("tests", () => vitest(report));
    result = totals(report);
    // Failing tests are counted one by one below; the step counts only when vitest itself broke.
    if (!good && result.failed > 0) failedSteps.splice(failedSteps.indexOf("tests"), 1);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

const failed = result.failed + failedSteps.length;
console.log(`\n${durations.join(", ")}`);
if (failedSteps.length > 0) console.log(`failed: ${failedSteps.join(", ")}`);
console.log(`${result.passed} passed, ${failed} failed${result.skipped > 0 ? `, ${result.skipped} skipped` : ""}`);
process.exitCode = failed > 0 ? 1 : 0;
