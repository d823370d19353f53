import { describe, expect, test } from "vitest";
import { isReference, parseReference } from "../../src/base/reference.ts";

describe("parseReference", () => {
  test.each([
    { text: "$ENV://NAME", want: { kind: "env", name: "NAME" } },
    { text: "$env://NAME", want: { kind: "env", name: "NAME" } },
    { text: "$Env://name/a/b", want: { kind: "env", name: "name", sub: "a/b" } },
    {
      text: "$secret://vault/jwt/jack/jwt-key",
      want: { kind: "secret", manager: "vault", id: "jwt", key: "jack/jwt-key" },
    },
    { text: "$secret://vault", want: "error format: no secret manager" },
    { text: "$secret://vault/1", want: "error format: no secret conf id" },
    { text: "$secret://vault/1/", want: "error format: no secret key id" },
    { text: "$ENV://", want: "error format: no environment variable name" },
    { text: "plain", want: "error format: not a secret reference" },
  ])("reads $text", ({ text, want }) => {
    expect(parseReference(text)).toEqual(want);
  });
});

test.each([
  ["$secret://a", true],
  ["$Secret://a", false],
  ["$eNv://a", true],
  ["$env:/a", false],
  ["", false],
  [" $env://a", false],
])("%j is a reference: %s", (text, want) => {
  expect(isReference(text)).toBe(want);
});
