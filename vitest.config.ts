/**
 * The suites: what is quick and pure (unit), what opens sockets in the test's own process (sockets), one suite over both
 * stores (contract), recorded behaviour (conformance), real processes (e2e), and what breaks things on purpose (faults,
 * sim, fuzz). `--mode long` is for `npm run faults` and its like; `npm test` runs their bounded form.
 */
import { availableParallelism } from "node:os";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

/** Folders and files under test/ that are not part of `npm run check`; all else is `unit`. */
const SUITES: Readonly<Record<string, readonly string[]>> = {
  sockets: [
    "admin/**/*",
    "bench/open-loop",
    "cluster/**/*",
    "deploy/**/*",
    "gateway/**/*",
    "plugins/limit-redis",
    "runtime/upstream-*",
    "scripts/**/*",
    "secret/**/*",
    "status/**/*",
    "store/**/*",
    "sync/**/*",
    "token/issuers*",
  ],
  contract: ["contract/**/*"],
  conformance: ["conformance/**/*"],
  e2e: ["cli/**/*", "console/**/*", "e2e/**/*"],
  faults: ["faults/**/*", "guarantees/**/*", "hostile/**/*"],
  sim: ["sim/**/*"],
  fuzz: ["fuzz/**/*"],
  soak: ["soak/**/*"],
};

/** Most of a short test is the import of what it tests: these share one process, so a file leaves nothing behind in it. */
const SHARED: readonly string[] = ["unit", "sockets", "sim", "fuzz"];

/** No retries: a second try in the same process starts from what the first one left. scripts/test.mjs tries files anew. */
const suite = (
  name: string,
  include: readonly string[],
  exclude: readonly string[] = [],
): TestProjectInlineConfiguration => ({
  extends: true,
  test: { name, include: [...include], exclude: [...exclude], isolate: !SHARED.includes(name) },
});
const files = (pattern: string): string => `test/${pattern}.test.ts`;

export default defineConfig(({ mode }) => ({
  // The examples of docs/ import the package by its name.
  resolve: { alias: { jotgate: `${import.meta.dirname}/src/index.ts` } },
  test: {
    pool: "forks",
    // Three more than there are processors, for tests that wait; few, because they start processes of their own.
    maxWorkers: Math.min(5, availableParallelism() + 3),
    testTimeout: mode === "long" ? 3_600_000 : 300_000, // catches what hangs; a busy machine is no failure
    env: mode === "long" ? { LONG_RUN: "1" } : {}, // test/support/long-run.ts
    hookTimeout: 300_000,
    teardownTimeout: 10_000,
    projects: [
      suite("unit", [files("**/*")], Object.values(SUITES).flat().map(files)),
      ...Object.entries(SUITES).map(([name, patterns]) => suite(name, patterns.map(files))),
    ],
  },
}));
