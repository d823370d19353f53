/**
 * Tokens that somebody made to get in where access-token guards: each is refused, for its own reason.
 * Source: docs/spec/tokens.md section 14, "Token".
 */
import { createSecretKey, generateKeyPairSync, type KeyObject } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { KEY_PAIR_ALGORITHMS, type KeyPairAlgorithm } from "../../src/base/jose/algorithms.ts";
import { API, bearing, claims, ISS, NOW, openTokenNode, tokenOf } from "../support/access-token.ts";
import { ALL_ALGORITHMS, encode, keyOf, makeToken } from "../support/jwt.ts";
import { runs } from "../support/long-run.ts";

const ALL_KEYS = KEY_PAIR_ALGORITHMS.map((algorithm) => ({
  kid: `k-${algorithm}`,
  algorithm,
  key: keyOf(algorithm).publicKey,
}));

describe("algorithms", () => {
  test("each key verifies its own algorithm and no other one of the 13", async () => {
    const node = openTokenNode({ issuer: { keys: ALL_KEYS } });
    for (const of of KEY_PAIR_ALGORITHMS)
      for (const algorithm of ALL_ALGORITHMS) {
        const key = signingKey(algorithm, of);
        const token = makeToken({ algorithm, payload: claims(), header: { kid: `k-${of}`, typ: "at+jwt" }, key });
        const { status, why } = await node.callWith(token);
        expect([of, algorithm, status === 200]).toEqual([of, algorithm, of === algorithm]);
        if (algorithm.startsWith("HS")) expect(why).toBe("wrong_algorithm");
      }
  });

  /** The key of that name where it can sign so at all, else one that can. */
  function signingKey(algorithm: (typeof ALL_ALGORITHMS)[number], of: KeyPairAlgorithm): KeyObject {
    if (algorithm.startsWith("HS"))
      return createSecretKey(Buffer.from(keyOf(of).publicKey.export({ type: "spki", format: "pem" }).toString()));
    const family = (name: string) => (/^[RP]S/.test(name) ? "rsa" : name);
    return keyOf(family(algorithm) === family(of) ? of : algorithm).privateKey;
  }

  test("HS with every form of every public key is refused", async () => {
    const node = openTokenNode({ issuer: { keys: ALL_KEYS } });
    for (const { kid, key } of ALL_KEYS) {
      const forms = [
        key.export({ type: "spki", format: "pem" }).toString(),
        key.export({ type: "spki", format: "pem" }).toString().trim(),
        key.export({ type: "spki", format: "der" }),
        JSON.stringify(key.export({ format: "jwk" })),
        kid,
      ];
      for (const form of forms)
        for (const algorithm of ["HS256", "HS384", "HS512"] as const) {
          const secret = createSecretKey(Buffer.from(form));
          const token = makeToken({ algorithm, payload: claims(), header: { kid }, key: secret });
          expect((await node.callWith(token)).why).toBe("wrong_algorithm");
        }
    }
  });

  test.each(["none", "None", "NONE", "nOnE", "", "none ", null, 0, true, ["ES256"], undefined])(
    "alg %j is refused, with and without a signature",
    async (alg) => {
      const node = openTokenNode();
      const [, payload, signature] = tokenOf().split(".");
      const head = encode({ typ: "at+jwt", kid: "k1", alg });
      expect((await node.callWith(`${head}.${payload}.${signature}`)).why).toBe("wrong_algorithm");
      expect((await node.callWith(`${head}.${payload}.`)).why).toBe("malformed");
    },
  );

  test("what the record does not list is refused, though the key could", async () => {
    const keys = [{ kid: "k1", algorithm: "PS256" as const, key: keyOf("RS256").publicKey }];
    const node = openTokenNode({ issuer: { algorithms: ["RS256"], keys } });
    expect((await node.callWith(tokenOf({}, { algorithm: "PS256" }))).why).toBe("wrong_algorithm");
  });
});

