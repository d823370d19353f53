/**
 * Which keys an authorization server needs next: by time, by hand and in an emergency.
 * Promise: a key is published for at least `jwks_max_age` before it signs, the emergency aside; what a key has signed can
 * be verified as long as it lives; asked twice at once, the same keys are named, so that two admins make one. Pure.
 * Source: docs/spec/tokens.md section 5.2.
 */
import type { KeyPairAlgorithm } from "../base/jose/algorithms.ts";
import type { ServerTerms } from "./authorization-server-record.ts";
import { type KeyTimes, rolesAt, timesFrom, verifyUntilOf } from "./signing-key.ts";

/** What becomes of the keys of one algorithm. */
export interface RotationPlan {
  readonly algorithm: KeyPairAlgorithm;
  /** A key that is to be made. */
  readonly make: NewTimes | undefined;
  /** Keys that are there, with other times. */
  readonly change: readonly KeyTimes[];
  /** Keys of which nothing can be verified any more. */
  readonly remove: readonly KeyTimes[];
  /** The key that follows, if it is there already. */
  readonly next: KeyTimes | undefined;
  /** The key that signs until then. */
  readonly retiring: KeyTimes | undefined;
}

export type NewTimes = Pick<KeyTimes, "publishAt" | "signFrom" | "signUntil" | "verifyUntil">;

/** Keys are kept so long after their end, for clocks that differ. */
const KEPT_SECONDS = 600;

/** By time: the next key where the signing one ends soon, and none that are over. @param keys of this algorithm */
export function rotationDue(
  algorithm: KeyPairAlgorithm,
  keys: readonly KeyTimes[],
  terms: ServerTerms,
  now: number,
): RotationPlan {
  const { signer } = rolesAt(keys, now);
  const remove = keys.filter((key) => key.kid !== signer?.kid && isGone(key, terms, now));
  const nothing = { algorithm, make: undefined, change: [], remove, next: nextOf(keys, signer, now), retiring: signer };
  if (signer === undefined) {
    const isComing = nothing.next !== undefined && nothing.next.signFrom - now <= terms.jwksMaxAgeSeconds;
    return isComing ? nothing : { ...nothing, make: timesFrom(now, now, terms) };
  }
  const { intervalSeconds, aheadSeconds } = terms.rotation;
  if (intervalSeconds === 0 || nothing.next !== undefined) return nothing;
  const end = signer.signUntil ?? signer.signFrom + intervalSeconds;
  if (end - now >= aheadSeconds) return nothing;
  const signFrom = Math.max(end, now + terms.jwksMaxAgeSeconds);
  return { ...nothing, make: timesFrom(signFrom, now, terms), change: endingAt(signer, signFrom, terms) };
}

/** By hand: the next key signs as soon as it has been published for `jwks_max_age`. */
export function rotateNow(
  algorithm: KeyPairAlgorithm,
  keys: readonly KeyTimes[],
  terms: ServerTerms,
  now: number,
): RotationPlan {
  const { signer } = rolesAt(keys, now);
  const next = nextOf(keys, signer, now);
  const base = { algorithm, remove: [], retiring: signer };
  const published = Math.min(next?.publishAt ?? now, now);
  const ready = signer === undefined ? now : Math.max(now, published + terms.jwksMaxAgeSeconds);
  const signFrom = Math.min(ready, next?.signFrom ?? ready);
  const times = timesFrom(signFrom, published, terms);
  const ended = signer ? endingAt(signer, signFrom, terms) : [];
  if (next === undefined) return { ...base, make: times, change: ended, next: undefined };
  const moved = { ...next, ...times };
  return { ...base, make: undefined, change: [moved, ...ended], next: moved };
}

/** In an emergency: a new key signs at once, and all others verify nothing any more. */
export function rotateInEmergency(
  algorithm: KeyPairAlgorithm,
  keys: readonly KeyTimes[],
  terms: ServerTerms,
  now: number,
): RotationPlan {
  const { signer } = rolesAt(keys, now);
  const change = keys.filter(({ revokedAt }) => revokedAt === undefined).map((key) => ({ ...key, revokedAt: now }));
  return { algorithm, make: timesFrom(now, now, terms), change, remove: [], next: undefined, retiring: signer };
}

/** Some keys verify nothing any more; where none is left to sign, a new one does at once. */
export function revokingThese(
  algorithm: KeyPairAlgorithm,
  keys: readonly KeyTimes[],
  kids: ReadonlySet<string>,
  terms: ServerTerms,
  now: number,
): RotationPlan {
  const ended = ({ kid, revokedAt = Number.POSITIVE_INFINITY }: KeyTimes): boolean => kids.has(kid) && revokedAt > now;
  const change = keys.filter(ended).map((key) => ({ ...key, revokedAt: now }));
  const { signer } = rolesAt([...keys.filter((key) => !ended(key)), ...change], now);
  const isShort = change.length > 0 && signer === undefined && terms.algorithms.includes(algorithm);
  const make = isShort ? timesFrom(now, now, terms) : undefined;
  return { algorithm, make, change, remove: [], next: undefined, retiring: undefined };
}

function nextOf(keys: readonly KeyTimes[], signer: KeyTimes | undefined, now: number): KeyTimes | undefined {
  const coming = keys.filter(
    (key) => key.signFrom > now && key.revokedAt === undefined && key.signFrom > (signer?.signFrom ?? 0),
  );
  return coming.sort((one, other) => one.signFrom - other.signFrom || (one.kid < other.kid ? -1 : 1))[0];
}

/** The key signs until then; nothing to change where it says so already. */
function endingAt(key: KeyTimes, signUntil: number, terms: ServerTerms): readonly KeyTimes[] {
  const verifyUntil = verifyUntilOf(signUntil, terms);
  return key.signUntil === signUntil && key.verifyUntil === verifyUntil ? [] : [{ ...key, signUntil, verifyUntil }];
}

function isGone({ revokedAt, verifyUntil }: KeyTimes, terms: ServerTerms, now: number): boolean {
  // Revoked ones are kept for as long as tokens of theirs could be shown, so that it can be seen what became of them.
  const end = revokedAt === undefined ? verifyUntil : verifyUntilOf(revokedAt, terms);
  return end !== undefined && end + KEPT_SECONDS < now;
}
