/**
 * Reads the head of an upstream's response and says how its body is framed (RFC 9112 sections 4, 5 and 6.3).
 * Promise: strict. Whatever two readers could take differently (folded or bare line ends, two lengths, a length beside
 * a coding, unknown codings) is no response at all. Hop-by-hop headers never leave this file.
 */

import {
  ALIAS,
  CONNECTION,
  CONTENT_LENGTH,
  classifyHeader,
  connectionTokens,
  EXPECT,
  HOP,
  PROXY_CONNECTION,
  TE,
  TRANSFER_ENCODING,
  UPGRADE,
} from "./header-class.ts";

/** status-line and field-lines; a field value is visible characters, blanks and bytes above ASCII. */
const SHAPE =
  /^HTTP\/1\.[01] [1-9]\d\d(?: [\t\x20-\x7e\x80-\xff]*)?(?:\r\n[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*)*$/;
const STATUS_AT = 9;
const LENGTH_DIGITS_MAX = 15; // stays below 2^53

/** A head as clients get it where nothing that a request brings changes it: made once for one that comes again. */
export class SentHead {
  readonly lines: readonly string[];
  /** The whole text for a connection that stays; "": not made. */
  text = "";
  /** In that text, where the upstream sent no date. */
  dateLine = "";

  constructor(lines: readonly string[]) {
    this.lines = lines;
  }
}

export class ResponseHead {
  readonly status: number;
  /** End-to-end headers, flat [name, value, …], without Content-Length and Server; others may look at them, too. */
  readonly lines: readonly string[];
  /** Content-Length; -1 when there is none. */
  readonly length: number;
  readonly chunked: boolean;
  /** The upstream keeps the connection open after this response. */
  readonly keepAlive: boolean;
  readonly hasDate: boolean;
  /** Upgrade header of a 101. */
  readonly upgrade: string | undefined;
  /** How long the upstream keeps the connection open without a request; undefined when it did not say. */
  readonly idleMs: number | undefined;
  /** It came before, and may come again. */
  recurs = false;
  sent: SentHead | undefined = undefined;
  /** No body follows, though none was announced: it ended an HTTP/2 stream. */
  ends = false;

  constructor(
    status: number,
    lines: string[],
    length: number,
    chunked: boolean,
    keepAlive: boolean,
    hasDate: boolean,
    upgrade: string | undefined,
    idleMs: number | undefined,
  ) {
    this.status = status;
    this.lines = lines;
    this.length = length;
    this.chunked = chunked;
    this.keepAlive = keepAlive;
    this.hasDate = hasDate;
    this.upgrade = upgrade;
    this.idleMs = idleMs;
  }
}

/**
 * @param text      latin1 text from the status line to the last header line, without the final CRLF CRLF
 * @param linesMax  more header lines than this are refused
 * @returns what is wrong, as a text for the log, when this is no acceptable response head
 */
export function readResponseHead(text: string, linesMax: number): ResponseHead | string {
  if (!SHAPE.test(text)) return "malformed response head";
  const http10 = text.charCodeAt(7) === 0x30;
  const status = readDigits(text, STATUS_AT, STATUS_AT + 3);
  const lines: string[] = [];
  let length = -1;
  let chunked = false;
  let coded = false;
  let closes = false;
  let keepAlive = !http10;
  let hasDate = false;
  let upgrade: string | undefined;
  let idleMs: number | undefined;
  let named: Set<string> | undefined;
  let count = 0;
  for (let at = text.indexOf("\r\n"); at >= 0; ) {
    const start = at + 2;
    at = text.indexOf("\r\n", start);
    const end = at < 0 ? text.length : at;
    const colon = text.indexOf(":", start);
    const name = text.slice(start, colon);
    const value = trimBlanks(text, colon + 1, end);
    if (++count > linesMax) return "too many response header lines";
    switch (classifyHeader(name)) {
      case CONTENT_LENGTH:
        if (length >= 0 && readLength(value) !== length) return "two Content-Length values in response";
        length = readLength(value);
        if (length < 0) return "bad Content-Length in response";
        break;
      case TRANSFER_ENCODING:
        if (coded || value.toLowerCase() !== "chunked") return "unsupported Transfer-Encoding in response";
        coded = true;
        chunked = true;
        break;
      case CONNECTION:
        if (value === "keep-alive" || value.toLowerCase() === "keep-alive") keepAlive ||= http10;
        else if (value === "close") closes = true;
        else {
          named = connectionTokens(value, named);
          closes ||= value.toLowerCase().includes("close");
          keepAlive ||= value.toLowerCase().includes("keep-alive");
        }
        break;
      case UPGRADE:
        upgrade = value;
        break;
      case HOP:
        if (name.length === 10) idleMs = readIdleMs(value) ?? idleMs; // Keep-Alive
        break;
      case PROXY_CONNECTION:
      case EXPECT:
      case ALIAS:
      case TE:
        break;
      default:
        if (name.length === 4 && isNamed(name, "Date", "date")) hasDate = true;
        else if (name.length === 6 && isNamed(name, "Server", "server")) break;
        lines.push(name, value);
    }
  }
  if (coded && (length >= 0 || http10)) return "ambiguous framing of response";
  if (named) dropNamed(lines, named);
  return new ResponseHead(status, lines, length, chunked, keepAlive && !closes, hasDate, upgrade, idleMs);
}

/** Equal repetitions in one value count once (RFC 9110 section 8.6). @returns -1 when it is no length */
export function readLength(value: string): number {
  if (!value.includes(",")) return value.length <= LENGTH_DIGITS_MAX ? readDigits(value, 0, value.length) : -1;
  const lengths = new Set(value.split(",").map((part) => readLength(part.trim())));
  const [only = -1] = lengths;
  return lengths.size === 1 ? only : -1;
}

/** A request must not be under way when the upstream closes: we let go a moment earlier. */
const EARLIER_MS = 1_000;

function readIdleMs(value: string): number | undefined {
  const seconds = /(?:^|[,;\s])timeout\s*=\s*"?(\d{1,9})/i.exec(value)?.[1];
  if (seconds === undefined) return undefined;
  const announcedMs = Number(seconds) * 1_000;
  return announcedMs - Math.min(EARLIER_MS, announcedMs / 2);
}

/** The beginning of a status line, and of any later line. */
const STATUS_START =
  /^(?:H|HT|HTT|HTTP\/?|HTTP\/1|HTTP\/1\.|HTTP\/1\.[01] ?|HTTP\/1\.[01] [1-9]\d?|HTTP\/1\.[01] [1-9]\d\d(?: [\t\x20-\x7e\x80-\xff]*)?\r?)?$/;
const LINE_START = /^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+(?::[\t\x20-\x7e\x80-\xff]*\r?)?|\r)?$/;

