import { createSecretKey } from "node:crypto";
import { describe, expect, test } from "vitest";
import { compileSchema } from "../../src/base/schema/schema.ts";
import { answerHeader, bodyText, makeEnv, metricValue } from "../../src/plugin/testkit/testkit.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { keyOf, makeToken, SECRET } from "../support/jwt.ts";
import { openJwtNode } from "../support/jwt-auth.ts";

const NOW = 1_700_000_000;
const good = makeToken({ payload: { key: "jack-key", exp: NOW + 60 } });

describe("the route's configuration", () => {
  test.each([
    { says: "nothing is needed", conf: {}, error: undefined },
    {
      says: "header is text",
      conf: { header: 1 },
      error: 'property "header" validation failed: wrong type: expected string, got number',
    },
    {
      says: "realm has no quotes",
      conf: { realm: 'a"b' },
      error: /^property "realm" validation failed: failed to match pattern/,
    },
    { says: "realm has no backslash", conf: { realm: "a\\b" }, error: /^property "realm"/ },
    { says: "realm is printable", conf: { realm: "ok realm~!" }, error: undefined },
    { says: "realm is short", conf: { realm: "x".repeat(129) }, error: /^property "realm"/ },
    { says: "claims are exp and nbf", conf: { claims_to_verify: ["iat"] }, error: /matches none of the enum values/ },
    { says: "claims are not repeated", conf: { claims_to_verify: ["exp", "exp"] }, error: /unique/ },
    { says: "key_claim_name is not empty", conf: { key_claim_name: "" }, error: /^property "key_claim_name"/ },
    {
      says: "anonymous_consumer is not empty",
      conf: { anonymous_consumer: "" },
      error: /^property "anonymous_consumer"/,
    },
  ])("$says", ({ conf, error }) => {
    const said = compileSchema(jwtAuth.schema).check(conf);
    if (error instanceof RegExp) expect(said).toMatch(error);
    else expect(said).toBe(error);
  });
});

describe("where the token is found", () => {
  test.each([
    { says: "a bare token in the header", input: { headers: { authorization: good } }, message: "" },
    { says: "Bearer", input: { headers: { Authorization: `Bearer ${good}` } }, message: "" },
    { says: "bearer", input: { headers: { Authorization: `bearer ${good}` } }, message: "" },
    {
      says: "no other spelling of Bearer",
      input: { headers: { Authorization: `BEARER ${good}` } },
      message: "JWT token invalid",
    },
    { says: "no second blank", input: { headers: { Authorization: `Bearer  ${good}` } }, message: "JWT token invalid" },
    { says: "no other scheme", input: { headers: { Authorization: `Basic ${good}` } }, message: "JWT token invalid" },
    {
      says: "an empty header is present",
      input: { headers: { Authorization: "" }, target: `/?jwt=${good}` },
      message: "JWT token invalid",
    },
    {
      says: "a repeated header is refused",
      input: { headers: { Authorization: [good, good] } },
      message: "JWT token invalid",
    },
    { says: "the query", input: { target: `/a?x=1&jwt=${good}` }, message: "" },
    { says: "the query, escaped", input: { target: `/a?%6Awt=${good.replaceAll(".", "%2e")}` }, message: "" },
    {
      says: "a valueless argument is present",
      input: { target: "/a?jwt", headers: { Cookie: `jwt=${good}` } },
      message: "JWT token invalid",
    },
    {
      says: "a repeated argument is refused",
      input: { target: `/a?jwt=${good}&jwt=${good}` },
      message: "JWT token invalid",
    },
    { says: "the query has no Bearer", input: { target: `/a?jwt=Bearer%20${good}` }, message: "JWT token invalid" },
    { says: "the cookie", input: { headers: { Cookie: `a=b; jwt=${good}; c=d` } }, message: "" },
    {
      says: "header before query",
      input: { headers: { Authorization: "junk" }, target: `/?jwt=${good}` },
      message: "JWT token invalid",
    },
    {
      says: "query before cookie",
      input: { target: "/?jwt=junk", headers: { Cookie: `jwt=${good}` } },
      message: "JWT token invalid",
    },
    {
      says: "query before cookie, the other way",
      input: { target: `/?jwt=${good}`, headers: { Cookie: "jwt=junk" } },
      message: "",
    },
    { says: "nowhere", input: {}, message: "Missing JWT token in request" },
  ])("$says", async ({ input, message }) => {
    const called = await openJwtNode().call(input);
    expect([called.message, called.status]).toEqual([message, message === "" ? 200 : 401]);
  });

  test("names are the route's own", async () => {
    const node = openJwtNode({ route: { header: "JWT-Auth-Header", query: "jwt-query", cookie: "jwt-cookie" } });
    expect((await node.call({ headers: { "jwt-auth-header": good } })).status).toBe(200);
    expect((await node.call({ target: `/?jwt-query=${good}` })).status).toBe(200);
    expect((await node.call({ headers: { Cookie: `jwt-cookie=${good}` } })).status).toBe(200);
    expect((await node.callWith(good)).message).toBe("Missing JWT token in request");
    expect((await node.call({ headers: { Cookie: `jwt=${good}` } })).message).toBe("Missing JWT token in request");
  });

  test("strict refuses different tokens in two places, and takes the same one twice", async () => {
    const node = openJwtNode({ settings: { compat: "strict" } });
    const other = makeToken({ payload: { key: "jack-key", exp: NOW + 61 } });
    expect((await node.call({ headers: { Authorization: `Bearer ${good}` }, target: `/?jwt=${good}` })).status).toBe(
      200,
    );
    expect((await node.call({ headers: { Authorization: good }, target: `/?jwt=${other}` })).status).toBe(401);
    expect((await node.call({ headers: { Cookie: `jwt=${good}; jwt=${other}` } })).status).toBe(401);
  });
});