describe("headers", () => {
  const evil = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const jwk = { ...evil.publicKey.export({ format: "jwk" }), kid: "k1" };

  test.each([
    { jwk },
    { jku: "http://127.0.0.1:1/keys" },
    { x5u: "http://127.0.0.1:1/cert" },
    { x5c: ["MIIB"] },
    { jwk, jku: "http://127.0.0.1:1/keys", kid: "k2" },
  ])("%o neither fetches nor changes anything", async (header) => {
    const node = openTokenNode();
    const forged = tokenOf({}, { header, key: evil.privateKey });
    expect((await node.callWith(forged)).why).toBe("kid" in header ? "unknown_kid" : "bad_signature");
    if (!("kid" in header)) expect((await node.callWith(tokenOf({}, { header }))).status).toBe(200);
  });

  test.each(["JWT", "id_token+jwt", "logout+jwt", "dpop+jwt", "", "at+jwtx", " at+jwt", null, 7, ["at+jwt"]])(
    "typ %j is refused where at+jwt is wanted",
    async (typ) => {
      const node = openTokenNode({ issuer: { types: ["at+jwt"] } });
      expect((await node.callWith(tokenOf({}, { header: { typ } }))).why).toBe("wrong_type");
      expect((await node.callWith(tokenOf({}, { header: { typ: "application/AT+JWT" } }))).status).toBe(200);
    },
  );

  test.each([7, null, ["k1"], { k1: 1 }, true])("kid %j is none", async (kid) => {
    expect((await openTokenNode().callWith(tokenOf({}, { header: { kid } }))).why).toBe("malformed");
  });
});

describe("issuers", () => {
  test.each([
    `${ISS}/`,
    "https://IDP.example",
    "HTTPS://idp.example",
    "https://idp.example:443",
    "https://idp.exаmple",
    "https://xn--idp-example",
    `${ISS}\0`,
    `${ISS}.evil.example`,
    "https://idp.exampl",
    "",
    [ISS],
    { a: 1 },
    7,
    null,
    undefined,
  ])("iss %j is none of ours", async (iss) => {
    expect((await openTokenNode().callWith(tokenOf({ iss }))).why).toBe("unknown_issuer");
  });

  test("with one kid each verify their own tokens only", async () => {
    const other = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const node = openTokenNode({ route: { issuers: ["idp", "two"], consumer_by: "none" } });
    node.tokens.set({
      id: "two",
      issuer: "https://two.example",
      keys: [{ kid: "k1", algorithm: "ES256", key: other.publicKey }],
    });
    const [mine, theirs] = [{}, { iss: "https://two.example" }];
    expect((await node.callWith(tokenOf(mine))).status).toBe(200);
    expect((await node.callWith(tokenOf(theirs, { key: other.privateKey }))).status).toBe(200);
    expect((await node.callWith(tokenOf(mine, { key: other.privateKey }))).why).toBe("bad_signature");
    expect((await node.callWith(tokenOf(theirs))).why).toBe("bad_signature");
  });

  test("of another route are none here, remembered or not", async () => {
    const node = openTokenNode({ route: { consumer_by: "none" } });
    node.tokens.set({ id: "two", issuer: "https://two.example", keys: [] });
    const other = node.route({ issuers: ["two"], consumer_by: "none" });
    const token = tokenOf();
    expect((await other(token)).why).toBe("unknown_issuer");
    expect((await node.callWith(token)).status).toBe(200);
    expect((await other(token)).why).toBe("unknown_issuer");
  });

  test("keep their consumers apart: one's subject is not the other's", async () => {
    const node = openTokenNode({ route: { issuers: ["idp", "two"] } });
    node.tokens.set({
      id: "two",
      issuer: "https://two.example",
      keys: [{ kid: "k1", algorithm: "ES256", key: keyOf("ES256").publicKey }],
    });
    expect((await node.callWith(tokenOf({ iss: "https://two.example" }))).why).toBe("unknown_consumer");
  });
});

describe("audience", () => {
  test.each([
    { aud: API, why: "" },
    { aud: [API], why: "" },
    { aud: ["x", API, "y"], why: "" },
    { aud: Array.from({ length: 1_000 }, (_, i) => `a${i}`), why: "wrong_audience" },
    { aud: Array.from({ length: 10_000 }, (_, i) => `a${i}`), why: "malformed" }, // above 16 KiB
    { aud: [], why: "wrong_audience" },
    { aud: "", why: "wrong_audience" },
    { aud: `${API} x`, why: "wrong_audience" },
    { aud: `${API}/`, why: "wrong_audience" },
    { aud: [[API]], why: "wrong_audience" },
    { aud: [API, 7], why: "wrong_audience" },
    { aud: { [API]: true }, why: "wrong_audience" },
    { aud: 7, why: "wrong_audience" },
    { aud: null, why: "wrong_audience" },
    { aud: undefined, why: "missing_claim" },
  ])("$aud.length: $why", async ({ aud, why }) => {
    expect((await openTokenNode().callWith(tokenOf({ aud }))).why).toBe(why);
  });

  test("of route A is refused at route B, remembered or not", async () => {
    const node = openTokenNode();
    const other = node.route({ audiences: ["https://other.example"] });
    const token = tokenOf();
    expect((await other(token)).why).toBe("wrong_audience");
    expect((await node.callWith(token)).status).toBe(200);
    for (let i = 0; i < 3; i++) expect((await other(token)).why).toBe("wrong_audience");
    expect((await node.callWith(token)).status).toBe(200);
  });

  test("may be another claim, by the record", async () => {
    const node = openTokenNode({ issuer: { audienceClaim: "client_id" } });
    expect((await node.callWith(tokenOf({ aud: undefined, client_id: API }))).status).toBe(200);
    expect((await node.callWith(tokenOf())).why).toBe("missing_claim");
  });
});

