import { generateKeyPairSync, type KeyObject } from "node:crypto";
import { describe, expect, test } from "vitest";
import { KEY_PAIR_ALGORITHMS } from "../../src/base/jose/algorithms.ts";
import { pemKeyOf, readJwkSet } from "../../src/base/jose/jwk.ts";

const ALL = new Set<string>(KEY_PAIR_ALGORITHMS);
const ec = (namedCurve: string): KeyObject => generateKeyPairSync("ec", { namedCurve }).publicKey;
const rsa = (modulusLength: number, publicExponent = 65_537): KeyObject =>
  generateKeyPairSync("rsa", { modulusLength, publicExponent }).publicKey;
const jwk = (key: KeyObject): object => key.export({ format: "jwk" });

const P256 = ec("P-256");
const P256_PEM = P256.export({ type: "spki", format: "pem" }).toString();
const RSA = rsa(2_048);
const read = (...keys: unknown[]) => readJwkSet(Buffer.from(JSON.stringify({ keys })), ALL);
const skippedOf = (key: unknown): string | undefined => {
  const set = read(jwk(P256), key);
  return typeof set === "string" ? set : set.skipped[0]?.why;
};

describe("a key may do what its type and curve allow", () => {
  test.each([
    ["RSA", RSA, ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]],
    ["P-256", P256, ["ES256"]],
    ["P-384", ec("P-384"), ["ES384"]],
    ["P-521", ec("P-521"), ["ES512"]],
    ["Ed25519", generateKeyPairSync("ed25519").publicKey, ["EdDSA"]],
    ["Ed448", generateKeyPairSync("ed448").publicKey, ["EdDSA"]],
  ] as const)("%s", (_name, key, algorithms) => {
    expect(read(jwk(key))).toMatchObject({ keys: [{ algorithms }], skipped: [] });
    const pem = key.export({ type: "spki", format: "pem" }).toString();
    expect(pemKeyOf(pem, ALL)).toMatchObject({ algorithms });
  });

  test("with alg that one only", () => {
    expect(read({ ...jwk(RSA), alg: "PS256" })).toMatchObject({ keys: [{ algorithms: ["PS256"] }] });
  });

  test("within the issuer's algorithms, so that an RS key never verifies PS where RS alone is listed", () => {
    const bytes = Buffer.from(JSON.stringify({ keys: [jwk(RSA)] }));
    expect(readJwkSet(bytes, new Set(["RS256"]))).toMatchObject({ keys: [{ algorithms: ["RS256"] }] });
    expect(readJwkSet(bytes, new Set(["ES256"]))).toMatch("not accepted by this issuer's algorithms");
  });
});

