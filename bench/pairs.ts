/**
 * What a noisy machine still tells: rounds lie side by side, so each round of one server is divided by the same round of
 * the other, and quartiles of these ratios count, not single numbers. Pure.
 */
import { median } from "./machine.ts";
import type { Round, Row } from "./rows.ts";

type Pick = (round: Round) => number;

export interface Quartiles {
  readonly q1: number;
  readonly median: number;
  readonly q3: number;
}

/** Each half without the middle one, as Tukey does it. */
export function quartiles(values: readonly number[]): Quartiles {
  const sorted = [...values].sort((a, b) => a - b);
  const half = Math.max(1, sorted.length >> 1);
  return { q1: median(sorted.slice(0, half)), median: median(sorted), q3: median(sorted.slice(-half)) };
}

/** Round by round; empty where the rows have not run side by side. */
export function pairedRatios(above: Row, below: Row, pick: Pick): number[] {
  if (above.rounds.length !== below.rounds.length) return [];
  const ratios = above.rounds.map((round, at) => pick(round) / pick(below.rounds[at] as Round)); // true: as many
  return ratios.filter(Number.isFinite);
}

export interface Comparison {
  readonly case: string;
  readonly total: Quartiles;
  readonly user: Quartiles;
  readonly verdict: "slower" | "faster" | "no difference shown";
}

/** A difference is shown when three quarters of the rounds have it. */
const SHOWN = 0.02;

/** @returns undefined where there is nothing to compare */
export function compare(now: Row, then: Row): Comparison | undefined {
  const totals = pairedRatios(now, then, (round) => round.cpuMicrosPerRequest);
  const users = pairedRatios(now, then, (round) => round.userMicrosPerRequest);
  if (totals.length === 0 || users.length === 0) return undefined;
  const [total, user] = [quartiles(totals), quartiles(users)];
  const verdict = total.q1 > 1 + SHOWN ? "slower" : total.q3 < 1 - SHOWN ? "faster" : "no difference shown";
  return { case: now.case, total, user, verdict };
}

const show = ({ q1, median: middle, q3 }: Quartiles): string =>
  `${middle.toFixed(2)} (${q1.toFixed(2)}–${q3.toFixed(2)})`;

export function comparisonLine({ case: name, total, user, verdict }: Comparison): string {
  return `${name.padEnd(30)} CPU ${show(total)}, of it user ${show(user)}: ${verdict}`;
}
