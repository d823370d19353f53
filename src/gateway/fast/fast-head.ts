/**
 * Reads request heads for the fast lane. It accepts a plain subset of HTTP/1.1 and interprets nothing outside of it.
 *
 * Grammar, by RFC 9112 (what is stricter than the RFC is marked *):
 *   request-line = method SP request-target SP "HTTP/1.1" CRLF        section 3; *HTTP/1.1 only
 *   method       = one of seven                                       *section 3.1 allows any token
 *   target       = origin-form: "/" followed by VCHAR except "#"      section 3.2.1; *no other form
 *   field-line   = token ":" OWS field-value OWS CRLF                 section 5; *no obs-fold (5.2), no HTAB at the end
 *   field-value  = VCHAR, SP, HTAB, bytes above ASCII                 RFC 9110 section 5.5
 * Lines end in CRLF, never in a bare LF or CR (section 2.2). Framing is judged by HeaderScan, for both lanes alike.
 */
import type { HeaderScan } from "../http/request-headers.ts";
import { trimBlanks } from "../http/response-head.ts";

const HEAD =
  /^(?:GET|HEAD|POST|PUT|DELETE|PATCH|OPTIONS) \/[!"$-~]* HTTP\/1\.1(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)+$/;
/** What no acceptable head can contain or begin with; says early that waiting for the rest is no use. */
const HOPELESS = /^[^A-Z]|(?:^|[^\r])\n|\r[^\n]|[^\t\r\n\x20-\x7e\x80-\xff]/;
const HTAB = 0x09;
const VERSION_LENGTH = 9; // " HTTP/1.1"

/**
 * Reads a head into `scan`, which was begun and is finished by the caller.
 * @param text     latin1 text of a head, without the CRLF CRLF that ends it
 * @param linesMax more header lines are not read
 * @returns where the request line ends, for `targetOf`; -1 outside the grammar
 */
export function readFastHead(text: string, linesMax: number, scan: HeaderScan): number {
  if (!HEAD.test(text)) return -1;
  const first = text.indexOf("\r\n");
  let at = first;
  let left = linesMax;
  while (at >= 0) {
    const start = at + 2;
    at = text.indexOf("\r\n", start);
    const end = at < 0 ? text.length : at;
    // llhttp takes no HTAB behind a Content-Length; nobody sends one behind anything.
    if (text.charCodeAt(end - 1) === HTAB) return -1;
    const colon = text.indexOf(":", start);
    scan.add(text.slice(start, colon), trimBlanks(text, colon + 1, end));
    if (--left < 0) return -1;
  }
  return first;
}

/** The method of a head that was read. */
export function methodOf(text: string): string {
  return text.slice(0, text.indexOf(" "));
}

/** The target of a head that was read. @param first what readFastHead returned */
export function targetOf(text: string, first: number): string {
  return text.slice(text.indexOf(" ") + 1, first - VERSION_LENGTH);
}

/** Whether the beginning of a head can no longer become one that the fast lane reads. */
export function isHopeless(text: string): boolean {
  return HOPELESS.test(text);
}
