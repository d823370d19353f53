/**
 * Reads the compact form of a JWS (RFC 7515) strictly: text and meaning are one to one, so that caches and deny lists
 * cannot be dodged by another spelling of the same token.
 * Promise: whatever the text, no exception, no recursion deeper than 64, no work beyond 16 KiB.
 * Looser readings of APISIX (padding, standard alphabet, empty parts, unknown `crit`) are refused: docs/compatibility.md.
 */
import { isUtf8 } from "node:buffer";
import { hash } from "node:crypto";
import { LRUCache } from "lru-cache";
import { isMembers } from "../json/members.ts";

/** A token longer than this is refused before it is looked at. */
export const TOKEN_MAX_CHARS = 16_384;
const DEPTH_MAX = 64;
/** Gateways see few different headers; a stranger's own ones push each other out. */
const HEADERS_KEPT = 256;
const HEADER_KEPT_MAX_CHARS = 512;

const NO_SIGNATURE = Buffer.alloc(0);

export type Claims = Readonly<Record<string, unknown>>;

export interface ParsedToken {
  /** The header's `alg`; undefined unless it is a string. */
  readonly algorithm: string | undefined;
  /** The header's `typ` in lower case without `application/`; "" where it has none, undefined where it is no text. */
  readonly type: string | undefined;
  /** The header's `kid`, whatever it is. */
  readonly keyId: unknown;
  readonly payload: Claims;
  /** What the signature is over. */
  readonly signingInput: string;
  /** Empty, which no key has ever made, when the text is not base64url: to callers that is one wrong signature more. */
  readonly signature: Buffer;
}

/** @returns undefined for a text that is no well-formed token. */
export type ParseToken = (text: string) => ParsedToken | undefined;

type Header = Pick<ParsedToken, "algorithm" | "type" | "keyId">;

/** A compact JWS whose header `readHeader` took. */
interface CompactJws<Made> {
  readonly header: Made;
  readonly payload: Claims;
  readonly signingInput: string;
  readonly signature: Buffer;
}

/** A parser that remembers the headers it has read lately. Cost: about 2 µs for a token of 200 characters. */
export function openTokenParser(): ParseToken {
  const read = openCompactReader(HEADERS_KEPT, HEADER_KEPT_MAX_CHARS, readTokenHeader);
  return (text) => {
    const jws = read(text);
    if (jws === undefined) return undefined;
    const { algorithm, type, keyId } = jws.header;
    const { payload, signingInput, signature } = jws;
    return { algorithm, type, keyId, payload, signingInput, signature };
  };
}

/**
 * Reads compact JWS of one kind, and remembers what was made of their headers.
 * @param kept how many headers, of at most `keptChars` characters each
 * @param readHeader undefined: refuse it @returns undefined for a text that is no well-formed one
 */
export function openCompactReader<Made>(
  kept: number,
  keptChars: number,
  readHeader: (members: Claims) => Made | undefined,
): (text: string) => CompactJws<Made> | undefined {
  const headers = new LRUCache<string, { readonly made: Made | undefined }>({ max: kept });
  return (text) => {
    if (text.length === 0 || text.length > TOKEN_MAX_CHARS) return undefined;
    const first = text.indexOf(".");
    const second = text.indexOf(".", first + 1);
    if (first < 1 || second < first + 2 || second === text.length - 1) return undefined;
    if (text.includes(".", second + 1)) return undefined;
    const headerText = text.slice(0, first);
    let header = headers.get(headerText);
    if (!header) {
      const members = readMembers(headerText);
      header = { made: members && readHeader(members) };
      if (headerText.length <= keptChars) headers.set(ownCopy(headerText), header);
    }
    if (header.made === undefined) return undefined;
    const payloadBytes = decodePart(text.slice(first + 1, second));
    const payload = payloadBytes && parseObject(payloadBytes);
    if (!payload) return undefined;
    const signature = decodePart(text.slice(second + 1)) ?? NO_SIGNATURE;
    return { header: header.made, payload, signingInput: text.slice(0, second), signature };
  };
}

/**
 * A copy that does not keep the request's whole head alive, as a slice of it would.
 * @param text ASCII
 */
export function ownCopy(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}

/** Bytes of canonical base64url without padding; undefined for anything else, trailing bits included. */
function decodePart(part: string): Buffer | undefined {
  const bytes = Buffer.from(part, "base64url");
  return bytes.length > 0 && bytes.toString("base64url") === part ? bytes : undefined;
}

/** The members of a header that asks for nothing unknown. */
function readMembers(part: string): Claims | undefined {
  const bytes = decodePart(part);
  const header = bytes && parseObject(bytes);
  if (!header) return undefined;
  // No extension is understood here, so every critical one is unknown (RFC 7515 section 4.1.11, RFC 7797).
  if (Object.hasOwn(header, "crit") || Object.hasOwn(header, "zip")) return undefined;
  return Object.hasOwn(header, "b64") && header["b64"] !== true ? undefined : header;
}

