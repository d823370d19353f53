/**
 * Where the variables of a template stand in a header's value or in a body, and what makes a value fit there.
 * Promise: data in a quoted text, a URL, a cookie, JSON or markup stays inside it; in a text of no known form it stays as it is.
 */
import type { Escape, TemplatePart } from "./template.ts";
import { escapesInUrl, findUrlPlaces } from "./url-places.ts";

type Escapes = readonly (Escape | undefined)[];

const URL_HEADERS: ReadonlySet<string> = new Set(["content-location", "location", "referer", "x-accel-redirect"]);
/** Variables that hold whole headers of the same kind. */
const WHOLE_COOKIES: ReadonlySet<string> = new Set(["http_cookie", "sent_http_set_cookie"]);

/** @param name of the header, in lower case */
export function escapesInHeader(name: string, parts: readonly TemplatePart[]): Escapes {
  if (name === "cookie" || name === "set-cookie")
    return parts.map((part) => (isData(part) && !WHOLE_COOKIES.has(part.name) ? escapeCookie : undefined));
  if (name === "host") return findUrlPlaces(parts, "authority").escapes;
  if (URL_HEADERS.has(name)) return escapesInUrl(parts);
  if (beginsUrl(parts)) return findUrlPlaces(parts).escapes;
  return name === "link" || name === "refresh" ? escapesAroundUrls(name, parts) : escapesInQuotes(parts);
}

/** By what the fixed text looks like: JSON, markup, or a text. */
export function escapesInBody(parts: readonly TemplatePart[]): Escapes {
  const begin = typeof parts[0] === "string" ? parts[0].trimStart().charAt(0) : "";
  if (begin === "<") return parts.map((part) => (isData(part) ? escapeMarkup : undefined));
  if (begin !== "{" && begin !== "[" && begin !== '"') return [];
  return inQuotes(parts, escapeInJsonText, escapeJsonValue);
}

function isData(part: TemplatePart): part is Exclude<TemplatePart, string> {
  return typeof part !== "string";
}

function beginsUrl([first, second]: readonly TemplatePart[]): boolean {
  if (typeof first === "string") return /^(?:\/|[a-zA-Z][\w+.-]*:\/\/)/.test(first);
  return typeof second === "string" && second.startsWith("://");
}

/** `Link` has URLs in angle brackets, `Refresh` one behind "url=". */
function escapesAroundUrls(name: string, parts: readonly TemplatePart[]): Escapes {
  const quoted = escapesInQuotes(parts);
  const opens = name === "link" ? /<[^>]*$/ : /url=[^;]*$/i;
  const closes = name === "link" ? ">" : ";";
  let url: TemplatePart[] | undefined;
  return parts.map((part, at) => {
    if (isData(part)) {
      if (!url) return quoted[at];
      url.push(part);
      return findUrlPlaces(url).escapes.at(-1);
    }
    const opened = opens.exec(part)?.[0];
    if (opened !== undefined) url = [opened.replace(/^(?:<|url=)/i, "")].filter((text) => text !== "");
    else if (part.includes(closes)) url = undefined;
    else url?.push(part);
    return undefined;
  });
}

function escapesInQuotes(parts: readonly TemplatePart[]): Escapes {
  return inQuotes(parts, (value) => value.replace(/["\\]/g, "\\$&"), undefined);
}

function inQuotes(parts: readonly TemplatePart[], inside: Escape, outside: Escape | undefined): Escapes {
  let isInside = false;
  return parts.map((part) => {
    if (isData(part)) return isInside ? inside : outside;
    for (const quote of part.matchAll(/\\.|"/gs)) if (quote[0] === '"') isInside = !isInside;
    return undefined;
  });
}

function escapeCookie(value: string): string {
  return value.replace(/[\s",;\\]/g, (char) => encodeURIComponent(char));
}

function escapeInJsonText(value: string): string {
  return JSON.stringify(value).slice(1, -1);
}

function escapeJsonValue(value: string): string {
  return /^(?:-?(?:0|[1-9]\d*)(?:\.\d+)?|true|false|null)$/.test(value) ? value : JSON.stringify(value);
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

function escapeMarkup(value: string): string {
  return value.replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char);
}