describe("a key is skipped", () => {
  const privateJwk = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
  const { x, ...rest } = jwk(P256) as Record<string, string>;
  const off = { ...rest, x: `${x?.startsWith("A") ? "B" : "A"}${x?.slice(1)}` };
  test.each([
    ["symmetric", { kty: "oct", k: "c2VjcmV0" }, "a symmetric key"],
    ["with private members", privateJwk, "it has private members"],
    ["with a symmetric member", { ...jwk(P256), k: "c2VjcmV0" }, "it has private members"],
    ["RSA of 512 bits", jwk(rsa(512)), "RSA key of 512 bits"],
    ["RSA of 1024 bits", jwk(rsa(1_024)), "RSA key of 1024 bits"],
    ["RSA with e = 1", { ...jwk(RSA), e: "AQ" }, /exponent below 3|are no key/],
    ["off its curve", off, "no point of its curve"],
    ["on another curve", jwk(ec("secp256k1")), "crv is not P-256, P-384 or P-521"],
    ["X25519", jwk(generateKeyPairSync("x25519").publicKey), "crv is not Ed25519 or Ed448"],
    ["for encryption", { ...jwk(P256), use: "enc" }, "use is not sig"],
    ["whose operations are others", { ...jwk(P256), key_ops: ["sign"] }, "key_ops is without verify"],
    ["whose operations are a text", { ...jwk(P256), key_ops: "verify" }, "key_ops is without verify"],
    ["with alg of another type", { ...jwk(P256), alg: "RS256" }, "alg RS256 does not fit its type"],
    ["with alg of another curve", { ...jwk(P256), alg: "ES384" }, "alg ES384 does not fit its type"],
    ["with alg HS256", { ...jwk(RSA), alg: "HS256" }, "alg is none that its type allows"],
    ["with alg none", { ...jwk(RSA), alg: "none" }, "alg is none that its type allows"],
    ["with alg null", { ...jwk(RSA), alg: null }, "alg is none that its type allows"],
    ["whose kid is a number", { ...jwk(P256), kid: 1 }, "kid is no string of at most 1024 characters"],
    ["without kty", { n: "AQ" }, "kty is not RSA, EC or OKP"],
    ["with a number for a member", { kty: "RSA", n: 1, e: "AQAB" }, "not all of n,e are strings"],
    ["that is no object", 7, "no JSON object"],
    ["that is null", null, "no JSON object"],
  ])("%s", (_name, key, why) => {
    if (typeof why === "string") expect(skippedOf(key)).toBe(why);
    else expect(skippedOf(key)).toMatch(why);
  });

  test("that repeats a kid with the same algorithm; with another one it counts", () => {
    const set = read(
      { ...jwk(P256), kid: "a" },
      { ...jwk(ec("P-256")), kid: "a" },
      { ...jwk(ec("P-384")), kid: "a" },
      jwk(ec("P-256")),
      jwk(ec("P-256")),
    );
    expect(set).toMatchObject({
      skipped: [{ kid: "a", why: "another key of this set has the same kid and algorithm" }],
    });
    expect(typeof set === "string" ? [] : set.keys).toHaveLength(4);
  });

  test("and named without control characters, shortened", () => {
    const set = read(jwk(P256), { kty: "oct", k: "s3cret", kid: `a\r\n${"b".repeat(200)}` });
    const [skipped] = typeof set === "string" ? [] : set.skipped;
    expect(skipped?.kid).toBe(`a??${"b".repeat(61)}…`);
    expect(JSON.stringify(skipped)).not.toContain("s3cret");
  });
});

describe("a document is no good set", () => {
  test.each([
    ["no JSON", "keys", "no JSON object without repeated members"],
    ["a list", "[]", "no JSON object without repeated members"],
    ["a repeated member", '{"keys":[],"keys":[{}]}', "no JSON object without repeated members"],
    ["__proto__", '{"__proto__":{"keys":[]}}', "no JSON object without repeated members"],
    ["nothing", "", "no JSON object without repeated members"],
    ["no keys", "{}", 'no member "keys" that is a list'],
    ["an empty list", '{"keys":[]}', "it has no keys"],
    ["no usable key", '{"keys":[{"kty":"oct","k":"a"}]}', "none of its 1 keys can be used: a symmetric key"],
    ["10,000 keys", JSON.stringify({ keys: Array(10_000).fill({}) }), "10000 keys, at most 1000 are taken"],
  ])("%s", (_name, text, why) => {
    expect(readJwkSet(Buffer.from(text), ALL)).toBe(why);
  });
});

test.each([
  [P256_PEM.replaceAll("\n", "\\n"), /^it cannot be read as a PEM key: its line breaks are the two characters/],
  [P256_PEM.replaceAll("\n", " "), /^it cannot be read as a PEM key: it stands on one line/],
  ["MFkwEwYHKoZIzj0CAQ", /^it is not a PEM public key or certificate: it has no line -----BEGIN/],
  [ec("secp256k1").export({ type: "spki", format: "pem" }).toString(), /^a key on curve secp256k1 verifies no token$/],
])("a PEM text that is none says why and how to cure it", (pem, says) => {
  expect(pemKeyOf(pem, ALL)).toMatch(says);
});
