/**
 * Where the variables of a template stand in a URL, and what makes a value fit there.
 * Promise: data in a path cannot end the path, data in a query cannot end a value or begin another, data in a host cannot
 * end the host. Variables that are parts of a URL themselves (`$uri`, `$request_uri`, `$args` …) stay such parts where
 * they can be.
 */
import { isUtf8 } from "node:buffer";
import { escapeIllegal, escapePath } from "../../base/net/path.ts";
import type { RequestView } from "../request-view.ts";
import type { Escape, TemplatePart } from "./template.ts";

/** `pair` is the beginning of a query's name and value; `value` anywhere else in a query or fragment. */
type UrlPlace = "start" | "scheme" | "authority" | "path" | "pair" | "value";

interface UrlPlaces {
  readonly escapes: readonly (Escape | undefined)[];
  /** Where the template ends. */
  readonly end: UrlPlace;
}

/** @param from where the first part stands */
export function findUrlPlaces(parts: readonly TemplatePart[], from: UrlPlace = "start"): UrlPlaces {
  let place = from;
  const escapes = parts.map((part, at) => {
    const next = parts[at + 1];
    if (typeof part === "string") {
      place = placeAfterText(place, part);
      return undefined;
    }
    const isScheme = place === "start" && typeof next === "string" && next.startsWith("://");
    const here = isScheme ? "scheme" : place;
    const endsPair = next === undefined || (typeof next === "string" && /^[&#]/.test(next));
    place = placeAfterVariable(here, part.name);
    const escaped = escapeFor(here === "pair" && !endsPair ? "value" : here, part.name);
    return HEADER_VALUE.test(part.name) ? (value: string, view: RequestView) => escaped(asText(value), view) : escaped;
  });
  return { escapes, end: place };
}

/** For templates that are a URL: one that is a variable and nothing else is whatever URL that holds. */
export function escapesInUrl(parts: readonly TemplatePart[]): readonly (Escape | undefined)[] {
  const [only] = parts;
  return parts.length === 1 && typeof only === "object" && !IN_PATH.has(only.name)
    ? [escapeIllegal]
    : findUrlPlaces(parts).escapes;
}

/** Escapes data for a name or a value of a query. */
function escapeQueryValue(text: string): string {
  return escapeBytes(text, NO_VALUE);
}

/** Escapes data for the place after which nothing of a template follows. */
export function escapeAt(place: UrlPlace, text: string): string {
  return place === "pair" || place === "value" ? escapeQueryValue(text) : escapePath(text);
}

const NO_VALUE = /[^\w\-.~!$'()*,:@/?[\]]+/g;
const NO_HOST = /[^\w\-.~]+/g;
const HOST = /^(?:[\w\-.~]*|\[[\da-fA-F:.]+\])(?::\d{1,5})?$/;
const SCHEME = /^[a-zA-Z][\w+.-]*$/;

const IN_PATH: ReadonlyMap<string, Escape> = new Map<string, Escape>([
  ["uri", escapePath],
  ["document_uri", escapePath],
  ["request_uri", (_value, view) => withQuery(escapePath(view.path), view)],
  ["real_request_uri", escapeIllegal],
  ["upstream_uri", escapeIllegal],
]);
/** Variables whose values are the bytes of a header, one character each. */
const HEADER_VALUE = /^(?:http|cookie|sent_http|upstream_http)_/;

/** Bytes that are UTF-8 are escaped as they came. */
function asText(value: string): string {
  if (ASCII.test(value)) return value;
  const bytes = Buffer.from(value, "latin1");
  return isUtf8(bytes) ? bytes.toString("utf8") : value;
}

const ASCII = /^[ -~]*$/;

const ARGS: ReadonlySet<string> = new Set(["args", "query_string"]);

function withQuery(path: string, { head }: RequestView): string {
  return head.query === undefined ? path : `${path}?${escapeIllegal(head.query)}`;
}

function escapeFor(place: UrlPlace, name: string): Escape {
  if (place === "pair" || place === "value") {
    if (name === "is_args") return escapeIllegal;
    return place === "pair" && ARGS.has(name) ? escapeIllegal : escapeQueryValue;
  }
  const own = IN_PATH.get(name);
  if (own) return own;
  if (name === "is_args") return escapeIllegal;
  if (place === "authority") return (value) => (HOST.test(value) ? value : escapeBytes(value, NO_HOST));
  if (place === "scheme") return (value) => (SCHEME.test(value) ? value : escapeBytes(value, NO_HOST));
  return escapePath;
}

function placeAfterVariable(place: UrlPlace, name: string): UrlPlace {
  if (place === "pair" || place === "value") return "value";
  if (name === "is_args") return "pair";
  // They may bring a query.
  if (name === "request_uri" || name === "real_request_uri" || name === "upstream_uri") return "value";
  if (place === "start") return "path";
  return place === "authority" && IN_PATH.has(name) ? "path" : place;
}

function placeAfterText(from: UrlPlace, text: string): UrlPlace {
  let place = from;
  let rest = text;
  if (place === "start" || place === "scheme") {
    const authority = place === "start" ? /^(?:[a-zA-Z][\w+.-]*:)?\/\// : /^:\/\//;
    const found = authority.exec(text);
    place = found ? "authority" : "path";
    rest = text.slice(found?.[0].length ?? 0);
  }
  for (const char of rest) {
    if (char === "#") place = "value";
    else if (place === "pair" || place === "value") place = char === "&" ? "pair" : "value";
    else if (char === "?") place = "pair";
    else if (char === "/") place = "path";
  }
  return place;
}

function escapeBytes(text: string, what: RegExp): string {
  return text.replace(what, (part) =>
    [...Buffer.from(part)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );
}
