/**
 * `npm test`: everything a user can run, from a fresh clone, in one go. Installs what is missing, says plainly what it
 * could not run, and ends with one line: `N passed, N failed` (`, N skipped`). A step that fails counts as one failure.
 * A file of real processes that failed runs once more, by itself in a new process: ports and processors are shared with
 * others. The end says so; a file that needs it twice is broken. Further arguments go to vitest: `npm test -- test/base`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { buildIfNeeded, consoleTypes, has, installIfNeeded, ROOT, run, withoutColours } from "./project.mjs";

const tool = (path) => join(ROOT, "node_modules", path);
const durations = [];
const failedSteps = [];
const secondTries = [];

/** Suites that are tried once more; in others the same input gives the same result, and a second try could only hide a failure. */
const AGAIN = ["sockets", "contract", "conformance", "e2e", "faults", "soak"];
/** More failures than these are no accident. */
const AGAIN_MOST = 10;

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

/** Runs vitest; what became of the tests is in its totals, see vitest-totals.mjs. */
async function vitest(...args) {
  const reporters = ["--reporter=default", `--reporter=${join(ROOT, "scripts/vitest-totals.mjs")}`];
  await node(tool("vitest/vitest.mjs"), "run", ...reporters, ...args);
  const found = existsSync(totalsFile) ? JSON.parse(readFileSync(totalsFile, "utf8")) : undefined;
  rmSync(totalsFile, { force: true });
  return found;
}

/** All tests, then once more the files of AGAIN that failed. @returns whether vitest itself went well */
async function tests() {
  result = await vitest(...process.argv.slice(2));
  const again = result?.files.filter(({ project, failed }) => failed > 0 && AGAIN.includes(project)) ?? [];
  if (again.length > 0 && again.length <= AGAIN_MOST) {
    console.log(`\n== once more: ${again.map(({ path }) => path).join(", ")}`);
    const second = await vitest(...again.map(({ path }) => path));
    for (const file of second?.files ?? []) {
      const first = again.find(({ path, project }) => path === file.path && project === file.project);
      if (!first) continue;
      result.failed += file.failed - first.failed;
      result.passed += file.passed - first.passed;
      result.skipped += file.skipped - first.skipped;
      if (file.failed === 0) secondTries.push(file.path);
    }
  }
  return result !== undefined;
}

const folder = mkdtempSync(join(tmpdir(), "jotgate-test-"));
const totalsFile = join(folder, "totals.json");
process.env.VITEST_TOTALS = totalsFile;
withoutColours();
let result;
try {
  const installed = await step("packages", async () => {
    await installIfNeeded();
    return true;
  });
  if (installed) {
    await step("etcd", ensureEtcd);
    await step("lint", () => node(tool("@biomejs/biome/bin/biome"), "check", "."));
    await step("house", () => node(join(ROOT, "scripts/house.mjs")));
    const typesGood = await step(
      "types",
      async () => (await node(tool("typescript/bin/tsc"), "-p", "tsconfig.json", "--noEmit")) && (await consoleTypes()),
    );
    await step("build", async () => {
      await buildIfNeeded(typesGood);
      return true;
    });
    await step("newest Node.js", () => node(join(ROOT, "scripts/nodes.mjs"), "--newest"));
    await step("tests", tests);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

const { passed, failed: failures, skipped } = result ?? { passed: 0, failed: 0, skipped: 0 };
const failed = failures + failedSteps.length;
console.log(`\n${durations.join(", ")}`);
if (secondTries.length > 0) console.log(`passed at the second try only: ${secondTries.join(", ")}`);
if (failedSteps.length > 0) console.log(`failed: ${failedSteps.join(", ")}`);
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
process.exitCode = failed > 0 ? 1 : 0;
