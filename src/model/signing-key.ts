/**
 * `signing_key`: one key pair of an authorization server, and what it is for at which second.
 * Promise: the state of a key is a function of its record and the time, so that all nodes change at the same second
 * without a write; a server that ever had a key never stops signing. Pure.
 * Source: docs/spec/tokens.md section 5.2.
 */
import { type Static, Type } from "typebox";
import { isCodedError } from "../base/errors.ts";
import type { KeyPairAlgorithm } from "../base/jose/algorithms.ts";
import { type KeyPair, readKeyPair } from "../base/jose/key-pair.ts";
import { isReference } from "../base/reference.ts";
import { type ServerTerms, SigningAlgorithm } from "./authorization-server-record.ts";
import { PEM_LENGTH_MAX, Timestamp } from "./shared-schema.ts";

const Seconds = (description: string) => Type.Integer({ minimum: 0, description });

export const SigningKey = Type.Object(
  {
    id: Type.Optional(Type.String({ pattern: "^[a-zA-Z0-9-_.]{1,64}/[A-Za-z0-9_-]{43}$" })),
    create_time: Type.Optional(Timestamp),
    update_time: Type.Optional(Timestamp),
    authorization_server: Type.Optional(Type.String({ description: "id of the server whose key it is" })),
    kid: Type.Optional(Type.String({ description: "RFC 7638 thumbprint, SHA-256" })),
    algorithm: SigningAlgorithm,
    private_key: Type.String({
      minLength: 1,
      maxLength: PEM_LENGTH_MAX,
      description: "PKCS#8 PEM, or a reference to it; shown to nobody",
    }),
    public_jwk: Type.Optional(Type.Record(Type.String(), Type.String(), { description: "what is published" })),
    publish_at: Type.Optional(Seconds("published and verifying from here on")),
    sign_from: Type.Optional(Seconds("signs from here on")),
    sign_until: Type.Optional(Seconds("until here; without: until another follows")),
    verify_until: Type.Optional(Seconds("published and verifying until here")),
    revoked_at: Type.Optional(Seconds("neither published nor verifying from here on")),
  },
  { additionalProperties: false },
);
export type SigningKey = Static<typeof SigningKey>;

/** All in seconds since 1970. */
export interface KeyTimes {
  readonly kid: string;
  readonly algorithm: KeyPairAlgorithm;
  readonly publishAt: number;
  readonly signFrom: number;
  /** undefined: until another key follows. */
  readonly signUntil: number | undefined;
  readonly verifyUntil: number | undefined;
  readonly revokedAt: number | undefined;
}

export function timesOf(kid: string, record: SigningKey): KeyTimes {
  const publishAt = record.publish_at ?? 0;
  return {
    kid,
    algorithm: record.algorithm,
    publishAt,
    signFrom: Math.max(record.sign_from ?? publishAt, publishAt),
    signUntil: record.sign_until,
    verifyUntil: record.verify_until,
    revokedAt: record.revoked_at,
  };
}

type KeyState = "ahead" | "next" | "active" | "retiring" | "over" | "revoked";

/** What one algorithm's keys are for at a second. */
export interface KeyRoles<Key> {
  readonly signer: Key | undefined;
  /** The signer's time is over, and no other has followed. */
  readonly isOverdue: boolean;
  /** Published and verifying; the signer is one of them. */
  readonly verifying: readonly Key[];
  /** When this ends by itself; undefined: not before a record changes. */
  readonly until: number | undefined;
}

/** @param keys of one server and algorithm */
export function rolesAt<Key extends KeyTimes>(keys: readonly Key[], now: number): KeyRoles<Key> {
  const living = keys.filter((key) => !isRevoked(key, now));
  const begun = living.filter((key) => key.signFrom <= now).sort(bySigning);
  const inTime = begun.find(({ signUntil = Number.POSITIVE_INFINITY }) => now < signUntil);
  const signer = inTime ?? begun[0];
  const verifying = living.filter(
    (key) => key === signer || (key.publishAt <= now && now < (key.verifyUntil ?? Number.POSITIVE_INFINITY)),
  );
  const turns = keys
    .flatMap((key) => [key.publishAt, key.signFrom, key.signUntil, key.verifyUntil, key.revokedAt])
    .filter((time): time is number => time !== undefined && time > now);
  const until = turns.length > 0 ? Math.min(...turns) : undefined;
  return { signer, isOverdue: signer !== undefined && inTime === undefined, verifying, until };
}

/** The newest first; of two that begin together the same one on every node. */
function bySigning(one: KeyTimes, other: KeyTimes): number {
  return other.signFrom - one.signFrom || (one.kid < other.kid ? -1 : 1);
}

function isRevoked({ revokedAt }: KeyTimes, now: number): boolean {
  return revokedAt !== undefined && revokedAt <= now;
}

/** @param signer of its algorithm at that time */
export function stateAt(key: KeyTimes, signer: KeyTimes | undefined, now: number): KeyState {
  if (isRevoked(key, now)) return "revoked";
  if (key.kid === signer?.kid) return "active";
  if (now < key.publishAt) return "ahead";
  if (now >= (key.verifyUntil ?? Number.POSITIVE_INFINITY)) return "over";
  return now < key.signFrom ? "next" : "retiring";
}

export interface EndingKey {
  readonly server: string;
  readonly algorithm: string;
  /** Seconds since 1970; it has ended where nothing else signs. */
  readonly ends: number;
}

/** Of each server and algorithm the end of what signs, where it is near and nothing is there to follow. */
export function endingKeys(records: readonly SigningKey[], now: number, soonSeconds: number): readonly EndingKey[] {
  const groups = new Map<string, SigningKey[]>();
  for (const record of records) {
    const name = `${record.authorization_server ?? ""} ${record.algorithm}`;
    groups.set(name, [...(groups.get(name) ?? []), record]);
  }
  return [...groups.values()].flatMap((group) => {
    const keys = group.map((record) => timesOf(record.kid ?? "", record));
    const { signer } = rolesAt(keys, now);
    const ends = signer?.signUntil;
    const isFollowed = keys.some(
      ({ signFrom, revokedAt }) => signFrom > now && ends !== undefined && signFrom <= ends && !revokedAt,
    );
    if (ends === undefined || ends > now + soonSeconds || isFollowed) return [];
    return [{ server: group[0]?.authorization_server ?? "", algorithm: group[0]?.algorithm ?? "", ends }];
  });
}

const SLACK_SECONDS = 60;

/** The second at which nothing that was signed until `signUntil` is good any more, nor remembered as published. */
export function verifyUntilOf(signUntil: number, { maxLifetimeSeconds, jwksMaxAgeSeconds }: ServerTerms): number {
  return signUntil + maxLifetimeSeconds + jwksMaxAgeSeconds + SLACK_SECONDS;
}

/** Times of a key that begins to sign then. */
export function timesFrom(
  signFrom: number,
  publishAt: number,
  terms: ServerTerms,
): Pick<KeyTimes, "publishAt" | "signFrom" | "signUntil" | "verifyUntil"> {
  const { intervalSeconds } = terms.rotation;
  const signUntil = intervalSeconds === 0 ? undefined : signFrom + intervalSeconds;
  return { publishAt, signFrom, signUntil, verifyUntil: signUntil && verifyUntilOf(signUntil, terms) };
}

/**
 * What a signing key must satisfy beyond its schema: a private key that fits its algorithm, under its own thumbprint.
 * Pure. Source: docs/spec/tokens.md section 5.2.
 */

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
