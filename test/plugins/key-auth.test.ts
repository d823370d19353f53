import { describe, expect, test } from "vitest";
import { answerHeader, bodyText, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";

const CONSUMERS = [
  { username: "jack", auth: { "key-auth": { key: "jack-key" } }, labels: { custom_id: "c-7" } },
  { username: "ann", credentials: [{ id: "cr1", auth: { "key-auth": { key: "ann-key" } } }] },
  { username: "guest" },
];
const env = () => makeEnv({ plugins: [keyAuth], consumers: CONSUMERS });

describe("key-auth", () => {
  test.each<{ says: string; conf?: object; input: ViewInput; consumer?: string; message?: string }>([
    { says: "a key in the header is accepted", input: { headers: { apikey: "jack-key" } }, consumer: "jack" },
    { says: "a key in the query is accepted", input: { target: "/?apikey=jack%2Dkey" }, consumer: "jack" },
    { says: "a credential's key is accepted", input: { headers: { APIKey: "ann-key" } }, consumer: "ann" },
    {
      says: "the header wins over the query",
      input: { headers: { apikey: "wrong" }, target: "/?apikey=jack-key" },
      message: "Invalid API key in request",
    },
    {
      says: "names can be configured",
      conf: { header: "X-Key", query: "token" },
      input: { target: "/?token=jack-key" },
      consumer: "jack",
    },
    { says: "no key is refused", input: {}, message: "Missing API key in request" },
    { says: "an empty key is refused", input: { headers: { apikey: "" } }, message: "Invalid API key in request" },
    { says: "an unknown key is refused", input: { headers: { apikey: "x" } }, message: "Invalid API key in request" },
    {
      says: "a repeated argument is refused",
      input: { target: "/?apikey=jack-key&apikey=jack-key" },
      message: "Invalid API key in request",
    },
    { says: "a valueless argument is refused", input: { target: "/?apikey" }, message: "Invalid API key in request" },
    {
      says: "a failed caller is the anonymous consumer",
      conf: { anonymous_consumer: "guest" },
      input: {},
      consumer: "guest",
    },
    {
      says: "a missing anonymous consumer is a refusal",
      conf: { anonymous_consumer: "nobody" },
      input: {},
      message: "Invalid user authorization",
    },
  ])("$says", async ({ conf, input, consumer, message }) => {
    const made = env();
    const view = makeView(input);
    const answer = await runPhases(made.compile(keyAuth, conf), view);
    expect(view.consumer?.username).toBe(consumer);
    if (message === undefined) expect(answer).toBeUndefined();
    else {
      expect(answer?.status).toBe(401);
      expect(bodyText(answer)).toBe(`{"message":"${message}"}\n`);
      expect(answerHeader(answer, "www-authenticate")).toBe('apikey realm="key"');
    }
  });

  test("who was found goes upstream, spoofed headers do not", async () => {
    const view = makeView({ headers: { apikey: "jack-key", "X-Credential-Identifier": "spoofed" } });
    await runPhases(env().compile(keyAuth), view);
    expect(view.header("x-consumer-username")).toBe("jack");
    expect(view.header("x-consumer-custom-id")).toBe("c-7");
    expect(view.header("x-credential-identifier")).toBeUndefined();
  });

  test.each([
    {
      says: "the used header is hidden",
      headers: { apikey: "jack-key" },
      target: "/?apikey=other",
      query: "apikey=other",
    },
    { says: "the used argument is hidden", headers: {}, target: "/?apikey=jack-key&x=1", query: "x=1" },
  ])("with hide_credentials $says", async ({ headers, target, query }) => {
    const view = makeView({ headers, target });
    expect(await runPhases(env().compile(keyAuth, { hide_credentials: true }), view)).toBeUndefined();
    expect(view.header("apikey")).toBeUndefined();
    expect(view.query).toBe(query);
  });

  test("hide_credentials hides both when the anonymous consumer stands in", async () => {
    const view = makeView({ headers: { apikey: "wrong" }, target: "/?apikey=wrong" });
    await runPhases(env().compile(keyAuth, { hide_credentials: true, anonymous_consumer: "guest" }), view);
    expect([view.header("apikey"), view.query]).toEqual([undefined, undefined]);
  });

  test("a key that is still being resolved is waited for", async () => {
    const made = makeEnv({ plugins: [keyAuth] });
    made.setPending("key-auth", async () => made.setConsumer({ username: "late", auth: { "key-auth": { key: "k" } } }));
    const view = makeView({ headers: { apikey: "k" } });
    expect(await runPhases(made.compile(keyAuth), view)).toBeUndefined();
    expect(view.consumer?.username).toBe("late");
  });

  test("a removed consumer's key ends at once", async () => {
    const made = env();
    const phases = made.compile(keyAuth);
    made.removeConsumer("jack");
    expect((await runPhases(phases, makeView({ headers: { apikey: "jack-key" } })))?.status).toBe(401);
  });

  test("a realm with quotes is refused", () => {
    expect(() => env().compile(keyAuth, { realm: 'a"b' })).toThrow(/property "realm" validation failed/);
  });
});
