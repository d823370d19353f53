import { describe, expect, test } from "vitest";
import { compileJsonPath } from "../../src/base/json/json-path.ts";
import { slack } from "../support/long-run.ts";

const BODY = {
  model: "m",
  "x-y": 1,
  messages: [
    { role: "system", content: [{ type: "text" }, { type: "image" }] },
    { role: "user", content: "hi", "a b": true },
  ],
};

function find(path: string, root: unknown = BODY): readonly unknown[] {
  const compiled = compileJsonPath(path);
  if (typeof compiled === "string") throw new TypeError(compiled);
  return compiled(root);
}

test.each([
  { path: "model", want: ["m"] },
  { path: "x-y", want: [1] },
  { path: "model.name", want: [] },
  { path: "messages[*].role", want: ["system", "user"] },
  { path: "messages[0].role", want: ["system"] },
  { path: "messages[-1].role", want: ["user"] },
  { path: "messages[7].role", want: [] },
  { path: "messages[0,1].role", want: ["system", "user"] },
  { path: "messages[1:].role", want: ["user"] },
  { path: "messages[:1].role", want: ["system"] },
  { path: "messages[*].content[*].type", want: ["text", "image"] },
  { path: "messages[1]['a b']", want: [true] },
  { path: 'messages[1]["a b", "role"]', want: [true, "user"] },
  { path: "messages[1].*", want: ["user", "hi", true] },
  { path: "*", want: ["m", 1, BODY.messages] },
  { path: "messages..type", want: ["text", "image"] },
  { path: "..role", want: ["system", "user"] },
  { path: "messages[*]..[0].type", want: ["text"] },
  { path: "messages.0", want: [] },
  { path: "toString", want: [] },
  { path: "__proto__", want: [] },
  { path: "messages.length", want: [] },
])("$path finds $want", ({ path, want }) => {
  expect(find(path)).toEqual(want);
});

test.each([undefined, null, "text", 5, [], {}])("%o has no members", (root) => {
  expect(find("a.b[*]..c", root)).toEqual([]);
});

describe("what is no path is named", () => {
  test.each([
    { path: "", near: "." },
    { path: "a..", near: ".." },
    { path: "a.", near: "." },
    { path: "a b", near: " b" },
    { path: "messages[.content[*].type", near: "[.content[*].type" },
    { path: "a[?(@.b)]", near: "[?(@.b)]" },
    { path: "a[(1)]", near: "[(1)]" },
    { path: "a[]", near: "[]" },
    { path: "a[x]", near: "[x]" },
    { path: "a]", near: "]" },
  ])("$path", ({ path, near }) => {
    expect(compileJsonPath(path)).toBe(`invalid expression "$.${path}" near "${near}"`);
  });
});

test("descent in descent ends", () => {
  const wide = { a: Array.from({ length: 1000 }, (_, i) => ({ a: [i, { a: i }] })) };
  const started = performance.now();
  expect(find("..*..*..*..*", wide).length).toBeLessThanOrEqual(100_000);
  expect(performance.now() - started).toBeLessThan(slack(5_000));
});
