/** The signing endpoint, as docs/spec/jwt-auth.md section 9 tables it, reached through public-api. */
import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import type { Answer } from "../../src/plugin/plugin-answer.ts";
import {
  answerHeader,
  bodyText,
  type ConsumerInput,
  type EnvInput,
  makeEnv,
  metricValue,
  type TestEnv,
} from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { publicApi } from "../../src/plugins/public-api.ts";
import { keyOf, SECRET } from "../support/jwt.ts";
import { openTestRevocations } from "../support/revocations.ts";

const NOW = 1_700_000_000;
const PATH = "/apisix/plugin/jwt/sign";
const rs = keyOf("RS256").conf;
const es = keyOf("ES256").conf;
const auth = (key: string, conf: object): ConsumerInput => ({ username: key, auth: { "jwt-auth": { key, ...conf } } });
const CONSUMERS = [
  auth("jack-key", { secret: SECRET, exp: 30 }),
  auth("rs", { algorithm: "RS256", ...rs }),
  auth("es", { algorithm: "ES256", ...es }),
  auth("ps", { algorithm: "PS256", ...rs }),
  auth("ed", { algorithm: "EdDSA", ...keyOf("EdDSA").conf }),
  auth("no-private", { algorithm: "RS256", public_key: rs.public_key }),
  auth("bad-private", { algorithm: "RS256", public_key: rs.public_key, private_key: "-----BEGIN PRIVATE KEY-----" }),
  auth("other-private", {
    algorithm: "ES256",
    public_key: es.public_key,
    private_key: keyOf("ES384").conf.private_key,
  }),
];

interface Endpoint {
  readonly env: TestEnv;
  get(query: string, method?: string, consumer?: string): Promise<Answer | undefined>;
}

function openEndpoint(input: EnvInput = {}, conf: object = {}): Endpoint {
  const env = makeEnv({ plugins: [jwtAuth, publicApi], consumers: CONSUMERS, ...input });
  const phases = env.compile(publicApi, conf);
  return {
    env,
    get: async (query, method = "GET", consumer = undefined) => {
      const view = makeView({ method, target: `${PATH}${query}` });
      if (consumer !== undefined) view.consumer = env.consumer(consumer);
      return phases.access?.(view);
    },
  };
}

function decoded(answer: Answer | undefined): { header: Record<string, unknown>; payload: Record<string, unknown> } {
  const [header = "", payload = ""] = bodyText(answer).split(".");
  const read = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;
  return { header: read(header), payload: read(payload) };
}

const json = (value: unknown) => encodeURIComponent(JSON.stringify(value));

