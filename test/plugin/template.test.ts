// biome-ignore-all lint/suspicious/noTemplateCurlyInString: such texts are what is tested
import { describe, expect, test } from "vitest";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { compileTemplate, isTemplate, safeHeaderValue } from "../../src/plugin/variables/template.ts";

describe("templates", () => {
  test.each([
    { text: "plain", want: "plain" },
    { text: "", want: "" },
    { text: "$arg_a", want: "1" },
    { text: "x${arg_a}y", want: "x1y" },
    { text: "${ arg_a }", want: "1" },
    { text: "${arg_none ?? zero}", want: "zero" },
    { text: "${arg_empty ?? zero}", want: "" },
    { text: "$arg_a.com", want: "1.com" },
    { text: "[$arg_none]", want: "[]" },
    { text: "a \\$uri b $uri", want: "a \\$uri b /p" },
    { text: "$flag$", want: "$" },
    { text: "$arg_flag", want: "true" },
  ])("$text becomes $want", ({ text, want }) => {
    expect(compileTemplate(text)(makeView({ target: "/p?a=1&empty=&flag" }))).toBe(want);
  });

  test("values, not fixed parts, are escaped", () => {
    const template = compileTemplate("/x y/$arg_a", { escape: encodeURIComponent });
    expect(template(makeView({ target: "/?a=1%202" }))).toBe("/x y/1%202");
  });

  test("a template names its variables and says whether it needs the body", () => {
    const template = compileTemplate("$uri/${post_arg_x}$post_arg.a.b");
    expect(template.names).toEqual(["uri", "post_arg_x", "post_arg.a.b"]);
    expect(template.needsBody).toBe(true);
    expect([isTemplate("a$b"), isTemplate("a\\$b"), isTemplate("ab")]).toEqual([true, false, false]);
  });
});

describe("header values", () => {
  test.each([
    { text: "fine\tvalue", want: "fine\tvalue" },
    { text: "  é ", want: "é" },
    { text: "a\r\nX: 1", want: undefined },
    { text: "a\nb", want: undefined },
    { text: "a\0b", want: undefined },
    { text: "a\u007f", want: undefined },
    { text: "\u20ac", want: undefined },
  ])("$text gives $want", ({ text, want }) => {
    expect(safeHeaderValue(text)).toBe(want);
  });
});