describe("hide_credentials", () => {
  const node = openJwtNode({ route: { hide_credentials: true } });
  const others = { "X-Other": "1", Cookie: "a=b%20; c=d" };

  test("removes the header that supplied the token", async () => {
    const { view } = await node.call({ headers: { Authorization: `Bearer ${good}`, ...others } });
    expect(view.headers.lines.slice(0, 6)).toEqual(["X-Other", "1", "Cookie", "a=b%20; c=d", "Host", "gateway.test"]);
    expect(view.headers.has("authorization")).toBe(false);
  });

  test("removes the argument and leaves the others byte-identical", async () => {
    const { view } = await node.call({ target: `/?b=%7e&jwt=${good}&a=1+2` });
    expect(view.query).toBe("b=%7e&a=1+2");
  });

  test("removes the cookie and leaves the others byte-identical", async () => {
    const { view } = await node.call({ headers: { Cookie: `a=b@!; jwt=${good}; c="d"` } });
    expect(view.headers.get("cookie")).toBe('a=b@!; c="d"');
  });

  test("removes copies of the same token elsewhere, but nothing else", async () => {
    const { view } = await node.call({
      headers: { Authorization: good, Cookie: "jwt=other" },
      target: `/?jwt=${good}`,
    });
    expect([view.headers.has("authorization"), view.query, view.headers.get("cookie")]).toEqual([
      false,
      undefined,
      "jwt=other",
    ]);
  });

  test("removes a token that is refused, too", async () => {
    const { view, status } = await node.call({ headers: { Authorization: "junk" } });
    expect([view.headers.has("authorization"), status]).toEqual([false, 401]);
  });

  test("off by default: everything passes", async () => {
    const { view } = await openJwtNode().call({ headers: { Authorization: `Bearer ${good}` } });
    expect(view.headers.get("authorization")).toBe(`Bearer ${good}`);
  });
});

