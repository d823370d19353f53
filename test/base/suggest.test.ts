import { expect, test } from "vitest";
import { didYouMean, suggest } from "../../src/base/suggest.ts";

const known = ["admin-key", "admin-listen", "etcd", "prefix", "_"];

test.each([
  { says: "a swap of neighbours", written: "amdin-key", want: "admin-key" },
  { says: "a missing letter", written: "prefx", want: "prefix" },
  { says: "a letter too many", written: "ettcd", want: "etcd" },
  { says: "a wrong letter", written: "etcb", want: "etcd" },
  { says: "nothing near", written: "zookeeper", want: undefined },
  { says: "one letter that is another", written: "e", want: undefined },
  { says: "the empty text", written: "", want: undefined },
])("$says finds the nearest known name, if any is near", ({ written, want }) => {
  expect(suggest(written, known)).toBe(want);
});

test("the sentence is empty when nothing is near", () => {
  expect(didYouMean("zookeeper", known)).toBe("");
  expect(didYouMean("prefx", known, (name) => `--${name}`)).toBe("; did you mean --prefix?");
});
