/** The cache of verified tokens is never wrong: its answer is the one a fresh look would give. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Credential, CredentialTable } from "../../src/plugin/plugin-consumer.ts";
import { makeEnv, metricValue, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import type { JwtCredential } from "../../src/plugins/jwt-auth/credential.ts";
import { jwtAuth } from "../../src/plugins/jwt-auth/jwt-auth.ts";
import { VerifiedToken } from "../../src/plugins/jwt-auth/verified-token.ts";
import { TokenCache } from "../../src/plugins/shared/token-cache.ts";
import { keyOf, makeToken, SECRET } from "../support/jwt.ts";
import { openJwtNode } from "../support/jwt-auth.ts";
import { runs } from "../support/long-run.ts";

const NOW = 1_700_000_000;
const FAILED = "failed to verify jwt";

describe("a remembered token", () => {
  test("is answered in the same turn", () => {
    const plugin = jwtAuth;
    const env = makeEnv({
      plugins: [plugin],
      consumers: [{ username: "jack", auth: { "jwt-auth": { key: "jack-key", secret: SECRET } } }],
    });
    const phases = env.compile(plugin);
    const headers = { Authorization: makeToken() };
    expect(phases.rewrite?.(makeView({ headers }))).toBeUndefined();
    expect(phases.rewrite?.(makeView({ headers }))).toBeUndefined();
  });

  test("expires at its second", async () => {
    const node = openJwtNode();
    const token = makeToken({ payload: { key: "jack-key", exp: NOW + 30 } });
    expect((await node.callWith(token)).status).toBe(200);
    node.env.clock.advance(29_999);
    expect((await node.callWith(token)).status).toBe(200);
    node.env.clock.advance(1);
    expect((await node.callWith(token)).message).toBe(FAILED);
  });

  test("is not yet valid again when the machine's clock goes back", async () => {
    const node = openJwtNode();
    const token = makeToken({ payload: { key: "jack-key", nbf: NOW - 5 } });
    expect((await node.callWith(token)).status).toBe(200);
    node.env.clock.jump(-10_000);
    expect((await node.callWith(token)).message).toBe(FAILED);
  });

  test("dies with a new secret", async () => {
    const node = openJwtNode();
    expect((await node.callWith(makeToken())).status).toBe(200);
    node.jack({ secret: `${SECRET}!` });
    expect((await node.callWith(makeToken())).message).toBe(FAILED);
  });

  test("dies with another algorithm, even with the same secret", async () => {
    const node = openJwtNode();
    expect((await node.callWith(makeToken())).status).toBe(200);
    node.jack({ secret: SECRET, algorithm: "HS512" });
    expect((await node.callWith(makeToken())).message).toBe(FAILED);
  });

  test("dies with another key and with the consumer", async () => {
    const node = openJwtNode();
    expect((await node.callWith(makeToken())).status).toBe(200);
    node.jack({ secret: SECRET, key: "new-key" });
    expect((await node.callWith(makeToken())).message).toBe("Invalid user key in JWT token");
    node.jack({ secret: SECRET });
    expect((await node.callWith(makeToken())).status).toBe(200);
    node.env.removeConsumer("jack");
    expect((await node.callWith(makeToken())).message).toBe("Invalid user key in JWT token");
  });

  test("survives a change that does not touch it", async () => {
    const node = openJwtNode();
    await node.callWith(makeToken());
    node.env.setConsumer({ username: "jane", auth: { "jwt-auth": { key: "jane-key", secret: SECRET } } });
    await node.callWith(makeToken());
    expect(await metricValue(node.env, "jotgate_token_cache_total", { result: "hit" })).toBe(1);
  });

  test.each(["sub ", "3:sub", "sub"])(
    "counts only for the claim it was found by, whatever is put before it: '%s'",
    async (before) => {
      const node = openJwtNode({ route: { key_claim_name: "sub" } });
      const token = makeToken({ payload: { sub: "jack-key" } });
      expect((await node.callWith(token)).status).toBe(200);
      const byKey = node.env.compile(jwtAuth);
      for (const text of [`${before}${token}`, `Bearer ${before}${token}`]) {
        const view = makeView({ headers: { Authorization: text } });
        expect((await runPhases(byKey, view))?.status).toBe(401);
        expect(view.consumer).toBeUndefined();
      }
    },
  );

  test("gives way to another consumer that took its key", async () => {
    const node = openJwtNode();
    await node.callWith(makeToken());
    node.env.setConsumer({ username: "jane", auth: { "jwt-auth": { key: "jack-key", secret: `${SECRET}!` } } });
    expect((await node.callWith(makeToken())).message).toBe(FAILED);
  });

  test("is asked about revocation every time, grace or not", async () => {
    const node = openJwtNode({ jack: { lifetime_grace_period: 1000 } });
    const token = makeToken({ payload: { key: "jack-key", iat: 1_000 } });
    expect((await node.callWith(token)).status).toBe(200);
    const rule = node.revocations.rule({ type: "consumer", value: "jack", issuedBefore: 1_001 });
    expect((await node.callWith(token)).message).toBe(FAILED);
    node.revocations.live.apply(rule, undefined);
    expect((await node.callWith(token)).status).toBe(200);
    expect(await metricValue(node.env, "jotgate_jwt_total", { outcome: "revoked" })).toBe(1);
  });

  test("means another caller on a route that names the key by another claim", async () => {
    const plugin = jwtAuth;
    const consumers = ["jack", "jane"].map((username) => ({
      username,
      auth: { "jwt-auth": { key: username, secret: SECRET } },
    }));
    const env = makeEnv({ plugins: [plugin], consumers });
    const byKey = env.compile(plugin);
    const bySub = env.compile(plugin, { key_claim_name: "sub" });
    const headers = { Authorization: makeToken({ payload: { key: "jack", sub: "jane" } }) };
    for (const [phases, who] of [
      [byKey, "jack"],
      [bySub, "jane"],
      [byKey, "jack"],
      [bySub, "jane"],
    ] as const) {
      const view = makeView({ headers });
      await runPhases(phases, view);
      expect(view.consumer?.username).toBe(who);
    }
  });

  test("is judged by the claims of the route it comes to", async () => {
    const plugin = jwtAuth;
    const env = makeEnv({
      plugins: [plugin],
      consumers: [{ username: "jack", auth: { "jwt-auth": { key: "jack-key", secret: SECRET } } }],
    });
    const loose = env.compile(plugin, { claims_to_verify: ["nbf"] });
    const plain = env.compile(plugin);
    const headers = { Authorization: makeToken({ payload: { key: "jack-key", nbf: 1, exp: NOW - 1 } }) };
    expect(await runPhases(loose, makeView({ headers }))).toBeUndefined();
    expect((await runPhases(plain, makeView({ headers })))?.status).toBe(401);
  });
});

describe("what is remembered", () => {
  test("is no refused token, however many", async () => {
    const node = openJwtNode();
    const other = keyOf("ES256");
    for (let i = 0; i < 500; i++) {
      await node.callWith(makeToken({ payload: { key: "jack-key", i, exp: NOW - i } }));
      await node.callWith(makeToken({ payload: { key: `k${i}` } }));
      await node.callWith(`junk${i}`);
    }
    await node.callWith(makeToken({ algorithm: "ES256", key: other.privateKey }));
    expect(await metricValue(node.env, "jotgate_token_cache_entries")).toBe(0);
  });

  test("is bounded by entries and by bytes", async () => {
    const env = makeEnv();
    const credential = { current: true, key: "k" } as Credential<JwtCredential>;
    const table: CredentialTable<JwtCredential> = { get: () => credential, resolvePending: () => undefined, size: 1 };
    const few = new TokenCache(env.metrics, { entries: 10, bytes: 1_000_000 });
    for (let i = 0; i < 100; i++) few.remember(`t${i}`, "key", new VerifiedToken(table, credential, {}));
    expect(few.size).toBe(10);
    const small = new TokenCache(env.metrics, { entries: 1000, bytes: 100_000 });
    for (let i = 0; i < 100; i++)
      small.remember(`${i}`.padStart(5000, "x"), "key", new VerifiedToken(table, credential, {}));
    expect(small.size).toBe(4);
    expect(await metricValue(env, "jotgate_token_cache_bytes")).toBeLessThanOrEqual(100_000);
  });
});

test("with any history of changes, a node with a warm cache answers as a fresh one", async () => {
  const secrets = [SECRET, `${SECRET}1`];
  const step = fc.record({
    change: fc.constantFrom("none", "secret", "key", "remove", "algorithm", "time", "other"),
    pick: fc.nat(1),
    token: fc.nat(3),
    route: fc.nat(1),
  });
  const tokens = [
    makeToken({ payload: { key: "jack-key", exp: NOW + 50, sub: "jane" } }),
    makeToken({ payload: { key: "jack-key", nbf: NOW + 20 } }),
    makeToken({ payload: { key: "jane", exp: NOW + 200 } }),
    makeToken({ algorithm: "HS384", payload: { key: "jack-key" } }),
  ];
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 15 }), async (steps) => {
      const plugin = jwtAuth;
      const env = makeEnv({ plugins: [plugin] });
      const routes = [{}, { key_claim_name: "sub" }];
      const held = routes.map((conf) => env.compile(plugin, conf));
      const states = makeEnv().states;
      const fresh = routes.map((conf) => plugin.compile({ ...DEFAULTS, ...conf }, { ...env, states }));
      const { cache } = states.hold<{ cache: TokenCache }>("tokens", notMade).state;
      let jack: Record<string, unknown> | undefined = { key: "jack-key", secret: SECRET };
      const put = () => {
        if (jack) env.setConsumer({ username: "jack", auth: { "jwt-auth": jack } });
        else env.removeConsumer("jack");
      };
      put();
      for (const { change, pick, token, route } of steps) {
        if (change === "time") env.clock.advance(15_000);
        else if (change === "remove") jack = undefined;
        else if (change === "secret") jack = { key: "jack-key", ...jack, secret: secrets[pick] };
        else if (change === "key") jack = { secret: SECRET, ...jack, key: ["jack-key", "jane"][pick] };
        else if (change === "algorithm")
          jack = { key: "jack-key", secret: SECRET, ...jack, algorithm: ["HS256", "HS384"][pick] };
        if (change === "other")
          env.setConsumer({ username: "jane", auth: { "jwt-auth": { key: "jane", secret: secrets[pick] } } });
        else if (change !== "none" && change !== "time") put();

        cache.clear();
        const headers = { Authorization: tokens[token] ?? "" };
        const [warmView, freshView] = [makeView({ headers }), makeView({ headers })];
        const warm = await runPhases(held[route] ?? {}, warmView);
        const wanted = await runPhases(fresh[route] ?? {}, freshView);
        expect([warm?.reason, warmView.consumer?.username]).toEqual([wanted?.reason, freshView.consumer?.username]);
      }
    }),
    { numRuns: runs(25) },
  );
});

function notMade(): never {
  throw new TypeError("the routes hold it already");
}

const DEFAULTS = {
  header: "authorization",
  query: "jwt",
  cookie: "jwt",
  hide_credentials: false,
  key_claim_name: "key",
  store_in_ctx: false,
  realm: "jwt",
};
