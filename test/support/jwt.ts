/**
 * Keys of all kinds, made once per test file, and tokens in any shape: right ones, and those an attacker would make.
 */
import {
  constants,
  createHmac,
  createSecretKey,
  generateKeyPairSync,
  type KeyObject,
  type KeyPairKeyObjectResult,
  sign,
} from "node:crypto";

/** The 13 algorithms, written out here again so that the tests do not believe the code. */
export const ALL_ALGORITHMS = [
  "HS256",
  "HS384",
  "HS512",
  "RS256",
  "RS384",
  "RS512",
  "ES256",
  "ES384",
  "ES512",
  "PS256",
  "PS384",
  "PS512",
  "EdDSA",
] as const;
export type AnyAlgorithm = (typeof ALL_ALGORITHMS)[number];

/** 64 bytes, long enough for HS512. */
export const SECRET = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

export interface TestKey {
  /** What the consumer's configuration holds beside `key` and `algorithm`. */
  readonly conf: { readonly secret?: string; readonly public_key?: string; readonly private_key?: string };
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

const made = new Map<string, TestKey>();

/** The key of an algorithm; the same one each time. */
export function keyOf(algorithm: AnyAlgorithm): TestKey {
  if (algorithm.startsWith("HS")) {
    const key = createSecretKey(Buffer.from(SECRET));
    return { conf: { secret: SECRET }, privateKey: key, publicKey: key };
  }
  const family = algorithm.startsWith("RS") || algorithm.startsWith("PS") ? "rsa" : algorithm;
  const known = made.get(family);
  if (known) return known;
  const fresh = pairAsKey(generate(algorithm));
  made.set(family, fresh);
  return fresh;
}

export function pairAsKey({ publicKey, privateKey }: KeyPairKeyObjectResult): TestKey {
  return {
    conf: {
      public_key: publicKey.export({ type: "spki", format: "pem" }).toString(),
      private_key: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
    },
    privateKey,
    publicKey,
  };
}

function generate(algorithm: AnyAlgorithm): KeyPairKeyObjectResult {
  switch (algorithm) {
    case "ES256":
      return generateKeyPairSync("ec", { namedCurve: "P-256" });
    case "ES384":
      return generateKeyPairSync("ec", { namedCurve: "P-384" });
    case "ES512":
      return generateKeyPairSync("ec", { namedCurve: "P-521" });
    case "EdDSA":
      return generateKeyPairSync("ed25519");
    default:
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
  }
}

export function encode(part: unknown): string {
  return Buffer.from(typeof part === "string" ? part : JSON.stringify(part)).toString("base64url");
}

/** A signature over `input` by another code path than the product's: each case spelled out. */
export function signatureOf(algorithm: AnyAlgorithm, input: string, key: KeyObject): Buffer {
  const hash = `sha${algorithm.slice(2)}`;
  const bytes = Buffer.from(input);
  if (algorithm.startsWith("HS")) return createHmac(hash, key).update(bytes).digest();
  if (algorithm.startsWith("RS")) return sign(hash, bytes, key);
  if (algorithm.startsWith("ES")) return sign(hash, bytes, { key, dsaEncoding: "ieee-p1363" });
  if (algorithm === "EdDSA") return sign(null, bytes, key);
  return sign(hash, bytes, {
    key,
    padding: constants.RSA_PKCS1_PSS_PADDING,
    saltLength: constants.RSA_PSS_SALTLEN_DIGEST,
  });
}

export interface TokenInput {
  readonly algorithm?: AnyAlgorithm;
  readonly payload?: unknown;
  /** Members of the header beside or instead of `typ` and `alg`; a text is taken as the header's JSON. */
  readonly header?: Readonly<Record<string, unknown>> | string;
  readonly key?: KeyObject;
}

/** A signed token; what is in it may be nonsense. A text as payload is taken as its JSON. */
export function makeToken(input: TokenInput = {}): string {
  const algorithm = input.algorithm ?? "HS256";
  const header = typeof input.header === "string" ? input.header : { typ: "JWT", alg: algorithm, ...input.header };
  const signing = `${encode(header)}.${encode(input.payload ?? { key: "jack-key" })}`;
  const signature = signatureOf(algorithm, signing, input.key ?? keyOf(algorithm).privateKey);
  return `${signing}.${signature.toString("base64url")}`;
}
