/** The endpoints of an issuer that is us, as docs/spec/tokens.md sections 6 and 7 print them; jose is the second opinion. */
import { createHash } from "node:crypto";
import { createLocalJWKSet, type JSONWebKeySet, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import { KEY_PAIR_ALGORITHMS } from "../../src/base/jose/algorithms.ts";
import { makeKeyPem, readKeyPair } from "../../src/base/jose/key-pair.ts";
import type { Siblings } from "../../src/plugin/plugin.ts";
import type { Answer } from "../../src/plugin/plugin-answer.ts";
import { answerHeader, bodyText, metricValue, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { accessToken } from "../../src/plugins/access-token/access-token.ts";
import { publicApi } from "../../src/plugins/public-api.ts";
import { countSigners } from "../../src/token/signing-keys.ts";
import {
  AUDIENCES,
  basic,
  FORM,
  GRANT,
  ISSUER,
  json,
  NOW,
  openWorld,
  pems,
  SECRET,
  type World,
} from "../support/authorization-server.ts";
import { dpopKey, type ProofParts, proofFor } from "../support/dpop.ts";

test.each(KEY_PAIR_ALGORITHMS)(
  "a token signed with %s is one of RFC 9068, and good by the published keys",
  async (algorithm) => {
    const { ask, token } = await openWorld({ algorithm });
    const answer = await token(`${GRANT}&scope=orders.read`);
    expect(answer.status).toBe(200);
    expect(answerHeader(answer, "cache-control")).toBe("no-store");
    expect(answerHeader(answer, "pragma")).toBe("no-cache");
    const { access_token: text, ...rest } = json(answer);
    expect(rest).toEqual({ token_type: "Bearer", expires_in: 3_600, scope: "orders.read" });
    const published = await ask({ target: "/.well-known/jwks.json" });
    expect(answerHeader(published, "content-type")).toBe("application/jwk-set+json");
    expect(answerHeader(published, "cache-control")).toBe("public, max-age=300");
    const set = json(published) as unknown as JSONWebKeySet;
    for (const jwk of set.keys)
      for (const name of Object.keys(jwk)) expect("kty crv x y n e kid alg use".split(" ")).toContain(name);
    const { payload, protectedHeader } = await jwtVerify(String(text), createLocalJWKSet(set), {
      ...{ issuer: ISSUER, audience: "https://api.example", typ: "at+jwt", currentDate: new Date(NOW * 1_000) },
    });
    expect(Object.keys(protectedHeader)).toEqual(["alg", "typ", "kid"]);
    expect(payload).toEqual({
      ...{ iss: ISSUER, sub: "batch", aud: "https://api.example", client_id: "batch" },
      ...{ iat: NOW, exp: NOW + 3_600, jti: expect.stringMatching(/^[\w-]{22}$/), scope: "orders.read" },
    });
  },
);

const payloadOf = (answer: Answer): Record<string, unknown> =>
  JSON.parse(Buffer.from(String(json(answer)["access_token"]).split(".")[1] ?? "", "base64url").toString());

test("without a scope all that the client may have is granted, or its default", async () => {
  const all = await openWorld();
  expect(json(await all.token(GRANT))["scope"]).toBe("orders.read orders.write");
  const some = await openWorld({ client: { default_scope: "orders.read" } });
  expect(json(await some.token(GRANT))["scope"]).toBe("orders.read");
  const none = await openWorld({ client: { scope: "" } });
  expect(json(await none.token(GRANT))).not.toHaveProperty("scope");
});

test("resource and audience choose among those of the client, and several become a list", async () => {
  const { token } = await openWorld();
  const both = await token(`${GRANT}&resource=https%3A%2F%2Fother.example&audience=https%3A%2F%2Fapi.example`);
  expect(payloadOf(both)["aud"]).toEqual(["https://other.example", "https://api.example"]);
  const server = await openWorld({ server: { default_audience: "urn:all" }, client: { audiences: undefined } });
  expect(payloadOf(await server.token(GRANT))["aud"]).toBe("urn:all");
});

test("lifetime, algorithm and claims are the client's within what the server allows", async () => {
  const { token } = await openWorld({
    server: { max_access_token_lifetime: 7_200 },
    client: { access_token_lifetime: 80_000, claims: { tenant: "t1", roles: ["a"] } },
  });
  const payload = payloadOf(await token(GRANT));
  expect(payload).toMatchObject({ exp: NOW + 7_200, tenant: "t1", roles: ["a"] });
});

const AUTH_FAILED = '{"error":"invalid_client","error_description":"Client authentication failed"}';
const post = (id: string, secret: string) => `${GRANT}&client_id=${id}&client_secret=${secret}`;

test("an unknown client, a wrong secret and another method than registered are answered with one text", async () => {
  const { token } = await openWorld();
  for (const headers of [
    basic("batch", "wrong"),
    basic("nobody", SECRET),
    basic("ba tch", SECRET),
    { authorization: "Bearer x" },
  ]) {
    const answer = await token(GRANT, headers);
    expect([answer.status, bodyText(answer)]).toEqual([401, AUTH_FAILED]);
    expect(answerHeader(answer, "www-authenticate")).toBe(`Basic realm="${ISSUER}"`);
  }
  for (const body of [post("batch", SECRET), post("batch", "x"), GRANT, `${GRANT}&client_id=batch`]) {
    const answer = await token(body, {});
    expect([answer.status, bodyText(answer)]).toEqual([401, AUTH_FAILED]);
    expect(answerHeader(answer, "www-authenticate")).toBeUndefined();
  }
});

test("client_secret_post serves clients that are registered for it, and no others", async () => {
  const { token } = await openWorld({ client: { token_endpoint_auth_method: "client_secret_post" } });
  expect((await token(post("batch", SECRET), {})).status).toBe(200);
  expect((await token(GRANT)).status).toBe(401);
});

test("both parts of Basic are form-encoded", async () => {
  const secret = "p%+: ü and more than sixteen";
  const { token } = await openWorld({ client: { client_secret: secret } });
  const encoded = new URLSearchParams({ s: secret }).toString().slice(2);
  expect((await token(GRANT, basic("batch", encoded))).status).toBe(200);
  expect((await token(GRANT, basic("batch", "%zz"))).status).toBe(401);
});

test("secrets end by themselves, and several are good at once", async () => {
  const of = (secret: string) => `sha256:${createHash("sha256").update(secret).digest("base64url")}`;
  const { token, clock } = await openWorld({
    client: {
      client_secret: undefined,
      client_secrets: [{ hash: of("new") }, { hash: of("old"), not_after: NOW + 10 }],
    },
  });
  expect((await token(GRANT, basic("batch", "old"))).status).toBe(200);
  clock.advance(10_000);
  expect((await token(GRANT, basic("batch", "old"))).status).toBe(401);
  expect((await token(GRANT, basic("batch", "new"))).status).toBe(200);
});

test("a client of other servers is unknown here, and one without the grant may not use it", async () => {
  const other = await openWorld({ client: { authorization_servers: ["second"] } });
  expect(bodyText(await other.token(GRANT))).toBe(AUTH_FAILED);
  const none = await openWorld({ client: { grant_types: [] } });
  expect([(await none.token(GRANT)).status, json(await none.token(GRANT))["error"]]).toEqual([
    400,
    "unauthorized_client",
  ]);
});

test.each([
  [`${GRANT}&scope=admin`, "invalid_scope"],
  [`${GRANT}&scope=orders.read++orders.write`, "invalid_scope"],
  [`${GRANT}&scope=orders.read%09orders.write`, "invalid_scope"],
  [`${GRANT}&resource=https%3A%2F%2Fevil.example`, "invalid_target"],
  [`${GRANT}&audience=nobody`, "invalid_target"],
  [`${GRANT}&resource=relative`, "invalid_target"],
  [`${GRANT}&resource=https%3A%2F%2Fapi.example%23x`, "invalid_target"],
  [`${GRANT}&${GRANT}`, "invalid_request"],
  [`${GRANT}&scope=a&scope=b`, "invalid_request"],
  [`${GRANT}&x=%zz`, "invalid_request"],
  [`${GRANT}${"&resource=urn:a".repeat(9)}`, "invalid_request"],
  [`${GRANT}&client_id=other`, "invalid_request"],
  [`${GRANT}&client_secret=${SECRET}`, "invalid_request"],
  [`${GRANT}&client_assertion=x&client_assertion_type=y`, "invalid_request"],
  ["scope=orders.read", "invalid_request"],
  ["", "invalid_request"],
  ["grant_type=password", "unsupported_grant_type"],
])("%s is answered 400 %s", async (body, error) => {
  const { token } = await openWorld();
  const answer = await token(body);
  expect([answer.status, json(answer)["error"]]).toEqual([400, error]);
  expect(answerHeader(answer, "content-type")).toBe("application/json");
});

test("another type than a form is 400, a body above 32 KiB 413, and the query counts for nothing", async () => {
  const { ask, token } = await openWorld();
  const typed = await token("{}", { ...basic("batch", SECRET), "content-type": "application/json" });
  expect(typed.status).toBe(400);
  expect((await token(`${GRANT}&x=${"a".repeat(40_000)}`)).status).toBe(413);
  for (const coding of ["gzip", "br", "x", "gzip, identity"]) {
    const coded = await token(GRANT, { ...basic("batch", SECRET), "content-encoding": coding });
    expect([coded.status, json(coded)["error"]]).toEqual([400, "invalid_request"]);
  }
  expect((await token(GRANT, { ...basic("batch", SECRET), "content-encoding": "Identity" })).status).toBe(200);
  const headers = { "content-type": FORM, ...basic("batch", SECRET) };
  expect((await ask({ method: "POST", target: `/oauth2/token?${GRANT}`, headers, body: "" })).status).toBe(400);
});

test("ten failures of a client from an address shut that pair out for a minute, and nobody else", async () => {
  const { token, ask, clock, env } = await openWorld();
  for (let n = 0; n < 10; n++) expect((await token(GRANT, basic("batch", "wrong"))).status).toBe(401);
  const limited = await token(GRANT);
  expect([limited.status, bodyText(limited)]).toEqual([429, '{"error":"temporarily_unavailable"}']);
  expect(answerHeader(limited, "retry-after")).toBe("60");
  const elsewhere = { "content-type": FORM, ...basic("batch", SECRET) };
  const connection = { peerAddress: "203.0.113.8" };
  const other = await ask({ method: "POST", target: "/oauth2/token", headers: elsewhere, body: GRANT, connection });
  expect(other.status).toBe(200);
  for (let n = 0; n < 90; n++) await token(GRANT, basic(`nobody-${n}`, "wrong"));
  expect((await token(GRANT, basic("fresh", "x"))).status).toBe(429);
  clock.advance(60_000);
  expect((await token(GRANT)).status).toBe(200);
  const labels = { method: "client_secret_basic", outcome: "limited" };
  expect(await metricValue(env, "jotgate_client_authentication_total", labels)).toBe(2);
});

test("the processes of a node count failures together", async () => {
  const heard: ((message: unknown) => void)[] = [];
  const siblings: Siblings = {
    join(_topic, hear) {
      heard.push(hear);
      const others = (): readonly ((message: unknown) => void)[] => heard.filter((one) => one !== hear);
      return { tell: (message) => others().forEach((tell) => void tell(message)), leave: () => undefined };
    },
  };
  const [one, other] = [await openWorld({ siblings }), await openWorld({ siblings })];
  for (let n = 0; n < 10; n++) await (n % 2 ? one : other).token(GRANT, basic("batch", "wrong"));
  expect([(await one.token(GRANT)).status, (await other.token(GRANT)).status]).toEqual([429, 429]);
});

test("a client that was deleted gets no token any more", async () => {
  const { env, token } = await openWorld();
  env.removeConsumer("shop");
  expect((await token(GRANT)).status).toBe(401);
});

test("a token is never older than a revocation of its client: the answer waits for that second", async () => {
  const { token, revocations, clock } = await openWorld();
  clock.advance(400);
  revocations.rule({ type: "client", value: "batch", issuedBefore: NOW + 1 });
  const answer = token(GRANT);
  for (let n = 0; n < 20; n++) await Promise.resolve();
  clock.advance(600);
  expect(payloadOf(await answer)["iat"]).toBe(NOW + 1);
});

const METHODS = [
  "client_secret_basic",
  "client_secret_post",
  "tls_client_auth",
  "self_signed_tls_client_auth",
  "private_key_jwt",
];

test("the metadata is the same at both places, and names what the route serves", async () => {
  const { ask } = await openWorld({ server: { issuer: `${ISSUER}/tenant`, scopes_supported: ["orders.read"] } });
  const oidc = await ask({ target: "/tenant/.well-known/openid-configuration" });
  const oauth = await ask({ target: "/.well-known/oauth-authorization-server/tenant" });
  expect(bodyText(oidc)).toBe(bodyText(oauth));
  expect(answerHeader(oidc, "access-control-allow-origin")).toBe("*");
  expect(json(oidc)).toEqual({
    issuer: `${ISSUER}/tenant`,
    dpop_signing_alg_values_supported: ["ES256", "EdDSA", "RS256", "PS256"],
    tls_client_certificate_bound_access_tokens: true,
    token_endpoint: `${ISSUER}/tenant/oauth2/token`,
    jwks_uri: `${ISSUER}/tenant/.well-known/jwks.json`,
    introspection_endpoint: `${ISSUER}/tenant/oauth2/introspect`,
    introspection_endpoint_auth_methods_supported: METHODS,
    introspection_endpoint_auth_signing_alg_values_supported: KEY_PAIR_ALGORITHMS,
    revocation_endpoint: `${ISSUER}/tenant/oauth2/revoke`,
    revocation_endpoint_auth_methods_supported: METHODS,
    revocation_endpoint_auth_signing_alg_values_supported: KEY_PAIR_ALGORITHMS,
    grant_types_supported: ["client_credentials"],
    response_types_supported: [],
    token_endpoint_auth_methods_supported: METHODS,
    token_endpoint_auth_signing_alg_values_supported: KEY_PAIR_ALGORITHMS,
    scopes_supported: ["orders.read"],
    id_token_signing_alg_values_supported: ["ES256"],
    subject_types_supported: ["public"],
  });
});

test("other paths are 404, and other methods 405 with Allow", async () => {
  const { ask } = await openWorld();
  expect((await ask({ target: "/oauth2/other" })).status).toBe(404);
  const get = await ask({ target: "/oauth2/token" });
  expect([get.status, answerHeader(get, "allow")]).toEqual([405, "POST"]);
  const put = await ask({ method: "PUT", target: "/.well-known/jwks.json" });
  expect([put.status, answerHeader(put, "allow")]).toEqual([405, "GET, HEAD"]);
});

test("keys are asked for again only when they have changed", async () => {
  const { ask, keys } = await openWorld();
  const first = await ask({ target: "/.well-known/jwks.json" });
  const etag = answerHeader(first, "etag") ?? "";
  const again = () => ask({ target: "/.well-known/jwks.json", headers: { "if-none-match": `W/${etag}` } });
  expect((await again()).status).toBe(304);
  const pem = await makeKeyPem("ES256");
  keys.setKey(`main/${readKeyPair("ES256", pem).kid}`, {
    ...{ algorithm: "ES256", private_key: pem, publish_at: NOW, sign_from: NOW + 300 },
  });
  expect((await again()).status).toBe(200);
});

test("without a record or without a key the answer is 503", async () => {
  const { keys, token } = await openWorld({ client: { access_token_signing_alg: "RS256" } });
  const missing = await token(GRANT);
  expect([missing.status, bodyText(missing)]).toEqual([503, '{"error":"temporarily_unavailable"}']);
  expect(answerHeader(missing, "retry-after")).toBe("1");
  keys.setServer("main", undefined);
  expect((await token(GRANT)).status).toBe(503);
});

/** A route that takes the tokens of the world's server. */
function verifierOf({ env }: World, conf: object = {}) {
  const phases = env.compile(accessToken, {
    ...{ authorization_servers: ["main"], audiences: AUDIENCES, ...conf },
  });
  return async (token: unknown) => {
    const view = makeView({ target: "/orders", headers: { authorization: `Bearer ${String(token)}` } });
    const answer = await runPhases(phases, view);
    return answer?.status ?? view.consumer?.username;
  };
}

test("a route that names the server takes its tokens, and the caller is the client's consumer", async () => {
  const world = await openWorld();
  const verify = verifierOf(world);
  const { access_token: token } = json(await world.token(GRANT));
  expect(await verify(token)).toBe("shop");
  expect(await verifierOf(world, { required_scopes: ["admin"] })(token)).toBe(403);
  expect(await verifierOf(world, { audiences: ["https://third.example"] })(token)).toBe(401);
  world.env.removeConsumer("shop");
  expect(await verify(token)).toBe(401);
  expect(await verifierOf(world, { consumer_optional: true, consumer_by: "none" })(token)).toBe(401);
});

test("a key that was revoked, a server that went, and a rule on the client end remembered tokens at once", async () => {
  for (const end of ["key", "server", "client"] as const) {
    const world = await openWorld();
    const verify = verifierOf(world);
    const { access_token: token } = json(await world.token(GRANT));
    expect(await verify(token)).toBe("shop");
    const pem = (await pems.get("ES256")) ?? "";
    const id = `main/${readKeyPair("ES256", pem).kid}`;
    if (end === "key")
      world.keys.setKey(id, { algorithm: "ES256", private_key: pem, publish_at: NOW, revoked_at: NOW });
    if (end === "server") world.keys.setServer("main", undefined);
    if (end === "client") world.revocations.rule({ type: "client", value: "batch", issuedBefore: NOW + 1 });
    expect(await verify(token)).toBe(401);
  }
});

test("tokens verify through a rotation by time, on the very second, and until the last has ended", async () => {
  const world = await openWorld();
  const verify = verifierOf(world);
  const first = (await pems.get("ES256")) ?? "";
  const times = { publish_at: NOW, sign_until: NOW + 1_000, verify_until: NOW + 5_000 };
  const idOf = (pem: string) => `main/${readKeyPair("ES256", pem).kid}`;
  world.keys.setKey(idOf(first), { algorithm: "ES256", private_key: first, ...times });
  const second = await makeKeyPem("ES256");
  const next = { publish_at: NOW, sign_from: NOW + 1_000 };
  world.keys.setKey(idOf(second), { algorithm: "ES256", private_key: second, ...next });
  const { access_token: before } = json(await world.token(GRANT));
  world.clock.advance(1_000_000);
  const { access_token: after } = json(await world.token(GRANT));
  const kidOf = (token: unknown): unknown =>
    JSON.parse(Buffer.from(String(token).split(".")[0] ?? "", "base64url").toString()).kid;
  expect([kidOf(before), kidOf(after)]).toEqual([first, second].map((pem) => idOf(pem).slice(5)));
  expect([await verify(before), await verify(after)]).toEqual(["shop", "shop"]);
});

test("a key that signs beyond its time is a problem of its server, and so is none at all", async () => {
  const { keys, clock, token, env } = await openWorld();
  const pem = (await pems.get("ES256")) ?? "";
  const { kid } = readKeyPair("ES256", pem);
  keys.setKey(`main/${kid}`, { algorithm: "ES256", private_key: pem, publish_at: NOW, sign_until: NOW + 10 });
  expect(keys.problems()).toEqual([]);
  countSigners(env.metrics, keys);
  const labels = { authorization_server: "main", algorithm: "ES256" };
  const left = () => metricValue(env, "jotgate_signing_key_expiry_seconds", labels);
  const overdue = () => metricValue(env, "jotgate_signing_key_overdue");
  expect([await left(), await overdue()]).toEqual([10, 0]);
  clock.advance(10_000);
  expect([await left(), await overdue()]).toEqual([0, 1]);
  expect(keys.problems()).toEqual([
    { id: "main", message: `the ES256 key ${kid} signs beyond its time: no admin has made another` },
  ]);
  expect((await token(GRANT)).status).toBe(200);
  keys.setKey(`main/${kid}`, undefined);
  expect(keys.problems()).toEqual([{ id: "main", message: "no key signs ES256: tokens are refused" }]);
});

describe("DPoP at the token endpoint", () => {
  const url = `${ISSUER}/oauth2/token`;
  const proof = (parts?: ProofParts) => proofFor({ method: "POST", url, now: NOW }, parts);
  const asking = (world: World, ...proofs: readonly string[]) =>
    world.ask({
      ...{ method: "POST", target: "/oauth2/token", body: GRANT },
      headers: { "content-type": FORM, ...basic("batch", SECRET), DPoP: proofs },
    });

  test("binds the token to the key, which opens the API with it and without it does not", async () => {
    const world = await openWorld();
    const answer = await asking(world, proof());
    expect(json(answer)).toMatchObject({ token_type: "DPoP", expires_in: 3_600 });
    expect(payloadOf(answer)["cnf"]).toEqual({ jkt: dpopKey().jkt });
    const document = json(await world.ask({ target: "/.well-known/oauth-authorization-server" }));
    expect(document["dpop_signing_alg_values_supported"]).toEqual(["ES256", "EdDSA", "RS256", "PS256"]);
    expect(await metricValue(world.env, "jotgate_dpop_total", { outcome: "ok" })).toBe(1);
  });

  test("a proof for the URL that the caller used is as good", async () => {
    const seen = proofFor({ method: "POST", url: "http://gateway.test/oauth2/token", now: NOW });
    expect((await asking(await openWorld(), seen)).status).toBe(200);
  });

  test.each([
    { says: "another method", proofs: [proofFor({ method: "GET", url, now: NOW })] },
    {
      says: "another server",
      proofs: [proofFor({ method: "POST", url: "https://other.example/oauth2/token", now: NOW })],
    },
    { says: "another endpoint", proofs: [proofFor({ method: "POST", url: `${ISSUER}/oauth2/revoke`, now: NOW })] },
    { says: "two proofs", proofs: [proof(), proof()] },
    { says: "an old one", proofs: [proof({ claims: { iat: NOW - 61 } })] },
    { says: "nonsense", proofs: ["x"] },
    { says: "an empty line", proofs: [""] },
  ])("$says is refused, for a client without proofs too", async ({ proofs }) => {
    const answer = await asking(await openWorld(), ...proofs);
    expect([answer.status, answer.reason, json(answer)["error"]]).toEqual([400, "proof_invalid", "invalid_dpop_proof"]);
  });

  test("a proof serves once, and a client of bound tokens gets no other", async () => {
    const world = await openWorld({ client: { dpop_bound_access_tokens: true } });
    const one = proof();
    expect((await asking(world, one)).status).toBe(200);
    const again = await asking(world, one);
    expect([again.status, again.reason, json(again)["error"]]).toEqual([400, "proof_replayed", "invalid_dpop_proof"]);
    const bare = await world.token(GRANT);
    expect([bare.status, bare.reason, json(bare)["error"]]).toEqual([400, "proof_missing", "invalid_dpop_proof"]);
  });
});

test("with dpop_nonce a proof needs a nonce of the last minutes, of any node", async () => {
  const [world, sibling] = [
    await openWorld({ server: { dpop_nonce: true } }),
    await openWorld({ server: { dpop_nonce: true } }),
  ];
  const asking = ({ ask }: World, nonce: unknown, now = NOW) =>
    ask({
      ...{ method: "POST", target: "/oauth2/token", body: GRANT },
      headers: {
        ...{ "content-type": FORM, ...basic("batch", SECRET) },
        DPoP: proofFor({ method: "POST", url: `${ISSUER}/oauth2/token`, now }, { claims: { nonce } }),
      },
    });
  const wanted = await asking(world, undefined);
  expect([wanted.status, wanted.reason, json(wanted)["error"]]).toEqual([400, "nonce_wanted", "use_dpop_nonce"]);
  const nonce = answerHeader(wanted, "dpop-nonce");
  expect(nonce).toMatch(/^[\w-]{22}$/);
  for (const odd of [7, "", "x".repeat(22), nonce?.slice(1), [nonce]])
    expect((await asking(world, odd)).reason).toBe("nonce_wanted");
  for (const one of [world, sibling]) {
    const answer = await asking(one, nonce);
    expect([answer.status, answerHeader(answer, "dpop-nonce")]).toEqual([200, nonce]);
  }
  expect((await world.token(GRANT)).status).toBe(200); // without a proof there is nothing to ask a nonce for
  world.clock.advance(120_000);
  const later = await asking(world, nonce, NOW + 120);
  expect(later.status).toBe(200);
  expect(answerHeader(later, "dpop-nonce")).not.toBe(nonce);
  world.clock.advance(60_000);
  expect((await asking(world, nonce, NOW + 180)).reason).toBe("nonce_wanted");
});

test("public-api serves the endpoints of each server, by its own path or by that of the request", async () => {
  const { env } = await openWorld();
  const base = "/apisix/plugin/authorization-server";
  const asked = async (conf: object, target: string, method = "GET", body = ""): Promise<Answer> => {
    const headers = { "content-type": FORM, ...basic("batch", SECRET) };
    const answer = await runPhases(env.compile(publicApi, conf), makeView({ method, target, headers, body }));
    if (!answer) throw new Error("the request went on");
    return answer;
  };
  const given = await asked({ uri: `${base}/main/token` }, "/get-a-token", "POST", GRANT);
  expect([given.status, json(given)["token_type"]]).toEqual([200, "Bearer"]);
  const token = String(json(given)["access_token"]);
  expect(json(await asked({}, `${base}/main/metadata`))).toMatchObject({ issuer: ISSUER });
  expect(json(await asked({}, `${base}/main/jwks`))["keys"]).toHaveLength(1);
  expect((await asked({}, `${base}/main/revocation`, "POST", `token=${token}`)).status).toBe(200);
  expect(json(await asked({}, `${base}/main/introspection`, "POST", `token=${token}`))["error"]).toBe(
    "unauthorized_client",
  );
  expect((await asked({}, `${base}/other/token`, "POST", GRANT)).status).toBe(503);
  for (const wrong of ["/main/x/token", "//token", "/token", "/main/token/", "/main/tokens"])
    expect([wrong, (await asked({}, `${base}${wrong}`, "POST", GRANT)).status]).toEqual([wrong, 404]);
  expect((await asked({}, `${base}/main/token`)).status).toBe(404);
});