describe("scopes", () => {
  test.each([
    { scope: "orders.read", why: "" },
    { scope: "a orders.read b", why: "" },
    { scope: "a orders.read  b", why: "missing_claim" },
    { scope: " orders.read", why: "missing_claim" },
    { scope: "orders.read ", why: "missing_claim" },
    { scope: "orders.read\torders.write", why: "missing_claim" },
    { scope: "orders.read\n", why: "missing_claim" },
    { scope: "orders.read", scp: "a  b", why: "missing_claim" },
    { scope: "ORDERS.READ", why: "insufficient_scope" },
    { scope: "orders.reader", why: "insufficient_scope" },
    { scope: "", why: "insufficient_scope" },
    { scope: undefined, why: "insufficient_scope" },
    { scope: ["orders.read"], why: "" },
    { scope: ["orders.read orders.write"], why: "insufficient_scope" },
    { scope: ["orders.read", 7], why: "missing_claim" },
    { scope: { "orders.read": true }, why: "missing_claim" },
    { scope: 7, why: "missing_claim" },
    { scope: null, why: "missing_claim" },
    { scope: "a", scp: "orders.read", why: "" },
    { scope: "a", scp: ["orders.read"], why: "" },
    { scope: "orders.read", scp: 7, why: "missing_claim" },
  ])("scope $scope, scp $scp: $why", async ({ why, ...changed }) => {
    const node = openTokenNode({ route: { required_scopes: ["orders.read"] } });
    expect((await node.callWith(tokenOf(changed))).why).toBe(why);
  });
});

describe("times", () => {
  test.each([
    { exp: undefined, why: "missing_claim" },
    { exp: null, why: "missing_claim" },
    { exp: String(NOW + 300), why: "missing_claim" },
    { exp: NOW + 0.5, why: "" },
    { exp: NOW - 29.5, why: "" },
    { exp: NOW - 30, why: "expired" },
    { exp: -1, why: "expired" },
    { exp: 2 ** 32, why: "lifetime_too_long" },
    { exp: 1e308, why: "lifetime_too_long" },
    { nbf: NOW + 30, why: "" },
    { nbf: NOW + 31, why: "not_yet_valid" },
    { nbf: 1e308, why: "not_yet_valid" },
    { nbf: "0", why: "missing_claim" },
    { nbf: null, why: "missing_claim" },
    { iat: NOW + 30, why: "" },
    { iat: NOW + 31, why: "issued_in_future" },
    { iat: [NOW], why: "missing_claim" },
    { iat: undefined, why: "" },
  ])("$exp $nbf $iat: $why", async ({ why, ...changed }) => {
    expect((await openTokenNode().callWith(tokenOf(changed))).why).toBe(why);
  });

  test("exp that JSON reads as Infinity is none", async () => {
    const payload = JSON.stringify(claims()).replace(String(NOW + 300), "1e999");
    expect((await openTokenNode().callWith(tokenOf({}, { payload }))).why).toBe("missing_claim");
  });

  test("max_lifetime bounds exp - iat, and wants iat", async () => {
    const node = openTokenNode({ issuer: { maxLifetimeSeconds: 3_600 } });
    expect((await node.callWith(tokenOf({ iat: NOW, exp: NOW + 3_600 }))).status).toBe(200);
    expect((await node.callWith(tokenOf({ iat: NOW, exp: NOW + 3_601 }))).why).toBe("lifetime_too_long");
    expect((await node.callWith(tokenOf({ iat: undefined }))).why).toBe("missing_claim");
  });
});

describe("tokens that are bound", () => {
  test.each([
    { cnf: { jkt: "x" }, why: "proof_missing" },
    { cnf: { "x5t#S256": "x" }, why: "certificate_missing" },
    { cnf: { jkt: "x", "x5t#S256": "x" }, why: "certificate_missing" },
    { cnf: { kid: "x" }, why: "proof_missing" },
    { cnf: {}, why: "proof_missing" },
    { cnf: null, why: "proof_missing" },
  ])("to $cnf are refused: whoever shows one may have stolen it", async ({ cnf, why }) => {
    expect((await openTokenNode().callWith(tokenOf({ cnf }))).why).toBe(why);
  });

  test("or that claim to be, by their scheme, too: remembered or not", async () => {
    const node = openTokenNode();
    const asProof = { headers: { Authorization: `DPoP ${tokenOf()}` } };
    const token = tokenOf();
    expect((await node.callWith(token)).status).toBe(200);
    expect((await node.call({ headers: { Authorization: `DPoP ${token}` } })).why).toBe("proof_missing");
    expect((await node.call(asProof)).why).toBe("proof_missing");
  });
});

