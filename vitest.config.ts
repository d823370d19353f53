/**
 * The suites: what is quick and pure (unit), one suite over both stores (contract), recorded behaviour (conformance),
 * real processes (e2e), and what breaks things on purpose (faults, sim, fuzz). `--mode long` is for `npm run faults` and
 * its like; `npm test` runs their bounded form.
 */
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

/** Folders under test/ that are not part of `npm run check`. */
const SUITES: Readonly<Record<string, readonly string[]>> = {
  contract: ["contract"],
  conformance: ["conformance"],
  e2e: ["cli", "e2e"],
  faults: ["faults", "guarantees", "hostile"],
  sim: ["sim"],
  fuzz: ["fuzz"],
  soak: ["soak"],
};

/** Suites without processes of their own: the same input gives the same result, so a second try could only hide a failure. */
const ONCE: readonly string[] = ["unit", "sim"];

const suite = (
  mode: string,
  name: string,
  include: readonly string[],
  exclude: readonly string[] = [],
): TestProjectInlineConfiguration => ({
  extends: true,
  // Suites of real processes are tried once more when they fail: ports and processors are shared with others. The
  // report says so; a test that needs it twice is broken. The long forms judge guarantees: there once is what counts.
  test: { name, include: [...include], exclude: [...exclude], retry: ONCE.includes(name) || mode === "long" ? 0 : 1 },
});
const files = (folder: string): string => `test/${folder}/**/*.test.ts`;

export default defineConfig(({ mode }) => ({
  // The examples of docs/ import the package by its name.
  resolve: { alias: { jotgate: `${import.meta.dirname}/src/index.ts` } },
  test: {
    pool: "forks",
    maxWorkers: 2, // the tests start processes of their own
    testTimeout: mode === "long" ? 3_600_000 : 120_000, // catches what hangs; a busy machine is no failure
    env: mode === "long" ? { LONG_RUN: "1" } : {}, // test/support/long-run.ts
    hookTimeout: 120_000,
    teardownTimeout: 10_000,
    projects: [
      suite(mode, "unit", [files("*")], Object.values(SUITES).flat().map(files)),
      ...Object.entries(SUITES).map(([name, folders]) => suite(mode, name, folders.map(files))),
    ],
  },
}));
