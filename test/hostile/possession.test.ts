/**
 * Stolen tokens that are bound to a key: each way to use one without the key, or a proof twice, is refused for its own reason.
 * Source: docs/spec/tokens.md section 14, "PoP". jose reads the same proofs as a second opinion.
 */
import { createHash, generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { calculateJwkThumbprint, EmbeddedJWK, jwtVerify } from "jose";
import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { ClientCertificate } from "../../src/plugin/client-certificate.ts";
import { openProofJudge } from "../../src/plugin/judge/dpop-proof.ts";
import { isSameUrl } from "../../src/plugin/judge/outer-url.ts";
import { metricValue } from "../../src/plugin/testkit/testkit.ts";
import { NOW, openTokenNode, type TokenNode, tokenOf } from "../support/access-token.ts";
import { type DpopKey, dpopKey, type ProofParts, proofFor } from "../support/dpop.ts";
import { encode, makeToken } from "../support/jwt.ts";
import { runs } from "../support/long-run.ts";

const URL_OF = "http://gateway.test/orders/1";
const KEY = dpopKey();
const bound = (key: DpopKey = KEY, claims = {}): string => tokenOf({ cnf: { jkt: key.jkt }, ...claims });

const call = (node: TokenNode, token: string, proofs: readonly string[], more: Record<string, string> = {}) =>
  node.call({ target: "/orders/1?page=2", headers: { Authorization: `DPoP ${token}`, DPoP: proofs, ...more } });

const CHALLENGE = 'DPoP realm="api", error="invalid_dpop_proof", algs="ES256 EdDSA RS256 PS256"';

describe("a bound token", () => {
  test.each(["ES256", "EdDSA", "RS256", "PS256"] as const)(
    "passes with a proof of %s, which jose takes too",
    async (algorithm) => {
      const key = dpopKey(algorithm);
      expect(key.jkt).toBe(await calculateJwkThumbprint(key.jwk as never));
      const node = openTokenNode();
      const token = bound(key);
      const proof = proofFor({ url: URL_OF, token, now: NOW }, { key });
      await jwtVerify(proof, EmbeddedJWK, { typ: "dpop+jwt", currentDate: new Date(NOW * 1_000) });
      expect((await call(node, token, [proof])).status).toBe(200);
      expect(await metricValue(node.env, "jotgate_dpop_total", { outcome: "ok" })).toBe(1);
    },
  );

  test("passes with the algorithm that RFC 9864 calls Ed25519, for that curve alone", async () => {
    const key = dpopKey("EdDSA");
    const token = bound(key);
    const naming = (header: object) =>
      proofFor({ url: URL_OF, token, now: NOW }, { key, header: { alg: "Ed25519", ...header } });
    expect((await call(openTokenNode(), token, [naming({})])).status).toBe(200);
    expect((await call(openTokenNode(), token, [naming({ jwk: { ...key.jwk, alg: "Ed25519" } })])).status).toBe(200);
    expect((await call(openTokenNode(), token, [naming({ jwk: { ...key.jwk, alg: "EdDSA" } })])).why).toBe(
      "proof_invalid",
    );
    expect((await call(openTokenNode(), token, [naming({ jwk: KEY.jwk })])).why).toBe("proof_invalid");
  });

  test("is refused as a bearer token, with its proof and without, remembered or not", async () => {
    const node = openTokenNode();
    const token = bound();
    const proof = (): string => proofFor({ url: URL_OF, token, now: NOW });
    const asBearer = () =>
      node.call({ target: "/orders/1", headers: { Authorization: `Bearer ${token}`, DPoP: proof() } });
    expect((await asBearer()).why).toBe("proof_missing");
    expect((await call(node, token, [proof()])).status).toBe(200);
    expect((await asBearer()).why).toBe("proof_missing");
    expect((await call(node, token, [])).why).toBe("proof_missing");
    for (const place of [{ query: "t" }, { header: "X-Token" }]) {
      const other = openTokenNode({ route: place });
      const input = "query" in place ? { target: `/?t=${token}` } : { headers: { "X-Token": token } };
      expect((await other.call({ ...input, headers: { ...input.headers, DPoP: proof() } })).why).toBe("proof_missing");
    }
  });

  test("with what is no proof is answered with the algorithms", async () => {
    const { status, body, challenge } = await call(openTokenNode(), bound(), ["x"]);
    expect([status, body, challenge]).toEqual([401, '{"message":"Invalid access token"}', CHALLENGE]);
  });

  test("is refused with the proof of another key, of another token, and with two proofs", async () => {
    const node = openTokenNode();
    const token = bound();
    const other = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const theirs: DpopKey = {
      ...KEY,
      privateKey: other.privateKey,
      jwk: other.publicKey.export({ format: "jwk" }) as never,
    };
    const good = proofFor({ url: URL_OF, token, now: NOW });
    const wrong = [
      [proofFor({ url: URL_OF, token, now: NOW }, { key: theirs })],
      [proofFor({ url: URL_OF, token, now: NOW }, { key: { ...theirs, jwk: KEY.jwk } })],
      [proofFor({ url: URL_OF, token: bound(KEY, { jti: "2" }), now: NOW })],
      [good, good],
      [good, proofFor({ url: URL_OF, token, now: NOW })],
      [`${good}, ${good}`],
    ];
    for (const proofs of wrong) expect((await call(node, token, proofs)).why).toBe("proof_invalid");
    expect((await call(node, token, [good])).status).toBe(200);
  });

  test("a proof does not bind what is not bound", async () => {
    const node = openTokenNode();
    const token = tokenOf();
    expect((await call(node, token, [proofFor({ url: URL_OF, token, now: NOW })])).why).toBe("proof_missing");
  });
});

describe("a route that requires proofs", () => {
  test("takes no other token, and says so", async () => {
    const node = openTokenNode({ route: { dpop: "required" } });
    const refused = await node.callWith(tokenOf());
    expect(refused).toMatchObject({ status: 401, why: "proof_missing" });
    expect(refused.challenge).toBe(
      'DPoP realm="api", error="invalid_token", error_description="The access token is invalid", algs="ES256 EdDSA RS256 PS256"',
    );
    expect((await node.call({})).challenge).toBe('DPoP realm="api", algs="ES256 EdDSA RS256 PS256"');
    const token = bound();
    expect((await call(node, token, [proofFor({ url: URL_OF, token, now: NOW })])).status).toBe(200);
  });

  test("lets no proof go upstream where it hides credentials", async () => {
    const node = openTokenNode({ route: { hide_credentials: true } });
    const token = bound();
    const { view } = await call(node, token, [proofFor({ url: URL_OF, token, now: NOW })]);
    expect([view.header("authorization"), view.header("dpop")]).toEqual([undefined, undefined]);
  });
});

describe("each part of a proof", () => {
  const WRONG: readonly (ProofParts & { readonly says: string })[] = [
    ...[undefined, "", "JWT", "at+jwt", "dpop", 7].map((typ) => ({ says: `typ ${typ}`, header: { typ } })),
    ...[undefined, "none", "HS256", "ES384", "RS256", 7, ["ES256"]].map((alg) => ({
      says: `alg ${alg}`,
      header: { alg },
    })),
    ...[undefined, null, 7, [], {}, "x"].map((jwk) => ({ says: `jwk ${JSON.stringify(jwk)}`, header: { jwk } })),
    { says: "a private jwk", header: { jwk: KEY.privateKey?.export({ format: "jwk" }) } },
    { says: "a jwk for encryption", header: { jwk: { ...KEY.jwk, use: "enc" } } },
    { says: "a jwk of another algorithm", header: { jwk: { ...KEY.jwk, alg: "ES384" } } },
    { says: "a jwk off its curve", header: { jwk: { ...KEY.jwk, y: KEY.jwk["x"] } } },
    { says: "a symmetric jwk", header: { jwk: { kty: "oct", k: "AAAA" } } },
    { says: "a critical extension", header: { crit: ["exp"], exp: 1 } },
    ...[undefined, "", "get", "POST", 7, ["GET"]].map((htm) => ({ says: `htm ${htm}`, claims: { htm } })),
    ...[undefined, NOW - 61, NOW + 6, `${NOW}`, null, Number.MAX_VALUE].map((iat) => ({
      says: `iat ${iat}`,
      claims: { iat },
    })),
    ...[undefined, "", "x", 7, null].map((ath) => ({ says: `ath ${ath}`, claims: { ath } })),
    ...[undefined, "", 7, "j".repeat(129), null].map((jti) => ({
      says: `jti ${String(jti).slice(0, 9)}`,
      claims: { jti },
    })),
    ...[
      ...[undefined, "", 7, null, [URL_OF], "/orders/1", "gateway.test/orders/1", "//gateway.test/orders/1"],
      ...["https://gateway.test/orders/1", "http://gateway.test:8080/orders/1", "http://other.test/orders/1"],
      ...[
        "http://gateway.test.other.test/orders/1",
        "http://gateway.test@other.test/orders/1",
        "http://x@gateway.test/orders/1",
      ],
      ...[
        "http://gateway.test/orders/2",
        "http://gateway.test/orders/1/",
        "http://gateway.test/Orders/1",
        "http://gateway.test/",
      ],
      ...[
        "http://gateway.test/orders%2F1",
        "http://gateway.test/orders/1/..",
        "http://gateway.test/../orders/1",
        "http://gateway.test/orders/1%00",
      ],
      ...["http://gateway.test/orders/ü€", `${URL_OF}\n`, ` ${URL_OF}`, `http://gateway.test/${"a".repeat(9_000)}`],
    ].map((htu) => ({ says: `htu ${String(htu).slice(0, 60)}`, claims: { htu } })),
  ];

  test.each(WRONG)("$says is refused", async ({ header = {}, claims = {} }) => {
    const token = bound();
    const proof = proofFor({ url: URL_OF, token, now: NOW }, { header, claims });
    expect((await call(openTokenNode(), token, [proof])).why).toBe("proof_invalid");
  });

  test.each([
    ...[
      "HTTP://Gateway.TEST:80/orders/1",
      `${URL_OF}?page=3`,
      `${URL_OF}#x`,
      "http://gateway.test/%6Frders/./1",
      "http://gateway.test/a/../orders/1",
    ],
  ])("htu %s is the same", async (htu) => {
    const token = bound();
    const proof = proofFor({ url: URL_OF, token, now: NOW }, { claims: { htu } });
    expect((await call(openTokenNode(), token, [proof])).status).toBe(200);
  });

  test.each([NOW - 60, NOW + 5, NOW - 0.5])("iat %d is in time", async (iat) => {
    const token = bound();
    const proof = proofFor({ url: URL_OF, token, now: NOW }, { claims: { iat } });
    expect((await call(openTokenNode(), token, [proof])).status).toBe(200);
  });

  test("whatever it is, nothing throws, and jose takes whatever passes", async () => {
    const judge = openProofJudge();
    const token = bound();
    const demand = { method: "GET", url: URL_OF, thumbprint: KEY.jkt, token, nowSeconds: NOW };
    const member = fc.constantFrom("typ", "alg", "jwk", "crit", "b64", "kid", "x5c");
    const claim = fc.constantFrom("htm", "htu", "iat", "ath", "jti", "nonce");
    const changes = fc.record({
      header: fc.dictionary(member, fc.jsonValue(), { maxKeys: 2 }),
      claims: fc.dictionary(claim, fc.jsonValue(), { maxKeys: 2 }),
      cut: fc.option(fc.nat(400)),
    });
    await fc.assert(
      fc.asyncProperty(changes, async ({ header, claims, cut }) => {
        const whole = proofFor({ url: URL_OF, token, now: NOW }, { header, claims });
        const proof = cut === null ? whole : whole.slice(0, -1 - cut);
        const judged = judge([proof], demand);
        if (typeof judged === "string") return;
        await jwtVerify(proof, EmbeddedJWK, { typ: "dpop+jwt", currentDate: new Date(NOW * 1_000) });
      }),
      { numRuns: runs(300) },
    );
  });
});

describe("replay", () => {
  test("is refused until the proof is too old by itself", async () => {
    const node = openTokenNode();
    const token = bound();
    const proof = proofFor({ url: URL_OF, token, now: NOW }, { claims: { iat: NOW + 5 } });
    expect((await call(node, token, [proof])).status).toBe(200);
    const again = await call(node, token, [proof]);
    expect([again.why, again.challenge]).toEqual(["proof_replayed", CHALLENGE]);
    node.env.clock.advance(64_000);
    expect((await call(node, token, [proof])).why).toBe("proof_replayed");
    node.env.clock.advance(2_000);
    expect((await call(node, token, [proof])).why).toBe("proof_invalid");
    expect(await metricValue(node.env, "jotgate_dpop_total", { outcome: "proof_replayed" })).toBe(2);
  });

  test("the same jti of another key is another proof; another route is no other memory", async () => {
    const node = openTokenNode();
    const [one, other] = [bound(), bound(dpopKey("EdDSA"))];
    const claims = { jti: "the same" };
    expect((await call(node, one, [proofFor({ url: URL_OF, token: one, now: NOW }, { claims })])).status).toBe(200);
    const theirs = proofFor({ url: URL_OF, token: other, now: NOW }, { claims, key: dpopKey("EdDSA") });
    expect((await call(node, other, [theirs])).status).toBe(200);
    const second = bound(KEY, { jti: "second" });
    expect((await call(node, second, [proofFor({ url: URL_OF, token: second, now: NOW }, { claims })])).why).toBe(
      "proof_replayed",
    );
  });

  test("a proof that came with a refused request is not used up", async () => {
    const node = openTokenNode({ route: { required_scopes: ["write"] } });
    const token = bound();
    const proof = proofFor({ url: URL_OF, token, now: NOW });
    expect((await call(node, token, [proof])).why).toBe("insufficient_scope");
    expect((await call(node, token, [proof])).why).toBe("insufficient_scope");
  });
});

describe("what the caller asked for", () => {
  // As the gateway leaves them: what peers without trust send is removed before any plugin sees it.
  test("is what a trusted proxy says, where it says one thing", async () => {
    const token = bound();
    const outer = { "X-Forwarded-Host": "api.example.com", "X-Forwarded-Proto": "https" };
    const ask = (url: string, more: Record<string, string>) =>
      call(openTokenNode(), token, [proofFor({ url, token, now: NOW })], more);
    expect((await ask("https://api.example.com/orders/1", outer)).status).toBe(200);
    expect((await ask("https://api.example.com:443/orders/1", outer)).status).toBe(200);
    expect((await ask(URL_OF, outer)).why).toBe("proof_invalid");
    expect((await ask("https://gateway.test/orders/1", { "X-Forwarded-Proto": "https" })).status).toBe(200);
    for (const odd of ["a.test, api.example.com", "api.example.com, a.test", "a b", "api.example.com/x"])
      expect((await ask("https://api.example.com/orders/1", { ...outer, "X-Forwarded-Host": odd })).why).toBe(
        "proof_invalid",
      );
    for (const odd of ["https, http", "wss", "javascript"])
      expect((await ask("https://api.example.com/orders/1", { ...outer, "X-Forwarded-Proto": odd })).why).toBe(
        "proof_invalid",
      );
  });

  test("is compared as it is normal, both ways alike", () => {
    const parts = fc.record({
      host: fc.constantFrom("a.test", "A.test", "b.test", "[::1]", "a.test:80", "a.test:443", "a.test."),
      scheme: fc.constantFrom("http", "HTTP", "https"),
      path: fc.constantFrom("", "/", "/a", "/%61", "/a/", "/a%2Fb", "/a/b", "/a/./b", "/a%2fb", "/é", "/%C3%A9"),
    });
    const url = parts.map(({ scheme, host, path }) => `${scheme}://${host}${path}`);
    fc.assert(
      fc.property(url, url, (one, other) => {
        expect(isSameUrl(one, other)).toBe(isSameUrl(other, one));
        if (!isSameUrl(one, other)) return;
        const [a, b] = [new URL(one), new URL(other)];
        expect(a.protocol + a.host.replace(/\.$/, "")).toBe(b.protocol + b.host.replace(/\.$/, ""));
      }),
      { numRuns: runs(500) },
    );
    expect(isSameUrl("http://a.test/a%2Fb", "http://a.test/a/b")).toBe(false);
  });
});

test("memory of keys is bounded: a stranger's key is not imported, an unknown one pushes out the oldest", () => {
  const judge = openProofJudge();
  const clock = new FakeClock(NOW * 1_000);
  const demand = { method: "GET", url: URL_OF, token: undefined, nowSeconds: clock.nowMs() / 1_000 };
  const off = { ...KEY.jwk, y: KEY.jwk["x"] };
  const proof = proofFor({ url: URL_OF, now: NOW }, { header: { jwk: off } });
  expect(judge([proof], { ...demand, thumbprint: KEY.jkt })).toBe("thumbprint");
  expect(judge([proof], { ...demand, thumbprint: undefined })).toBe("jwk");
  const twice = makeToken({
    algorithm: "ES256",
    header: `{"typ":"dpop+jwt","typ":"dpop+jwt"}`,
    payload: {},
    key: KEY.privateKey,
  });
  expect(judge([twice], { ...demand, thumbprint: undefined })).toBe("form");
  expect(judge([`${encode("x")}.`], { ...demand, thumbprint: undefined })).toBe("form");
});

describe("a token that is bound to a certificate", () => {
  const der = Buffer.from("the DER of a certificate");
  const x5t = createHash("sha256").update(der).digest("base64url");
  const shown = (bytes: Buffer | undefined) => ({
    connection: { clientCertificate: bytes && new ClientCertificate(bytes, () => false) },
  });
  const token = tokenOf({ cnf: { "x5t#S256": x5t } });
  const ask = (node: TokenNode, input: object) =>
    node.call({ headers: { Authorization: `Bearer ${token}` }, ...input } as never);

  test("passes with it, verified or not, and with no other", async () => {
    const node = openTokenNode();
    expect((await ask(node, shown(der))).status).toBe(200);
    expect((await ask(node, shown(undefined))).why).toBe("certificate_missing");
    const other = await ask(node, shown(Buffer.from("another")));
    expect([other.status, other.why, other.body]).toEqual([
      401,
      "certificate_mismatch",
      '{"message":"Invalid access token"}',
    ]);
    expect(other.challenge).toContain('error="invalid_token"');
  });

  test.each([undefined, "", "x", 7, null])("x5t#S256 %j is nobody's", async (value) => {
    const odd = tokenOf({ cnf: { "x5t#S256": value ?? null } });
    const headers = { Authorization: `Bearer ${odd}` };
    expect((await openTokenNode().call({ headers, ...shown(der) } as never)).why).toBe("certificate_mismatch");
  });

  test("behind a trusted proxy it is the one that the proxy names, not the proxy's own", async () => {
    const node = openTokenNode();
    const connection = { ...shown(der).connection, isTrusted: true };
    const named = { Authorization: `Bearer ${token}`, "Client-Cert": `:${der.toString("base64")}:` };
    expect((await ask(node, { connection, headers: named })).status).toBe(200);
    expect((await ask(node, { connection })).why).toBe("certificate_missing");
    expect((await ask(node, { headers: named })).why).toBe("certificate_missing");
  });

  test("needs its proof too where it is bound to a key as well", async () => {
    const both = tokenOf({ cnf: { "x5t#S256": x5t, jkt: KEY.jkt } });
    const proof = (): string => proofFor({ url: "http://gateway.test/", token: both, now: NOW });
    const showing = (headers: Record<string, string>, bytes: Buffer | undefined) =>
      openTokenNode().call({ headers, ...shown(bytes) } as never);
    expect((await showing({ Authorization: `DPoP ${both}`, DPoP: proof() }, der)).status).toBe(200);
    expect((await showing({ Authorization: `DPoP ${both}`, DPoP: proof() }, undefined)).why).toBe(
      "certificate_missing",
    );
    expect((await showing({ Authorization: `DPoP ${both}` }, der)).why).toBe("proof_missing");
    expect((await showing({ Authorization: `Bearer ${both}`, DPoP: proof() }, der)).why).toBe("proof_missing");
  });

  test("a route may take no others", async () => {
    const node = openTokenNode({ route: { mtls: "required" } });
    expect((await ask(node, shown(der))).status).toBe(200);
    const unbound = await node.call({ headers: { Authorization: `Bearer ${tokenOf()}` }, ...shown(der) } as never);
    expect(unbound.why).toBe("certificate_missing");
  });
});
