/**
 * What a signing key must satisfy beyond its schema: a private key that fits its algorithm, under its own thumbprint.
 * Pure. Source: docs/spec/tokens.md section 5.2.
 */
import { isCodedError } from "../base/errors.ts";
import { type KeyPair, readKeyPair } from "../base/jose/key-pair.ts";
import { isReference } from "../base/reference.ts";
import type { SigningKey } from "./signing-key.ts";

/** @param id `main/<kid>` @param value satisfies the schema @returns the error's text, what and the cure */
export function signingKeyError(id: string, value: SigningKey): string | undefined {
  const slash = id.indexOf("/");
  const [server, kid] = [id.slice(0, slash), id.slice(slash + 1)];
  if ((value.authorization_server ?? server) !== server)
    return `authorization_server is not ${server}, as its place says`;
  if ((value.kid ?? kid) !== kid) return `kid is not ${kid}, as its place says`;
  if (isReference(value.private_key)) return timesError(value);
  let pair: KeyPair;
  try {
    pair = readKeyPair(value.algorithm, value.private_key);
  } catch (error) {
    if (isCodedError(error)) return error.message;
    throw error;
  }
  if (pair.kid !== kid)
    return `kid is not the thumbprint of private_key (RFC 7638): put it under ${server}/${pair.kid}`;
  return timesError(value);
}

function timesError({
  publish_at: published = 0,
  sign_from: from = published,
  ...value
}: SigningKey): string | undefined {
  if (from < published) return "sign_from is before publish_at: verifiers would not know the key";
  const { sign_until: until = Number.POSITIVE_INFINITY, verify_until: end = Number.POSITIVE_INFINITY } = value;
  if (until <= from) return "sign_until is not after sign_from";
  return end < until ? "verify_until is before sign_until: its last tokens would be refused" : undefined;
}
