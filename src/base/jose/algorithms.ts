/**
 * The 13 signature algorithms: which key fits each, and how to verify and sign with a key made ready once.
 * Promise: a key of another type or curve is refused here, so that no request ever meets one, and a weak one is named as
 * such; verifying never throws. Sources: RFC 7518 section 3, RFC 8037, docs/spec/jwt-auth.md section 4.
 */
import {
  constants,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  type KeyObject,
  sign as signBytes,
  timingSafeEqual,
  verify as verifyBytes,
} from "node:crypto";
import { CodedError } from "../errors.ts";
import { withCure } from "../pem.ts";

export const HMAC_ALGORITHMS = ["HS256", "HS384", "HS512"] as const;
export const KEY_PAIR_ALGORITHMS = [
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
export const ALGORITHMS = [...HMAC_ALGORITHMS, ...KEY_PAIR_ALGORITHMS] as const;

type HmacAlgorithm = (typeof HMAC_ALGORITHMS)[number];
export type KeyPairAlgorithm = (typeof KEY_PAIR_ALGORITHMS)[number];
export type Algorithm = (typeof ALGORITHMS)[number];

export interface Verifier {
  /** Whether `signature` is one of this key over the text `input` (ASCII). Never throws. */
  verify(input: string, signature: Buffer): boolean;
}

/** Of a key pair. */
export interface KeyPairVerifier extends Verifier {
  /** Length of every signature of this key; others are refused without a look at the key. */
  readonly signatureBytes: number;
}

export interface Signer {
  /** The same input gives the same signature. */
  readonly deterministic: boolean;
  /** RSA is signed on the thread pool, as it takes a good part of a millisecond; the rest at once. */
  sign(input: string): Buffer | Promise<Buffer>;
}

/** What OpenSSL needs to know beside the key. */
interface Method {
  readonly hash: string | null;
  /** Which keys fit. */
  readonly types: readonly string[];
  readonly curve?: string;
  /** Length of a signature where the algorithm fixes it. */
  readonly signatureBytes?: number;
  readonly padding?: number;
}

const RSA = { types: ["rsa"], padding: constants.RSA_PKCS1_PADDING } as const;
const PSS = { types: ["rsa", "rsa-pss"], padding: constants.RSA_PKCS1_PSS_PADDING } as const;
const METHODS: Readonly<Record<KeyPairAlgorithm, Method>> = {
  RS256: { hash: "sha256", ...RSA },
  RS384: { hash: "sha384", ...RSA },
  RS512: { hash: "sha512", ...RSA },
  PS256: { hash: "sha256", ...PSS },
  PS384: { hash: "sha384", ...PSS },
  PS512: { hash: "sha512", ...PSS },
  ES256: { hash: "sha256", types: ["ec"], curve: "prime256v1", signatureBytes: 64 },
  ES384: { hash: "sha384", types: ["ec"], curve: "secp384r1", signatureBytes: 96 },
  ES512: { hash: "sha512", types: ["ec"], curve: "secp521r1", signatureBytes: 132 },
  EdDSA: { hash: null, types: ["ed25519", "ed448"] },
};
export const RSA_LEAST_BITS = 2_048;

export function isHmac(algorithm: Algorithm): algorithm is HmacAlgorithm {
  return algorithm.startsWith("HS");
}

interface PublicKey {
  readonly key: KeyObject;
  /** The text that may be shown to others: never a private key. */
  readonly text: string;
  /** What the mode `strict` refuses and the others warn about. */
  readonly weakness: string | undefined;
}

/**
 * The public key of a PEM text: SPKI, PKCS#1, a certificate, or the public half of a private key.
 * @throws CodedError RECORD_INVALID, saying what does not fit; the text never holds key material
 */
export function publicKey(algorithm: KeyPairAlgorithm, pem: string): PublicKey {
  const text = pem.trim();
  const kind =
    /^-----BEGIN (?:PUBLIC|RSA PUBLIC|(PRIVATE|RSA PRIVATE|EC PRIVATE)) KEY-----|^-----BEGIN CERTIFICATE-----/;
  const found = kind.exec(text);
  if (!found) throw unusable(withCure("public_key is not a PEM public key or certificate", text));
  const key = fitting(algorithm, "public_key", text, createPublicKey);
  const bits = key.asymmetricKeyDetails?.modulusLength ?? RSA_LEAST_BITS;
  const short = bits < RSA_LEAST_BITS ? `public_key has ${bits} bits, RSA needs at least ${RSA_LEAST_BITS}` : undefined;
  if (found[1] === undefined) return { key, text: pem, weakness: short };
  return { key, text: key.export({ type: "spki", format: "pem" }).toString(), weakness: "public_key is a private key" };
}

/** The private key of a PEM text: PKCS#8, PKCS#1 or SEC1. Throws as `publicKey` does. */
export function privateKey(algorithm: KeyPairAlgorithm, pem: string): KeyObject {
  return fitting(algorithm, "private_key", pem.trim(), createPrivateKey);
}

/** Whether both are halves of one pair. */
export function isPair(priv: KeyObject, pub: KeyObject): boolean {
  return createPublicKey(priv).equals(pub);
}

/**
 * Verifies and signs with a secret. The KeyObject, which holds more than a kilobyte of memory outside the heap, is made
 * at the first use: of a million consumers few call one node.
 */
export class HmacKey implements Verifier, Signer {
  readonly deterministic = true;
  readonly #hash: string;
  readonly #secret: string;
  readonly #isBase64: boolean;
  #key: KeyObject | undefined;

  /** @param isBase64 the secret is the text's decoded bytes; the caller has seen that it can be decoded */
  constructor(algorithm: HmacAlgorithm, secret: string, isBase64 = false) {
    if (secret === "") throw unusable("the secret is empty");
    this.#hash = `sha${algorithm.slice(2)}`;
    this.#secret = secret;
    this.#isBase64 = isBase64;
  }

  verify(input: string, signature: Buffer): boolean {
    const wanted = this.sign(input);
    return signature.length === wanted.length && timingSafeEqual(signature, wanted);
  }

  sign(input: string): Buffer {
    this.#key ??= createSecretKey(Buffer.from(this.#secret, this.#isBase64 ? "base64" : "utf8"));
    return createHmac(this.#hash, this.#key).update(input, "latin1").digest();
  }
}

export function keyPairVerifier(algorithm: KeyPairAlgorithm, key: KeyObject): KeyPairVerifier {
  const { hash } = METHODS[algorithm];
  const bytes = signatureBytes(algorithm, key);
  const options = optionsOf(algorithm, key);
  return {
    signatureBytes: bytes,
    verify(input, signature) {
      if (signature.length !== bytes) return false;
      try {
        return verifyBytes(hash, Buffer.from(input, "latin1"), options, signature);
      } catch {
        // OpenSSL throws instead of saying no for some malformed signatures.
        return false;
      }
    },
  };
}

export function keyPairSigner(algorithm: KeyPairAlgorithm, key: KeyObject): Signer {
  const { hash, padding } = METHODS[algorithm];
  const options = optionsOf(algorithm, key);
  const deterministic = padding === constants.RSA_PKCS1_PADDING || algorithm === "EdDSA";
  if (padding === undefined) {
    return { deterministic, sign: (input) => signBytes(hash, Buffer.from(input, "latin1"), options) };
  }
  return {
    deterministic,
    sign: (input) =>
      new Promise((resolve, reject) => {
        signBytes(hash, Buffer.from(input, "latin1"), options, (error, made) =>
          error ? reject(error) : resolve(made),
        );
      }),
  };
}

function optionsOf(algorithm: KeyPairAlgorithm, key: KeyObject) {
  const { padding, curve } = METHODS[algorithm];
  if (curve !== undefined) return { key, dsaEncoding: "ieee-p1363" as const };
  if (padding === undefined) return { key };
  const isPss = padding === constants.RSA_PKCS1_PSS_PADDING;
  return isPss ? { key, padding, saltLength: constants.RSA_PSS_SALTLEN_DIGEST } : { key, padding };
}

function signatureBytes(algorithm: KeyPairAlgorithm, key: KeyObject): number {
  const fixed = METHODS[algorithm].signatureBytes;
  if (fixed !== undefined) return fixed;
  if (algorithm === "EdDSA") return key.asymmetricKeyType === "ed448" ? 114 : 64;
  return Math.ceil((key.asymmetricKeyDetails?.modulusLength ?? 0) / 8);
}

function fitting(
  algorithm: KeyPairAlgorithm,
  member: string,
  pem: string,
  read: (pem: string) => KeyObject,
): KeyObject {
  let key: KeyObject;
  try {
    key = read(pem);
  } catch {
    // The cause is left out on purpose: OpenSSL's texts may quote the input.
    throw unusable(withCure(`${member} cannot be read as a PEM key`, pem));
  }
  const method = METHODS[algorithm];
  const type = key.asymmetricKeyType ?? "unknown";
  const details = key.asymmetricKeyDetails ?? {};
  if (!method.types.includes(type)) throw unusable(`${member} is of type ${type}, which ${algorithm} cannot use`);
  if (method.curve !== undefined && details.namedCurve !== method.curve) {
    throw unusable(`${member} is on curve ${details.namedCurve}, ${algorithm} needs ${method.curve}`);
  }
  if (method.padding === undefined) return key;
  if ((details.publicExponent ?? 0n) < 3n) throw unusable(`${member} has a public exponent below 3`);
  if (details.hashAlgorithm !== undefined && details.hashAlgorithm !== method.hash) {
    throw unusable(`${member} is bound to ${details.hashAlgorithm}, which ${algorithm} cannot use`);
  }
  return key;
}

function unusable(message: string): CodedError {
  return new CodedError("RECORD_INVALID", { message });
}