/** `alg`, `typ` and `kid` of a header's members. */
export function readTokenHeader(members: Claims): Header {
  const own = (name: string): unknown => (Object.hasOwn(members, name) ? members[name] : undefined);
  const [algorithm, type = ""] = [own("alg"), own("typ")];
  return Object.freeze({
    algorithm: typeof algorithm === "string" ? algorithm : undefined,
    type: typeof type === "string" ? type.toLowerCase().replace(/^application\//, "") : undefined,
    keyId: own("kid"),
  });
}

/** The same claims, which nobody can edit any more: they are handed to other plugins and to later requests. */
export function freezeClaims(claims: Claims): Claims {
  freeze(claims);
  return claims;
}

function freeze(value: object): void {
  Object.freeze(value);
  for (const member of Object.values(value)) if (typeof member === "object" && member !== null) freeze(member);
}

/** A JSON object in UTF-8 without repeated members, `__proto__` or depth beyond 64; undefined for anything else. */
export function parseObject(bytes: Buffer): Claims | undefined {
  if (!isUtf8(bytes)) return undefined;
  const text = bytes.toString("utf8");
  const written = countWritten(text);
  if (written < 0) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isMembers(value)) return undefined;
  // JSON.parse keeps the last of repeated members, so fewer than were written means that one was repeated.
  return countKept(value) === written ? (value as Claims) : undefined;
}

/** How many members a JSON text writes, at all depths: its colons outside strings. -1 when nested too deep. */
function countWritten(text: string): number {
  let members = 0;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    switch (text.charCodeAt(i)) {
      case 0x22: // "
        i = endOfString(text, i);
        break;
      case 0x3a: // :
        members++;
        break;
      case 0x7b: // {
      case 0x5b: // [
        if (++depth > DEPTH_MAX) return -1;
        break;
      case 0x7d: // }
      case 0x5d: // ]
        depth--;
        break;
      default:
    }
  }
  return members;
}

/** Where the string that starts at `start` ends; past the text when it does not. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}

/** How many members a value has at all depths; NaN when one is called `__proto__`. */
function countKept(value: object): number {
  if (Array.isArray(value)) return value.reduce<number>((sum, item) => sum + countInside(item), 0);
  let members = 0;
  for (const [name, member] of Object.entries(value)) {
    members += name === "__proto__" ? Number.NaN : 1 + countInside(member);
  }
  return members;
}

function countInside(value: unknown): number {
  return typeof value === "object" && value !== null ? countKept(value) : 0;
}

/**
 * How a claim is named wherever configuration names one: a text is one top-level member, literally; a text that begins
 * with "/" is a JSON Pointer (RFC 6901). Promise: only own members are read, whatever a token holds; nothing throws.
 * Source: docs/spec/tokens.md section 1 "Claim names".
 * @returns the claim's value; undefined where the token has none
 */
export type ReadClaim = (claims: Claims) => unknown;

/** @returns why this names no claim */
export function claimNameError(name: string): string | undefined {
  if (name === "") return "the name of a claim is empty";
  if (name.startsWith("/") && /~(?![01])/.test(name)) {
    return `${JSON.stringify(name)} is no JSON pointer: "~" stands before "0" or "1" only`;
  }
  return undefined;
}

/** @param name has no `claimNameError`; Cost of a read: one member, or one for each part of the pointer. */
export function compileClaim(name: string): ReadClaim {
  if (!name.startsWith("/")) return (claims) => (Object.hasOwn(claims, name) ? claims[name] : undefined);
  const path = name
    .slice(1)
    .split("/")
    .map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  return (claims) => {
    let value: unknown = claims;
    for (const part of path) {
      value = memberOf(value, part);
      if (value === undefined) return undefined;
    }
    return value;
  };
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  if (Array.isArray(value) && !/^(?:0|[1-9]\d{0,5})$/.test(name)) return undefined;
  return Object.hasOwn(value, name) ? (value as Readonly<Record<string, unknown>>)[name] : undefined;
}

/**
 * By which one token is told from all others: the first 16 bytes of a SHA-256, as four signed 32-bit words.
 * Never of the whole token: a signature has other spellings (an ECDSA twin, another base64 tail), what is signed has one.
 */
export interface Fingerprint {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
}

export const FINGERPRINT_BYTES = 16;

/** Of a token that its issuer named: `iss` and `jti` as the token has them. */
export function fingerprintOfId(issuer: string, id: string): Fingerprint {
  return fingerprintOf(`jti\0${issuer}\0${id}`);
}

/**
 * Of a token by what its signature is over. Cost: about 1 µs.
 * @param text the compact token, or its `header.payload` alone
 */
export function fingerprintOfText(text: string): Fingerprint {
  const first = text.indexOf(".");
  const second = text.indexOf(".", first + 1);
  return fingerprintOf(`jws\0${second < 0 ? text : text.slice(0, second)}`);
}

export function readFingerprint(bytes: Buffer, at: number): Fingerprint {
  return {
    a: bytes.readInt32BE(at),
    b: bytes.readInt32BE(at + 4),
    c: bytes.readInt32BE(at + 8),
    d: bytes.readInt32BE(at + 12),
  };
}

export function writeFingerprint({ a, b, c, d }: Fingerprint, bytes: Buffer, at: number): void {
  bytes.writeInt32BE(a, at);
  bytes.writeInt32BE(b, at + 4);
  bytes.writeInt32BE(c, at + 8);
  bytes.writeInt32BE(d, at + 12);
}

function fingerprintOf(text: string): Fingerprint {
  return readFingerprint(hash("sha256", text, "buffer"), 0);
}
