import { describe, expect, test } from "vitest";
import { answerHeader, bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { basicAuth } from "../../src/plugins/basic-auth.ts";

const CONSUMERS = [
  { username: "jack", auth: { "basic-auth": { username: "foo", password: "bar" } } },
  { username: "colon", auth: { "basic-auth": { username: "colon", password: "a:b c" } } },
  { username: "guest" },
];
const env = (compat: "default" | "strict" = "default") =>
  makeEnv({ plugins: [basicAuth], consumers: CONSUMERS, settings: { compat } });
const basic = (text: string): string => `Basic ${Buffer.from(text).toString("base64")}`;
const MALFORMED = "Invalid authorization in request";
const WRONG = "Invalid user authorization";

describe("basic-auth", () => {
  test.each<{ says: string; sent?: string; consumer?: string; message?: string }>([
    { says: "the right password is accepted", sent: basic("foo:bar"), consumer: "jack" },
    { says: "the scheme has no case", sent: basic("foo:bar").replace("Basic", "bASIC"), consumer: "jack" },
    { says: "a password may hold a colon and blanks", sent: basic("colon:a:b c"), consumer: "colon" },
    { says: "white space is ignored as in APISIX", sent: basic(" foo : bar "), consumer: "jack" },
    { says: "what follows a second colon is ignored as in APISIX", sent: basic("foo:bar:x"), consumer: "jack" },
    { says: "no header is refused", message: "Missing authorization in request" },
    { says: "another scheme is refused", sent: "Bearer abc", message: MALFORMED },
    { says: "bad base64 is refused", sent: "Basic !!!", message: MALFORMED },
    { says: "a text without a colon is refused", sent: basic("foo"), message: MALFORMED },
    { says: "a scheme inside other text is refused", sent: `x${basic("foo:bar")}`, message: MALFORMED },
    { says: "a wrong password is refused", sent: basic("foo:baz"), message: WRONG },
    { says: "an empty password is refused", sent: basic("foo:"), message: WRONG },
    { says: "an unknown user is refused", sent: basic("nobody:bar"), message: WRONG },
  ])("$says", async ({ sent, consumer, message }) => {
    const view = makeView(sent === undefined ? {} : { headers: { Authorization: sent } });
    const answer = await runPhases(env().compile(basicAuth), view);
    expect(view.consumer?.username).toBe(consumer);
    if (message === undefined) expect(answer).toBeUndefined();
    else {
      expect(answer?.status).toBe(401);
      expect(bodyText(answer)).toBe(`{"message":"${message}"}\n`);
      expect(answerHeader(answer, "www-authenticate")).toBe('Basic realm="basic"');
    }
  });

  test("strict reads the password exactly", async () => {
    const phases = env("strict").compile(basicAuth);
    const status = async (text: string) =>
      (await runPhases(phases, makeView({ headers: { Authorization: basic(text) } })))?.status;
    expect(await Promise.all([status("foo:bar"), status("foo:bar:x"), status("foo: bar")])).toEqual([
      undefined,
      401,
      401,
    ]);
  });

  test.each([
    { says: "an accepted", sent: basic("foo:bar"), conf: {} },
    { says: "a refused", sent: basic("foo:no"), conf: { anonymous_consumer: "guest" } },
  ])("hide_credentials removes $says login before it goes upstream", async ({ sent, conf }) => {
    const view = makeView({ headers: { Authorization: sent } });
    expect(await runPhases(env().compile(basicAuth, { hide_credentials: true, ...conf }), view)).toBeUndefined();
    expect(view.header("authorization")).toBeUndefined();
  });

  test("without hide_credentials the login goes upstream", async () => {
    const view = makeView({ headers: { Authorization: basic("foo:bar") } });
    await runPhases(env().compile(basicAuth), view);
    expect(view.header("authorization")).toBe(basic("foo:bar"));
  });
});
