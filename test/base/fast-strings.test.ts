import { setFlagsFromString } from "node:v8";
import { runInThisContext } from "node:vm";
import { expect, test } from "vitest";
import { makeStringsFast } from "../../src/base/fast-strings.ts";

test("methods of strings are fast again after a class extended String", () => {
  setFlagsFromString("--allow-natives-syntax");
  const isFast = (): unknown => runInThisContext("%HasFastProperties(String.prototype)");
  const Extended = class extends String {};
  expect([new Extended("a").length, isFast()]).toEqual([1, false]);
  makeStringsFast();
  expect(isFast()).toBe(true);
});
