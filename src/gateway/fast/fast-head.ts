/**
 * Reads request heads for the fast lane. It accepts a plain subset of HTTP/1.1 and interprets nothing outside of it.
 *
 * Grammar, by RFC 9112 (what is stricter than the RFC is marked *):
 *   request-line = method SP request-target SP "HTTP/1.1" CRLF        section 3; *HTTP/1.1 only
 *   method       = one of seven                                       *section 3.1 allows any token
 *   target       = origin-form: "/" followed by VCHAR except "#"      section 3.2.1; *no other form
 *   field-line   = token ":" OWS field-value OWS CRLF                 section 5; *no obs-fold (5.2), no HTAB at the end
 *   field-value  = VCHAR, SP, HTAB, bytes above ASCII                 RFC 9110 section 5.5
 * At least one field-line*. Lines end in CRLF, never in a bare LF or CR (section 2.2). Framing is judged by HeaderScan, for
 * both lanes alike.
 */
import { readName } from "../http/header-class.ts";
import type { HeaderScan } from "../http/request-headers.ts";

/** What no acceptable head can contain or begin with; says early that waiting for the rest is no use. */
const HOPELESS = /^[^A-Z]|(?:^|[^\r])\n|\r[^\n]|[^\t\r\n\x20-\x7e\x80-\xff]/;
const HTAB = 0x09;
const LF = 0x0a;
const CR = 0x0d;
const SP = 0x20;
const SLASH = 0x2f;
const COLON = 0x3a;
const VERSION = Buffer.from(" HTTP/1.1\r\n", "latin1");

/** Bits of CLASS. */
const IN_NAME = 1;
const IN_VALUE = 2;
const IN_TARGET = 4;
const CLASS = Uint8Array.from({ length: 256 }, (_, code) => {
  const character = String.fromCharCode(code);
  const inName = /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character) ? IN_NAME : 0;
  const inValue = /[\t\x20-\x7e\x80-\xff]/.test(character) ? IN_VALUE : 0;
  return inName | inValue | (/[!"$-~]/.test(character) ? IN_TARGET : 0);
});

/** A request line that was read: where its target stands in the bytes. */
export interface RequestLine {
  method: string;
  targetAt: number;
  targetEnd: number;
}

/** @returns where the line ends, its CRLF included; -1 when it is not complete, or outside the grammar */
export function readRequestLine(bytes: Buffer, line: RequestLine): number {
  const method = methodAt(bytes);
  let at = method.length + 1;
  if (at === 1 || bytes[at - 1] !== SP || bytes[at] !== SLASH) return -1;
  line.method = method;
  line.targetAt = at;
  const { length } = bytes;
  do at++;
  while (at < length && ((CLASS[bytes[at] as number] as number) & IN_TARGET) !== 0);
  line.targetEnd = at;
  const end = at + VERSION.length;
  if (end > length) return -1;
  for (let i = 0; i < VERSION.length; i++) if (bytes[at + i] !== VERSION[i]) return -1;
  return end;
}

/** @returns "" where none of the seven stands */
function methodAt(bytes: Buffer): string {
  switch (bytes[0]) {
    case 0x47:
      return isAt("GET", bytes);
    case 0x50:
      return bytes[1] === 0x4f ? isAt("POST", bytes) : bytes[1] === 0x55 ? isAt("PUT", bytes) : isAt("PATCH", bytes);
    case 0x48:
      return isAt("HEAD", bytes);
    case 0x44:
      return isAt("DELETE", bytes);
    case 0x4f:
      return isAt("OPTIONS", bytes);
    default:
      return "";
  }
}

function isAt(method: string, bytes: Buffer): string {
  for (let i = 1; i < method.length; i++) if (bytes[i] !== method.charCodeAt(i)) return "";
  return method;
}

/** Where the lines of the block under way stand: begin and end of each name and value. Used within one call only. */
const marks: number[] = [];

/**
 * Reads the field-lines into `scan`, which was begun and is finished by the caller.
 * @param start where the first of them begins
 * @param linesMax more are not read
 * @returns where the block ends, its CRLF CRLF included; -1 when it is not complete, or outside the grammar
 */
export function readHeaderBlock(bytes: Buffer, start: number, linesMax: number, scan: HeaderScan): number {
  const { length } = bytes;
  let at = start;
  let used = 0;
  do {
    const nameAt = at;
    while (at < length && ((CLASS[bytes[at] as number] as number) & IN_NAME) !== 0) at++;
    if (at === nameAt || at >= length || bytes[at] !== COLON || used >= linesMax * 4) return -1;
    const nameEnd = at++;
    while (at < length && ((CLASS[bytes[at] as number] as number) & IN_VALUE) !== 0) at++;
    // llhttp takes no HTAB behind a Content-Length; nobody sends one behind anything.
    if (at + 3 >= length || bytes[at] !== CR || bytes[at + 1] !== LF || bytes[at - 1] === HTAB) return -1;
    let from = nameEnd + 1;
    let to = at;
    while (from < to && (bytes[from] === SP || bytes[from] === HTAB)) from++;
    while (to > from && (bytes[to - 1] === SP || bytes[to - 1] === HTAB)) to--;
    marks[used] = nameAt;
    marks[used + 1] = nameEnd;
    marks[used + 2] = from;
    marks[used + 3] = to;
    used += 4;
    at += 2;
  } while (bytes[at] !== CR);
  if (bytes[at + 1] !== LF) return -1;
  const text = bytes.toString("latin1", start, at);
  for (let i = 0; i < used; i += 4) {
    const { name, kind } = readName(bytes, marks[i] as number, marks[i + 1] as number); // true: they were just written
    scan.add(name, text.slice((marks[i + 2] as number) - start, (marks[i + 3] as number) - start), kind);
  }
  return at + 2;
}

/** Whether the beginning of a head can no longer become one that the fast lane reads. */
export function isHopeless(text: string): boolean {
  return HOPELESS.test(text);
}
