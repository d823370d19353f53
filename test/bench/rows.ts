/**
 * Rows of results as the benchmark's pure parts take them.
 */
import type { Measured } from "../../bench/load.ts";
import type { Row } from "../../bench/rows.ts";

export const measured = (given: Partial<Measured> = {}): Measured => ({
  requests: 1_000,
  cpuMicrosPerRequest: 10,
  userMicrosPerRequest: 6,
  requestsPerSecond: 50_000,
  p50Ms: 1,
  p99Ms: 2,
  p999Ms: 3,
  rssMiB: 60,
  statusErrors: 0,
  socketErrors: 0,
  ...given,
});

/** @param micros CPU per request of each round */
export const row = (name: string, server: string, ...micros: number[]): Row => ({
  case: name,
  server,
  rounds: micros.map((cpuMicrosPerRequest) => measured({ cpuMicrosPerRequest })),
});
