import { describe, expect, test } from "vitest";
import { compare, comparisonLine, pairedRatios, quartiles } from "../../bench/pairs.ts";
import type { Row } from "../../bench/rows.ts";
import { measured } from "./rows.ts";

/** @param rounds [total, user] of each */
const rowOf = (server: string, ...rounds: readonly (readonly [number, number])[]): Row => ({
  case: "plain",
  server,
  rounds: rounds.map(([cpuMicrosPerRequest, userMicrosPerRequest]) =>
    measured({ cpuMicrosPerRequest, userMicrosPerRequest }),
  ),
});

describe("rounds side by side", () => {
  test("quartiles are medians of the halves, without the middle", () => {
    expect(quartiles([5, 1, 4, 2, 3])).toEqual({ q1: 1.5, median: 3, q3: 4.5 });
    expect(quartiles([2])).toEqual({ q1: 2, median: 2, q3: 2 });
  });

  test("each round is divided by the same round of the other", () => {
    const [now, then] = [rowOf("a", [10, 5], [40, 20]), rowOf("b", [20, 5], [20, 10])];
    expect(pairedRatios(now, then, (round) => round.cpuMicrosPerRequest)).toEqual([0.5, 2]);
    expect(pairedRatios(now, rowOf("b", [1, 1]), (round) => round.cpuMicrosPerRequest)).toEqual([]);
  });

  const then = rowOf("then", [20, 10], [40, 20], [20, 10], [20, 10]);
  test.each([
    { verdict: "slower", now: rowOf("now", [22, 12], [44, 24], [22, 12], [22, 12]) },
    { verdict: "faster", now: rowOf("now", [18, 8], [36, 16], [18, 8], [18, 8]) },
    // One round in two says the contrary.
    { verdict: "no difference shown", now: rowOf("now", [22, 12], [36, 16], [22, 12], [18, 8]) },
    // Ticks of user time are too coarse to contradict the total.
    { verdict: "no difference shown", now: rowOf("now", [20, 12], [40, 24], [20, 12], [20, 12]) },
  ])("three quarters of the rounds decide: $verdict", ({ verdict, now }) => {
    const compared = compare(now, then);
    expect(compared?.verdict).toBe(verdict);
    expect(compared && comparisonLine(compared)).toMatch(new RegExp(`^plain .*: ${verdict}$`));
  });
});
