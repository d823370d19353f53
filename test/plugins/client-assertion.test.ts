/** `private_key_jwt` at the token endpoint, and what must not pass for it; docs/spec/tokens.md sections 7.2 and 14. */
import { describe, expect, test } from "vitest";
import { CodedError } from "../../src/base/errors.ts";
import type { ClusterOnce } from "../../src/plugin/plugin.ts";
import { answerHeader, bodyText, makeEnv, metricValue } from "../../src/plugin/testkit/testkit.ts";
import { oauth2Client } from "../../src/plugins/oauth2-client/oauth2-client.ts";
import { GRANT, ISSUER, json, NOW, openWorld, SECRET, type World } from "../support/authorization-server.ts";
import { keyOf, makeToken, type TokenInput } from "../support/jwt.ts";

const TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const jwkOf = (algorithm: "ES256" | "RS256" | "EdDSA", more: object = {}) => ({
  ...keyOf(algorithm).publicKey.export({ format: "jwk" }),
  ...more,
});
const BY_KEYS = {
  ...{ client_secret: undefined, token_endpoint_auth_method: "private_key_jwt" },
  jwks: { keys: [jwkOf("ES256", { kid: "k1" }), jwkOf("RS256", { kid: "k2" })] },
};
const OTHER = {
  username: "other",
  auth: {
    "oauth2-client": {
      ...{ client_id: "other", token_endpoint_auth_method: "private_key_jwt", audiences: ["https://api.example"] },
      jwks: { keys: [jwkOf("EdDSA", { kid: "k9" })] },
    },
  },
};
const open = (server: object = {}): Promise<World> => openWorld({ client: BY_KEYS, consumers: [OTHER], server });

let ids = 0;
const CLAIMS = { iss: "batch", sub: "batch", aud: ISSUER, exp: NOW + 60 };
const assertion = (claims: object = {}, more: TokenInput = {}): string =>
  makeToken({
    ...{ algorithm: "ES256", header: { kid: "k1" } },
    payload: { ...CLAIMS, jti: `id-${++ids}`, ...claims },
    ...more,
  });
const form = (text: string, more = ""): string =>
  `${GRANT}&client_assertion_type=${encodeURIComponent(TYPE)}&client_assertion=${text}${more}`;
const ask = async (world: World, body: string, headers: Record<string, string> = {}): Promise<unknown> => {
  const answer = await world.token(body, headers);
  return answer.status === 200 ? 200 : json(answer)["error"];
};

