/** openid-connect with bearer_only as an operator sees it: real keys of a real listener, and an endpoint that introspects. */
import { createPublicKey } from "node:crypto";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FakeClock, systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openMetrics } from "../../src/base/metrics.ts";
import type { Step } from "../../src/plugin/explanation.ts";
import { bodyText, makeEnv, metricValue, runPhases, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { UNNAMED_MAX } from "../../src/plugin/tokens.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { multiAuth } from "../../src/plugins/multi-auth.ts";
import { openidConnect } from "../../src/plugins/openid-connect/openid-connect.ts";
import { type LiveIssuers, openIssuers } from "../../src/token/issuers.ts";
import { NO_KEYS } from "../../src/token/key-feed.ts";
import { type KeyKeepers, openKeepers } from "../../src/token/key-keepers.ts";
import { type IssuerServer, makeKey, openIssuerServer } from "../support/issuer-server.ts";
import { makeToken, SECRET } from "../support/jwt.ts";
import { openTestRevocations, type TestRevocations } from "../support/revocations.ts";
import { openSecretServer, type SecretServer, sendJson } from "../support/secret-server.ts";

const K1 = makeKey("k1");
const STRANGER = makeKey("k1");
const PEM = String(createPublicKey(K1.privateKey).export({ type: "spki", format: "pem" }));
let server: IssuerServer;
let endpoint: SecretServer;
let keepers: KeyKeepers;
let issuers: LiveIssuers;
let env: TestEnv;
let revocations: TestRevocations;
let clock: FakeClock;

/** A node of its own; the listeners stay. */
async function openNode(denied: readonly string[] = []): Promise<void> {
  issuers?.close();
  await keepers?.close();
  const file = { read: async () => undefined, write: async () => undefined };
  const metrics = openMetrics();
  keepers = await openKeepers({ nodeId: "n", file, denied, clock: systemClock, log: silentLog, metrics });
  issuers = openIssuers(keepers, systemClock);
  clock = new FakeClock(Date.now());
  revocations = openTestRevocations(clock);
  env = makeEnv({
    ...{ plugins: [openidConnect, multiAuth, jwtAuth], clock, tokens: issuers, revocations: revocations.live },
    settings: { deniedAddresses: denied },
    consumers: [{ username: "jack", auth: { "jwt-auth": { key: "jack-key", secret: SECRET } } }],
  });
}

beforeAll(async () => {
  server = await openIssuerServer();
  server.keys = [K1.jwk];
  endpoint = await openSecretServer();
  await openNode();
});
afterAll(async () => {
  issuers.close();
  await keepers.close();
  await server.close();
  await endpoint.close();
});

type Made = Readonly<Record<string, unknown>>;
const discovery = () => `${server.url}/.well-known/openid-configuration`;
const local = (conf: Made = {}): Made => ({
  ...{ client_id: "api", discovery: discovery(), bearer_only: true, use_jwks: true },
  ...conf,
});
const asking = (conf: Made = {}): Made => ({
  ...{ client_id: "the api", client_secret: "s3cret:+%", discovery: discovery(), bearer_only: true },
  ...{ introspection_endpoint: `${endpoint.url}/introspect` },
  ...conf,
});

const isFetching = (): boolean =>
  [...keepers.all()].some(([, { held, failure }]) => held === undefined && failure === undefined);

async function call(conf: Made, headers: Readonly<Record<string, string>>) {
  let view = makeView({ headers });
  const phases = env.compile(openidConnect, conf);
  let answer = await runPhases(phases, view);
  // On a busy machine the first fetch takes longer than a request waits.
  while (answer?.reason.endsWith("keys_unavailable") && isFetching()) {
    view = makeView({ headers });
    answer = await runPhases(phases, view);
  }
  phases.close?.();
  const lines = answer?.headers ?? [];
  const at = lines.indexOf("WWW-Authenticate");
  return {
    status: answer?.status ?? 200,
    body: bodyText(answer).trimEnd(),
    why: answer?.reason.replace(/^openid_connect_/, "") ?? "",
    challenge: at < 0 ? undefined : lines[at + 1],
    view,
  };
}
const bearer = (token: string) => ({ Authorization: `Bearer ${token}` });
const told = (value: string | undefined): unknown => JSON.parse(Buffer.from(value ?? "", "base64").toString());
const INVALID = 'Bearer realm="apisix", error="invalid_token", error_description="The access token is invalid"';

describe("by the keys of the issuer, a good token", () => {
  test("passes, and the upstream is told whose it is", async () => {
    const token = server.token(K1, { aud: "x" });
    const { status, view } = await call(local(), bearer(token));
    expect(status).toBe(200);
    expect(view.header("x-access-token")).toBe(token);
    expect(told(view.header("x-userinfo"))).toMatchObject({ iss: server.url, sub: "caller", aud: "x" });
    expect(view.note("access_token_payload")).toMatchObject({ sub: "caller" });
    expect(view.consumer).toBeUndefined();
  });

  test.each([
    { conf: { access_token_in_authorization_header: true }, authorization: "Bearer", access: false, userinfo: true },
    { conf: { set_access_token_header: false, set_userinfo_header: false }, access: false, userinfo: false },
  ])("is told with $conf as said", async ({ conf, access, userinfo }) => {
    const { view } = await call(local(conf), bearer(server.token(K1)));
    expect([view.headers.has("x-access-token"), view.headers.has("x-userinfo")]).toEqual([access, userinfo]);
  });

  test("may stand in X-Access-Token, and then goes on where it is told to", async () => {
    const token = server.token(K1);
    const one = await call(local(), { "X-Access-Token": token });
    expect([one.status, one.view.header("x-access-token")]).toEqual([200, token]);
    const conf = local({ access_token_in_authorization_header: true });
    const { view } = await call(conf, { "x-access-token": token });
    expect([view.header("authorization"), view.header("x-access-token")]).toEqual([`Bearer ${token}`, undefined]);
    // Authorization comes first, whatever it holds.
    expect((await call(local(), { Authorization: "Basic eDp5", "X-Access-Token": token })).why).toBe("missing");
  });

  test("keeps what a client sends under the plugin's names from the upstream, in every spelling", async () => {
    const sent = {
      "X-Userinfo": "a",
      x_userinfo: "b",
      "X-ID-Token": "c",
      "X.Refresh.Token": "d",
      "x-raw-id-token": "e",
    };
    for (const token of [server.token(K1), "bad"]) {
      const { view } = await call(local(), { ...sent, ...bearer(token) });
      const names = view.headers.lines.filter((_line, i) => i % 2 === 0).map((name) => name.toLowerCase());
      expect(names.filter((name) => /userinfo|id.token|refresh/.test(name))).toEqual(
        token === "bad" ? [] : ["x-userinfo"],
      );
    }
  });

  test("is judged by the PEM instead, where there is one", async () => {
    const named = { public_key: PEM, use_jwks: false, claim_validator: { issuer: { valid_issuers: [server.url] } } };
    const away = { ...named, discovery: "http://127.0.0.1:9/nobody" };
    expect((await call(local(away), bearer(server.token(K1)))).status).toBe(200);
    expect((await call(local(away), bearer(server.token(K1, {}, { kid: "any" })))).status).toBe(200);
    expect((await call(local(away), bearer(server.token(STRANGER)))).why).toBe("bad_signature");
    expect((await call(local(away), bearer(server.token(K1, { iss: "x" })))).why).toBe("unknown_issuer");
    // Whose key it is says the metadata, of which nothing else counts.
    server.keys = [];
    const learning = local({ public_key: PEM, jwk_expires_in: 299 });
    expect((await call(learning, bearer(server.token(K1)))).status).toBe(200);
    expect((await call(learning, bearer(server.token(K1, { iss: "x" })))).why).toBe("unknown_issuer");
    server.keys = [K1.jwk];
  });

  test("of a further issuer passes where it is named, and the metadata's then does not", async () => {
    const conf = local({ claim_validator: { issuer: { valid_issuers: ["https://a", "https://b"] } } });
    expect((await call(conf, bearer(server.token(K1, { iss: "https://b" })))).status).toBe(200);
    expect((await call(conf, bearer(server.token(K1)))).why).toBe("unknown_issuer");
  });
});

describe("by the keys of the issuer, an answer", () => {
  test.each<[string, Record<string, string>, number, string, string | undefined]>([
    ["no token", {}, 401, "missing", 'Bearer realm="apisix"'],
    ["another scheme", { Authorization: "Basic eDp5" }, 401, "missing", 'Bearer realm="apisix"'],
    ["a word", { Authorization: "Bearer" }, 400, "ambiguous", undefined],
    ["no JWT", bearer("opaque"), 401, "malformed", INVALID],
    ["no JWT in X-Access-Token", { "X-Access-Token": "opaque" }, 401, "malformed", INVALID],
    ["the scheme of proofs", { Authorization: "DPoP a.b.c" }, 401, "malformed", INVALID],
  ])("to %s", async (_says, headers, status, why, challenge) => {
    const got = await call(local(), headers);
    expect([got.status, got.why, got.challenge]).toEqual([status, why, challenge]);
  });

  test.each<[string, () => string, Made, number, string]>([
    ["another's signature", () => server.token(STRANGER), {}, 401, "bad_signature"],
    ["another issuer", () => server.token(K1, { iss: `${server.url}/` }), {}, 401, "unknown_issuer"],
    ["no expiry", () => server.token(K1, { exp: undefined }), {}, 401, "missing_claim"],
    [
      "an old one",
      () => server.token(K1, { exp: Math.floor(Date.now() / 1_000) - 600 }),
      { iat_slack: 60 },
      401,
      "expired",
    ],
    [
      "an algorithm that is not the one",
      () => server.token(K1),
      { token_signing_alg_values_expected: "RS256" },
      401,
      "wrong_algorithm",
    ],
    ["a bound token", () => server.token(K1, { cnf: { jkt: "x" } }), {}, 401, "proof_missing"],
    ["another type", () => server.token(K1, {}, { typ: "logout+jwt" }), {}, 401, "wrong_type"],
    ["a kid that is not there", () => server.token(K1, {}, { kid: "k9" }), {}, 401, "unknown_kid"],
  ])("to a token with %s", async (_says, token, conf, status, why) => {
    const got = await call(local(conf), bearer(token()));
    expect([got.status, got.why, got.challenge]).toEqual([status, why, INVALID]);
    expect(got.body).toBe('{"message":"Invalid access token"}');
  });

  const match = { claim_validator: { audience: { match_with_client_id: true } } };
  const required = { claim_validator: { audience: { required: true } } };
  const schema = {
    claim_schema: { type: "object", required: ["team"], properties: { team: { enum: ["a"] }, n: { default: 1 } } },
  };
  test.each<[string, Made, Made, number, string, string]>([
    ["the scopes", { scope: "a  b\tc" }, { required_scopes: ["c", "b"] }, 200, "", ""],
    ["scopes as a list", { scope: ["a", "b"] }, { required_scopes: ["b"] }, 200, "", ""],
    [
      "not all scopes",
      { scope: "a" },
      { required_scopes: ["a", "b"] },
      403,
      "insufficient_scope",
      '{"error":"required scopes a, b not present"}',
    ],
    [
      "no scopes",
      {},
      { required_scopes: ["a"] },
      403,
      "insufficient_scope",
      '{"error":"required scopes a not present"}',
    ],
    [
      "scopes of another kind",
      { scope: { a: 1 } },
      { required_scopes: ["a"] },
      403,
      "insufficient_scope",
      '{"error":"required scopes a not present"}',
    ],
    ["the client as audience", { aud: ["x", "api"] }, match, 200, "", ""],
    ["another audience", { aud: "apis" }, match, 403, "wrong_audience", '{"error":"mismatched audience"}'],
    ["another audience in a list", { aud: ["x"] }, match, 403, "wrong_audience", '{"error":"mismatched audience"}'],
    [
      "no audience where it must match",
      {},
      match,
      403,
      "missing_audience",
      '{"error":"required audience claim not present"}',
    ],
    [
      "no audience where one must be",
      {},
      required,
      403,
      "missing_audience",
      '{"error":"required audience claim not present"}',
    ],
    ["any audience where one must be", { aud: "y" }, required, 200, "", ""],
    [
      "an audience elsewhere",
      { azp: "api" },
      { claim_validator: { audience: { claim: "azp", match_with_client_id: true } } },
      200,
      "",
      "",
    ],
    ["claims of the schema", { team: "a" }, schema, 200, "", ""],
    ["claims that break the schema", { team: "b" }, schema, 401, "claim_rule", '{"message":"Invalid access token"}'],
  ])("to a token with %s", async (_says, claims, conf, status, why, body) => {
    for (let again = 0; again < 2; again++) {
      const got = await call(local(conf), bearer(server.token(K1, claims)));
      expect([got.status, got.why, got.body]).toEqual([status, why, body]);
    }
  });

  test("is another one for each configuration, though they remember together", async () => {
    const token = server.token(K1, { scope: "a" });
    const [open, closed] = [local(), local({ required_scopes: ["b"] })];
    const seen = [open, closed, open, closed].map(async (conf) => (await call(conf, bearer(token))).status);
    expect(await Promise.all(seen)).toEqual([200, 403, 200, 403]);
  });

  test("is 503 while there are no keys, and says when to come again", async () => {
    const conf = local({ discovery: `${server.url}/nothing` });
    const got = await call(conf, bearer(server.token(K1)));
    expect([got.status, got.why]).toEqual([503, "keys_unavailable"]);
  });
});

describe("issuers without a record", () => {
  test("are one for all that say the same, and ask once", async () => {
    await openNode();
    const own = await openIssuerServer();
    own.keys = [K1.jwk];
    const its = (conf: Made) => env.compile(openidConnect, local({ discovery: `${own.url}/.well-known/x`, ...conf }));
    const [first, second] = [its({ realm: "a" }), its({ realm: "b", required_scopes: ["x"] })];
    const go = (phases: typeof first) => runPhases(phases, makeView({ headers: bearer(own.token(K1)) }));
    expect(await go(first)).toBeUndefined();
    expect((await go(second))?.status).toBe(403);
    expect([[...keepers.all()].length, own.discoveries, own.fetches]).toEqual([1, 1, 1]);
    its({ timeout: 4 });
    expect([...keepers.all()].length).toBe(2);
    await own.close();
  });

  test("go when nobody has used them for a minute, and not at the end of the node; a thousand are the most", () => {
    const followed: (readonly [string, boolean])[] = [];
    const feed = {
      ...NO_KEYS,
      follow: (id: string, record: unknown) => void followed.push([id, record !== undefined]),
    };
    const time = new FakeClock();
    const all = openIssuers(feed, time);
    const settings = {
      ...{ discovery: "https://id.example", publicKey: undefined, validIssuers: undefined, algorithms: undefined },
      ...{ clockSkewSeconds: 30, refreshSeconds: 300, timeoutSeconds: 3, verifyTls: true },
    };
    const one = all.unnamed(settings);
    const id = followed[0]?.[0] ?? "";
    one.release();
    one.release();
    time.advance(59_000);
    const again = all.unnamed({ ...settings });
    time.advance(120_000);
    expect(followed).toEqual([[id, true]]);
    again.release();
    time.advance(60_000);
    expect(followed).toEqual([
      [id, true],
      [id, false],
    ]);
    for (let n = 0; n < UNNAMED_MAX; n++) all.unnamed({ ...settings, timeoutSeconds: n + 10 }).release();
    expect(() => all.unnamed({ ...settings, verifyTls: false })).toThrow(/more than 1000 issuers without a record/);
    followed.length = 0;
    all.close();
    time.advance(120_000);
    expect([followed, time.timers]).toEqual([[], 0]);
  });

  test("that say who they are anew end the tokens of the former", { timeout: 90_000 }, async () => {
    await openNode();
    const token = server.token(K1);
    const phases = env.compile(openidConnect, local());
    const status = async () => (await runPhases(phases, makeView({ headers: bearer(token) })))?.status ?? 200;
    expect(await status()).toBe(200);
    server.discovery = (_request, response) =>
      response.end(JSON.stringify({ issuer: "https://moved.example", jwks_uri: `${server.url}/keys` }));
    const [entry] = [...keepers.all()] as unknown as [[string, { due(ms: number): void; held?: { issuer?: string } }]];
    entry[1].due(0);
    await expect.poll(() => entry[1].held?.issuer, { timeout: 60_000 }).toBe("https://moved.example");
    expect(await status()).toBe(401);
    server.discovery = undefined;
    await openNode();
  });
});

describe("revocations end tokens", () => {
  test("remembered or new, judged by keys or by the issuer", async () => {
    const token = server.token(K1);
    endpoint.answer = (_request, response) => sendJson(response, 200, { active: true });
    for (const conf of [local(), asking()]) expect((await call(conf, bearer(token))).status).toBe(200);
    revocations.revoke(token);
    for (const conf of [local(), asking()]) expect((await call(conf, bearer(token))).why).toBe("revoked");
  });

  test("of an issuer's subject, though only the introspection names it", async () => {
    const issuedAt = Math.floor(clock.nowMs() / 1_000) - 10;
    endpoint.answer = (_request, response) =>
      sendJson(response, 200, { active: true, iss: "https://as.example", sub: "eve", iat: issuedAt });
    expect((await call(asking(), bearer("opaque-of-eve"))).status).toBe(200);
    revocations.rule({ type: "subject", issuer: "https://as.example", value: "eve", issuedBefore: issuedAt + 5 });
    expect((await call(asking(), bearer("opaque-of-eve"))).why).toBe("revoked");
  });
});

describe("where the issuer judges", () => {
  const active = (claims: Made = {}) => {
    endpoint.answer = (_request, response) => sendJson(response, 200, { active: true, sub: "u", ...claims });
  };
  const asked = () => endpoint.seen.length;
  let n = 0;
  const opaque = () => `opaque-${n++}`;

  test("it is asked with the client's name and secret, and told what it says", async () => {
    active({ scope: "a b", aud: "the api" });
    const token = opaque();
    const { view, status } = await call(
      asking({ required_scopes: ["b"], claim_validator: { audience: { match_with_client_id: true } } }),
      bearer(token),
    );
    expect(status).toBe(200);
    expect(told(view.header("x-userinfo"))).toEqual({ active: true, sub: "u", scope: "a b", aud: "the api" });
    expect(view.header("x-access-token")).toBe(token);
    const { method, url, headers, body } = endpoint.seen.at(-1) ?? {};
    expect([method, url, body]).toEqual(["POST", "/introspect", `token=${token}`]);
    expect(headers?.authorization).toBe(`Basic ${Buffer.from("the%20api:s3cret%3A%2B%25").toString("base64")}`);
    await call(asking({ introspection_endpoint_auth_method: "client_secret_post" }), bearer(opaque()));
    const post = new URLSearchParams(endpoint.seen.at(-1)?.body);
    expect([post.get("client_id"), post.get("client_secret")]).toEqual(["the api", "s3cret:+%"]);
    expect(endpoint.seen.at(-1)?.headers.authorization).toBeUndefined();
  });

  test("where its metadata says, if the configuration does not", async () => {
    active();
    server.discovery = (_request, response) =>
      response.end(JSON.stringify({ issuer: server.url, introspection_endpoint: `${endpoint.url}/found` }));
    expect((await call(asking({ introspection_endpoint: undefined }), bearer(opaque()))).status).toBe(200);
    expect(endpoint.seen.at(-1)?.url).toBe("/found");
    server.discovery = undefined;
    const got = await call(asking({ introspection_endpoint: undefined, timeout: 7 }), bearer(opaque()));
    expect([got.status, got.why]).toEqual([503, "introspection_failed"]);
  });

  test("an answer is remembered for ten seconds, up to its end or the interval", async () => {
    const phases = (conf: Made) => env.compile(openidConnect, asking(conf));
    const go = async (made: ReturnType<typeof phases>, token: string) =>
      (await runPhases(made, makeView({ headers: bearer(token) })))?.status ?? 200;
    const [plain, short] = [phases({}), phases({ introspection_interval: 3 })];
    const [one, two, three] = [opaque(), opaque(), opaque()];
    active();
    for (let i = 0; i < 3; i++) expect([await go(plain, one), await go(short, two)]).toEqual([200, 200]);
    active({ exp: Math.floor(clock.nowMs() / 1_000) + 5 });
    await go(plain, three);
    const before = asked();
    clock.advance(3_100);
    for (const [made, token] of [
      [plain, one],
      [short, two],
      [plain, three],
    ] as const)
      await go(made, token);
    expect(asked()).toBe(before + 1);
    clock.advance(2_000);
    await go(plain, three);
    expect(asked()).toBe(before + 2);
    clock.advance(5_000);
    await go(plain, one);
    expect(asked()).toBe(before + 3);
  });

  test("questions about one token are one, and about many are bounded", { timeout: 90_000 }, async () => {
    const held: (() => void)[] = [];
    endpoint.answer = (_request, response) => void held.push(() => sendJson(response, 200, { active: true }));
    const phases = env.compile(openidConnect, asking());
    const go = async (token: string) => (await runPhases(phases, makeView({ headers: bearer(token) })))?.status ?? 200;
    const token = opaque();
    const before = asked();
    const calls = Array.from({ length: 50 }, () => go(token));
    const others = Array.from({ length: 300 }, () => go(opaque()));
    await expect.poll(() => held.length, { timeout: 60_000 }).toBe(256);
    for (const end of held.splice(0)) end();
    expect(new Set(await Promise.all(calls))).toEqual(new Set([200]));
    const counts = (await Promise.all(others)).filter((status) => status === 503).length;
    expect([counts, asked() - before]).toEqual([45, 256]);
  });

  test.each<[string, () => void, number, string]>([
    ["not active", () => active({ active: false }), 401, "inactive"],
    ["active as a text", () => active({ active: "true" }), 401, "inactive"],
    ["nothing", () => (endpoint.answer = (_request, response) => sendJson(response, 200, {})), 401, "inactive"],
    ["over", () => active({ exp: Math.floor(clock.nowMs() / 1_000) - 121 }), 401, "expired"],
    ["bound to a key", () => active({ cnf: { jkt: "x" } }), 401, "proof_missing"],
    ["no JSON", () => (endpoint.answer = (_request, response) => response.end("active")), 503, "introspection_failed"],
    [
      "a list",
      () => (endpoint.answer = (_request, response) => sendJson(response, 200, [true])),
      503,
      "introspection_failed",
    ],
    [
      "twice",
      () => (endpoint.answer = (_request, response) => response.end('{"active":false,"active":true}')),
      503,
      "introspection_failed",
    ],
    [
      "a refusal",
      () => (endpoint.answer = (_request, response) => sendJson(response, 401, { active: true })),
      503,
      "introspection_failed",
    ],
    [
      "elsewhere",
      () =>
        (endpoint.answer = (_request, response) => response.writeHead(302, { location: `${endpoint.url}/x` }).end()),
      503,
      "introspection_failed",
    ],
    [
      "packed",
      () =>
        (endpoint.answer = (_request, response) =>
          response.writeHead(200, { "content-encoding": "gzip" }).end(gzipSync('{"active":true}'))),
      503,
      "introspection_failed",
    ],
    [
      "without end",
      () => (endpoint.answer = (_request, response) => response.end(`{"active":true,"x":"${"y".repeat(70_000)}"}`)),
      503,
      "introspection_failed",
    ],
    ["no answer", () => (endpoint.answer = (_request, response) => response.destroy()), 503, "introspection_failed"],
  ])("an answer that is %s lets nobody in, and is asked again after a second", async (_says, answer, status, why) => {
    answer();
    const phases = env.compile(openidConnect, asking({ realm: "b" }));
    const token = opaque();
    const go = async () => await runPhases(phases, makeView({ headers: bearer(token) }));
    const first = await go();
    expect([first?.status, first?.reason]).toEqual([status, `openid_connect_${why}`]);
    active();
    clock.advance(1_001);
    if (why === "expired" || why === "proof_missing") clock.advance(10_000);
    expect(await go()).toBeUndefined();
  });

  test("another issuer in the answer is refused where issuers are named", async () => {
    const conf = asking({ claim_validator: { issuer: { valid_issuers: ["https://as"] } } });
    active({ iss: "https://as" });
    expect((await call(conf, bearer(opaque()))).status).toBe(200);
    active({ iss: "https://as/" });
    expect((await call(conf, bearer(opaque()))).why).toBe("unknown_issuer");
    active();
    expect((await call(conf, bearer(opaque()))).why).toBe("unknown_issuer");
  });

  test("headers of the request go along where they are named, and make another question", async () => {
    active();
    const phases = env.compile(openidConnect, asking({ introspection_addon_headers: ["X-Tenant"] }));
    const token = opaque();
    const go = (tenant: string) => runPhases(phases, makeView({ headers: { ...bearer(token), "x-tenant": tenant } }));
    const before = asked();
    for (const tenant of ["a", "b", "a"]) await go(tenant);
    expect(asked()).toBe(before + 2);
    expect(endpoint.seen.at(-1)?.headers["x-tenant"]).toBe("b");
  });

  test("what cannot be a token is not asked about", async () => {
    const before = asked();
    for (const token of ["a b", 'a"b', "ä", "x".repeat(16_385), ""]) {
      const got = await call(asking(), { "X-Access-Token": token });
      expect(got.why).toBe("malformed");
    }
    expect(asked()).toBe(before);
  });

  test("an address that is denied is not called, by number or by name", async () => {
    active();
    await openNode(["127.0.0.0/8", "::1"]);
    const before = asked();
    const { port } = new URL(endpoint.url);
    for (const address of [endpoint.url, `http://localhost:${port}`]) {
      const got = await call(asking({ introspection_endpoint: `${address}/introspect` }), bearer(opaque()));
      expect([got.status, got.why]).toEqual([503, "introspection_failed"]);
    }
    expect((await call(local(), bearer(server.token(K1)))).why).toBe("keys_unavailable");
    expect(asked()).toBe(before);
    expect(JSON.stringify(env.logged)).not.toMatch(/s3cret|opaque-/);
    await openNode();
  });
});

describe("inside multi-auth", () => {
  const phases = (conf: Made) =>
    env.compile(multiAuth, { auth_plugins: [{ "jwt-auth": {} }, { "openid-connect": conf }] });

  test("each plugin lets its own in, and tells what it may alone", async () => {
    const mine = server.token(K1);
    const views = [bearer(mine), { "X-Access-Token": mine }, bearer(makeToken()), bearer("x.y.z")].map((headers) =>
      makeView({ headers: { ...headers, "X-Userinfo": "forged" } }),
    );
    const made = phases(local());
    const answers = [];
    for (const view of views) answers.push((await runPhases(made, view))?.status);
    expect(answers).toEqual([undefined, undefined, undefined, 401]);
    expect(views.map((view) => view.consumer?.username)).toEqual([undefined, undefined, "jack", undefined]);
    expect(views.map((view) => view.headers.getAll("x-userinfo").length)).toEqual([1, 1, 0, 0]);
    expect(views[2]?.headers.getAll("x-access-token")).toEqual([]);
  });
});

describe("an explanation", () => {
  const explained = async (conf: Made, token: string) => {
    const steps: Step[] = [];
    const view = makeView({ headers: bearer(token) });
    const answer = await env
      .compile(openidConnect, conf)
      .explain?.(view, { token: undefined, nowMs: Date.now(), steps });
    return { answer, steps, of: (name: string) => steps.find(({ step }) => step === name) };
  };

  test("of a token judged by keys has every step, and moves no counter", async () => {
    await call(local(), bearer(server.token(K1)));
    const before = await metricValue(env, "jotgate_openid_connect_total", { outcome: "ok" });
    const { answer, of } = await explained(local({ required_scopes: ["a"] }), server.token(K1, { aud: "z" }));
    expect(answer?.reason).toBe("openid_connect_insufficient_scope");
    expect(of("signature")).toMatchObject({ ok: true, kid: "k1" });
    expect(of("scopes")).toMatchObject({ ok: false, reason: "insufficient_scope", wanted: ["a"] });
    expect(of("audience")).toMatchObject({ ok: true, has: "z" });
    expect(await metricValue(env, "jotgate_openid_connect_total", { outcome: "ok" })).toBe(before);
    const forged = await explained(local(), server.token(STRANGER, { sub: "told-by-a-stranger" }));
    expect(forged.answer?.reason).toBe("openid_connect_bad_signature");
    expect(JSON.stringify(forged.steps)).not.toContain("told-by-a-stranger");
  });

  test("asks no issuer, and says so; what is remembered counts", async () => {
    endpoint.answer = (_request, response) => sendJson(response, 200, { active: true, scope: "a" });
    const before = endpoint.seen.length;
    const { answer, of } = await explained(asking(), "never-seen");
    expect([answer?.status, of("introspection")?.ok, endpoint.seen.length]).toEqual([503, false, before]);
    const phases = env.compile(openidConnect, asking());
    await runPhases(phases, makeView({ headers: bearer("seen-now") }));
    const known = await explained(asking(), "seen-now");
    expect(known.answer).toBeUndefined();
    expect(known.of("introspection")).toMatchObject({ ok: true, has: "active" });
  });
});

describe("a configuration is refused that", () => {
  const good = { client_id: "a", discovery: "https://id.example/.well-known/openid-configuration", bearer_only: true };
  test.each<[string, Made, RegExp]>([
    ["wants browsers", { bearer_only: false }, /openid-connect: only bearer_only: true is supported/],
    ["leaves it out", { bearer_only: undefined }, /openid-connect: only bearer_only: true is supported/],
    ["has no secret where the issuer is asked", { use_jwks: false }, /property "client_secret" is required/],
    ["takes unsigned tokens", { accept_none_alg: true }, /accept_none_alg: true is not supported/],
    ["names a shared key's algorithm", { token_signing_alg_values_expected: "HS256" }, /HS256 is none of/],
    [
      "signs its question",
      { use_jwks: false, client_secret: "x", introspection_endpoint_auth_method: "private_key_jwt" },
      /private_key_jwt is not supported/,
    ],
    [
      "has a private key",
      { public_key: String(K1.privateKey.export({ type: "pkcs8", format: "pem" })) },
      /public_key: it is a private key/,
    ],
    ["has no address", { discovery: "id.example" }, /discovery is no http or https address/],
    ["has a password in an address", { discovery: "https://a:b@id.example" }, /holds a user or a password/],
    ["trusts nobody", { claim_validator: { issuer: { valid_issuers: [] } } }, /valid_issuers is empty/],
    ["has a schema that is none", { claim_schema: { type: "nothing" } }, /check claim_schema failed/],
    ["sends the secret's header", { introspection_addon_headers: ["Authorization"] }, /cannot be sent/],
    ["has no client", { client_id: undefined }, /property "client_id" is required/],
    ["has no discovery", { discovery: undefined }, /property "discovery" is required/],
  ])("%s", (_says, changed, error) => {
    const conf = Object.fromEntries(
      Object.entries({ ...good, use_jwks: true, ...changed }).filter(([, one]) => one !== undefined),
    );
    expect(() => env.compile(openidConnect, conf)).toThrow(error);
  });

  test("but not old spellings, references, and what is of the browser's flow", () => {
    const old = {
      ssl_verify: "no",
      timeout: 3_000,
      session: { secret: "0123456789abcdef" },
      scope: "openid",
      use_jwks: true,
    };
    expect(() => env.compile(openidConnect, { ...good, ...old })).not.toThrow();
    expect(
      openidConnect.check?.({
        ...good,
        discovery: "$ENV://DISCOVERY",
        client_secret: "$secret://v/a/b",
        realm: "apisix",
        introspection_endpoint_auth_method: "client_secret_basic",
      }),
    ).toBeUndefined();
  });
});
