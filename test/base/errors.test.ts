import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ERROR_CODES, GatewayError, isGatewayError } from "../../src/base/errors.ts";

const page = readFileSync(join(import.meta.dirname, "../../docs/errors.md"), "utf8");

test.each(Object.entries(ERROR_CODES))("docs/errors.md says what %s means and how it is answered", (code, facts) => {
  const row = page.split("\n").find((line) => line.startsWith(`| \`${code}\` |`));
  const cells = row?.split("|").map((cell) => cell.trim());
  expect(cells?.slice(2, 5)).toEqual([String(facts.status), facts.source, facts.retryable ? "yes" : "no"]);
});

test("docs/errors.md lists no code that does not exist", () => {
  const listed = [...page.matchAll(/^\| `([A-Z_]+)` \|/gm)].map((match) => match[1]);
  expect(listed.sort()).toEqual(Object.keys(ERROR_CODES).sort());
});

test("an error carries the facts of its code and keeps its cause", () => {
  const cause = new Error("why");
  const error = new GatewayError("UPSTREAM_RESET", { message: "node went away", cause });
  expect(error).toMatchObject({ code: "UPSTREAM_RESET", status: 502, source: "upstream", retryable: true, cause });
  expect(isGatewayError(error, "UPSTREAM_RESET")).toBe(true);
  expect(isGatewayError(error, "UPSTREAM_NONE")).toBe(false);
});