describe("revocation", () => {
  test("of a token ends every spelling of it, remembered or not", async () => {
    for (const jti of ["t1", undefined]) {
      const node = openTokenNode();
      const token = tokenOf({ jti });
      expect((await node.callWith(token)).status).toBe(200);
      if (jti === undefined) node.revocations.revoke(token);
      else node.revocations.rule({ type: "issuer", value: ISS, issuedBefore: NOW });
      expect((await node.callWith(token)).why).toBe("revoked");
      expect((await node.callWith(token.replace(/[^.]+$/, (signature) => twin(signature)))).why).toBe("revoked");
    }
  });

  /** The other signature of ECDSA over the same text: (r, n − s). */
  function twin(signature: string): string {
    const order = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;
    const bytes = Buffer.from(signature, "base64url");
    const s = order - BigInt(`0x${bytes.subarray(32).toString("hex")}`);
    const half = Buffer.from(s.toString(16).padStart(64, "0"), "hex");
    return Buffer.concat([bytes.subarray(0, 32), half]).toString("base64url");
  }

  test.each([
    { type: "consumer", value: "shop", issuedBefore: NOW },
    { type: "issuer", value: ISS, issuedBefore: NOW },
    { type: "subject", value: "orders-service", issuer: ISS, issuedBefore: NOW },
    { type: "kid", value: "k1", issuer: ISS },
  ] as const)("by $type ends what it covers", async (rule) => {
    const node = openTokenNode();
    const token = tokenOf();
    expect((await node.callWith(token)).status).toBe(200);
    node.revocations.rule(rule);
    expect((await node.callWith(token)).why).toBe("revoked");
    if (rule.type !== "kid") expect((await node.callWith(tokenOf({ iat: NOW }))).status).toBe(200);
    expect((await node.callWith(tokenOf({ iat: undefined }))).why).toBe("revoked");
  });

  test("of a consumer ends a token that the same node knew as nobody's", async () => {
    const node = openTokenNode({ route: { consumer_by: "none" } });
    const mine = node.route();
    node.revocations.rule({ type: "consumer", value: "shop", issuedBefore: NOW });
    const token = tokenOf();
    expect((await node.callWith(token)).status).toBe(200);
    expect((await mine(token)).why).toBe("revoked");
    expect((await node.callWith(token)).status).toBe(200);
  });

  test("by a client_id does not end what an external issuer calls so", async () => {
    const node = openTokenNode();
    node.revocations.rule({ type: "client", value: "batch", issuedBefore: NOW });
    expect((await node.callWith(tokenOf({ client_id: "batch" }))).status).toBe(200);
  });
});

test("claims named __proto__ are refused with the token", async () => {
  const payload = JSON.stringify(claims()).replace("{", '{"__proto__":{"aud":"x"},');
  expect((await openTokenNode().callWith(tokenOf({}, { payload }))).why).toBe("malformed");
});

test("a token of more than 16 KiB is refused unread", async () => {
  expect((await openTokenNode().callWith(tokenOf({ long: "x".repeat(65_536) }))).why).toBe("malformed");
});

test("a signed payload of any JSON is accepted or refused, never an error", async () => {
  const node = openTokenNode({
    route: {
      required_scopes: ["r"],
      claim_rules: [["/a/b", "has", 1]],
      claim_headers: { "X-A": "a", "X-B": "/a/0/b" },
    },
  });
  const names = fc.constantFrom("iss", "aud", "exp", "nbf", "iat", "sub", "scope", "scp", "jti", "cnf", "a", "tid");
  const values = fc.oneof(fc.jsonValue(), fc.constantFrom(ISS, API, NOW + 60, "orders-service", "r"));
  await fc.assert(
    fc.asyncProperty(fc.dictionary(names, values), async (changed) => {
      const { status } = await node.callWith(tokenOf(changed));
      expect([200, 401, 403]).toContain(status);
    }),
    { numRuns: runs(200) },
  );
});

test("any text in place of the token is refused", async () => {
  const node = openTokenNode();
  const good = tokenOf();
  const piece = fc.nat(good.length - 1);
  await fc.assert(
    fc.asyncProperty(piece, fc.string({ maxLength: 3 }), async (at, text) => {
      const broken = good.slice(0, at) + text + good.slice(at + 1);
      expect((await node.call(bearing(broken))).status === 200).toBe(broken === good);
    }),
    { numRuns: runs(300) },
  );
});
