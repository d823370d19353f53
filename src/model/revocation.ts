/**
 * Revocations as the store holds them: immutable batches of token fingerprints by the hour in which the tokens end, and
 * one record per rule. They are no kind of resource: nothing generic reads, rolls back or rewrites them.
 *
 *   P/token_revocations/{hour}/{writer}-{n}-{entries}   {"v":1,"t":written ms,"e":"<base64: 16 bytes, u32 until>…"}
 *   P/token_revocations/epochs/{name}                   {"v":1,"t":…,"type":"consumer","value":"shop","issued_before":…,"until":…}
 */
import { createHash } from "node:crypto";
import { FINGERPRINT_BYTES, type Fingerprint, readFingerprint, writeFingerprint } from "../base/jose/token.ts";
import { isMembers } from "../base/json/members.ts";

export const RULE_TYPES = ["consumer", "client", "subject", "kid", "issuer"] as const;
export type RuleType = (typeof RULE_TYPES)[number];

/** Refuses every token that it covers and that was issued before a second. */
export interface RevocationRule {
  readonly type: RuleType;
  /** The consumer's name, client id, subject or key id; of type issuer the issuer. */
  readonly value: string;
  /** Of types subject and kid: whose. */
  readonly issuer?: string | undefined;
  /** NumericDate: refused is `iat` below it, and a token without `iat`. Absent (kid): all of them. */
  readonly issuedBefore?: number | undefined;
  readonly reason?: string | undefined;
  /** NumericDate from which on no token is left that it could refuse. */
  readonly until: number;
  /** Wall time in milliseconds. */
  readonly writtenMs: number;
}

export interface RevokedToken {
  readonly fingerprint: Fingerprint;
  /** NumericDate, unsigned 32 bits, never 0: how long it is remembered at least. */
  readonly until: number;
}

interface TokenBatch {
  readonly writtenMs: number;
  /** 20 bytes each. */
  readonly entries: Buffer;
}

type RevocationKey =
  | { readonly kind: "batch"; readonly hour: number; readonly batch: string }
  | { readonly kind: "rule"; readonly name: string };

export const ENTRY_BYTES = FINGERPRINT_BYTES + 4;
/** Of tokens whose end is not known, or lies beyond what 32 bits can say. */
export const HOUR_UNKNOWN = 0;
export const UNTIL_MAX = 0xffffffff;
const HOUR_SECONDS = 3_600;
const RULES = "epochs";

export function revocationsDir(prefix: string): string {
  return `${prefix}/token_revocations/`;
}

export function hourDir(prefix: string, hour: number): string {
  return `${revocationsDir(prefix)}${hour}/`;
}

export function rulesDir(prefix: string): string {
  return `${revocationsDir(prefix)}${RULES}/`;
}

/** The same for everything that names the same tokens, so that a rule is never there twice. */
export function ruleName({ type, value, issuer }: Pick<RevocationRule, "type" | "value" | "issuer">): string {
  const target = `${type}\0${issuer ?? ""}\0${value}`;
  return `${type}-${createHash("sha256").update(target).digest("hex").slice(0, 24)}`;
}

/** @returns undefined for keys that are no revocations */
export function parseRevocationKey(prefix: string, key: string): RevocationKey | undefined {
  const dir = revocationsDir(prefix);
  if (!key.startsWith(dir)) return undefined;
  const [first = "", second = "", ...more] = key.slice(dir.length).split("/");
  if (second === "" || more.length > 0) return undefined;
  if (first === RULES) return { kind: "rule", name: second };
  return /^(?:0|[1-9]\d{0,9})$/.test(first) ? { kind: "batch", hour: Number(first), batch: second } : undefined;
}

/** How many entries a batch says it has in its key: what is counted without reading values. */
export function entriesIn(batch: string): number {
  const count = Number(/-(\d{1,6})$/.exec(batch)?.[1] ?? 0);
  return Number.isSafeInteger(count) ? count : 0;
}

/**
 * The hour in which a token ends, by its claim `exp`: where its revocation is written and looked for.
 * @param exp the claim, whatever it is
 */
export function hourOf(exp: unknown): number {
  if (typeof exp !== "number" || !(exp >= 0 && exp <= UNTIL_MAX)) return HOUR_UNKNOWN;
  return Math.floor(exp / HOUR_SECONDS);
}

