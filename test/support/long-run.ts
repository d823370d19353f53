/**
 * Two forms of the same tests: bounded for `npm test`, full length for `npm run faults | sim | soak`, whose scripts say so
 * by the environment.
 */
import { vi } from "vitest";

export const LONG = process.env["LONG_RUN"] === "1";

/** Beyond anything that a machine with twenty busy processes makes a test wait. */
const PATIENCE_MS = 120_000;

/** A test waits for several facts; this catches what no wait does. vitest.config.ts says the same. */
const TEST_MS = 300_000;

/** @returns the first in `npm test`, the second in the long form */
export function bounded<T>(short: T, long: T): T {
  return LONG ? long : short;
}

/** How often a property is tried: FUZZ_FACTOR times as often where that is set, as `npm run fuzz` does. */
export function runs(few: number): number {
  return few * Number(process.env["FUZZ_FACTOR"] ?? 1);
}

/** A bound that a guarantee states. `npm test` only catches what hangs: a busy machine is no failure; the long form holds it. */
export function slack(boundMs: number): number {
  const held = boundMs * Number(process.env["TIME_SLACK"] ?? bounded(20, 1.5));
  return bounded(Math.max(held, PATIENCE_MS), held);
}

/**
 * How long a test waits for a fact before it calls it missing. Without a bound only what hangs is caught; with one, that is
 * all that `npm test` does, as with `slack`, and the long form holds it.
 */
export function patience(boundMs?: number): number {
  return bounded(Math.max(boundMs ?? 0, PATIENCE_MS), boundMs ?? PATIENCE_MS);
}

/** A number that the long forms are told by their command line. */
export function numberFrom(name: string, otherwise: number): number {
  const value = Number(process.env[name]);
  return process.env[name] === undefined || !Number.isFinite(value) ? otherwise : value;
}

/** For files whose tests start whole clusters: machines that do other things at the same time need minutes. */
export function allowTime(): void {
  vi.setConfig({ testTimeout: bounded(TEST_MS, 3_600_000), hookTimeout: TEST_MS });
}