describe("the answers", () => {
  test.each([
    { says: "a token", query: "?key=jack-key", status: 200 },
    { says: "another method is not found", query: "?key=jack-key", method: "POST", status: 404 },
    { says: "HEAD is not found", query: "?key=jack-key", method: "HEAD", status: 404 },
    { says: "no query", query: "", status: 400 },
    { says: "no key", query: "?payload=%7B%7D", status: 400 },
    { says: "an unknown key", query: "?key=nobody", status: 404 },
    { says: "an empty key", query: "?key=", status: 404 },
    { says: "a valueless key", query: "?key", status: 404 },
    { says: "a repeated key", query: "?key=jack-key&key=jack-key", status: 404 },
    { says: "a key pair without private key", query: "?key=no-private", status: 503, body: "failed to sign jwt" },
    { says: "an unusable private key", query: "?key=bad-private", status: 500, body: "failed to sign jwt" },
    { says: "a private key of another pair", query: "?key=other-private", status: 500, body: "failed to sign jwt" },
    { says: "a payload that is no JSON", query: "?key=jack-key&payload=notjson", status: 500 },
    { says: "a payload that is a list", query: "?key=jack-key&payload=%5B1%5D", status: 500 },
    { says: "a payload that is empty", query: "?key=jack-key&payload=", status: 500 },
    { says: "a payload without =", query: "?key=jack-key&payload", status: 500 },
    { says: "a repeated payload", query: "?key=jack-key&payload=%7B%7D&payload=%7B%7D", status: 500 },
    {
      says: "a payload with repeated members",
      query: `?key=jack-key&payload=${encodeURIComponent('{"a":1,"a":2}')}`,
      status: 500,
    },
    {
      says: "a payload with __proto__",
      query: `?key=jack-key&payload=${encodeURIComponent('{"__proto__":1}')}`,
      status: 500,
    },
    { says: "a payload beyond 8 KiB", query: `?key=jack-key&payload=${json({ x: "y".repeat(8200) })}`, status: 413 },
  ])("$says", async ({ query, method, status, body }) => {
    const endpoint = openEndpoint();
    for (const turn of ["first", "again"]) {
      const answer = await endpoint.get(query, method);
      expect([turn, answer?.status]).toEqual([turn, status]);
      if (body !== undefined) expect(answer?.body).toBe(body);
      else if (status !== 200) expect(answer?.body).toBeUndefined();
    }
  });

  test("404 before anything has jwt-auth", async () => {
    expect((await openEndpoint({ consumers: [] }).get("?key=jack-key"))?.status).toBe(404);
  });

  test("503 when the secret turned out to be no base64", async () => {
    const endpoint = openEndpoint();
    const table = endpoint.env.credentials("jwt-auth") as unknown as { add(...of: unknown[]): void };
    const conf = {
      key: "k",
      secret: "env-key-1",
      base64_secret: true,
      algorithm: "HS256",
      exp: 1,
      lifetime_grace_period: 0,
    };
    const data = jwtAuth.credential?.compile(conf, endpoint.env);
    table.add({ username: "k", groupId: undefined, customId: undefined, labels: {} }, undefined, "k", data);
    const answer = await endpoint.get("?key=k");
    expect([answer?.status, answer?.body]).toEqual([503, "failed to sign jwt"]);
  });
});

