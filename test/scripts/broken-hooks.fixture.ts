/** Tests that fail in every way, for vitest-totals.test.ts: 2 pass, 6 fail, 4 are meant to be skipped. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const fail = (): void => {
  throw new Error("as meant");
};

describe("a hook before the tests", () => {
  beforeAll(fail);
  test("fails", () => {});
  test("fails too", () => {});
  test.skip("is skipped", () => {});
  describe("with an inner group", () => {
    test("fails as well", () => {});
  });
  describe.skip("with a skipped group", () => {
    test("is skipped", () => {});
  });
});

describe("a hook after the tests", () => {
  afterAll(fail);
  test("passes, and the hook is one failure", () => {});
});

describe.skip("a skipped group", () => {
  test("is skipped", () => {});
});

test("passes", () => {});
test("fails", () => expect(1).toBe(2));
test("is skipped while it runs", ({ skip }) => skip());
