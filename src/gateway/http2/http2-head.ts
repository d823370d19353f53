/**
 * Reads the header list of an HTTP/2 request as the head lines of HTTP/1.1 that the rest of the gateway understands.
 * Promise: what cannot be said in HTTP/1.1, or would say something else there, is malformed (a stream error); nghttp2
 * refuses most of it before, this file does not rely on that. Source: RFC 9113 sections 8.2 and 8.3.
 */
import { METHODS } from "node:http";
import { CONNECTION_FIELDS, FIELD_NAME, FIELD_VALUE } from "../http/http2-fields.ts";

export interface Http2Head {
  readonly method: string;
  /** `:path` as received. */
  readonly target: string;
  /** Flat [name, value, …]; Host first, cookies joined. */
  readonly lines: string[];
  /** Size of the header list as RFC 9113 section 6.5.2 counts it, without its 32 bytes per entry. */
  readonly bytes: number;
}

const TARGET = /^(?:\/[\x21-\x7e\x80-\xff]*|\*)$/;
const METHOD = /^[A-Z-]+$/;
const AUTHORITY = /^[\x21-\x7e]+$/;
const known: ReadonlySet<string> = new Set(METHODS);

/** Methods that HTTP/1.1 connections may use, too; others are answered 400. */
export function isKnownMethod(method: string): boolean {
  return known.has(method);
}

/**
 * @param raw flat [name, value, …] in the order of arrival
 * @returns undefined when the request is malformed
 */
export function readHttp2Head(raw: readonly string[]): Http2Head | undefined {
  const lines: string[] = [];
  const pseudo = new Map<string, string>();
  let host: string | undefined;
  let cookie: string | undefined;
  let bytes = 0;
  for (let i = 0; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    bytes += name.length + value.length;
    if (name.charCodeAt(0) === 0x3a) {
      if (lines.length > 0 || pseudo.has(name)) return undefined;
      pseudo.set(name, value);
      continue;
    }
    if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value) || CONNECTION_FIELDS.has(name)) return undefined;
    if (name === "te" && value.toLowerCase() !== "trailers") return undefined;
    if (name === "host") {
      if (host !== undefined) return undefined;
      host = value;
    } else if (name === "cookie") cookie = cookie === undefined ? value : `${cookie}; ${value}`;
    else lines.push(name, value);
  }
  if (cookie !== undefined) lines.push("cookie", cookie);
  return complete(pseudo, host, lines, bytes);
}

function complete(
  pseudo: ReadonlyMap<string, string>,
  host: string | undefined,
  lines: string[],
  bytes: number,
): Http2Head | undefined {
  const method = pseudo.get(":method");
  const target = pseudo.get(":path");
  const authority = pseudo.get(":authority");
  for (const name of pseudo.keys()) if (!PSEUDO.has(name)) return undefined;
  if (method === undefined || !METHOD.test(method)) return undefined;
  if (method !== "CONNECT" && (target === undefined || !TARGET.test(target) || !pseudo.has(":scheme")))
    return undefined;
  if (authority !== undefined && !AUTHORITY.test(authority)) return undefined;
  // Two names for one host: routing must not see one and the upstream the other.
  if (authority !== undefined && host !== undefined && authority.toLowerCase() !== host.toLowerCase()) return undefined;
  const named = authority ?? host;
  return { method, target: target ?? "", lines: named === undefined ? lines : ["Host", named, ...lines], bytes };
}

const PSEUDO: ReadonlySet<string> = new Set([":method", ":path", ":scheme", ":authority"]);
