import { describe, expect, test } from "vitest";
import { type Expected, judge } from "../../bench/judge.ts";
import { type Counted, countedBetween, generalShare, readCounted } from "../../bench/own-metrics.ts";
import { measured } from "./rows.ts";

const counted = (given: Partial<Counted> = {}): Counted => ({
  ...{ fast: 1_000, general: 0, handovers: 0, cacheHits: 1_000, cacheMisses: 0, byStatus: { 200: 1_000 } },
  ...given,
});

describe("a burst of load", () => {
  test.each<{ says: string; expect: Expected; measured?: object; counted?: Partial<Counted>; wrong?: string }>([
    { says: "counts when all answers are what the case expects", expect: { status: 200 } },
    { says: "counts when all are errors and should be", expect: { status: 401 }, measured: { statusErrors: 1_000 } },
    { says: "is wrong with one error", expect: { status: 200 }, measured: { statusErrors: 1 }, wrong: "1 of 1000" },
    { says: "is wrong without errors where they belong", expect: { status: 404 }, wrong: "0 of 1000" },
    { says: "is wrong with resets", expect: { status: 200 }, measured: { socketErrors: 2 }, wrong: "2 socket errors" },
    {
      says: "is wrong with another error than the expected one",
      expect: { status: 401 },
      measured: { statusErrors: 1_000 },
      counted: { byStatus: { 401: 999, 502: 1 } },
      wrong: '"502":1',
    },
    {
      says: "is wrong with another status below 400",
      expect: { status: 200 },
      counted: { byStatus: { 200: 999, 302: 1 } },
      wrong: "not all 200",
    },
    {
      says: "may end with requests under way",
      expect: { status: 200 },
      counted: { byStatus: { 200: 1_000, 499: 64 } },
    },
    { says: "of known tokens finds them", expect: { status: 200, tokens: "cached" }, counted: {} },
    {
      says: "of known tokens is wrong when they were forgotten",
      expect: { status: 200, tokens: "cached" },
      counted: { cacheHits: 900, cacheMisses: 100 },
      wrong: "900 hits and 100 misses",
    },
    {
      says: "of new tokens finds none",
      expect: { status: 200, tokens: "new" },
      counted: { cacheHits: 0, cacheMisses: 1_000 },
    },
    {
      says: "of new tokens is wrong when they were known",
      expect: { status: 200, tokens: "new" },
      counted: { cacheHits: 500, cacheMisses: 500 },
      wrong: "500 hits",
    },
    {
      says: "of tokens is wrong when none was looked up",
      expect: { status: 200, tokens: "cached" },
      counted: { cacheHits: 0 },
      wrong: "0 hits and 0 misses",
    },
  ])("$says", ({ expect: expected, measured: given, counted: ours, wrong }) => {
    const said = judge(expected, measured(given), ours && counted(ours));
    if (wrong === undefined) expect(said).toBeUndefined();
    else expect(said).toContain(wrong);
  });
});

describe("what our node counted", () => {
  const TEXT = `# HELP jotgate_http_requests_total Requests answered, by route and status.
# TYPE jotgate_http_requests_total counter
jotgate_http_requests_total{route="jwt",status="200"} 100
jotgate_http_requests_total{route="plain",status="200"} 20
jotgate_http_requests_total{route="none",status="404"} 3
jotgate_lane_requests_total{lane="fast"} 90
jotgate_lane_requests_total{lane="general"} 30
jotgate_lane_handovers_total 7
jotgate_token_cache_total{result="hit"} 80
jotgate_token_cache_total{result="miss"} 20
apisix_http_requests_total 120
`;

  test("is summed over routes", () => {
    const want = {
      fast: 90,
      general: 30,
      handovers: 7,
      cacheHits: 80,
      cacheMisses: 20,
      byStatus: { 200: 120, 404: 3 },
    };
    expect(readCounted(TEXT)).toEqual(want);
  });

  test("between two readings leaves out what stood still", () => {
    const after = readCounted(TEXT.replace('status="200"} 100', 'status="200"} 150').replace('hit"} 80', 'hit"} 81'));
    const want = { fast: 0, general: 0, handovers: 0, cacheHits: 1, cacheMisses: 0, byStatus: { 200: 50 } };
    expect(countedBetween(readCounted(TEXT), after)).toEqual(want);
  });

  test("gives the share of the general lane over all rounds", () => {
    expect(generalShare([counted({ fast: 100, general: 0 }), counted({ fast: 50, general: 50 })])).toBe(0.25);
    expect(generalShare([])).toBeNaN();
  });
});
