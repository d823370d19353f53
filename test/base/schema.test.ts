import { Type } from "typebox";
import { describe, expect, test } from "vitest";
import { compileSchema } from "../../src/base/schema/schema.ts";
import { withDefaults } from "../../src/base/schema/schema-defaults.ts";

const object = (properties: Record<string, object>, rest: object = {}): object => ({
  type: "object",
  properties,
  ...rest,
});

interface Row {
  readonly says: string;
  readonly schema: object;
  readonly value: unknown;
  readonly want: string;
}

describe("the first error is worded as APISIX words it", () => {
  test.each<Row>([
    {
      says: "a wrong type is named as Lua names it",
      schema: { type: "string" },
      value: 1,
      want: "wrong type: expected string, got number",
    },
    {
      says: "an object is a table",
      schema: { type: "string" },
      value: {},
      want: "wrong type: expected string, got table",
    },
    {
      says: "null is userdata",
      schema: { type: "string" },
      value: null,
      want: "wrong type: expected string, got userdata",
    },
    {
      says: "nothing is nil",
      schema: { type: "string" },
      value: undefined,
      want: "wrong type: expected string, got nil",
    },
    {
      says: "a fraction is no integer",
      schema: { type: "integer" },
      value: 1.5,
      want: "wrong type: expected integer, got number",
    },
    {
      says: "several types are listed",
      schema: { type: ["string", "boolean"] },
      value: [1],
      want: "wrong type: expected one of string, boolean, got table",
    },
    {
      says: "a full array is no object",
      schema: { type: "object" },
      value: [1],
      want: "wrong type: expected object, got table",
    },
    {
      says: "members nest",
      schema: object({ a: object({ b: { type: "string" } }) }),
      value: { a: { b: true } },
      want: 'property "a" validation failed: property "b" validation failed: wrong type: expected string, got boolean',
    },
    {
      says: "a required member is named",
      schema: object({ a: {} }, { required: ["a"] }),
      value: {},
      want: 'property "a" is required',
    },
    {
      says: "a required member without a schema is named",
      schema: { required: ["a"] },
      value: {},
      want: 'property "a" is required',
    },
    { says: "enum", schema: { enum: ["a", 1] }, value: "b", want: "matches none of the enum values" },
    { says: "minimum", schema: { minimum: 1 }, value: 0, want: "expected 0 to be at least 1" },
    { says: "maximum", schema: { maximum: 599 }, value: 600, want: "expected 600 to be at most 599" },
    { says: "exclusive minimum", schema: { exclusiveMinimum: 0 }, value: 0, want: "expected 0 to be greater than 0" },
    { says: "exclusive maximum", schema: { exclusiveMaximum: 5 }, value: 5, want: "expected 5 to be smaller than 5" },
    { says: "too short", schema: { minLength: 1 }, value: "", want: "string too short, expected at least 1, got 0" },
    {
      says: "too long, in characters and not in units",
      schema: { maxLength: 2 },
      value: "😀😀😀",
      want: "string too long, expected at most 2, got 3",
    },
    {
      says: "pattern, with backslashes doubled",
      schema: { pattern: "^\\S+$" },
      value: "a b",
      want: 'failed to match pattern "^\\\\S+$" with "a b"',
    },
    {
      says: "too few items",
      schema: { type: "array", minItems: 1 },
      value: [],
      want: "expect array to have at least 1 items",
    },
    {
      says: "too many items",
      schema: { type: "array", maxItems: 1 },
      value: [1, 2],
      want: "expect array to have at most 1 items",
    },
    {
      says: "items count from one",
      schema: { type: "array", items: { type: "string" } },
      value: ["a", 2],
      want: "failed to validate item 2: wrong type: expected string, got number",
    },
    {
      says: "items must be unique",
      schema: { type: "array", uniqueItems: true },
      value: ["a", "a"],
      want: "expected unique items but items 1 and 2 are equal",
    },
    {
      says: "equal objects are not unique either",
      schema: { uniqueItems: true },
      value: [{ a: 1, b: 2 }, 1, { b: 2, a: 1 }],
      want: "expected unique items but items 1 and 3 are equal",
    },
    {
      says: "too few members",
      schema: { minProperties: 1 },
      value: {},
      want: "expect object to have at least 1 properties",
    },
    {
      says: "too many members",
      schema: { type: "object", maxProperties: 1 },
      value: { a: 1, b: 1 },
      want: "expect object to have at most 1 properties",
    },
    {
      says: "pattern members",
      schema: { patternProperties: { ".*": { type: "string" } } },
      value: { env: 1 },
      want: 'failed to validate env (matching ".*"): wrong type: expected string, got number',
    },
    {
      says: "unknown members",
      schema: object({}, { additionalProperties: false }),
      value: { foo: 1 },
      want: "additional properties forbidden, found foo",
    },
    {
      says: "members called like a prototype's are unknown too",
      schema: object({}, { additionalProperties: false }),
      value: { toString: 1 },
      want: "additional properties forbidden, found toString",
    },
    {
      says: "additional members by schema",
      schema: { additionalProperties: { type: "string" } },
      value: { foo: 1 },
      want: "failed to validate additional property foo: wrong type: expected string, got number",
    },
    {
      says: "dependent schema",
      schema: object({ algorithm: {} }, { dependencies: { algorithm: { required: ["key"] } } }),
      value: { algorithm: 1 },
      want: 'failed to validate dependent schema for "algorithm": property "key" is required',
    },
    {
      says: "dependent members",
      schema: { dependencies: { a: ["b"] } },
      value: { a: 1 },
      want: 'property "b" is required when "a" is set',
    },
    {
      says: "oneOf, none",
      schema: { oneOf: [{ required: ["a"] }, { required: ["b"] }] },
      value: {},
      want: "value should match only one schema, but matches none",
    },
    {
      says: "oneOf, two",
      schema: { oneOf: [{ required: ["a"] }, { required: ["b"] }] },
      value: { a: 1, b: 1 },
      want: "value should match only one schema, but matches both schemas 1 and 2",
    },
    {
      says: "anyOf lists what is required",
      schema: { anyOf: [{ required: ["active"] }, { required: ["active", "passive"] }] },
      value: {},
      want: 'object matches none of the required: ["active"] or ["active","passive"]',
    },
    {
      says: "anyOf of other schemas lists nothing",
      schema: { anyOf: [{ type: "string" }, { type: "integer", minimum: 1 }] },
      value: 0,
      want: "object matches none of the required",
    },
    {
      says: "allOf",
      schema: { allOf: [{}, { required: ["a"] }] },
      value: {},
      want: 'allOf 2 failed: property "a" is required',
    },
    {
      says: "not",
      schema: { not: { required: ["a"] } },
      value: { a: 1 },
      want: "value wasn't supposed to match schema",
    },
    {
      says: "then",
      schema: { if: { required: ["a"] }, then: { required: ["b"] } },
      value: { a: 1 },
      want: "then clause did not match",
    },
    {
      says: "else",
      schema: { if: { required: ["a"] }, else: { required: ["b"] } },
      value: {},
      want: "else clause did not match",
    },
    { says: "format", schema: { format: "ipv4" }, value: "x", want: "expect valid ipv4 format but got: x" },
    {
      says: "TypeBox schemas are schemas",
      schema: Type.Object({ a: Type.Integer() }),
      value: { a: "1" },
      want: 'property "a" validation failed: wrong type: expected integer, got string',
    },
  ])("$says", ({ schema, value, want }) => {
    expect(compileSchema(schema).check(value)).toBe(want);
  });
});

