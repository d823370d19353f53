import { createHash, createHmac } from "node:crypto";
import { describe, expect, test } from "vitest";
import { answerHeader, bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { hmacAuth } from "../../src/plugins/hmac-auth.ts";

const CONSUMERS = [
  { username: "jack", auth: { "hmac-auth": { key_id: "jack-id", secret_key: "jack-secret" } } },
  { username: "guest" },
];
const NOW = "Tue, 14 Nov 2023 22:13:20 GMT"; // the fake clock's start

interface Signing {
  keyId?: string;
  secret?: string;
  algorithm?: string;
  names?: string;
  date?: string | undefined;
  target?: string;
  signedTarget?: string;
  method?: string;
  extra?: Record<string, string>;
  body?: string;
  /** Lines that are not signed. */
  more?: readonly string[];
}

function signed(options: Signing = {}) {
  const { keyId = "jack-id", secret = "jack-secret", algorithm = "hmac-sha256", method = "GET" } = options;
  const { names = "@request-target date", target = "/a?b=1", extra = {} } = options;
  const date = "date" in options ? options.date : NOW;
  const sent: Record<string, string> = { ...(date === undefined ? {} : { date }), ...extra };
  let text = `${keyId}\n`;
  for (const name of names.split(" "))
    if (name === "@request-target") text += `${method} ${options.signedTarget ?? target}\n`;
    else if (sent[name.toLowerCase()] !== undefined) text += `${name}: ${sent[name.toLowerCase()]}\n`;
  const signature = createHmac(algorithm.slice(5), secret).update(text).digest("base64");
  const authorization = `Signature keyId="${keyId}",algorithm="${algorithm}",headers="${names}",signature="${signature}"`;
  return makeView({
    method,
    target,
    headers: [...Object.entries({ Authorization: authorization, ...sent }).flat(), ...(options.more ?? [])],
    ...(options.body === undefined ? {} : { body: options.body }),
  });
}

const env = (compat: "default" | "strict" = "default") =>
  makeEnv({ plugins: [hmacAuth], consumers: CONSUMERS, settings: { compat } });
const run = async (conf: object, options: Signing) => {
  const view = signed(options);
  const answer = await runPhases(env().compile(hmacAuth, conf), view);
  return { view, answer };
};
const digest = (text: string): string => `SHA-256=${createHash("sha256").update(text).digest("base64")}`;

describe("hmac-auth", () => {
  test.each<{ says: string; conf?: object; options: Signing }>([
    { says: "sha256", options: {} },
    { says: "sha1", options: { algorithm: "hmac-sha1" } },
    { says: "sha512", options: { algorithm: "hmac-sha512" } },
    { says: "another method", options: { method: "POST" } },
    { says: "a path that was decoded", options: { target: "/a%20b?c=%20", signedTarget: "/a b?c=%20" } },
    {
      says: "more headers",
      conf: { signed_headers: ["Date", "x-a"] },
      options: { names: "@request-target date x-a", extra: { "x-a": "1" } },
    },
    { says: "headers that were not sent", options: { names: "@request-target date x-none" } },
    { says: "a date at the edge of the skew", options: { date: "Tue, 14 Nov 2023 22:18:20 GMT" } },
    {
      says: "a body with its digest",
      conf: { validate_request_body: true },
      options: { method: "POST", body: "hi", extra: { digest: digest("hi") } },
    },
  ])("a signature over $says is accepted", async ({ conf = {}, options }) => {
    const { view, answer } = await run(conf, options);
    expect(answer).toBeUndefined();
    expect(view.consumer?.username).toBe("jack");
    expect(view.header("x-consumer-username")).toBe("jack");
  });

  test.each<{ says: string; conf?: object; options: Signing; reason: string }>([
    { says: "a wrong secret", options: { secret: "x" }, reason: "signature_wrong" },
    { says: "an unknown key", options: { keyId: "x" }, reason: "key_unknown" },
    { says: "another target", options: { signedTarget: "/other" }, reason: "signature_wrong" },
    {
      says: "an algorithm the route does not allow",
      conf: { allowed_algorithms: ["hmac-sha512"] },
      options: {},
      reason: "algorithm_not_allowed",
    },
    {
      says: "a signed header that stands there twice",
      options: { names: "@request-target date x-a", extra: { "x-a": "1" }, more: ["X-A", "2"] },
      reason: "signed_header_repeated",
    },
    { says: "two dates", options: { more: ["Date", NOW] }, reason: "signed_header_repeated" },
    { says: "no date", options: { date: undefined }, reason: "date_missing_or_skewed" },
    { says: "an old date", options: { date: "Tue, 14 Nov 2023 22:08:19 GMT" }, reason: "date_missing_or_skewed" },
    { says: "a date that is none", options: { date: "2023-11-14" }, reason: "date_missing_or_skewed" },
    { says: "an unsigned date", options: { names: "@request-target" }, reason: "headers_not_signed" },
    {
      says: "a required header that is not signed",
      conf: { signed_headers: ["date", "x-a"] },
      options: { extra: { "x-a": "1" } },
      reason: "headers_not_signed",
    },
    {
      says: "another body",
      conf: { validate_request_body: true },
      options: { method: "POST", body: "hi", extra: { digest: digest("ho") } },
      reason: "digest_wrong",
    },
    {
      says: "a body without digest",
      conf: { validate_request_body: true },
      options: { method: "POST", body: "hi" },
      reason: "digest_wrong",
    },
  ])("$says is refused, the caller is not told why", async ({ conf = {}, options, reason }) => {
    const { view, answer } = await run(conf, options);
    expect(answer).toMatchObject({ status: 401, reason });
    expect(bodyText(answer)).toBe(`{"message":"client request can't be validated"}\n`);
    expect(answerHeader(answer, "www-authenticate")).toBe('hmac realm="hmac"');
    expect(view.consumer).toBeUndefined();
  });

  test.each([
    { sent: undefined, text: "client request can't be validated: missing Authorization header" },
    {
      sent: "Basic x",
      text: "client request can't be validated: Authorization header does not start with 'Signature'",
    },
    { sent: 'Signature keyId="a"', text: "client request can't be validated" },
    { sent: 'Signature keyId="a",keyId="b",algorithm="c",signature="d"', text: "client request can't be validated" },
  ])("Authorization $sent is answered: $text", async ({ sent, text }) => {
    const view = makeView(sent === undefined ? {} : { headers: { Authorization: sent } });
    const answer = await runPhases(env().compile(hmacAuth), view);
    expect(bodyText(answer)).toBe(`{"message":"${text}"}\n`);
  });

  test("a body above the limit is a 413", async () => {
    const options = { method: "POST", body: "12345", extra: { digest: digest("12345") } };
    const { answer } = await run({ validate_request_body: true, max_req_body_size: 4 }, options);
    expect(answer?.status).toBe(413);
    expect(bodyText(answer)).toBe('{"message":"request size 5 is greater than the maximum size 4 allowed"}\n');
  });

  test("hide_credentials and the anonymous consumer work as in the other plugins", async () => {
    const { view } = await run({ hide_credentials: true }, {});
    expect(view.header("authorization")).toBeUndefined();
    const failed = await run({ hide_credentials: true, anonymous_consumer: "guest" }, { secret: "x" });
    expect([failed.answer, failed.view.consumer?.username]).toEqual([undefined, "guest"]);
    expect(failed.view.header("authorization")).toBeUndefined();
  });

  test("strict signs the target as it was sent", async () => {
    const phases = env("strict").compile(hmacAuth);
    const status = async (options: Signing) => (await runPhases(phases, signed(options)))?.status;
    expect(await status({ target: "/a%20b" })).toBeUndefined();
    expect(await status({ target: "/a%20b", signedTarget: "/a b" })).toBe(401);
  });
});
