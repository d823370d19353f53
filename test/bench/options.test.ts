import { describe, expect, test } from "vitest";
import { isWanted, readOptions } from "../../bench/options.ts";

describe("the command line of the benchmark", () => {
  test("by default measures all", () => {
    expect(readOptions([])).toMatchObject({ rounds: 3, seconds: 3, warmSeconds: 4, only: [], name: "latest" });
  });

  test.each([
    { says: "quick has fewer and shorter rounds", args: ["--quick"], want: { rounds: 2, seconds: 2, quick: true } },
    { says: "what is given wins over quick", args: ["--rounds", "7", "--quick"], want: { rounds: 7, seconds: 2 } },
    { says: "only takes several names", args: ["--only", "Plain, 404"], want: { only: ["plain", "404"] } },
    { says: "the results of all are not overwritten by some", args: ["--only", "404"], want: { name: "try.only" } },
    { says: "nor by quick ones", args: ["--quick"], want: { name: "try.quick" } },
    {
      says: "a comparison with another commit has its own cases, many short rounds",
      args: ["--quick", "--against", "main"],
      want: { against: "main", quick: false, rounds: 7, seconds: 1, name: "try.against" },
    },
    { says: "unless told so", args: ["--only", "404", "--name", "latest"], want: { name: "latest" } },
  ])("$says", ({ args, want }) => {
    expect(readOptions(args)).toMatchObject(want);
  });

  test.each([["--fast"], ["--rounds"], ["--rounds", "0"], ["--seconds", "2.5"], ["--only"]])(
    "refuses %s %s",
    (...args) => {
      expect(() => readOptions(args)).toThrow(args[0]);
    },
  );

  test("a case is wanted by any part of its name", () => {
    expect(isWanted("jwt new tokens RS256", ["plain", "rs256"])).toBe(true);
    expect(isWanted("jwt one token", ["plain", "rs256"])).toBe(false);
    expect(isWanted("anything", [])).toBe(true);
  });
});
