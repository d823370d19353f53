/**
 * Reads the header lines of a request once: what frames it, what names the host, and what must not go further.
 * Promise: after `scanHeaders` the lines hold end-to-end headers only, no identity or forwarding header the client had
 * no right to send, whatever their spelling. Sources: reliability of framing in RFC 9112 section 6, spec/proxy.md section 1.
 */
import {
  ALIAS,
  AUTHORIZATION,
  CONNECTION,
  CONTENT_LENGTH,
  classifyHeader,
  connectionTokens,
  EXPECT,
  FORWARDED,
  HOP,
  HOST,
  IDENTITY,
  TRANSFER_ENCODING,
  UPGRADE,
  X_FORWARDED_FOR,
  X_FORWARDED_HOST,
  X_FORWARDED_PORT,
  X_FORWARDED_PROTO,
} from "./header-class.ts";
import { dropNamed } from "./response-head.ts";

const LENGTH = /^\d{1,15}$/;

export interface HeaderScan {
  /** Value of the Host line; undefined when there is none. */
  host: string | undefined;
  /** Content-Length, -1 when there is none. */
  length: number;
  chunked: boolean;
  /** Connection: close was asked for. */
  close: boolean;
  /** Connection: keep-alive was asked for, which HTTP/1.0 needs. */
  keepAlive: boolean;
  /** Connection named "upgrade". */
  upgradeAsked: boolean;
  upgrade: string | undefined;
  expect: string | undefined;
}

/**
 * Filters `lines` in place.
 * @param trust whether this peer's X-Forwarded-* count; "unset" keeps only X-Forwarded-For
 * @returns a snake_case word for what is wrong, which is a 400
 */
export function scanHeaders(lines: string[], trust: "yes" | "no" | "unset"): HeaderScan | string {
  let host: string | undefined;
  let length = -1;
  let coding = false;
  let close = false;
  let keepAlive = false;
  let upgrade: string | undefined;
  let expect: string | undefined;
  let authorized = false;
  let named: Set<string> | undefined;
  let kept = 0;
  for (let i = 0; i < lines.length; i += 2) {
    const name = lines[i] as string;
    const value = lines[i + 1] as string;
    switch (classifyHeader(name)) {
      case HOP:
      case IDENTITY:
      case ALIAS:
      case FORWARDED:
        continue;
      case CONNECTION: {
        const lower = value.toLowerCase();
        if (lower.includes("close")) close = close || hasToken(lower, "close");
        if (lower.includes("keep-alive")) keepAlive = keepAlive || hasToken(lower, "keep-alive");
        named = connectionTokens(value, named);
        continue;
      }
      case TRANSFER_ENCODING:
        if (coding || value.toLowerCase() !== "chunked") return "transfer_encoding";
        coding = true;
        continue;
      case UPGRADE:
        upgrade = upgrade === undefined ? value : `${upgrade}, ${value}`;
        continue;
      case EXPECT:
        expect = value;
        continue;
      case X_FORWARDED_FOR:
        if (trust === "no") continue;
        break;
      case X_FORWARDED_PROTO:
      case X_FORWARDED_HOST:
      case X_FORWARDED_PORT:
        if (trust !== "yes") continue;
        break;
      case HOST:
        if (host !== undefined) return "duplicate_host";
        host = value;
        break;
      case CONTENT_LENGTH:
        if (length >= 0 || !LENGTH.test(value)) return "content_length";
        length = Number(value);
        break;
      case AUTHORIZATION:
        if (authorized) return "duplicate_authorization";
        authorized = true;
        break;
      default:
    }
    if (kept !== i) {
      lines[kept] = name;
      lines[kept + 1] = value;
    }
    kept += 2;
  }
  lines.length = kept;
  if (coding && length >= 0) return "length_and_coding";
  const upgradeAsked = named?.delete("upgrade") === true;
  if (named && named.size > 0) {
    // The request's own frame is not the client's to take away.
    named.delete("host");
    named.delete("content-length");
    dropNamed(lines, named);
  }
  return { host, length, chunked: coding, close, keepAlive, upgradeAsked, upgrade, expect };
}

function hasToken(lower: string, token: string): boolean {
  return lower === token || lower.split(",").some((part) => part.trim() === token);
}
