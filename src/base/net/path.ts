/**
 * The one reading of a request target that routing, policy and forwarding share, as nginx makes `$uri`.
 * Promise: a path is decoded once, has no dot segments, no doubled slashes and no control characters, also for readers
 * that are looser than this one; what is sent holds only what RFC 3986 allows, and square brackets.
 * Whatever cannot be read so is `undefined`, which is a 400. Source: docs/spec/routing.md section 1, nginx ngx_http_parse_complex_uri.
 */
import { NO_READINGS, otherReadings } from "./path-readings.ts";

export interface PathOptions {
  /** Refuses encoded slashes, backslashes (raw or encoded) and what still looks encoded after decoding once. */
  readonly strict?: boolean;
  /** `delete_uri_tail_slash`: policy sees the path without one slash at its end. */
  readonly deleteTailSlash?: boolean;
  /** `normalize_uri_like_servlet`: policy sees segments without `;parameters`. */
  readonly likeServlet?: boolean;
  /** `match_uri_encoded_slash`: the router and the upstream see `%2F` where the client sent one. */
  readonly matchEncodedSlash?: boolean;
  /**
   * `upstream_path: original`: the upstream gets the client's own escapes where decoding them once is all that separates
   * them from what policy saw. Implies `matchEncodedSlash`: router and upstream see the same segments.
   */
  readonly keepSpelling?: boolean;
}

export interface NormalPath {
  /** Decoded; what plugins, variables and (normally) the router see. */
  readonly path: string;
  /** For the upstream: escaped as nginx does, or as the client did; holds what the switches cut from `path`, or hide. */
  readonly escapedPath: string;
  /** What the router compares; differs from `path` only by `matchEncodedSlash`. */
  readonly matchPath: string;
  /** What looser readers could take `matchPath` for; empty for nearly every path. See path-readings.ts. */
  readonly otherPaths: readonly string[];
}

interface SplitTarget {
  readonly rawPath: string;
  /** Without "?"; undefined when there is no "?". */
  readonly query: string | undefined;
}

const NO_OPTIONS: PathOptions = Object.freeze({});
const SLASH = 0x2f;
const DOT = 0x2e;
const PERCENT = 0x25;
const SEMICOLON = 0x3b;

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** 1 for codes that are escaped in a path: controls, space, # % ?, DEL, all above ASCII, and what RFC 3986 has no place for. */
const ESCAPED = Uint8Array.from({ length: 256 }, (_, code) =>
  code > 0x20 && code < 0x7f && !'#%?"<>\\^`{|}'.includes(String.fromCharCode(code)) ? 0 : 1,
);
/** 1 for codes that keep a raw path from being its own normal form, or from being read in one way only. */
const SPECIAL = Uint8Array.from(ESCAPED, (escaped, code) => (code === SEMICOLON ? 1 : escaped));

/** Splits an origin-form target. @returns undefined for other forms and for targets with a fragment */
export function splitTarget(target: string): SplitTarget | undefined {
  if (target.charCodeAt(0) !== SLASH || target.includes("#")) return undefined;
  const mark = target.indexOf("?");
  if (mark < 0) return { rawPath: target, query: undefined };
  return { rawPath: target.slice(0, mark), query: target.slice(mark + 1) };
}

/**
 * @param rawPath  as received, without query; bytes from 0x80 on as latin1 text
 * @returns undefined for a path that must be answered with 400: not absolute, `%zz`, `%00` and other control characters,
 *          text that is not UTF-8, `..` above the root
 * Cost: one pass and no new text when nothing has to change.
 */
export function normalisePath(rawPath: string, options: PathOptions = NO_OPTIONS): NormalPath | undefined {
  if (rawPath.charCodeAt(0) !== SLASH) return undefined;
  if (isNormal(rawPath)) {
    const matchPath = options.deleteTailSlash === true ? cutTailSlash(rawPath) : rawPath;
    return { path: matchPath, escapedPath: rawPath, matchPath, otherPaths: NO_READINGS };
  }
  const normal = normaliseSlowly(rawPath, options);
  return normal && applySwitches(normal, options);
}

/** Whether the text equals its own normal form and has one reading: nothing encoded, no `//`, `;`, segment `.` or `..`. */
function isNormal(text: string): boolean {
  let previous = 0;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 0xff || SPECIAL[code] === 1) return false;
    // A segment that begins with a dot is looked at slowly; a slash after a slash is merged.
    if (previous === SLASH && (code === SLASH || code === DOT)) return false;
    previous = code;
  }
  return true;
}

type Spelled = Omit<NormalPath, "otherPaths">;

function normaliseSlowly(rawPath: string, options: PathOptions): Spelled | undefined {
  const decoded = decodeBytes(rawPath);
  if (decoded === undefined) return undefined;
  if (options.strict === true && isDoubtful(rawPath, decoded)) return undefined;
  const bytes = resolveSegments(decoded);
  if (bytes === undefined) return undefined;
  const path = readUtf8(bytes);
  if (path === undefined) return undefined;
  const escapedPath = escapePathBytes(bytes);
  const normal = { path, escapedPath, matchPath: path };
  // Where segments were merged or resolved, what came names another path than the one policy saw.
  if (bytes !== decoded) return normal;
  const keepsSpelling = options.keepSpelling === true;
  const withSlashes =
    (keepsSpelling || options.matchEncodedSlash === true) && /%2f/i.test(rawPath)
      ? { path, ...keepSlashes(rawPath, path) }
      : normal;
  return keepsSpelling && VISIBLE.test(rawPath) ? { ...withSlashes, escapedPath: escapeIllegal(rawPath) } : withSlashes;
}