describe("the caller", () => {
  test("is attached with its headers, and what the client sent is gone", async () => {
    const called = await openJwtNode().call({
      headers: {
        Authorization: good,
        "X-Consumer-Username": "root",
        "X-Credential-Identifier": "x",
        "X-Consumer-Custom-ID": "x",
      },
    });
    expect(called.view.consumer?.username).toBe("jack");
    expect(called.view.headers.get("x-consumer-username")).toBe("jack");
    expect(called.view.headers.has("x-credential-identifier")).toBe(false);
    expect(called.view.headers.has("x-consumer-custom-id")).toBe(false);
  });

  test("is known by which of several credentials it used", async () => {
    const node = openJwtNode();
    node.env.setConsumer({
      username: "jane",
      labels: { custom_id: "j-1" },
      credentials: ["c1", "c2"].map((id) => ({ id, auth: { "jwt-auth": { key: id, secret: `${SECRET}${id}` } } })),
    });
    const { createSecretKey } = await import("node:crypto");
    const key = createSecretKey(Buffer.from(`${SECRET}c2`));
    const called = await node.callWith(makeToken({ payload: { key: "c2" }, key }));
    expect(called.view.headers.get("x-credential-identifier")).toBe("c2");
    expect(called.view.headers.get("x-consumer-custom-id")).toBe("j-1");
    expect((await node.callWith(makeToken({ payload: { key: "c1" }, key }))).message).toBe("failed to verify jwt");
  });

  test("may be named by another claim", async () => {
    const node = openJwtNode({ route: { key_claim_name: "iss" } });
    expect((await node.callWith(makeToken({ payload: { iss: "jack-key" } }))).status).toBe(200);
    expect((await node.callWith(makeToken({ payload: { key: "jack-key" } }))).message).toBe(
      "missing user key in JWT token",
    );
  });

  test.each([
    { says: "no claim", payload: { sub: "x" }, message: "missing user key in JWT token" },
    { says: "false", payload: { key: false }, message: "missing user key in JWT token" },
    { says: "unknown", payload: { key: "nobody" }, message: "Invalid user key in JWT token" },
    { says: "empty", payload: { key: "" }, message: "Invalid user key in JWT token" },
    { says: "null", payload: { key: null }, message: "Invalid user key in JWT token" },
    { says: "a number", payload: { key: 1 }, message: "Invalid user key in JWT token" },
    { says: "a list", payload: { key: ["jack-key"] }, message: "Invalid user key in JWT token" },
    { says: "with a blank behind", payload: { key: "jack-key " }, message: "Invalid user key in JWT token" },
    { says: "constructor", payload: { key: "constructor" }, message: "Invalid user key in JWT token" },
    { says: "10 kB long", payload: { key: "k".repeat(10_000) }, message: "Invalid user key in JWT token" },
  ])("is refused when the key claim is $says", async ({ payload, message }) => {
    expect((await openJwtNode().callWith(makeToken({ payload }))).message).toBe(message);
  });

  test("no inherited member counts as the key claim", async () => {
    const node = openJwtNode({ route: { key_claim_name: "constructor" } });
    expect((await node.callWith(good)).message).toBe("missing user key in JWT token");
  });

  test("keys are compared exactly, not by what they look like", async () => {
    const node = openJwtNode({ jack: { key: "jos\u00e9" } });
    expect((await node.callWith(makeToken({ payload: { key: "jos\u00e9" } }))).status).toBe(200);
    expect((await node.callWith(makeToken({ payload: { key: "jose\u0301" } }))).status).toBe(401);
  });

  test("the payload is kept for other plugins only when asked for, and cannot be edited", async () => {
    const payload = { key: "jack-key", roles: ["a"] };
    const kept = await openJwtNode({ route: { store_in_ctx: true } }).callWith(makeToken({ payload }));
    expect(kept.view.note("jwt_auth_payload")).toEqual(payload);
    const roles = (kept.view.note("jwt_auth_payload") as typeof payload).roles;
    expect(() => roles.push("admin")).toThrow(TypeError);
    const { view } = await openJwtNode().callWith(makeToken({ payload }));
    expect(view.note("jwt_auth_payload")).toBeUndefined();
    expect(view.note("jwt_auth_claims")).toEqual(payload); // proxy-cache tells callers apart by it, always
  });

  test("whose secrets are still to be fetched is found after fetching", async () => {
    const node = openJwtNode();
    const late = makeToken({ payload: { key: "late-key" } });
    node.env.setPending("jwt-auth", async () => {
      node.env.setConsumer({ username: "late", auth: { "jwt-auth": { key: "late-key", secret: SECRET } } });
    });
    expect((await node.callWith(late)).view.consumer?.username).toBe("late");
    node.env.setPending("jwt-auth", () => Promise.reject(new Error("vault is away")));
    expect((await node.callWith(makeToken({ payload: { key: "later" } }))).message).toBe(
      "Invalid user key in JWT token",
    );
  });
});

describe("a refusal", () => {
  test("is a 401 in one line of JSON with the realm as challenge", async () => {
    const { answer } = await openJwtNode({ route: { realm: "my api" } }).call({});
    expect(bodyText(answer)).toBe('{"message":"Missing JWT token in request"}\n');
    expect(answerHeader(answer, "www-authenticate")).toBe('Bearer realm="my api"');
  });

  test.each([
    { says: "a refused token", compat: "default", token: "x", challenge: 'Bearer realm="jwt", error="invalid_token"' },
    {
      says: "a refused token, strictly",
      compat: "strict",
      token: "x",
      challenge: 'Bearer realm="jwt", error="invalid_token"',
    },
    { says: "a refused token, as APISIX 3.5 does", compat: "apisix-3.5", token: "x", challenge: 'Bearer realm="jwt"' },
    { says: "no token", compat: "default", token: undefined, challenge: 'Bearer realm="jwt"' },
  ] as const)("of $says says in its challenge what is wrong", async ({ compat, token, challenge }) => {
    const node = openJwtNode({ settings: { compat }, jack: { secret: SECRET } });
    const { answer } = token === undefined ? await node.call({}) : await node.callWith(token);
    expect(answerHeader(answer, "www-authenticate")).toBe(challenge);
  });

  test("becomes the anonymous consumer, if there is one", async () => {
    const node = openJwtNode({ route: { anonymous_consumer: "guest", hide_credentials: true } });
    const before = await node.callWith("junk");
    expect([before.message, answerHeader(before.answer, "www-authenticate")]).toEqual([
      "Invalid user authorization",
      'Bearer realm="jwt"',
    ]);
    node.env.setConsumer({ username: "guest" });
    const called = await node.call({ headers: { Authorization: "junk", "X-Consumer-Username": "spoof" } });
    expect([called.status, called.view.consumer?.username, called.view.headers.get("x-consumer-username")]).toEqual([
      200,
      "guest",
      "guest",
    ]);
    expect(called.view.headers.has("authorization")).toBe(false);
    expect((await node.callWith(good)).view.consumer?.username).toBe("jack");
  });

  test("tells nothing about its reason in strict", async () => {
    const node = openJwtNode({ settings: { compat: "strict" } });
    const tokens = ["junk", makeToken({ payload: {} }), makeToken({ payload: { key: "x" } }), `${good}A`];
    const bodies = await Promise.all(tokens.map(async (token) => bodyText((await node.callWith(token)).answer)));
    expect(new Set(bodies).size).toBe(1);
  });

  test("is counted by its reason", async () => {
    const node = openJwtNode();
    await node.call({});
    await node.callWith("junk");
    await node.callWith(good);
    await node.callWith(good);
    const count = (outcome: string) => metricValue(node.env, "jotgate_jwt_total", { outcome });
    expect([await count("missing"), await count("malformed"), await count("ok"), await count("expired")]).toEqual([
      1, 1, 2, 0,
    ]);
    expect(await metricValue(node.env, "jotgate_token_cache_total", { result: "hit" })).toBe(1);
    expect(await metricValue(node.env, "jotgate_token_cache_entries")).toBe(1);
  });
});

