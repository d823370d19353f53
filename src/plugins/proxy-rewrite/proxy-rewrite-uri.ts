/**
 * How proxy-rewrite makes the path and query that go upstream.
 * A "?" in the configured text begins a query; one that came from a variable or a capture is part of the path, and what
 * they bring into a query stays within one value.
 * Source: docs/spec/plugins.md section 8, APISIX 3.18.
 */
import { escapePath } from "../../base/net/path.ts";
import { isClimbing } from "../../base/net/path-readings.ts";
import type { Pattern, PatternMatch } from "../../base/regex.ts";
import { type Answer, bareAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { compileTemplate, parseTemplate, type TemplatePart } from "../../plugin/variables/template.ts";
import { escapeAt, findUrlPlaces } from "../../plugin/variables/url-places.ts";
import { fillReplacement, parseReplacement } from "../shared/replacement.ts";

/** Returns an answer when what was made is no path to send. */
export type RewriteUri = (view: RequestView) => Answer | undefined;

/** Note that holds the groups of the regex_uri that matched. */
export const CAPTURES_NOTE = "proxy_rewrite_captures";

const DOT_SEGMENT = /(?:^|\/)\.\.?(?:\/|$)/;
const CLIMBING = bareAnswer(400, "rewritten_path_invalid");

/**
 * A variable that brings a dot segment (`../`) into the path is answered with 400: policy has not seen where it leads.
 * @param unsafe the client's query is merged as it came, and the configured text is not escaped
 */
export function compileUri(uri: string, unsafe: boolean): RewriteUri {
  const { pathParts, queryParts } = splitQuery(parseTemplate(uri));
  const path = compileTemplate(pathParts, unsafe ? { escapes: (parts) => findUrlPlaces(parts, "path").escapes } : {});
  const query = queryParts && compileTemplate(queryParts, { escapes: (parts) => findUrlPlaces(parts, "pair").escapes });
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

interface RegexRule {
  readonly pattern: Pattern;
  readonly template: string;
}

/** The first rule whose pattern is found makes the path; none leaves it. */
export function compileRegexUri(rules: readonly RegexRule[], unsafe: boolean): RewriteUri {
  if (unsafe)
    return (view) => {
      const { target } = view.head;
      const found = findFirst(rules, target, view);
      sendRaw(view, found ? found.rule.pattern.replace(target, found.rule.template) : target);
      return undefined;
    };
  const compiled = rules.map(({ pattern, template }) => ({ pattern, rewrite: compileReplacement(template) }));
  return (view) => {
    const found = findFirst(compiled, view.path, view);
    if (found) return found.rule.rewrite(view, found.match);
    view.upstreamPath = view.head.escapedPath;
    return undefined;
  };
}

function findFirst<R extends { readonly pattern: Pattern }>(
  rules: readonly R[],
  uri: string,
  view: RequestView,
): { readonly rule: R; readonly match: PatternMatch } | undefined {
  for (const rule of rules) {
    const match = rule.pattern.exec(uri);
    if (!match) continue;
    view.setNote(CAPTURES_NOTE, match.groups);
    return { rule, match };
  }
  return undefined;
}

function compileReplacement(template: string): (view: RequestView, match: PatternMatch) => Answer | undefined {
  const { pathParts, queryParts } = splitQuery(parseReplacement(template));
  const places = queryParts && findUrlPlaces(queryParts, "pair");
  return (view, match) => {
    const rest = view.path.slice(match.end);
    const made = view.path.slice(0, match.start) + fillReplacement(pathParts, match, view) + (places ? "" : rest);
    if (isClimbing(made)) return CLIMBING;
    view.upstreamPath =
      made === view.path ? view.head.escapedPath : escapePath(made.startsWith("/") ? made : `/${made}`);
    if (!places || !queryParts) return undefined;
    const query = fillReplacement(queryParts, match, view, places.escapes) + escapeAt(places.end, rest);
    view.query = view.query ? `${escapeUnsafe(query)}&${view.query}` : escapeUnsafe(query);
    return undefined;
  };
}

interface SplitTemplate {
  readonly pathParts: readonly TemplatePart[];
  readonly queryParts: readonly TemplatePart[] | undefined;
}

/** At the first "?" of the configured text. */
function splitQuery(parts: readonly TemplatePart[]): SplitTemplate {
  const at = parts.findIndex((part) => typeof part === "string" && part.includes("?"));
  const fixed = parts[at];
  if (typeof fixed !== "string") return { pathParts: parts, queryParts: undefined };
  const mark = fixed.indexOf("?");
  const around = [fixed.slice(0, mark), fixed.slice(mark + 1)].map((text) => (text === "" ? [] : [text]));
  return {
    pathParts: [...parts.slice(0, at), ...(around[0] ?? [])],
    queryParts: [...(around[1] ?? []), ...parts.slice(at + 1)],
  };
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
