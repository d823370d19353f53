/**
 * Tokens of all algorithms, made without the code that is measured.
 */
import { createHmac, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

export type Algorithm = "HS256" | "RS256" | "ES256" | "EdDSA";

export interface Signer {
  readonly algorithm: Algorithm;
  /** Plugin members of the consumer that verifies. */
  readonly consumer: Readonly<Record<string, unknown>>;
  token(payload: Record<string, unknown>): string;
}

const base64url = (text: string): string => Buffer.from(text).toString("base64url");

export function signer(algorithm: Algorithm, key: string, secret: string): Signer {
  const head = base64url(JSON.stringify({ typ: "JWT", alg: algorithm }));
  const make = (seal: (text: string) => Buffer) => (payload: Record<string, unknown>) => {
    const text = `${head}.${base64url(JSON.stringify({ key, ...payload }))}`;
    return `${text}.${seal(text).toString("base64url")}`;
  };
  if (algorithm === "HS256") {
    const seal = (text: string): Buffer => createHmac("sha256", secret).update(text).digest();
    return { algorithm, consumer: { key, secret, algorithm }, token: make(seal) };
  }
  const pair = keyPair(algorithm);
  const digest = algorithm === "EdDSA" ? null : "sha256";
  const seal = (text: string): Buffer =>
    sign(digest, Buffer.from(text), { key: pair.privateKey, dsaEncoding: "ieee-p1363" });
  const pem = { public_key: pair.publicKey.export({ type: "spki", format: "pem" }) };
  return { algorithm, consumer: { key, algorithm, ...pem }, token: make(seal) };
}

function keyPair(algorithm: Algorithm): { publicKey: KeyObject; privateKey: KeyObject } {
  switch (algorithm) {
    case "RS256":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
    case "ES256":
      return generateKeyPairSync("ec", { namedCurve: "P-256" });
    default:
      return generateKeyPairSync("ed25519");
  }
}

/** `count` tokens that differ, valid for a day. */
export function distinctTokens(by: Signer, count: number, claims: Readonly<Record<string, unknown>> = {}): string[] {
  const exp = Math.floor(Date.now() / 1000) + 86_400;
  return Array.from({ length: count }, (_, i) => by.token({ exp, n: i, ...claims }));
}