test("routes with the same configuration share one authentication, and give it back", () => {
  const plugin = jwtAuth;
  const env = makeEnv({ plugins: [plugin] });
  const [one, two, other] = [env.compile(plugin), env.compile(plugin), env.compile(plugin, { header: "x" })];
  expect(one?.rewrite).toBe(two?.rewrite);
  expect(one?.rewrite).not.toBe(other?.rewrite);
  for (const phases of [one, two, other]) phases?.close?.();
  expect(env.heldStates).toBe(0);
});

test("keys of another algorithm do not confuse the compiled credential", () => {
  const plugin = jwtAuth;
  const env = makeEnv({ plugins: [plugin] });
  expect(() =>
    env.setConsumer({ username: "a", auth: { "jwt-auth": { key: "a", algorithm: "ES256", ...keyOf("ES384").conf } } }),
  ).toThrow("public_key is on curve secp384r1, ES256 needs prime256v1");
});

describe("a former key", () => {
  const former = `${SECRET}former`;
  const signed = (secret: string) => makeToken({ key: createSecretKey(Buffer.from(secret, "utf8")) });

  test("verifies until its end and not after, remembered tokens included", async () => {
    const node = openJwtNode();
    const notAfter = Math.floor(node.env.clock.nowMs() / 1_000) + 60;
    node.jack({
      secret: SECRET,
      previous_keys: [
        { secret: `${SECRET}older`, not_after: 1 },
        { secret: former, not_after: notAfter },
      ],
    });
    expect((await node.callWith(signed(former))).status).toBe(200);
    expect((await node.callWith(signed(`${SECRET}older`))).message).toBe("failed to verify jwt");
    expect((await node.callWith(signed(SECRET))).status).toBe(200);
    node.env.clock.advance(60_000);
    expect((await node.callWith(signed(former))).message).toBe("failed to verify jwt");
    expect((await node.callWith(signed(SECRET))).status).toBe(200);
  });

  test("is chosen by kid where keys have names; any other kid says nothing", async () => {
    const node = openJwtNode();
    const notAfter = Math.floor(node.env.clock.nowMs() / 1_000) + 60;
    const previous = [
      { secret: former, kid: "old", not_after: notAfter },
      { secret: `${SECRET}third`, not_after: notAfter },
      { secret: `${SECRET}ended`, kid: "ended", not_after: 1 },
    ];
    node.jack({ secret: SECRET, kid: "new", previous_keys: previous });
    const by = async (secret: string, kid: unknown) =>
      (await node.callWith(makeToken({ key: createSecretKey(Buffer.from(secret, "utf8")), header: { kid } }))).status;
    for (const [secret, kid, status] of [
      [SECRET, "new", 200],
      [SECRET, "old", 401],
      [former, "old", 200],
      [former, "new", 401],
      [`${SECRET}third`, "new", 401],
      [`${SECRET}ended`, "ended", 401],
      [SECRET, "ended", 401],
      ...[undefined, "stranger", 7, ["new"]].flatMap((kid) => [
        [SECRET, kid, 200] as const,
        [former, kid, 200] as const,
        [`${SECRET}third`, kid, 200] as const,
        [`${SECRET}ended`, kid, 401] as const,
        [`${SECRET}nobody`, kid, 401] as const,
      ]),
    ] as const)
      expect([secret, kid, await by(secret, kid)]).toEqual([secret, kid, status]);
  });
});