describe("the token", () => {
  test("is the whole body, is not stored by anyone, and names its end", async () => {
    const answer = await openEndpoint().get("?key=jack-key");
    expect(bodyText(answer)).toMatch(/^[\w-]+\.[\w-]+\.[\w-]+$/);
    expect(answerHeader(answer, "cache-control")).toBe("no-store");
    expect(decoded(answer)).toEqual({
      header: { typ: "JWT", alg: "HS256" },
      payload: { key: "jack-key", exp: NOW + 30 },
    });
  });

  test.each([
    { key: "rs", header: { typ: "JWT", alg: "RS256", x5c: [rs.public_key] } },
    { key: "es", header: { typ: "JWT", alg: "ES256", x5c: [es.public_key] } },
    { key: "ps", header: { typ: "JWT", alg: "PS256" } },
    { key: "ed", header: { typ: "JWT", alg: "EdDSA" } },
  ])("of $key has the header $header.alg", async ({ key, header }) => {
    const { payload, ...rest } = decoded(await openEndpoint().get(`?key=${key}`));
    expect(rest.header).toEqual(header);
    expect(payload).toEqual({ key, exp: NOW + 86_400 });
  });

  test("never shows a private key, also not one that was given as public_key", async () => {
    const conf = { algorithm: "RS256", public_key: rs.private_key, private_key: rs.private_key };
    const answer = await openEndpoint({ consumers: [auth("k", conf)] }).get("?key=k");
    expect(decoded(answer).header).toEqual({ typ: "JWT", alg: "RS256", x5c: [rs.public_key] });
  });

  test("names its key where the key has a name", async () => {
    const named = auth("named", { secret: SECRET, kid: "k-7" });
    const { get } = openEndpoint({ consumers: [...CONSUMERS, named] });
    const headerOf = async (key: string): Promise<unknown> =>
      JSON.parse(Buffer.from(bodyText(await get(`?key=${key}`)).split(".", 1)[0] ?? "", "base64url").toString());
    expect(await headerOf("named")).toEqual({ typ: "JWT", alg: "HS256", kid: "k-7" });
    expect(await headerOf("jack-key")).toEqual({ typ: "JWT", alg: "HS256" });
  });

  test("carries the payload, but key, iat and exp are the gateway's", async () => {
    const payload = { uid: 7, role: "admin", key: "root", exp: 9e9, iat: 9e9, nbf: 5, nested: { a: [1] } };
    const answer = await openEndpoint().get(`?key=jack-key&payload=${json(payload)}`);
    expect(decoded(answer).payload).toEqual({ ...payload, key: "jack-key", iat: NOW, exp: NOW + 30 });
  });

  test("reads the payload once and once more decoded", async () => {
    const twice = encodeURIComponent(encodeURIComponent('{"a":"100%"}'));
    expect(decoded(await openEndpoint().get(`?key=jack-key&payload=${twice}`)).payload).toMatchObject({ a: "100%" });
  });

  test("is the same within a second, and another in the next", async () => {
    for (const key of ["jack-key", "rs", "ed"]) {
      const endpoint = openEndpoint();
      const ask = async () => bodyText(await endpoint.get(`?key=${key}&payload=${json({ a: 1 })}`));
      const first = await ask();
      endpoint.env.clock.advance(999);
      expect(await ask()).toBe(first);
      endpoint.env.clock.advance(1);
      expect(await ask()).not.toBe(first);
    }
  });

  test("is not the one of the former secret", async () => {
    const endpoint = openEndpoint();
    const first = bodyText(await endpoint.get("?key=jack-key"));
    endpoint.env.setConsumer(auth("jack-key", { secret: `${SECRET}!`, exp: 30 }));
    expect(bodyText(await endpoint.get("?key=jack-key"))).not.toBe(first);
  });

  test("of two callers with confusable keys and payloads differ", async () => {
    const keys = ["a", 'a{"x":1}'];
    const endpoint = openEndpoint({
      consumers: keys.map((key, i) => ({ ...auth(key, { secret: SECRET }), username: `u${i}` })),
    });
    for (const key of keys) {
      const answer = await endpoint.get(`?key=${encodeURIComponent(key)}&payload=${json({ x: 1 })}`);
      expect(decoded(answer).payload["key"]).toBe(key);
    }
  });

  test("of RSA keys is signed off the main thread, and once for callers that come together", async () => {
    const endpoint = openEndpoint();
    const asked = [endpoint.get("?key=rs"), endpoint.get("?key=rs"), endpoint.get("?key=rs&payload=%7B%22a%22:1%7D")];
    const [one, two, other] = (await Promise.all(asked)).map(bodyText);
    expect(one).toBe(two);
    expect(one).not.toBe(other);
  });

  test("more RSA signatures than the queue takes are refused", async () => {
    const endpoint = openEndpoint();
    const asked = Array.from({ length: 600 }, (_one, i) => endpoint.get(`?key=rs&payload=${json({ i })}`));
    const statuses = (await Promise.all(asked)).map((answer) => answer?.status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(512);
    expect(statuses.filter((status) => status === 503)).toHaveLength(88);
    expect((await endpoint.get("?key=rs"))?.status).toBe(200);
  });

  test("of a consumer whose secrets are still to be fetched is signed after fetching", async () => {
    const endpoint = openEndpoint({ consumers: [] });
    endpoint.env.setPending("jwt-auth", async () => endpoint.env.setConsumer(auth("late", { secret: SECRET })));
    expect((await endpoint.get("?key=late"))?.status).toBe(200);
  });
});

describe("who may sign", () => {
  test("anyone, by default, with one warning in the log", async () => {
    const endpoint = openEndpoint();
    const before = endpoint.env.logged.length;
    await endpoint.get("?key=jack-key");
    await endpoint.get("?key=jack-key");
    expect(endpoint.env.logged.slice(before)).toMatchObject([
      { level: "warn", message: "tokens are signed for callers that no auth plugin has checked" },
    ]);
    expect(JSON.stringify(endpoint.env.logged)).not.toContain("jack-key");
  });

  test("closed by the setting it wants an authenticated caller, switched off it serves nobody", async () => {
    const closed = openEndpoint({ settings: { compat: "default", signEndpoint: "authenticated" } });
    expect((await closed.get("?key=jack-key"))?.status).toBe(401);
    const payload = { key: "jack-key", iat: NOW, exp: NOW + 30 };
    expect(decoded(await closed.get("?key=jack-key", "GET", "jack-key")).payload).toEqual(payload);
    const off = openEndpoint({ settings: { compat: "default", signEndpoint: "off" } });
    expect((await off.get("?key=jack-key", "GET", "jack-key"))?.status).toBe(404);
  });

  test("in strict an authenticated caller, by POST, for claims that are nobody's", async () => {
    const endpoint = openEndpoint({ settings: { compat: "strict" } });
    const payload = json({ uid: 7, nbf: 1, iat: 1, jti: "x", iss: "x", aud: "x" });
    expect((await endpoint.get("?key=jack-key", "GET", "jack-key"))?.status).toBe(404);
    expect((await endpoint.get("?key=jack-key", "POST"))?.status).toBe(401);
    const answer = await endpoint.get(`?key=jack-key&payload=${payload}`, "POST", "jack-key");
    expect(decoded(answer).payload).toEqual({ uid: 7, key: "jack-key", iat: NOW, exp: NOW + 30 });
    expect((await endpoint.get("?key=jack-key&payload=x", "POST", "jack-key"))?.status).toBe(400);
  });

  test("what was answered is counted", async () => {
    const endpoint = openEndpoint();
    await endpoint.get("?key=jack-key");
    await endpoint.get("?key=rs");
    await endpoint.get("?key=nobody");
    const count = (outcome: string) => metricValue(endpoint.env, "jotgate_jwt_sign_total", { outcome });
    expect([await count("jwt_signed"), await count("sign_not_found")]).toEqual([2, 1]);
  });
});

describe("public-api", () => {
  test.each([
    { says: "its uri names the API", conf: { uri: PATH }, target: "/get-my-token?key=jack-key", status: 200 },
    { says: "without uri the request's path does", conf: {}, target: `${PATH}?key=jack-key`, status: 200 },
    { says: "an unknown uri is not found", conf: { uri: "/apisix/plugin/nothing" }, target: PATH, status: 404 },
    { says: "an unknown path is not found", conf: {}, target: "/other", status: 404 },
  ])("$says", async ({ conf, target, status }) => {
    const env = makeEnv({ plugins: [jwtAuth, publicApi], consumers: CONSUMERS });
    const answer = await env.compile(publicApi, conf).access?.(makeView({ target }));
    expect(answer?.status).toBe(status);
  });

  test("uri is text", () => {
    expect(() => makeEnv().compile(publicApi, { uri: 1 })).toThrow(
      'property "uri" validation failed: wrong type: expected string, got number',
    );
  });
});

test("a token of a consumer whose older tokens were revoked is dated, so that it works; others are as before", async () => {
  const clock = new FakeClock(NOW * 1_000);
  const { live, rule } = openTestRevocations(clock);
  const endpoint = openEndpoint({ clock, revocations: live });
  expect(decoded(await endpoint.get("?key=jack-key&payload=%7B%22a%22%3A1%7D")).payload).not.toHaveProperty("iat");
  rule({ type: "consumer", value: "jack-key", issuedBefore: NOW + 1 });
  clock.advance(1_000);
  expect(decoded(await endpoint.get("?key=jack-key&payload=%7B%22a%22%3A1%7D")).payload["iat"]).toBe(NOW + 1);
  expect(decoded(await endpoint.get("?key=es")).payload).not.toHaveProperty("iat");
});
