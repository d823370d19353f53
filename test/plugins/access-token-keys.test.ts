/** Keys that come late, that go, and tokens that are remembered meanwhile. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { openTokenParser } from "../../src/base/jose/token.ts";
import { type JudgedStep, judgeToken } from "../../src/plugin/judge/judge.ts";
import { NO_REVOCATIONS } from "../../src/plugin/revocations.ts";
import { metricValue } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { compileVariable } from "../../src/plugin/variables/variables.ts";
import { accessToken } from "../../src/plugins/access-token/access-token.ts";
import { API, bearing, ISS, NOW, openTokenNode, ROUTE, SHOP, tokenOf } from "../support/access-token.ts";
import { keyOf } from "../support/jwt.ts";
import { runs } from "../support/long-run.ts";

const K2 = { kid: "k2", algorithm: "ES256", key: keyOf("ES256").publicKey } as const;
const byK2 = (changed = {}) => tokenOf(changed, { header: { kid: "k2" } });

describe("an unknown kid", () => {
  test("waits for one fetch and is judged again", async () => {
    const node = openTokenNode();
    node.issuer.setFetch(() => node.issuer.setKeys([K2]));
    expect((await node.callWith(byK2())).status).toBe(200);
    expect(node.issuer.wantedKids).toEqual(["k2"]);
  });

  test("is refused at once where no fetch is allowed, and asks once a request", async () => {
    const node = openTokenNode();
    expect((await node.callWith(byK2())).why).toBe("unknown_kid");
    node.issuer.setFetch(() => {});
    expect((await node.callWith(byK2())).why).toBe("unknown_kid");
    expect(node.issuer.wantedKids).toEqual(["k2", "k2"]);
  });

  test.each([
    { says: "expired", changed: { exp: NOW - 100 } },
    { says: "for another audience", changed: { aud: "x" } },
    { says: "from nobody", changed: { iss: "https://x.example" } },
  ])("of a token that is $says costs no fetch", async ({ changed }) => {
    const node = openTokenNode();
    await node.callWith(byK2(changed));
    expect(node.issuer.wantedKids).toEqual([]);
  });

  test("and a caller that is still being looked up are both waited for", async () => {
    const node = openTokenNode({ consumers: [] });
    node.issuer.setFetch(() => node.issuer.setKeys([K2]));
    node.env.setPending("access-token", async () => node.env.setConsumer(SHOP));
    expect((await node.callWith(byK2())).view.consumer?.username).toBe("shop");
  });
});

test("a wrong signature under a known kid doubts the key, and the request does not wait", async () => {
  const node = openTokenNode();
  const broken = tokenOf().replace(/.{4}$/, "AAAA");
  expect((await node.callWith(broken)).why).toBe("bad_signature");
  expect(node.issuer.doubtedKids).toEqual(["k1"]);
});

test("a token without kid tries the keys that fit its algorithm", async () => {
  const node = openTokenNode({ issuer: { keys: [K2] } });
  expect((await node.callWith(tokenOf({}, { header: { kid: undefined } }))).status).toBe(200);
});

describe("a remembered token", () => {
  test("is answered in the same turn, without a look at keys", () => {
    const node = openTokenNode();
    const { rewrite } = node.env.compile(accessToken, ROUTE);
    const token = tokenOf();
    expect(rewrite?.(makeView(bearing(token)))).toBeUndefined();
    const keys = node.issuer.keys;
    node.issuer.keys = () => expect.fail("asked for keys");
    expect(rewrite?.(makeView(bearing(token)))).toBeUndefined();
    node.issuer.keys = keys;
  });

  test("falls with its key", async () => {
    const node = openTokenNode();
    const token = tokenOf();
    expect((await node.callWith(token)).status).toBe(200);
    node.issuer.setKeys([K2]);
    expect((await node.callWith(token)).why).toBe("unknown_kid");
  });

  test("falls with the record of its issuer, and with any change of it", async () => {
    const node = openTokenNode();
    const token = tokenOf();
    expect((await node.callWith(token)).status).toBe(200);
    node.tokens.set({ id: "idp", issuer: ISS, keys: [{ ...K2, kid: "k1" }], types: ["jwt"] });
    expect((await node.callWith(token)).why).toBe("wrong_type");
    node.tokens.remove("idp");
    expect((await node.callWith(token)).why).toBe("unknown_issuer");
  });

  test("follows its credential", async () => {
    const node = openTokenNode();
    const token = tokenOf();
    expect((await node.callWith(token)).view.consumer?.username).toBe("shop");
    node.env.removeConsumer("shop");
    expect((await node.callWith(token)).why).toBe("unknown_consumer");
    node.env.setConsumer({ username: "new", auth: { "access-token": { identity: "idp/orders-service" } } });
    expect((await node.callWith(token)).view.consumer?.username).toBe("new");
  });

  test("is one for all routes, which judge for themselves", async () => {
    const node = openTokenNode();
    const routes = [
      { conf: {}, why: "" },
      { conf: { required_scopes: ["b"] }, why: "insufficient_scope" },
      { conf: { any_scopes: ["a", "c"] }, why: "" },
      { conf: { claim_rules: [["sub", "==", "x"]] }, why: "claim_rule" },
      { conf: { consumer_by: "username" }, why: "unknown_consumer" },
      { conf: { consumer_by: "none" }, why: "" },
    ].map(({ conf, why }) => ({ call: node.route(conf), why }));
    const token = tokenOf({ scope: "a" });
    for (let round = 0; round < 3; round++)
      for (const { call, why } of routes) expect((await call(token)).why).toBe(why);
    expect(await metricValue(node.env, "jotgate_token_cache_entries")).toBe(1);
  });

  test("is no refused token", async () => {
    const node = openTokenNode({ route: { required_scopes: ["x"] } });
    for (const token of [tokenOf(), tokenOf({ exp: 1 }), byK2(), "junk"]) await node.callWith(token);
    expect(await metricValue(node.env, "jotgate_token_cache_entries")).toBe(0);
  });
});

test("with any history of changes, a node with a warm memory answers as a fresh one", async () => {
  const tokens = [
    tokenOf({ scope: "a", exp: NOW + 40 }),
    tokenOf({ sub: "shop", scope: ["b"] }),
    byK2({ aud: ["x", API] }),
  ];
  const confs = [
    {},
    { required_scopes: ["a"] },
    { consumer_by: "username", audiences: ["x"] },
    { consumer_optional: true, claim_rules: [["sub", "==", "shop"]] },
  ];
  const step = fc.record({
    change: fc.constantFrom("none", "none", "keys", "issuer", "consumer", "gone", "time", "revoke"),
    token: fc.nat(tokens.length - 1),
    conf: fc.nat(confs.length - 1),
  });
  const K1 = { ...K2, kid: "k1" };
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
      const warm = openTokenNode();
      const routes = confs.map((conf) => warm.route(conf));
      const changes: ((node: typeof warm) => void)[] = [];
      for (const { change, token, conf } of steps) {
        const apply = (node: typeof warm): void => {
          if (change === "keys") node.issuer.setKeys(token === 0 ? [K1, K2] : [K2]);
          else if (change === "issuer") node.tokens.set({ id: "idp", issuer: ISS, keys: [K1, K2], types: ["at+jwt"] });
          else if (change === "consumer") node.env.setConsumer({ ...SHOP, username: `shop${conf === 0 ? "" : conf}` });
          else if (change === "gone") node.env.removeConsumer("shop");
          else if (change === "revoke") node.revocations.rule({ type: "consumer", value: "shop", issuedBefore: NOW });
          else if (change === "time") node.env.clock.advance(20_000);
        };
        apply(warm);
        changes.push(apply);
        const fresh = openTokenNode();
        for (const one of changes) one(fresh);
        const text = tokens[token] ?? "";
        const [a, b] = [await routes[conf]?.(text), await fresh.route(confs[conf])(text)];
        expect([a?.status, a?.why, a?.view.consumer?.username]).toEqual([b.status, b.why, b.view.consumer?.username]);
      }
    }),
    { numRuns: runs(40) },
  );
});

test("variables say what the accepted token says", async () => {
  const node = openTokenNode();
  const { view } = await node.callWith(
    tokenOf({ jti: "t1", scope: "a b", azp: "web", deep: { roles: ["x", "y"] }, n: 7 }),
  );
  const read = (name: string) => compileVariable(name)(view);
  expect(["token_issuer", "token_sub", "token_client_id", "token_jti", "token_scope"].map(read)).toEqual([
    "idp",
    "orders-service",
    "web",
    "t1",
    "a b",
  ]);
  expect(["token_claim_n", "token_claim_/deep/roles", "token_claim_deep", "token_claim_no"].map(read)).toEqual([
    7,
    ["x", "y"],
    undefined,
    undefined,
  ]);
  expect(compileVariable("token_sub")(makeView())).toBeUndefined();
});

test("an explained judgement goes on behind the first failure, and decides as an unexplained one", () => {
  const { tokens } = openTokenNode();
  const policy = {
    issuers: tokens.issuers({ issuers: ["idp"] }),
    audiences: new Set(["https://other.example"]),
    requiredScopes: ["orders.read"],
    anyScopes: [],
    rules: undefined,
    strangers: false,
    identityOf: () => "idp/nobody",
    callerOf: () => undefined,
  };
  const court = {
    parse: openTokenParser(),
    revocations: NO_REVOCATIONS,
    nowMs: () => NOW * 1_000,
    monotonicMs: () => 0,
  };
  const presented = { text: tokenOf({ scope: "a" }), asProof: false };
  const steps: JudgedStep[] = [];
  expect(judgeToken(presented, policy, court, steps)).toMatchObject({ ok: false, why: "wrong_audience" });
  expect(judgeToken(presented, policy, court)).toMatchObject({ ok: false, why: "wrong_audience" });
  expect(steps.map(({ step, ok }) => `${step} ${ok}`)).toEqual([
    "form true",
    "issuer true",
    "type true",
    "algorithm true",
    "times true",
    "audience false",
    "key true",
    "signature true",
    "revoked true",
    "proof true",
    "rules true",
    "scopes false",
    "consumer false",
  ]);
  expect(steps[5]).toMatchObject({ reason: "wrong_audience", has: API, wanted: ["https://other.example"] });
  expect(steps[4]).toMatchObject({ exp_in: 300 });
  expect(steps[11]).toMatchObject({ missing: ["orders.read"] });
});
