import { describe, expect, test } from "vitest";
import { compilePattern, PATTERN_LENGTH_MAX, patternError } from "../../src/base/regex.ts";
import { slack } from "../support/long-run.ts";

describe("PCRE spellings", () => {
  test.each([
    { pattern: "Chrome", input: "x Chrome/1", want: true },
    { pattern: "^/user/(?<id>\\d+)$", input: "/user/12", want: true },
    { pattern: "^/user/(?P<id>\\d+)$", input: "/user/x", want: false },
    { pattern: "\\Aab\\Z", input: "ab\n", want: true },
    { pattern: "a\\hb", input: "a\tb", want: true },
    { pattern: "[\\h]b", input: " b", want: true },
    { pattern: "[]a]", input: "]", want: true },
    { pattern: "[^]a]", input: "]", want: false },
    { pattern: "[[:alpha:]]+\\d", input: "abc1", want: true },
    { pattern: "[\\w-.]+@", input: "a.b-c@", want: true },
    { pattern: "[(?=]", input: "=", want: true },
    { pattern: "(?i)abc", input: "xABC", want: true },
    { pattern: "\\/foo\\/bar", input: "/foo/bar", want: true },
    { pattern: "", input: "anything", want: true },
  ])("$pattern on $input: $want", ({ pattern, input, want }) => {
    expect(compilePattern(pattern).test(input)).toBe(want);
  });

  test("case can be ignored", () => {
    expect(compilePattern("dev", { caseInsensitive: true }).test("DEV")).toBe(true);
    expect(compilePattern("dev").test("DEV")).toBe(false);
  });
});

test.each([
  { pattern: "(?=a)b", want: "look-around is not supported" },
  { pattern: "(?<!a)b", want: "look-around is not supported" },
  { pattern: "(a)\\1", want: "a back-reference is not supported" },
  { pattern: "(?>a)", want: "an atomic group is not supported" },
  { pattern: "(a", want: "missing closing )" },
  { pattern: "a++", want: "invalid nested repetition operator" },
  { pattern: "a{1,2000}", want: "invalid repeat count" },
  { pattern: "(?:(?:abc){1,30}){1,30}", want: "its counted repetitions are too many" },
  { pattern: "x".repeat(PATTERN_LENGTH_MAX + 1), want: "longer than" },
])("$want is said of $pattern", ({ pattern, want }) => {
  expect(patternError(pattern)).toContain(want);
});

describe("replace", () => {
  test.each([
    { pattern: "^/api/(.*)/(.*)", input: "/api/a/b?c", template: "/$2/$1", want: "/b?c/a" },
    { pattern: "b", input: "abab", template: "[$0]", want: "a[b]ab" },
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a template of ours
    { pattern: "(b)", input: "ab", template: "${1}1$$", want: "ab1$" },
    { pattern: "(x)?b", input: "ab", template: "<$1>", want: "a<>" },
    { pattern: "z", input: "abc", template: "$1", want: "abc" },
  ])("$template", ({ pattern, input, template, want }) => {
    expect(compilePattern(pattern).replace(input, template)).toBe(want);
  });
  test("all matches on demand", () => {
    expect(compilePattern("b").replace("abab", "x", true)).toBe("axax");
    expect(compilePattern("x*").replace("ab", "-", true)).toBe("-a-b-");
  });
});

test("exec gives positions in the text and groups", () => {
  expect(compilePattern("é(.)(z)?").exec("xé😀y")).toEqual({ start: 1, end: 4, groups: ["é😀", "😀", undefined] });
  expect(compilePattern("z").exec("a")).toBeUndefined();
});

test.each(["(a+)+$", "(a|a)*b", "(.*)(.*)(.*)(.*)(.*)[a-z]{30}9", "(?:a{1,100}){1,10}b", "(a|b)*a(a|b){14}c"])(
  "%s takes linear time on the longest input",
  (pattern) => {
    const compiled = compilePattern(pattern);
    const began = performance.now();
    for (const input of [`${"a".repeat(65_535)}!`, "ab".repeat(40_000), "aab".repeat(30_000)]) compiled.test(input);
    expect(performance.now() - began).toBeLessThan(slack(3_000));
  },
);
