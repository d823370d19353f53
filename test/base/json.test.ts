import { describe, expect, test } from "vitest";
import { JSON_DEPTH_MAX, parseJson } from "../../src/base/json/json.ts";

const error = (input: string | Uint8Array): string | undefined => {
  const result = parseJson(input);
  return result.ok ? undefined : result.error;
};

describe("errors are worded as cjson words them", () => {
  test.each([
    { text: "x", want: "Expected value but found invalid token at character 1" },
    { text: "", want: "Expected value but found T_END at character 1" },
    { text: '{"uri":', want: "Expected value but found T_END at character 8" },
    { text: '{"a":1, "b": [1], z', want: "Expected object key string but found invalid token at character 19" },
    { text: "{'a':1}", want: "Expected object key string but found invalid token at character 2" },
    { text: "{1:1}", want: "Expected object key string but found T_NUMBER at character 2" },
    { text: '{"a":1,}', want: "Expected object key string but found T_OBJ_END at character 8" },
    { text: '{"a" 1}', want: "Expected colon but found T_NUMBER at character 6" },
    { text: '{"a":1 "b":2}', want: "Expected comma or object end but found T_STRING at character 8" },
    { text: "[1 2]", want: "Expected comma or array end but found T_NUMBER at character 4" },
    { text: "[1,]", want: "Expected value but found T_ARR_END at character 4" },
    { text: "{} {}", want: "Expected the end but found T_OBJ_BEGIN at character 4" },
    { text: '"abc', want: "Expected value but found unexpected end of string at character 5" },
    { text: '"\\x"', want: "Expected value but found invalid escape code at character 2" },
    { text: '"\\u12g4"', want: "Expected value but found invalid unicode escape code at character 2" },
    { text: '"a\0b"', want: "Expected value but found unexpected end of string at character 3" },
    { text: '{"a":"line\nline", b', want: "Expected object key string but found invalid token at character 19" },
    { text: '"a\\\nb"', want: "Expected value but found invalid escape code at character 3" },
    { text: "NaN", want: "Expected value but found invalid token at character 1" },
    { text: "[".repeat(100_000), want: "Expected value but found T_END at character 100001" },
  ])("$want", ({ text, want }) => {
    expect(error(text)).toBe(want);
  });
});

describe("what would be dangerous is refused", () => {
  test.each([
    {
      says: "a prototype",
      text: '{"a":{"__proto__":{"admin":true}}}',
      want: "Found a forbidden object key: __proto__",
    },
    { says: "an escaped prototype", text: '{"\\u005f_proto__":1}', want: "Found a forbidden object key: __proto__" },
    {
      says: "a constructor's prototype",
      text: '{"constructor":{"prototype":{}}}',
      want: "Found a forbidden object key: constructor",
    },
    { says: "an infinite number", text: "[1e400]", want: "Found a number that is out of range" },
    { says: "an integer that would be rounded", text: '{"n":9007199254740993}', want: "Found an integer beyond 2^53" },
    {
      says: "depth",
      text: `${"[".repeat(JSON_DEPTH_MAX + 1)}${"]".repeat(JSON_DEPTH_MAX + 1)}`,
      want: "Found too many nested data structures (65)",
    },
  ])("$says", ({ text, want }) => {
    expect(error(text)).toBe(want);
  });

  test("bytes that are no UTF-8", () => {
    expect(error(Buffer.from([0x22, 0xc3, 0x28, 0x22]))).toBe("invalid UTF-8");
  });
});

test.each([
  ['{"constructor":1,"toString":"x"}', { constructor: 1, toString: "x" }],
  [`${"[".repeat(JSON_DEPTH_MAX)}${"]".repeat(JSON_DEPTH_MAX)}`, undefined],
  ["null", null],
  ['{"cert":"-----BEGIN\nAB\t\r\n-----END","say":"\\"\n\\""}', { cert: "-----BEGIN\nAB\t\r\n-----END", say: '"\n"' }],
  [' {"a":[1.5,-2,true,"é"]}\n', { a: [1.5, -2, true, "é"] }],
])("%s is read", (text, want) => {
  const result = parseJson(Buffer.from(text));
  expect(result.ok).toBe(true);
  if (want !== undefined) expect(result).toEqual({ ok: true, value: want });
});
