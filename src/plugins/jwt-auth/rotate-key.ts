/**
 * Gives a consumer or credential a new key, while tokens of the former one are taken for a while longer.
 * Promise: a secret is made here, never weak; an overlap of 0 leaves nothing but the new key.
 */
import { randomBytes } from "node:crypto";
import type { Members } from "../../base/json/members.ts";
import { isReference } from "../../base/reference.ts";
import type { Rotated, Rotation } from "../../plugin/plugin.ts";

/** As long as the hash (RFC 7518 section 3.2). */
const SECRET_BYTES: Readonly<Record<string, number>> = { HS256: 32, HS384: 48, HS512: 64 };
const PREVIOUS_MAX = 3;
const PAIR = ["public_key", "private_key", "kid"];
const KID_BYTES = 9;

/** @returns text: why it cannot be */
export function rotateKey(conf: Members, given: Members, { nowSeconds, overlapSeconds }: Rotation): Rotated | string {
  const { algorithm = "HS256", secret, public_key: publicKey, previous_keys: previous, ...others } = conf;
  const { private_key: _, kid, ...rest } = others;
  if (typeof algorithm !== "string" || isReference(algorithm))
    return "algorithm is a reference, which is not rotated here";
  const bytes = SECRET_BYTES[algorithm];
  const wrong = bytes === undefined ? pairError(algorithm, given) : secretError(algorithm, given, secret);
  if (wrong !== undefined) return wrong;
  const notAfter = nowSeconds + overlapSeconds;
  // Keys that have names go on having them.
  const named = kid === undefined ? {} : { kid: given["kid"] ?? randomBytes(KID_BYTES).toString("base64url") };
  const former = {
    ...(bytes === undefined ? { public_key: publicKey } : { secret }),
    ...(kid !== undefined && { kid }),
  };
  const living = listOf(previous).filter((key) => Number(key["not_after"]) > nowSeconds);
  const kept = overlapSeconds === 0 ? [] : [{ ...former, not_after: notAfter }, ...living];
  if (kept.length > PREVIOUS_MAX) {
    return `${PREVIOUS_MAX} former keys are still taken: wait until one has ended, or rotate with overlap=0`;
  }
  const before = { ...rest, ...named, algorithm, ...(kept.length > 0 && { previous_keys: kept }) };
  if (bytes === undefined) return { conf: { ...before, ...given }, generated: {} };
  const made = randomBytes(bytes).toString("base64");
  return {
    conf: { ...before, secret: made, ...(publicKey !== undefined && { public_key: publicKey }) },
    generated: { secret: made },
  };
}

function secretError(algorithm: string, given: Members, secret: unknown): string | undefined {
  const [other] = Object.keys(given);
  if (other !== undefined)
    return `${algorithm} has a secret, which is made here: ${JSON.stringify(other.slice(0, 64))} is not expected`;
  return typeof secret === "string" && isReference(secret)
    ? "secret is a reference: rotate it where it points to"
    : undefined;
}

function pairError(algorithm: string, given: Members): string | undefined {
  if (typeof given["public_key"] !== "string")
    return `${algorithm} needs {"public_key": …}, and "private_key" to sign with`;
  const other = Object.keys(given).find((name) => !PAIR.includes(name));
  return other === undefined ? undefined : `${JSON.stringify(other.slice(0, 64))} is not expected`;
}

function listOf(value: unknown): readonly Members[] {
  return Array.isArray(value) ? value : [];
}