describe("an empty table is both an object and an array", () => {
  test.each([
    { says: "an empty array is an object", schema: { type: "object" }, value: [] },
    { says: "an empty object is an array", schema: { type: "array" }, value: {} },
    { says: "nested as well", schema: object({ plugins: { type: "object" } }), value: { plugins: [] } },
  ])("$says", ({ schema, value }) => {
    expect(compileSchema(schema).check(value)).toBeUndefined();
  });

  test("an empty array lacks the required members", () => {
    expect(compileSchema(object({ a: {} }, { required: ["a"] })).check([])).toBe('property "a" is required');
  });
});

describe("references", () => {
  const schema = object({ key: { type: "string", maxLength: 8, pattern: "^k", enum: ["k1"] } });
  test.each(["$secret://vault/1/a/b", "$ENV://SOME_NAME", "$env://SOME_NAME"])(
    "%s is not held to the rules of its string",
    (key) => {
      expect(compileSchema(schema, { references: true }).check({ key })).toBeUndefined();
      expect(compileSchema(schema).check({ key })).not.toBeUndefined();
    },
  );
  test.each(["$SECRET://vault/1/a", "x$ENV://A", "plain text"])("%s is an ordinary string", (key) => {
    expect(compileSchema(schema, { references: true }).check({ key })).not.toBeUndefined();
  });
  test("a reference is still a string", () => {
    const number = object({ count: { type: "integer" } });
    expect(compileSchema(number, { references: true }).check({ count: "$ENV://N" })).toContain("wrong type");
  });
});

test("checking never changes the value", () => {
  const value = Object.freeze({ a: Object.freeze({}) });
  const schema = object({ a: object({ b: { default: 1 } }), c: { default: [1] } });
  expect(compileSchema(schema).check(value)).toBeUndefined();
  expect(value).toEqual({ a: {} });
});

test("the same schema has the same validator", () => {
  const schema = object({});
  expect(compileSchema(schema)).toBe(compileSchema(schema));
  expect(compileSchema(schema, { references: true })).not.toBe(compileSchema(schema));
});

describe("defaults are filled into a copy", () => {
  const schema = object({
    n: { default: 5 },
    list: { type: "array", default: [1, 2] },
    inner: object({ x: { default: true } }),
    each: { type: "array", items: object({ weight: { default: 1 } }) },
    given: object({ y: { default: "y" } }, { default: {} }),
  });
  test.each([
    { says: "of absent members", value: {}, want: { n: 5, list: [1, 2], given: { y: "y" } } },
    { says: "of present members never", value: { n: 6, list: [] }, want: { n: 6, list: [], given: { y: "y" } } },
    {
      says: "in objects and arrays that are there",
      value: { inner: {}, each: [{}, { weight: 3 }] },
      want: { n: 5, list: [1, 2], inner: { x: true }, each: [{ weight: 1 }, { weight: 3 }], given: { y: "y" } },
    },
    {
      says: "an empty array counts as an empty object",
      value: { inner: [] },
      want: { n: 5, list: [1, 2], inner: { x: true }, given: { y: "y" } },
    },
  ])("$says", ({ value, want }) => {
    const before = JSON.stringify(value);
    expect(withDefaults(schema, value)).toEqual(want);
    expect(JSON.stringify(value)).toBe(before);
  });

  test("defaults are not shared between copies", () => {
    const first = withDefaults<{ list: number[] }>(schema, {});
    first.list.push(3);
    expect(withDefaults(schema, {})).toMatchObject({ list: [1, 2] });
  });

  test("only the branch that fits gives defaults", () => {
    const branches = {
      if: object({ p: { enum: ["redis"] } }, { required: ["p"] }),
      then: object({ port: { default: 6379 } }),
      else: object({ local: { default: true } }),
    };
    expect(withDefaults(branches, { p: "redis" })).toEqual({ p: "redis", port: 6379 });
    expect(withDefaults(branches, { p: "x" })).toEqual({ p: "x", local: true });
  });
});
