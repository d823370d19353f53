import { describe, expect, test } from "vitest";
import { checkExpression, compileExpression } from "../../src/model/expression.ts";

const VARIABLES: Readonly<Record<string, unknown>> = {
  arg_v: "v2",
  arg_n: "12",
  arg_hex: " 0x10 ",
  arg_empty: "",
  arg_flag: true,
  num: 12,
  remote_addr: "10.1.2.3",
  http_user_agent: "Mozilla Chrome/1",
  graphql_root_fields: ["owner", "repo"],
};
const read = (name: string): unknown => (Object.hasOwn(VARIABLES, name) ? VARIABLES[name] : undefined);

interface Row {
  readonly expression: unknown;
  readonly want: boolean;
}

test.each<Row>([
  { expression: [], want: true },
  { expression: {}, want: true },
  { expression: [["arg_v", "==", "v2"]], want: true },
  { expression: [["arg_v", "==", "V2"]], want: false },
  { expression: [["arg_v", "v2"]], want: true },
  { expression: [["arg_n", 12]], want: true },
  { expression: [["arg_n", "==", 12]], want: true },
  { expression: [["arg_n", "==", "12"]], want: true },
  { expression: [["num", "==", "12"]], want: false },
  { expression: [["arg_hex", "==", 16]], want: true },
  { expression: [["arg_v", "==", 2]], want: false },
  { expression: [["arg_v", "~=", 2]], want: true },
  { expression: [["arg_v", "~=", "v2"]], want: false },
  { expression: [["arg_none", "~=", "x"]], want: true },
  { expression: [["arg_none", "~=", 1]], want: true },
  { expression: [["arg_none", "==", "x"]], want: false },
  { expression: [["arg_none", "==", null]], want: true },
  { expression: [["arg_v", "==", null]], want: false },
  { expression: [["arg_none", "=="]], want: true },
  { expression: [["arg_flag", "==", true]], want: true },
  { expression: [["arg_n", ">", 11]], want: true },
  { expression: [["arg_n", ">", "11"]], want: true },
  { expression: [["arg_n", ">", 12]], want: false },
  { expression: [["arg_n", ">=", 12]], want: true },
  { expression: [["arg_n", "<", 13]], want: true },
  { expression: [["arg_n", "<=", 11]], want: false },
  { expression: [["arg_v", ">", 1]], want: false },
  { expression: [["arg_empty", "<", 1]], want: false },
  { expression: [["arg_none", "<", 1]], want: false },
  { expression: [["arg_n", "<", "x"]], want: false },
  { expression: [["http_user_agent", "~~", "Chrome"]], want: true },
  { expression: [["http_user_agent", "~~", "chrome"]], want: false },
  { expression: [["http_user_agent", "~*", "chrome/\\d"]], want: true },
  { expression: [["arg_none", "~~", ".*"]], want: false },
  { expression: [["num", "~~", "^1"]], want: true },
  { expression: [["arg_v", "in", ["v1", "v2"]]], want: true },
  { expression: [["arg_n", "in", [12]]], want: false },
  { expression: [["arg_v", "in", "v2"]], want: false },
  { expression: [["arg_v", "IN", ["v2"]]], want: true },
  { expression: [["graphql_root_fields", "has", "owner"]], want: true },
  { expression: [["graphql_root_fields", "has", "x"]], want: false },
  { expression: [["arg_v", "has", "v2"]], want: false },
  { expression: [["remote_addr", "ipmatch", ["10.0.0.0/8", "::1"]]], want: true },
  { expression: [["remote_addr", "ipmatch", "10.1.2.3"]], want: true },
  { expression: [["remote_addr", "ipmatch", ["11.0.0.0/8"]]], want: false },
  { expression: [["arg_none", "ipmatch", ["0.0.0.0/0"]]], want: false },
  { expression: [["http_user_agent", "!", "~~", "Chrome"]], want: false },
  { expression: [["arg_v", "!", "in", ["a"]]], want: true },
  { expression: [["arg_none", "!", "~~", "x"]], want: true },
  {
    expression: [
      ["arg_v", "v2"],
      ["arg_n", 13],
    ],
    want: false,
  },
  { expression: ["OR", ["arg_v", "x"], ["arg_n", 12]], want: true },
  { expression: ["or", ["arg_v", "x"], ["arg_n", 13]], want: false },
  { expression: ["AND", ["arg_v", "v2"], ["arg_n", 12]], want: true },
  { expression: ["!AND", ["arg_v", "v2"], ["arg_n", 12]], want: false },
  { expression: ["!OR", ["arg_v", "x"], ["arg_n", 13]], want: true },
  { expression: ["AND", ["arg_v", "v2"], ["OR", ["arg_n", 1], ["!OR", ["arg_n", 2], ["arg_n", 3]]]], want: true },
  {
    expression: [
      [
        ["arg_v", "v2"],
        ["arg_n", 12],
      ],
    ],
    want: true,
  },
  {
    expression: [
      ["OR", ["arg_v", "x"], ["arg_n", 12]],
      ["arg_v", "v2"],
    ],
    want: true,
  },
])("$expression is $want", ({ expression, want }) => {
  expect(checkExpression(expression)).toBeUndefined();
  expect(compileExpression(expression)(read)).toBe(want);
});

interface Refusal {
  readonly expression: unknown;
  readonly want: string;
}

describe("what is no expression is refused", () => {
  test.each<Refusal>([
    { expression: [["arg_v", "=", "x"]], want: "invalid operator '='" },
    { expression: [["arg_v", "toString", "x"]], want: "invalid operator 'toString'" },
    { expression: ["arg_v", "==", "x"], want: "rule should be wrapped inside brackets" },
    { expression: ["OR", ["arg_v", "x"]], want: "rule too short" },
    { expression: [[]], want: "rule too short" },
    { expression: ["AND"], want: "rule too short" },
    { expression: [["arg_v"]], want: "invalid expression" },
    { expression: [[1, "==", 2]], want: "invalid expression" },
    { expression: [["arg_v", "==", "x"], "y"], want: "invalid expression" },
    { expression: "arg_v == x", want: "invalid expression" },
    { expression: [["arg_v", "not", "in", ["a"]]], want: "bad 'not' expression" },
    { expression: [["remote_addr", "ipmatch"]], want: "invalid ip address" },
    { expression: [["remote_addr", "ipmatch", []]], want: "invalid ip address" },
    { expression: [["remote_addr", "ipmatch", ["x"]]], want: "invalid ip address: x" },
    {
      expression: [["arg_v", "~~", "(?=a)"]],
      want: 'invalid regular expression "(?=a)": look-around is not supported',
    },
    { expression: deep(100), want: "rule too deep" },
  ])("$want", ({ expression, want }) => {
    expect(checkExpression(expression)).toBe(want);
    expect(() => compileExpression(expression)).toThrow(want);
  });
});

function deep(levels: number): unknown {
  let rule: unknown = ["a", "==", "b"];
  for (let at = 0; at < levels; at++) rule = [rule];
  return rule;
}
