/**
 * Secrets of clients: made, kept as hashes, told apart by their ends, and compared.
 * Promise: a secret is in an answer once and nowhere else; comparing takes the same time whichever of them fits, and for a
 * client that does not exist. Source: docs/spec/tokens.md sections 5.3 and 7.2.
 */
import { createHash, hash as hashOnce, randomBytes, timingSafeEqual } from "node:crypto";
import type { Members } from "../../base/json/members.ts";
import { isReference } from "../../base/reference.ts";
import type { Completion, Rotated, Rotation, WriteContext } from "../../plugin/plugin.ts";
import { AUTH_METHODS, SECRETS_MAX } from "./client-schema.ts";

/** A secret ready to be compared with. */
export interface KnownSecret {
  /** SHA-256. */
  readonly digest: Buffer;
  /** NumericDate from which on it is none; undefined: for good. */
  readonly notAfter: number | undefined;
}

const SECRET_BYTES = 32; // 43 characters
const LEAST_CHARS = { strict: 32, other: 16 };
const PREFIX = "sha256:";
const DECOY: KnownSecret = { digest: randomBytes(32), notAfter: undefined };

export function digestOf(secret: string): Buffer {
  return hashOnce("sha256", secret, "buffer");
}

/** Whether one of them fits. Four are compared whatever there are. */
export function isSecret(given: string, known: readonly KnownSecret[], nowSeconds: number): boolean {
  const digest = digestOf(given);
  let fits = false;
  for (let at = 0; at < SECRETS_MAX + 1; at++) {
    const { digest: wanted, notAfter = Number.POSITIVE_INFINITY } = known[at] ?? DECOY;
    const isSame = timingSafeEqual(digest, wanted);
    fits = fits || (isSame && notAfter > nowSeconds && at < known.length);
  }
  return fits;
}

/** @param hash as it is stored */
export function knownSecret(hash: string, notAfter: number | undefined): KnownSecret {
  return { digest: Buffer.from(hash.slice(PREFIX.length), "base64url"), notAfter };
}

/** @returns why a secret that an operator brings is too weak */
export function weaknessOf(secret: string, compat: WriteContext["compat"]): string | undefined {
  const least = compat === "strict" ? LEAST_CHARS.strict : LEAST_CHARS.other;
  return secret.length >= least || isReference(secret)
    ? undefined
    : `client_secret has ${secret.length} characters, at least ${least} are needed: leave it out and one is made`;
}

/** What is weak about a secret that is taken; in `strict` it is refused. */
export function doubtOf({ client_secret: secret }: Members): string | undefined {
  return typeof secret === "string" && secret.length < LEAST_CHARS.strict && !isReference(secret)
    ? `client_secret has ${secret.length} characters, ${LEAST_CHARS.strict} keep guessers out: leave it out and one is made`
    : undefined;
}

/**
 * What is stored of what was written: a secret becomes its hash, hashes that were left out come back by `created`, and a
 * client without any gets one, which is shown once. @returns text: why it cannot be
 */
export function completeSecrets(
  conf: Members,
  previous: Members | undefined,
  { nowSeconds, compat }: Completion,
): Rotated | string {
  if (!hasSecret(conf)) {
    const { client_secrets: _, ...kept } = conf; // of a method that it had before
    return { conf: kept, generated: {} };
  }
  const { client_secret: given, ...rest } = conf;
  const kept = listOf(previous?.["client_secrets"]);
  if (typeof given === "string" && !isReference(given)) {
    const weak = weaknessOf(given, compat);
    if (weak !== undefined) return weak;
    const hash = hashOf(given);
    const same = kept.find((one) => one["hash"] === hash);
    return { conf: { ...rest, client_secrets: [same ?? { hash, created: nowSeconds }] }, generated: {} };
  }
  if (given !== undefined) return { conf, generated: {} }; // a reference, or what the schema refuses
  const written = conf["client_secrets"];
  if (Array.isArray(written) && written.length > 0) {
    return { conf: { ...conf, client_secrets: written.map((one) => withHash(one, kept)) }, generated: {} };
  }
  if (written === undefined && kept.length > 0) return { conf: { ...conf, client_secrets: kept }, generated: {} };
  return withNew(conf, [], nowSeconds);
}

/** A new secret, while the former ones go on for a while. @returns text: why it cannot be */
export function rotateSecret(
  conf: Members,
  given: Members,
  { nowSeconds, overlapSeconds }: Rotation,
): Rotated | string {
  const [other] = Object.keys(given);
  if (other !== undefined) return `a secret is made here: ${JSON.stringify(other.slice(0, 64))} is not expected`;
  if (!hasSecret(conf)) return `the client has no secret: it uses ${String(conf["token_endpoint_auth_method"])}`;
  if (conf["client_secret"] !== undefined) return "client_secret is a reference: rotate it where it points to";
  const end = nowSeconds + overlapSeconds;
  const living = listOf(conf["client_secrets"]).filter((one) => Number(one["not_after"] ?? end) > nowSeconds);
  const former = overlapSeconds === 0 ? [] : living.map((one) => ({ ...one, not_after: one["not_after"] ?? end }));
  if (former.length >= SECRETS_MAX)
    return `${SECRETS_MAX} secrets are still taken: wait until one has ended, or rotate with overlap=0`;
  return withNew(conf, former, nowSeconds);
}

/** By its method; the schema was not checked yet. */
function hasSecret({ token_endpoint_auth_method: method = AUTH_METHODS[0] }: Members): boolean {
  return String(method).startsWith("client_secret_");
}

function withNew(conf: Members, former: readonly Members[], nowSeconds: number): Rotated {
  const made = randomBytes(SECRET_BYTES).toString("base64url");
  const secrets = [{ hash: hashOf(made), created: nowSeconds }, ...former];
  return { conf: { ...conf, client_secrets: secrets }, generated: { client_secret: made } };
}

/** What was shown has no hash; which one is meant is told by its second. */
function withHash(shown: unknown, kept: readonly Members[]): unknown {
  if (typeof shown !== "object" || shown === null || "hash" in shown) return shown;
  const { created } = shown as Members;
  const hash = kept.find((one) => one["created"] === created)?.["hash"];
  return hash === undefined ? shown : { ...shown, hash };
}

function hashOf(secret: string): string {
  return `${PREFIX}${createHash("sha256").update(secret).digest("base64url")}`;
}

function listOf(value: unknown): readonly Members[] {
  return Array.isArray(value) ? value : [];
}
