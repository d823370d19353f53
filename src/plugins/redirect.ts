/**
 * redirect: sends the caller elsewhere.
 * Promise: Location is printable ASCII without blanks, never begins with a second slash that a variable brought, and what
 * variables and captures bring is escaped for its place (url-places.ts).
 * Source: docs/spec/plugins.md section 10, APISIX 3.18.
 */
import { type Static, Type } from "typebox";
import { escapeIllegal, escapePath } from "../base/net/path.ts";
import { compilePattern, patternError } from "../base/regex.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { type Answer, bareAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { afterBody } from "../plugin/variables/body-variables.ts";
import { compileTemplate, parseTemplate, type TemplatePart } from "../plugin/variables/template.ts";
import { escapeAt, escapesInUrl, findUrlPlaces } from "../plugin/variables/url-places.ts";
import { replacementError } from "./shared/pattern-list.ts";
import { fillReplacement, parseReplacement } from "./shared/replacement.ts";

const TEMPLATE = "(\\\\\\$[0-9a-zA-Z_]+)|\\$\\{([0-9a-zA-Z_]+)\\}|\\$([0-9a-zA-Z_]+)|(\\$|[^$\\\\]+)";

const schema = Type.Object(
  {
    ret_code: Defaulted(Type.Integer({ minimum: 200, default: 302 })),
    uri: Type.Optional(Type.String({ minLength: 2, pattern: TEMPLATE })),
    regex_uri: Type.Optional(Type.Array(Type.String({ description: "regex uri" }), { minItems: 2, maxItems: 2 })),
    http_to_https: Type.Optional(Type.Boolean()),
    encode_uri: Defaulted(Type.Boolean({ default: false })),
    append_query_string: Defaulted(Type.Boolean({ default: false })),
  },
  { oneOf: [{ required: ["uri"] }, { required: ["regex_uri"] }, { required: ["http_to_https"] }] },
);
type Conf = Static<typeof schema>;

/** The new location, or undefined to let the request go on. */
type Locate = (view: RequestView) => string | undefined;

export const redirect = definePlugin({
  name: "redirect",
  version: 0.1,
  priority: 900,
  explain: "run",
  schema,
  check(conf) {
    const [pattern, replacement] = conf.regex_uri ?? [];
    const error = pattern === undefined ? undefined : (patternError(pattern) ?? replacementError(replacement ?? ""));
    if (error !== undefined) return `invalid regex_uri (${pattern}, ${replacement}), err:${error}`;
    return conf.http_to_https && conf.append_query_string
      ? "only one of `http_to_https` and `append_query_string` can be configured."
      : undefined;
  },
  compile(conf, env) {
    if (conf.http_to_https !== undefined) {
      const toHttps = conf.http_to_https ? compileToHttps(env.settings.httpsPort) : () => undefined;
      return { rewrite: toHttps };
    }
    const locate = compileLocate(conf);
    return {
      rewrite: afterBody(conf, (view) => {
        const location = locate(view);
        return location === undefined ? undefined : answerWith(conf.ret_code, finish(location, view, conf));
      }),
    };
  },
});

function compileToHttps(port: number | undefined): (view: RequestView) => Answer | undefined {
  const suffix = port === undefined || port === 443 ? "" : `:${port}`;
  return (view) => {
    const scheme = view.header("x-forwarded-proto") ?? view.connection.scheme;
    if (scheme === "https") return undefined;
    const { method, escapedPath, query } = view.head;
    const target = query === undefined ? escapedPath : `${escapedPath}?${escapeIllegal(query)}`;
    // 308 keeps the method; for GET and HEAD 301 is as good and older.
    const status = method === "GET" || method === "HEAD" ? 301 : 308;
    return answerWith(status, escapeLocation(`https://${view.host}${suffix}${target}`));
  };
}

function compileLocate(conf: Conf): Locate {
  if (conf.uri !== undefined) {
    const template = compileTemplate(encodeFixed(parseTemplate(conf.uri), conf), { escapes: escapesInUrl });
    return conf.uri.startsWith("//") ? template : (view) => oneSlash(template(view));
  }
  const [source = "", text = ""] = conf.regex_uri ?? [];
  const pattern = compilePattern(source);
  const parts = encodeFixed(parseReplacement(text), conf);
  const { escapes, end } = findUrlPlaces(parts);
  const keep = text.startsWith("//");
  return (view) => {
    const match = pattern.exec(view.path);
    if (!match) return undefined;
    const before = escapePath(view.path.slice(0, match.start));
    const made = before + fillReplacement(parts, match, view, escapes) + escapeAt(end, view.path.slice(match.end));
    return keep ? made : oneSlash(made);
  };
}

/** With `encode_uri` the configured path is a plain text; what variables bring is escaped in any case. */
function encodeFixed(parts: readonly TemplatePart[], conf: Conf): readonly TemplatePart[] {
  if (!conf.encode_uri) return parts;
  let inQuery = false;
  return parts.map((part) => {
    if (typeof part !== "string" || inQuery) return part;
    const [path = "", ...query] = part.split("?");
    inQuery = query.length > 0;
    return [escapePath(path), ...query].join("?");
  });
}

/** Two slashes in front would name another host. */
function oneSlash(location: string): string {
  return location.startsWith("//") ? location.replace(/^\/+/, "/") : location;
}

function finish(made: string, view: RequestView, conf: Conf): string {
  if (!conf.append_query_string || !view.head.query) return escapeLocation(made);
  const [location = "", ...fragment] = made.split("#");
  const whole = `${location}${location.includes("?") ? "&" : "?"}${escapeIllegal(view.head.query)}`;
  return escapeLocation([whole, ...fragment].join("#"));
}

/** Escapes what may not stand in a URL at all. */
function escapeLocation(location: string): string {
  return location.replace(/[^\x21\x23-\x3b\x3d\x3f-\x5d\x5f\x61-\x7a\x7e]+/g, (part) =>
    [...Buffer.from(part)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );
}

function answerWith(status: number, location: string): Answer {
  return bareAnswer(status, "redirected", ["Location", location]);
}