describe("a client with keys", () => {
  test("gets a token for an assertion to the issuer, or to the token endpoint, with any of its keys", async () => {
    const world = await open();
    expect(await ask(world, form(assertion()))).toBe(200);
    expect(await ask(world, form(assertion({ aud: `${ISSUER}/oauth2/token` }), "&client_id=batch"))).toBe(200);
    expect(await ask(world, form(assertion({ aud: [ISSUER] })))).toBe(200);
    const rsa = assertion({}, { algorithm: "RS256", header: { kid: "k2", typ: "client-authentication+jwt" } });
    expect(await ask(world, form(rsa))).toBe(200);
    expect(await ask(world, form(assertion({}, { header: {} })))).toBe(200);
  });

  test("is served by the issuer alone where the record says so, and in strict", async () => {
    const world = await open({ client_assertion_audience: "issuer" });
    expect(await ask(world, form(assertion({ aud: `${ISSUER}/oauth2/token` })))).toBe("invalid_client");
    expect(await ask(world, form(assertion()))).toBe(200);
  });

  const wrong: readonly (readonly [string, string])[] = [
    ["several audiences", assertion({ aud: [ISSUER, "https://other.example"] })],
    ["another server", assertion({ aud: "https://other.example" })],
    ["no audience", assertion({ aud: undefined })],
    ["a day of life", assertion({ exp: NOW + 86_400 })],
    ["an end that is past", assertion({ exp: NOW - 31 })],
    ["no end", assertion({ exp: undefined })],
    ["an end that is a text", assertion({ exp: String(NOW + 60) })],
    ["a beginning in the future", assertion({ nbf: NOW + 100 })],
    ["a date in the future", assertion({ iat: NOW + 100 })],
    ["another iss", assertion({ iss: "other" })],
    ["another sub", assertion({ sub: "other" })],
    ["a sub that is nobody's", assertion({ iss: "nobody", sub: "nobody" })],
    ["no jti", assertion({ jti: undefined })],
    ["a long jti", assertion({ jti: "x".repeat(257) })],
    ["the key of another client", assertion({}, { algorithm: "EdDSA", header: { kid: "k9" } })],
    ["the kid of another client", assertion({}, { header: { kid: "k9" } })],
    ["another client's name under the own key", assertion({ iss: "other", sub: "other" })],
    ["a key of the header", assertion({}, { algorithm: "EdDSA", header: { kid: "k1", jwk: jwkOf("EdDSA") } })],
    ["the public key as a secret", makeToken({ algorithm: "HS256", payload: { ...CLAIMS, jti: "h" } })],
    ["no algorithm", makeToken({ header: { alg: "none" }, payload: { ...CLAIMS, jti: "n" } })],
    ["the typ of a token", assertion({}, { header: { kid: "k1", typ: "at+jwt" } })],
    ["the typ of a proof", assertion({}, { header: { kid: "k1", typ: "dpop+jwt" } })],
    ["no form", "nothing"],
  ];
  test.each(wrong)("is not one who shows an assertion with %s", async (_, text) => {
    expect(await ask(await open(), form(text))).toBe("invalid_client");
  });

  test("shows each assertion once", async () => {
    const world = await open();
    const text = assertion();
    expect(await ask(world, form(text))).toBe(200);
    expect(await ask(world, form(text))).toBe("invalid_client");
    const [head, payload, signature = ""] = text.split(".");
    const bytes = Buffer.from(signature, "base64url");
    const order = BigInt("0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
    const twin = (order - BigInt(`0x${bytes.subarray(32).toString("hex")}`)).toString(16).padStart(64, "0");
    const again = Buffer.concat([bytes.subarray(0, 32), Buffer.from(twin, "hex")]).toString("base64url");
    expect(await ask(world, form(`${head}.${payload}.${again}`))).toBe("invalid_client");
    world.clock.advance(55_000);
    expect(await ask(world, form(text))).toBe("invalid_client");
  });

  test("proves itself in one way, and by the method it is registered for", async () => {
    const world = await open();
    const basic = { authorization: `Basic ${Buffer.from(`batch:${SECRET}`).toString("base64")}` };
    expect(await ask(world, form(assertion()), basic)).toBe("invalid_request");
    expect(await ask(world, form(assertion(), `&client_secret=${SECRET}`))).toBe("invalid_request");
    expect(await ask(world, form(assertion(), "&client_id=other"))).toBe("invalid_request");
    expect(await ask(world, `${GRANT}&client_assertion=${assertion()}`)).toBe("invalid_request");
    expect(await ask(world, form(assertion()).replace("jwt-bearer", "saml2-bearer"))).toBe("invalid_client");
    expect(await ask(world, GRANT, basic)).toBe("invalid_client");
    const bySecret = await openWorld({ client: {} });
    expect(await ask(bySecret, form(assertion()))).toBe("invalid_client");
  });

  test("introspects and revokes with assertions too", async () => {
    const world = await open();
    const token = String(json(await world.token(form(assertion()), {}))["access_token"]);
    const body = form(assertion(), `&token=${token}`);
    expect((await world.post("/oauth2/revoke", body, {})).status).toBe(200);
    expect(world.revocations.live.tokenCount).toBe(1);
    expect((await world.post("/oauth2/revoke", body, {})).status).toBe(401);
  });
});

describe("a registration", () => {
  const registered = (conf: object) =>
    makeEnv({ plugins: [oauth2Client], consumers: [{ username: "a", auth: { "oauth2-client": conf } }] });
  const keys = { client_id: "a", token_endpoint_auth_method: "private_key_jwt" };
  const { d, ...members } = keyOf("ES256").privateKey.export({ format: "jwk" });
  test.each([
    [keys, "private_key_jwt needs one of jwks, jwks_uri"],
    [{ ...keys, jwks: { keys: [{ ...members, d }] } }, "jwks: none of its 1 keys can be used: it has private members"],
    [{ ...keys, jwks: { keys: [{ kty: "oct", k: "x" }] } }, "a symmetric key"],
    [{ ...keys, jwks_uri: "http://keys.example" }, "jwks_uri must be https"],
    [{ ...keys, jwks_uri: "ftp://keys.example" }, "jwks_uri is no http or https address"],
    [{ ...keys, jwks: BY_KEYS.jwks, client_secret: SECRET }, "client_secret is of no use with"],
    [{ client_id: "a", client_secret: SECRET, jwks_uri: "https://keys.example" }, "jwks_uri is of no use with"],
  ])("%j is refused", (conf, text) => {
    expect(() => registered(conf)).toThrow(text);
  });

  test("makes no secret, and has none to rotate", () => {
    const completed = oauth2Client.credential?.complete?.(
      { ...keys, jwks: BY_KEYS.jwks },
      { client_secrets: [{}] },
      {
        ...{ nowSeconds: NOW, compat: "default" },
      },
    );
    expect(completed).toEqual({ conf: { ...keys, jwks: BY_KEYS.jwks }, generated: {} });
    const times = { nowSeconds: NOW, overlapSeconds: 0 };
    expect(oauth2Client.credential?.rotate?.({ ...keys }, {}, times)).toContain("has no secret");
  });
});

describe("with assertion_replay cluster", () => {
  const by = (clusterOnce: ClusterOnce | undefined): Promise<World> =>
    openWorld({
      ...{ client: BY_KEYS, consumers: [OTHER], server: { assertion_replay: "cluster" } },
      ...(clusterOnce && { clusterOnce }),
    });

  test("an assertion counts once in all nodes; other clients' and other ids are others", async () => {
    const known = new Set<string>();
    const told: number[] = [];
    const shared: ClusterOnce = {
      async isFirst(scope, text, seconds) {
        told.push(seconds);
        const isNew = !known.has(`${scope} ${text}`);
        known.add(`${scope} ${text}`);
        return isNew;
      },
    };
    const [one, two] = [await by(shared), await by(shared)];
    const [mine, again] = [assertion(), assertion()];
    expect([await ask(one, form(mine)), await ask(two, form(mine)), await ask(two, form(again))]).toEqual([
      ...[200, "invalid_client", 200],
    ]);
    expect(await ask(one, form(mine))).toBe("invalid_client");
    expect(told).toEqual([90, 90, 90]); // what the node itself has seen is not asked for
    for (const wrong of [
      assertion({ aud: "https://other.example" }),
      assertion({ exp: NOW - 60 }),
      assertion({ sub: "x" }),
    ])
      expect(await ask(one, form(wrong))).toBe("invalid_client");
    expect(told).toHaveLength(3); // what is refused anyway is not written
  });

  test("nobody is let in while the store is away, nor counted as one who guesses", async () => {
    let isAway = true;
    const world = await by({
      isFirst: async () => {
        if (isAway) throw new CodedError("STORE_UNAVAILABLE", { message: "away" });
        return true;
      },
    });
    for (let i = 0; i < 12; i++) {
      const answer = await world.token(form(assertion()), {});
      expect([answer.status, bodyText(answer), answerHeader(answer, "retry-after"), answer.reason]).toEqual([
        ...[503, '{"error":"temporarily_unavailable"}', "2", "assertion_unchecked"],
      ]);
    }
    isAway = false;
    expect(await ask(world, form(assertion()))).toBe(200);
    const [method, outcome] = ["private_key_jwt", "unchecked"];
    expect(await metricValue(world.env, "jotgate_client_authentication_total", { method, outcome })).toBe(12);
  });

  test("a node that has no store lets nobody in by an assertion", async () => {
    expect((await (await by(undefined)).token(form(assertion()), {})).status).toBe(503);
  });
});