/** What may stand in a request line as it is. */
const VISIBLE = /^[\x21-\x7e]+$/;

/** Decodes percent escapes once, into text with one character per byte. */
function decodeBytes(raw: string): string | undefined {
  let output = "";
  let from = 0;
  for (let at = 0; at < raw.length; at++) {
    const code = raw.charCodeAt(at);
    if (code === PERCENT) {
      const byte = hexByte(raw, at + 1);
      if (byte < 0x20 || byte === 0x7f) return undefined;
      output += raw.slice(from, at) + String.fromCharCode(byte);
      at += 2;
      from = at + 1;
    } else if (code <= 0x20 || code === 0x23 || code === 0x3f || code === 0x7f || code > 0xff) return undefined;
  }
  return output + raw.slice(from);
}

/** The value of two hexadecimal digits, or -1. */
function hexByte(text: string, at: number): number {
  const high = hexDigit(text.charCodeAt(at));
  const low = hexDigit(text.charCodeAt(at + 1));
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

function hexDigit(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}

function isDoubtful(raw: string, decoded: string): boolean {
  return /%2f|%5c/i.test(raw) || decoded.includes("\\") || /%[0-9a-f]{2}/i.test(decoded);
}

/** Merges slashes and resolves dot segments. @returns the same text when there was nothing to do, undefined above root */
function resolveSegments(text: string): string | undefined {
  if (!/\/(?:\/|\.\.?(?:\/|$))/.test(text)) return text;
  const segments = text.split("/");
  const kept: string[] = [];
  let tail = false;
  for (let at = 1; at < segments.length; at++) {
    const segment = segments[at] as string;
    tail = segment === "" || segment === "." || segment === "..";
    if (!tail) kept.push(segment);
    else if (segment === ".." && kept.pop() === undefined) return undefined;
  }
  const path = `/${kept.join("/")}`;
  return tail && kept.length > 0 ? `${path}/` : path;
}

function readUtf8(bytes: string): string | undefined {
  if (!/[\x80-\xff]/.test(bytes)) return bytes;
  try {
    return strictUtf8.decode(Buffer.from(bytes, "latin1"));
  } catch {
    return undefined; // not UTF-8: the caller's 400
  }
}

function escapePathBytes(bytes: string): string {
  let output = "";
  let from = 0;
  for (let at = 0; at < bytes.length; at++) {
    const code = bytes.charCodeAt(at);
    if (ESCAPED[code] !== 1) continue;
    output += `${bytes.slice(from, at)}%${code.toString(16).toUpperCase().padStart(2, "0")}`;
    from = at + 1;
  }
  return from === 0 ? bytes : output + bytes.slice(from);
}

/** Escapes a decoded path for the wire: space, #, %, ?, controls, DEL, bytes above ASCII, and what no URL may hold. */
export function escapePath(path: string): string {
  return escapePathBytes(Buffer.from(path, "utf8").toString("latin1"));
}

/** Escapes in a path or query that is escaped already what RFC 3986 allows in neither; "%" and square brackets stay. */
export function escapeIllegal(text: string): string {
  return ILLEGAL.test(text) ? text.replace(ILLEGAL_ALL, escapeCharacter) : text;
}

const ILLEGAL = /[^!$-;=?-[\]_a-z~]/;
const ILLEGAL_ALL = new RegExp(ILLEGAL, "gu");

/** Codes from 0x80 to 0xff are bytes, as they came from a socket; a text beyond them goes as UTF-8. */
function escapeCharacter(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  let escaped = "";
  for (const byte of Buffer.from(character, code <= 0xff ? "latin1" : "utf8"))
    escaped += `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  return escaped;
}

/** What the router compares and what is sent keep `%2F` where a slash was sent encoded. */
function keepSlashes(raw: string, path: string): Pick<Spelled, "escapedPath" | "matchPath"> {
  const parts = raw.split(/%2f/i).map((part) => decodeBytes(part) ?? "");
  const texts = parts.map(readUtf8);
  const escapedPath = parts.map(escapePathBytes).join("%2F");
  return { escapedPath, matchPath: texts.includes(undefined) ? path : texts.join("%2F") };
}

function applySwitches(normal: Spelled, options: PathOptions): NormalPath | undefined {
  let { path, matchPath } = normal;
  const keepsSlashes = matchPath !== path;
  if (options.likeServlet === true) {
    const cut = cutParameters(path);
    if (cut === undefined) return undefined;
    matchPath = keepsSlashes ? (cutParameters(matchPath) ?? cut) : cut;
    path = cut;
  }
  let otherPaths = otherReadings(matchPath, keepsSlashes);
  if (otherPaths === undefined) return undefined;
  if (options.deleteTailSlash === true) {
    path = cutTailSlash(path);
    matchPath = cutTailSlash(matchPath);
    otherPaths = otherPaths.map(cutTailSlash);
  }
  return { path, escapedPath: normal.escapedPath, matchPath, otherPaths };
}

function cutTailSlash(path: string): string {
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

/** Reads a path as a servlet container does. @returns undefined where that would step around a rule */
function cutParameters(path: string): string | undefined {
  if (!path.includes(";") && !path.includes("%")) return path;
  const segments = path.split("/");
  for (const [at, segment] of segments.entries()) {
    const mark = segment.indexOf(";");
    const name = mark < 0 ? segment : segment.slice(0, mark);
    if (mark >= 0 && (name === "." || name === ".." || (name === "" && at < segments.length - 1))) return undefined;
    if (/^(?:\.|%2e){1,2}$/i.test(name)) return undefined;
    segments[at] = name;
  }
  return segments.join("/");
}