/** NumericDate at which an hour is over. */
export function endOfHour(hour: number): number {
  return (hour + 1) * HOUR_SECONDS;
}

export function encodeBatch(tokens: readonly RevokedToken[], writtenMs: number): Buffer {
  const entries = Buffer.alloc(tokens.length * ENTRY_BYTES);
  for (const [i, { fingerprint, until }] of tokens.entries()) {
    writeFingerprint(fingerprint, entries, i * ENTRY_BYTES);
    entries.writeUInt32BE(until, i * ENTRY_BYTES + FINGERPRINT_BYTES);
  }
  return Buffer.from(JSON.stringify({ v: 1, t: writtenMs, e: entries.toString("base64") }), "utf8");
}

/**
 * @param into where the entries are put if they fit, until the next call; default: memory of their own
 * @returns text: why these bytes are no batch
 */
export function decodeBatch(bytes: Buffer, into?: Buffer): TokenBatch | string {
  const value = objectIn(bytes);
  if (typeof value === "string") return value;
  const { v, t, e } = value;
  if (v !== 1) return `a batch of version ${JSON.stringify(v)?.slice(0, 20)}, known is 1`;
  if (typeof e !== "string" || !/^[A-Za-z0-9+/]*={0,2}$/.test(e)) return 'property "e" is not base64';
  const fits = into !== undefined && Buffer.byteLength(e, "base64") <= into.length;
  const entries = fits ? into.subarray(0, into.write(e, "base64")) : Buffer.from(e, "base64");
  if (entries.length === 0 || entries.length % ENTRY_BYTES !== 0) {
    return `property "e" has ${entries.length} bytes, entries have ${ENTRY_BYTES} each`;
  }
  return { writtenMs: typeof t === "number" ? t : 0, entries };
}

export function tokensIn({ entries }: TokenBatch): readonly RevokedToken[] {
  return Array.from({ length: entries.length / ENTRY_BYTES }, (_, i) => ({
    fingerprint: readFingerprint(entries, i * ENTRY_BYTES),
    until: entries.readUInt32BE(i * ENTRY_BYTES + FINGERPRINT_BYTES),
  }));
}

export function encodeRule(rule: RevocationRule): Buffer {
  const { type, value, issuer, issuedBefore, reason, until, writtenMs } = rule;
  const stored = { v: 1, t: writtenMs, type, value, issuer, issued_before: issuedBefore, reason, until };
  return Buffer.from(JSON.stringify(stored), "utf8");
}

/** @returns text: why these bytes are no rule */
export function decodeRule(bytes: Buffer): RevocationRule | string {
  const stored = objectIn(bytes);
  if (typeof stored === "string") return stored;
  const { v, t, value, issuer, issued_before: issuedBefore, reason, until } = stored;
  const type = RULE_TYPES.find((one) => one === stored["type"]);
  if (v !== 1 || type === undefined) return "a rule of a version or type that is not known here";
  if (typeof value !== "string") return 'property "value" is required';
  const isOwned = type === "subject" || type === "kid";
  if (isOwned !== (typeof issuer === "string")) return `property "issuer" does not fit a rule of type ${type}`;
  // It ends at the first NUL where both are one text, so it must hold none.
  if (typeof issuer === "string" && issuer.includes("\0")) return 'property "issuer" holds a NUL';
  if ((type === "kid") !== (issuedBefore === undefined)) {
    return `property "issued_before" does not fit a rule of type ${type}`;
  }
  if (issuedBefore !== undefined && typeof issuedBefore !== "number") return 'property "issued_before" is not a number';
  if (typeof until !== "number") return 'property "until" is required';
  return Object.freeze({
    ...{ type, value, issuer: isOwned ? String(issuer) : undefined, issuedBefore, until },
    reason: typeof reason === "string" ? reason : undefined,
    writtenMs: typeof t === "number" ? t : 0,
  });
}

function objectIn(bytes: Buffer): Readonly<Record<string, unknown>> | string {
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    const isObject = isMembers(value);
    return isObject ? (value as Readonly<Record<string, unknown>>) : "not a JSON object";
  } catch {
    return "not JSON";
  }
}
