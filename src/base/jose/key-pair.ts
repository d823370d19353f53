/**
 * Key pairs of our own: made, read from PEM, and shown by their public half alone.
 * Promise: a public JWK holds the members of its type and nothing else, so that no private member is ever published; the
 * kid is the thumbprint of RFC 7638 (SHA-256).
 */
import { createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { CodedError } from "../errors.ts";
import { type KeyPairAlgorithm, privateKey, RSA_LEAST_BITS } from "./algorithms.ts";
import { publicMembersOf, thumbprintOf } from "./jwk.ts";

export type PublicJwkMembers = Readonly<Record<string, string>>;

export interface KeyPair {
  /** RFC 7638, 43 characters. */
  readonly kid: string;
  readonly key: KeyObject;
  /** Members of RFC 7517: `kty`, those of its type, `kid`, `alg`, `use`. */
  readonly publicJwk: PublicJwkMembers;
}

const RSA_BITS = 3_072;
const CURVES: Readonly<Record<string, string>> = { ES256: "P-256", ES384: "P-384", ES512: "P-521" };

const generate = promisify(generateKeyPair);

/** A new private key as PKCS#8 PEM: RSA of 3072 bits, the algorithm's curve, Ed25519. Runs on the thread pool. */
export async function makeKeyPem(algorithm: KeyPairAlgorithm): Promise<string> {
  const { privateKey: made } = await makePair(algorithm);
  return made.export({ type: "pkcs8", format: "pem" }).toString();
}

function makePair(algorithm: KeyPairAlgorithm) {
  const namedCurve = CURVES[algorithm];
  if (namedCurve !== undefined) return generate("ec", { namedCurve });
  return algorithm === "EdDSA" ? generate("ed25519", undefined) : generate("rsa", { modulusLength: RSA_BITS });
}

/** @throws CodedError RECORD_INVALID for a key that does not fit; the text never holds key material */
export function readKeyPair(algorithm: KeyPairAlgorithm, pem: string): KeyPair {
  const key = privateKey(algorithm, pem);
  const bits = key.asymmetricKeyDetails?.modulusLength ?? RSA_LEAST_BITS;
  if (bits < RSA_LEAST_BITS)
    throw new CodedError("RECORD_INVALID", {
      message: `private_key has ${bits} bits, RSA needs at least ${RSA_LEAST_BITS}`,
    });
  const exported = createPublicKey(key).export({ format: "jwk" }) as Readonly<Record<string, unknown>>;
  const thumbprint = thumbprintOf(exported);
  const publicJwk = { ...publicMembersOf(exported), kid: thumbprint, alg: algorithm, use: "sig" };
  return { kid: thumbprint, key, publicJwk: Object.freeze(publicJwk) };
}
