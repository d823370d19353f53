/**
 * Header fields between HTTP/2 and the flat lists of the rest of the gateway.
 * Promise: what says nothing in HTTP/1.1, or something else there, is not read. Source: RFC 9113 sections 8.1 and 8.2.
 */
import type { OutgoingHttpHeaders } from "node:http2";
import { classifyHeader, PLAIN } from "./header-class.ts";

/** A field name, which HTTP/2 has in lower case. */
export const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** A field value without blanks around it. */
export const FIELD_VALUE = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;
/** Headers that speak about one connection of HTTP/1.1 (RFC 9113 section 8.2.2). */
export const CONNECTION_FIELDS: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
]);

/** Names in lower case, values of equal names joined; cookies of a response stay apart (RFC 9110 section 5.3). */
export function foldLines(lines: readonly string[]): OutgoingHttpHeaders {
  const headers: OutgoingHttpHeaders = Object.create(null);
  for (let i = 0; i < lines.length; i += 2) {
    const name = (lines[i] as string).toLowerCase();
    const value = lines[i + 1] as string;
    const before = headers[name];
    if (before === undefined) headers[name] = name === "set-cookie" ? [value] : value;
    else if (Array.isArray(before)) before.push(value);
    else headers[name] = `${before}${name === "cookie" ? ";" : ","} ${value}`;
  }
  return headers;
}

/** Fields that a trailer must not bring: what judges a request is not said behind it (RFC 9110 section 6.5.1). */
const NOT_IN_TRAILERS: ReadonlySet<string> = new Set(["cookie", "set-cookie", "content-type", "content-encoding"]);

/** The fields of a trailer section that go further. @param raw flat [name, value, …] */
export function readTrailers(raw: readonly string[]): string[] {
  const lines: string[] = [];
  for (let i = 0; i < raw.length; i += 2) {
    const name = (raw[i] as string).toLowerCase();
    const value = raw[i + 1] as string;
    if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value)) continue;
    if (classifyHeader(name) === PLAIN && !NOT_IN_TRAILERS.has(name)) lines.push(name, value);
  }
  return lines;
}