/** Whether more bytes can make a response head of these: a peer that speaks no HTTP is known by its first bytes. */
export function canBecomeHead(text: string): boolean {
  const line = text.lastIndexOf("\r\n");
  if (line < 0) return STATUS_START.test(text);
  return LINE_START.test(text.slice(line + 2)) && SHAPE.test(text.slice(0, line));
}

function isNamed(name: string, usual: string, lower: string): boolean {
  return name === usual || name === lower || name.toLowerCase() === lower;
}

/** The number in text[start, end), which are decimal digits only; else -1. */
function readDigits(text: string, start: number, end: number): number {
  let value = start < end ? 0 : -1;
  for (let at = start; at < end; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** Removes blanks around a value (OWS, RFC 9110 section 5.6.3). */
function trimBlanks(text: string, start: number, end: number): string {
  let from = start;
  let to = end;
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

/** Removes headers that Connection named (RFC 9110 section 7.6.1). */
export function dropNamed(lines: string[], named: ReadonlySet<string>): void {
  let kept = 0;
  for (let i = 0; i < lines.length; i += 2) {
    if (named.has((lines[i] as string).toLowerCase())) continue;
    lines[kept] = lines[i] as string;
    lines[kept + 1] = lines[i + 1] as string;
    kept += 2;
  }
  lines.length = kept;
}
