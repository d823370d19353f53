/**
 * Expressions over request variables: route `vars`, `_meta.filter`, traffic-split `match`.
 * Promise: checked and compiled once; the compiled test allocates nothing and cannot throw.
 * Source: docs/spec/routing.md section 7.
 */
import { CodedError } from "../base/errors.ts";
import { compileIpSet, ipListError } from "../base/net/ip.ts";
import { compilePattern, patternError } from "../base/regex.ts";

/** Reads a variable by name; undefined when the request has none. */
type ReadVariable = (name: string) => unknown;
type Expression = (read: ReadVariable) => boolean;

type Test = (actual: unknown) => boolean;
type Logic = "AND" | "OR" | "!AND" | "!OR";

const DEPTH_MAX = 64;
const LOGIC: ReadonlySet<string> = new Set(["AND", "OR", "!AND", "!OR"]);

/** @returns what is wrong with the expression in APISIX's words (without any prefix), or undefined. */
export function checkExpression(expression: unknown): string | undefined {
  const compiled = compile(expression);
  return typeof compiled === "string" ? compiled : undefined;
}

/** @throws CodedError CONFIG_INVALID with the text of `checkExpression` */
export function compileExpression(expression: unknown): Expression {
  const compiled = compile(expression);
  if (typeof compiled === "string") throw new CodedError("CONFIG_INVALID", { message: compiled });
  return compiled;
}

/** Or the error's text. */
function compile(expression: unknown): Expression | string {
  const rules = listOf(expression);
  if (!rules) return "invalid expression";
  if (rules.length === 0) return () => true;
  if (!isTable(rules[0]) && !isLogic(rules[0])) return "rule should be wrapped inside brackets";
  return compileRule(rules, 1);
}

function compileRule(rule: unknown, depth: number): Expression | string {
  if (depth > DEPTH_MAX) return "rule too deep";
  const rules = listOf(rule);
  if (!rules) return "invalid expression";
  if (rules.length === 0) return "rule too short";
  const first = rules[0];
  if (isTable(first)) return compileLogic("AND", rules, depth);
  if (!isLogic(first)) return compileCondition(rules);
  return rules.length < 3 ? "rule too short" : compileLogic(first.toUpperCase() as Logic, rules.slice(1), depth);
}

function compileLogic(logic: Logic, rules: readonly unknown[], depth: number): Expression | string {
  const parts: Expression[] = [];
  for (const rule of rules) {
    const part = compileRule(rule, depth + 1);
    if (typeof part === "string") return part;
    parts.push(part);
  }
  const every: Expression = (read) => {
    for (const part of parts) if (!part(read)) return false;
    return true;
  };
  const some: Expression = (read) => {
    for (const part of parts) if (part(read)) return true;
    return false;
  };
  switch (logic) {
    case "AND":
      return every;
    case "OR":
      return some;
    case "!AND":
      return (read) => !every(read);
    case "!OR":
      return (read) => !some(read);
  }
}

function compileCondition(rule: readonly unknown[]): Expression | string {
  if (rule.length === 4 && rule[1] !== "!") return "bad 'not' expression";
  const negated = rule.length === 4;
  const name = rule[0];
  let [operator, expected] = negated ? rule.slice(2) : rule.slice(1);
  if (rule.length === 2 && !(typeof operator === "string" && Object.hasOwn(OPERATORS, operator.toLowerCase()))) {
    expected = operator;
    operator = "==";
  }
  if (typeof name !== "string" || operator === undefined || operator === null) return "invalid expression";
  const key = typeof operator === "string" ? operator.toLowerCase() : "";
  const make = Object.hasOwn(OPERATORS, key) ? OPERATORS[key] : undefined;
  if (!make) return `invalid operator '${String(operator)}'`;
  const test = make(expected ?? undefined);
  if (typeof test === "string") return test;
  return negated ? (read) => !test(read(name)) : (read) => test(read(name));
}

/** Operator → test of the variable's value against a fixed value, or the error's text. */
const OPERATORS: Readonly<Record<string, (expected: unknown) => Test | string>> = {
  "==": (expected) => equal(expected),
  "~=": (expected) => {
    const same = equal(expected);
    return (actual) => !same(actual);
  },
  ">": (expected) => ordered(expected, (actual, bound) => actual > bound),
  ">=": (expected) => ordered(expected, (actual, bound) => actual >= bound),
  "<": (expected) => ordered(expected, (actual, bound) => actual < bound),
  "<=": (expected) => ordered(expected, (actual, bound) => actual <= bound),
  "~~": (expected) => matches(expected, false),
  "~*": (expected) => matches(expected, true),
  in: (expected) => {
    const allowed = new Set(Array.isArray(expected) ? expected : []);
    return (actual) => actual !== undefined && allowed.has(actual);
  },
  has: (expected) => (actual) => Array.isArray(actual) && actual.includes(expected),
  ipmatch: (expected) => {
    const list = Array.isArray(expected) ? expected : [expected];
    if (list.length === 0 || list[0] === undefined || list[0] === "") return "invalid ip address";
    const error = ipListError(list);
    if (error !== undefined) return error;
    const contains = compileIpSet(list as string[]); // all strings: ipListError has seen each
    return (actual) => typeof actual === "string" && contains(actual);
  },
};

function equal(expected: unknown): Test {
  if (typeof expected === "number") return (actual) => toNumber(actual) === expected;
  return (actual) => actual === expected;
}

function ordered(expected: unknown, holds: (actual: number, bound: number) => boolean): Test {
  const bound = toNumber(expected);
  if (bound === undefined) return () => false;
  return (actual) => {
    const value = toNumber(actual);
    return value !== undefined && holds(value, bound);
  };
}

function matches(expected: unknown, caseInsensitive: boolean): Test | string {
  if (typeof expected !== "string" && typeof expected !== "number") return "invalid expression";
  const error = patternError(String(expected), { caseInsensitive });
  if (error !== undefined) return error;
  const pattern = compilePattern(String(expected), { caseInsensitive });
  return (actual) => (typeof actual === "string" || typeof actual === "number") && pattern.test(String(actual));
}

const NUMBER = /^\s*[-+]?(?:0[xX][0-9a-fA-F]+|(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*$/;

/** As Lua's tonumber does: white space around and hexadecimal are fine, an empty text is not. */
function toNumber(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value !== "string" || !NUMBER.test(value)) return undefined;
  const text = value.trim();
  // Number("-0x10") is NaN, so the sign is taken off first.
  const sign = text.startsWith("-") ? -1 : 1;
  return sign * Number(/^[-+]/.test(text) ? text.slice(1) : text);
}

/** The rules of an array; an empty object is an empty array. */
function listOf(value: unknown): readonly unknown[] | undefined {
  if (Array.isArray(value)) return value;
  return typeof value === "object" && value !== null && Object.keys(value).length === 0 ? [] : undefined;
}

function isTable(value: unknown): boolean {
  return typeof value === "object" && value !== null;
}

function isLogic(value: unknown): value is string {
  return typeof value === "string" && LOGIC.has(value.toUpperCase());
}
