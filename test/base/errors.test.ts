import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CodedError, ERROR_CODES, isCodedError } from "../../src/base/errors.ts";
import { REASONS } from "../../src/gateway/gateway-reasons.ts";
import { TOKEN_OUTCOMES } from "../../src/plugin/judge/judge-steps.ts";
import { compileAnswers } from "../../src/plugins/access-token/bearer-answers.ts";

const ROOT = join(import.meta.dirname, "../..");
const page = readFileSync(join(ROOT, "docs/errors.md"), "utf8");
const rows = page.split("\n").map((line) => line.split("|").map((cell) => cell.trim()));
const sources = readdirSync(join(ROOT, "src"), { recursive: true, encoding: "utf8" })
  .filter((path) => path.endsWith(".ts"))
  .map((path) => ({ path, text: readFileSync(join(ROOT, "src", path), "utf8") }));

test.each(Object.entries(ERROR_CODES))("docs/errors.md says what %s means and how it is answered", (code, facts) => {
  expect(rows.find(([, name]) => name === `\`${code}\``)?.[2]).toBe(String(facts.status));
});

test("docs/errors.md lists no code that does not exist", () => {
  const listed = [...page.matchAll(/^\| `([A-Z_]+)` \|/gm)].map((match) => match[1]);
  expect(listed.sort()).toEqual(Object.keys(ERROR_CODES).sort());
});

test.each(Object.keys(ERROR_CODES))("%s is thrown somewhere", (code) => {
  const users = sources.filter(({ path, text }) => path !== "base/errors.ts" && text.includes(`"${code}"`));
  expect(users).not.toEqual([]);
});

test("docs/errors.md lists the reasons there are, how each is answered and who acts", () => {
  const listed = rows.flatMap(([, name = "", status = "", acts = ""]) => {
    const reason = /^`([a-z_0-9]+)`$/.exec(name)?.[1];
    return reason === undefined ? [] : [[reason, { status: status === "none" ? 0 : Number(status), acts }]];
  });
  expect(listed).toEqual(Object.entries(REASONS));
});

test.each(Object.keys(REASONS))("the gateway uses the reason %s", (reason) => {
  const users = sources.filter(
    ({ path, text }) =>
      /^(?:gateway|runtime)\//.test(path) && path !== "gateway/gateway-reasons.ts" && text.includes(`"${reason}"`),
  );
  expect(users).not.toEqual([]);
});

test("an error carries the facts of its code and keeps its cause", () => {
  const cause = new Error("why");
  const error = new CodedError("STORE_FULL", { message: "no room", cause });
  expect(error).toMatchObject({ code: "STORE_FULL", status: 507, cause });
  expect(isCodedError(error, "STORE_FULL")).toBe(true);
  expect(isCodedError(error, "STORE_CLOSED")).toBe(false);
});

/** Reason → status, of the table behind this heading. */
const tokenRows = (prefix: RegExp): ReadonlyMap<string, number> =>
  new Map(
    [...page.slice(page.indexOf("## Tokens")).matchAll(/^\| `([a-z_]+)` (\d{3}) \|/gm)]
      .filter(([, reason = ""]) => prefix.test(reason))
      .map(([, reason = "", status]) => [reason, Number(status)]),
  );

test("docs/errors.md has a row for each refusal of an access token, with its status", () => {
  const answerTo = compileAnswers({ realm: "api", scopes: [], resource: undefined, needsProof: false });
  const refusals = TOKEN_OUTCOMES.flatMap((why) => (why === "ok" ? [] : [answerTo(why)]));
  expect(tokenRows(/^access_token_/)).toEqual(new Map(refusals.map(({ reason, status }) => [reason, status])));
});

test("docs/errors.md has a row for each refusal of the endpoints of an authorization server", () => {
  const pageOfPlugin = readFileSync(join(ROOT, "docs/plugins/authorization-server.md"), "utf8");
  const [listed = ""] = /Reasons in the access log: [^.]*\./.exec(pageOfPlugin) ?? [];
  const served = new Set(
    "jwks jwks_not_modified metadata nothing_revoked token_active token_inactive token_issued token_revoked".split(" "),
  );
  const reasons = [...listed.matchAll(/`([a-z_]+)`/g)].flatMap(([, reason = ""]) =>
    served.has(reason) ? [] : [reason],
  );
  expect(reasons.length).toBeGreaterThan(20);
  expect([...tokenRows(/^(?!access_token_)/).keys()].sort()).toEqual(reasons.sort());
});
