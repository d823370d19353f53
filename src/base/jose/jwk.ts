/**
 * Public keys of others: which keys of a JWK Set may verify tokens, and with which algorithms.
 * Promise: only asymmetric public keys of sound size come out, each with algorithms that fit its type and curve; others
 * are named with the reason, never with their members. Sources: RFC 7517, docs/spec/tokens.md section 3 number 4.
 */
import { createPublicKey, hash, type JsonWebKey, type KeyObject } from "node:crypto";
import { isMembers, type Members } from "../json/members.ts";
import { withCure } from "../pem.ts";
import { KEY_PAIR_ALGORITHMS, type KeyPairAlgorithm, RSA_LEAST_BITS } from "./algorithms.ts";
import { parseObject } from "./token.ts";

export interface PublicJwk {
  readonly kid: string | undefined;
  readonly kty: "RSA" | "EC" | "OKP";
  /** Never empty. A key with `alg` has that one only. */
  readonly algorithms: readonly KeyPairAlgorithm[];
  readonly key: KeyObject;
  /** The same for the same key under the same name with the same algorithms. */
  readonly identity: string;
}

export interface SkippedJwk {
  /** Shortened and without control characters; null: it has none. */
  readonly kid: string | null;
  readonly why: string;
}

export interface JwkSet {
  readonly keys: readonly PublicJwk[];
  readonly skipped: readonly SkippedJwk[];
}

type AcceptedAlgorithms = ReadonlySet<string>;

const JWK_SET_KEYS_MAX = 1_000;
const KID_MAX_CHARS = 1_024;
const PRIVATE_MEMBERS = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] as const;
const PUBLIC_MEMBERS = { RSA: ["n", "e"], EC: ["crv", "x", "y"], OKP: ["crv", "x"] } as const;
const BY_CURVE: Readonly<Record<string, KeyPairAlgorithm>> = { "P-256": "ES256", "P-384": "ES384", "P-521": "ES512" };
const BY_NAMED_CURVE: Readonly<Record<string, KeyPairAlgorithm>> = {
  prime256v1: "ES256",
  secp384r1: "ES384",
  secp521r1: "ES512",
};
const OF_RSA: readonly KeyPairAlgorithm[] = KEY_PAIR_ALGORITHMS.filter((name) => /^[RP]S/.test(name));

/** @returns text: why the document is no JWK Set at all, or holds no key that can be used */
export function readJwkSet(bytes: Buffer, accepted: AcceptedAlgorithms): JwkSet | string {
  const document = parseObject(bytes);
  return document === undefined ? "no JSON object without repeated members" : jwkSetOf(document, accepted);
}

/** As `readJwkSet`, of a parsed document. */
export function jwkSetOf(document: Members, accepted: AcceptedAlgorithms): JwkSet | string {
  const { keys: list } = document;
  if (!Array.isArray(list)) return 'no member "keys" that is a list';
  if (list.length > JWK_SET_KEYS_MAX) return `${list.length} keys, at most ${JWK_SET_KEYS_MAX} are taken`;
  const keys: PublicJwk[] = [];
  const skipped: SkippedJwk[] = [];
  const taken = new Set<string>();
  for (const jwk of list as readonly unknown[]) {
    const read = isMembers(jwk) ? readJwk(jwk, accepted) : "no JSON object";
    const kid = isMembers(jwk) && typeof jwk["kid"] === "string" ? shown(jwk["kid"]) : null;
    if (typeof read === "string") skipped.push({ kid, why: read });
    else if (read.algorithms.some((algorithm) => read.kid !== undefined && taken.has(`${algorithm} ${read.kid}`)))
      skipped.push({ kid, why: "another key of this set has the same kid and algorithm" });
    else {
      if (read.kid !== undefined) for (const algorithm of read.algorithms) taken.add(`${algorithm} ${read.kid}`);
      keys.push(read);
    }
  }
  if (keys.length > 0) return { keys, skipped };
  const [first] = skipped;
  return first ? `none of its ${list.length} keys can be used: ${first.why}` : "it has no keys";
}

/** The one key of a PEM text: SPKI, PKCS#1 or a certificate. @returns text: why it cannot be used */
export function pemKeyOf(pem: string, accepted: AcceptedAlgorithms): PublicJwk | string {
  const text = pem.trim();
  if (/PRIVATE KEY-----/.test(text)) return "it is a private key";
  if (!/^-----BEGIN (?:PUBLIC KEY|RSA PUBLIC KEY|CERTIFICATE)-----/.test(text))
    return withCure("it is not a PEM public key or certificate", text);
  try {
    const key = createPublicKey(text);
    const type = key.asymmetricKeyType;
    const kty = type === "ec" ? "EC" : type === "ed25519" || type === "ed448" ? "OKP" : "RSA";
    if (kty === "RSA" && type !== "rsa") return `a key of type ${type} verifies no token`;
    const curve = key.asymmetricKeyDetails?.namedCurve ?? "";
    if (kty === "EC" && BY_NAMED_CURVE[curve] === undefined) return `a key on curve ${curve} verifies no token`;
    return madeKey(undefined, kty, fittingOf(kty, BY_NAMED_CURVE[curve]), undefined, key, accepted);
  } catch {
    return withCure("it cannot be read as a PEM key", text); // OpenSSL's texts may quote the input
  }
}

