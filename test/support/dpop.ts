/**
 * A DPoP client: a key of its own, and proofs in any shape, made without the product's code.
 */
import { createHash, type KeyObject, randomUUID } from "node:crypto";
import { type AnyAlgorithm, keyOf, makeToken } from "./jwt.ts";

export interface DpopKey {
  readonly algorithm: AnyAlgorithm;
  readonly privateKey: KeyObject;
  /** Public. */
  readonly jwk: Readonly<Record<string, unknown>>;
  /** RFC 7638. */
  readonly jkt: string;
}

export function dpopKey(algorithm: AnyAlgorithm = "ES256"): DpopKey {
  const { publicKey, privateKey } = keyOf(algorithm);
  const jwk = publicKey.export({ format: "jwk" }) as Record<string, unknown>;
  const members = { RSA: ["e", "kty", "n"], EC: ["crv", "kty", "x", "y"], OKP: ["crv", "kty", "x"] }[
    String(jwk["kty"])
  ];
  const text = `{${(members ?? []).map((name) => `"${name}":"${jwk[name]}"`).join(",")}}`;
  return { algorithm, privateKey, jwk, jkt: createHash("sha256").update(text).digest("base64url") };
}

export interface ProofParts {
  readonly key?: DpopKey;
  /** Over those that fit; undefined takes one away. */
  readonly header?: Readonly<Record<string, unknown>>;
  readonly claims?: Readonly<Record<string, unknown>>;
}

/** A proof for a request; `ath` where there is a token. */
export function proofFor(
  request: { readonly method?: string; readonly url: string; readonly token?: string; readonly now: number },
  { key = dpopKey(), header = {}, claims = {} }: ProofParts = {},
): string {
  const { method = "GET", url, token, now } = request;
  const ath = token === undefined ? {} : { ath: createHash("sha256").update(token).digest("base64url") };
  return makeToken({
    ...{ algorithm: key.algorithm, key: key.privateKey },
    header: { typ: "dpop+jwt", jwk: key.jwk, ...header },
    payload: { jti: randomUUID(), htm: method, htu: url, iat: now, ...ath, ...claims },
  });
}
