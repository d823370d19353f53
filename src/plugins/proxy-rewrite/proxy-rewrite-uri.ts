/**
 * How proxy-rewrite makes the path and query that go upstream.
 * A "?" in the configured text begins a query; one that came from a variable or a capture is part of the path.
 * Source: docs/spec/plugins.md section 8, APISIX 3.18.
 */
import { escapePath } from "../../base/net/path.ts";
import { isClimbing } from "../../base/net/path-readings.ts";
import type { Pattern } from "../../base/regex.ts";
import { type Answer, bareAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { compileTemplate } from "../../plugin/variables/template.ts";

/** Returns an answer when what was made is no path to send. */
export type RewriteUri = (view: RequestView) => Answer | undefined;

/** Note that holds the groups of the regex_uri that matched. */
export const CAPTURES_NOTE = "proxy_rewrite_captures";

const DOT_SEGMENT = /(?:^|\/)\.\.?(?:\/|$)/;
const CLIMBING = bareAnswer(400, "rewritten_path_invalid");

/**
 * A variable that brings a dot segment (`../`) into the path is answered with 400: policy has not seen where it leads.
 * @param unsafe the client's query is merged as it came, and nothing but control characters is escaped */
export function compileUri(uri: string, unsafe: boolean): RewriteUri {
  const mark = findQueryMark(uri);
  const path = compileTemplate(mark < 0 ? uri : uri.slice(0, mark));
  const query = mark < 0 ? undefined : compileTemplate(uri.slice(mark + 1));
  const ownDots = DOT_SEGMENT.test(uri);
  return (view) => {
    const made = path(view);
    if (!unsafe && !ownDots && isClimbing(made)) return CLIMBING;
    view.upstreamPath = unsafe ? escapeUnsafe(made) : escapePath(made);
    const own = unsafe ? view.head.query : view.query;
    if (query) view.query = own ? `${escapeUnsafe(query(view))}&${own}` : escapeUnsafe(query(view));
    else if (unsafe) view.query = own;
    return undefined;
  };
}

export interface RegexRule {
  readonly pattern: Pattern;
  readonly template: string;
}

/** The first rule whose pattern is found makes the path; none leaves it. */
export function compileRegexUri(rules: readonly RegexRule[], unsafe: boolean): RewriteUri {
  return (view) => {
    const uri = unsafe ? view.head.target : view.path;
    const rewritten = applyFirst(rules, uri, view);
    if (unsafe) sendRaw(view, rewritten);
    else if (rewritten !== uri) return send(view, rewritten, uri.includes("?"));
    else view.upstreamPath = view.head.escapedPath;
    return undefined;
  };
}

function applyFirst(rules: readonly RegexRule[], uri: string, view: RequestView): string {
  for (const { pattern, template } of rules) {
    const match = pattern.exec(uri);
    if (!match) continue;
    view.setNote(CAPTURES_NOTE, match.groups);
    return pattern.replace(uri, template);
  }
  return uri;
}

/** @param marksArePath the path held a "?" already, so that one cannot be told from the template's */
function send(view: RequestView, uri: string, marksArePath: boolean): Answer | undefined {
  const mark = marksArePath ? -1 : uri.indexOf("?");
  const path = mark < 0 ? uri : uri.slice(0, mark);
  if (isClimbing(path)) return CLIMBING;
  view.upstreamPath = escapePath(path.startsWith("/") ? path : `/${path}`);
  if (mark < 0) return undefined;
  const made = escapeUnsafe(uri.slice(mark + 1));
  view.query = view.query ? `${made}&${view.query}` : made;
  return undefined;
}

function sendRaw(view: RequestView, target: string): void {
  const mark = target.indexOf("?");
  const path = escapeUnsafe(mark < 0 ? target : target.slice(0, mark));
  view.upstreamPath = path.startsWith("/") ? path : `/${path}`;
  view.query = mark < 0 ? undefined : escapeUnsafe(target.slice(mark + 1));
}

/** Escapes what must never stand in a request line: controls, space, "#", DEL, all beyond ASCII. */
function escapeUnsafe(text: string): string {
  return /^[\x21\x22\x24-\x7e]*$/.test(text)
    ? text
    : text.replace(/[^\x21\x22\x24-\x7e]+/g, (part) =>
        [...Buffer.from(part)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
      );
}

/** Index of the first "?" that does not stand inside `${…}`, or -1. */
function findQueryMark(uri: string): number {
  let inside = false;
  for (let at = 0; at < uri.length; at++) {
    const char = uri[at];
    if (char === "$" && uri[at + 1] === "{") inside = true;
    else if (char === "}") inside = false;
    else if (char === "?" && !inside) return at;
  }
  return -1;
}