/** One key. @returns text: why it cannot be used */
export function readJwk(jwk: Members, accepted: AcceptedAlgorithms): PublicJwk | string {
  const { kty, kid, use, key_ops: operations, alg, crv } = jwk;
  if (kty === "oct") return "a symmetric key";
  if (kty !== "RSA" && kty !== "EC" && kty !== "OKP") return "kty is not RSA, EC or OKP";
  if (PRIVATE_MEMBERS.some((name) => Object.hasOwn(jwk, name))) return "it has private members";
  if (kid !== undefined && (typeof kid !== "string" || kid.length > KID_MAX_CHARS))
    return `kid is no string of at most ${KID_MAX_CHARS} characters`;
  if (use !== undefined && use !== "sig") return "use is not sig";
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes("verify")))
    return "key_ops is without verify";
  const curve = typeof crv === "string" ? crv : "";
  if (kty === "EC" && !Object.hasOwn(BY_CURVE, curve)) return "crv is not P-256, P-384 or P-521";
  if (kty === "OKP" && curve !== "Ed25519" && curve !== "Ed448") return "crv is not Ed25519 or Ed448";
  const members = PUBLIC_MEMBERS[kty].map((name) => [name, jwk[name]] as const);
  if (members.some(([, value]) => typeof value !== "string")) return `not all of ${PUBLIC_MEMBERS[kty]} are strings`;
  let key: KeyObject;
  try {
    key = createPublicKey({ key: { kty, ...Object.fromEntries(members) } as JsonWebKey, format: "jwk" });
  } catch {
    return kty === "EC" ? "no point of its curve" : "its members are no key";
  }
  return madeKey(kid, kty, fittingOf(kty, BY_CURVE[curve]), alg, key, accepted);
}

/** In the order of RFC 7638. */
const THUMBPRINT_MEMBERS: Readonly<Record<string, readonly string[]>> = {
  RSA: ["e", "kty", "n"],
  EC: ["crv", "kty", "x", "y"],
  OKP: ["crv", "kty", "x"],
};

/** The members of its type alone, in the order of RFC 7638: none of them is private. */
export function publicMembersOf(jwk: Members): Readonly<Record<string, string>> {
  const names = THUMBPRINT_MEMBERS[String(jwk["kty"])] ?? [];
  return Object.fromEntries(names.map((name) => [name, String(jwk[name])]));
}

/** RFC 7638 with SHA-256, 43 characters; of the members as they are written. */
export function thumbprintOf(jwk: Members): string {
  return hash("sha256", JSON.stringify(publicMembersOf(jwk)), "base64url");
}

/** What type and curve allow. */
function fittingOf(kty: PublicJwk["kty"], ofCurve: KeyPairAlgorithm | undefined): readonly KeyPairAlgorithm[] {
  if (kty === "RSA") return OF_RSA;
  if (kty === "OKP") return ["EdDSA"];
  return ofCurve === undefined ? [] : [ofCurve];
}

function madeKey(
  kid: string | undefined,
  kty: PublicJwk["kty"],
  fitting: readonly KeyPairAlgorithm[],
  alg: unknown,
  key: KeyObject,
  accepted: AcceptedAlgorithms,
): PublicJwk | string {
  if (kty === "RSA") {
    const { modulusLength = 0, publicExponent = 0n } = key.asymmetricKeyDetails ?? {};
    if (modulusLength < RSA_LEAST_BITS) return `RSA key of ${modulusLength} bits`;
    if (publicExponent < 3n) return "RSA key with a public exponent below 3";
  }
  const wanted = alg === undefined ? fitting : fitting.filter((name) => name === alg);
  if (wanted.length === 0) {
    const known = KEY_PAIR_ALGORITHMS.find((name) => name === alg);
    return known ? `alg ${known} does not fit its type` : "alg is none that its type allows";
  }
  const algorithms = wanted.filter((name) => accepted.has(name));
  if (algorithms.length === 0) return `${wanted.join(", ")} not accepted by this issuer's algorithms`;
  const spki = key.export({ type: "spki", format: "der" }).toString("base64");
  return { kid, kty, algorithms, key, identity: JSON.stringify([kid ?? null, algorithms, spki]) };
}

const SHOWN_MAX = 64;

function shown(kid: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
  const plain = kid.replace(/[\u0000-\u001f\u007f-\u009f]/g, "?");
  return plain.length > SHOWN_MAX ? `${plain.slice(0, SHOWN_MAX)}…` : plain;
}
