/**
 * Runs suites of vitest.config.ts: `node scripts/suite.mjs unit sockets -- [arguments of vitest]`. Suites that start
 * nodes find the sources built.
 */
import { join } from "node:path";
import { buildIfNeeded, ROOT, run, withoutColours } from "./project.mjs";

const BUILT = ["conformance", "e2e", "faults"];
const [suites, rest] = [[], []];
for (const argument of process.argv.slice(2))
  (rest.length > 0 || argument.startsWith("-") || argument.includes("/") ? rest : suites).push(argument);

withoutColours();
if (suites.some((name) => BUILT.includes(name))) await buildIfNeeded();
const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
const projects = suites.flatMap((name) => ["--project", name]);
process.exitCode = await run(process.execPath, [vitest, "run", ...projects, ...rest.filter((one) => one !== "--")]);
