/**
 * redirect: sends the caller elsewhere.
 * Promise: Location is printable ASCII without blanks, and never begins with a second slash that a variable brought.
 * Source: docs/spec/plugins.md section 10, APISIX 3.18.
 */
import { type Static, Type } from "typebox";
import { escapePath } from "../base/net/path.ts";
import { compilePattern, patternError } from "../base/regex.ts";
import { Defaulted } from "../plugin/defaulted.ts";
import { definePlugin } from "../plugin/plugin.ts";
import { type Answer, bareAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { afterBody } from "../plugin/variables/body-variables.ts";
import { compileTemplate } from "../plugin/variables/template.ts";
import { replacementError } from "./shared/pattern-list.ts";

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
    const target = query === undefined ? escapedPath : `${escapedPath}?${query}`;
    // 308 keeps the method; for GET and HEAD 301 is as good and older.
    const status = method === "GET" || method === "HEAD" ? 301 : 308;
    return answerWith(status, escapeLocation(`https://${view.host}${suffix}${target}`));
  };
}

function compileLocate(conf: Conf): Locate {
  if (conf.uri !== undefined) {
    const template = compileTemplate(conf.uri, { escape: escapeBackslash });
    return conf.uri.startsWith("//") ? template : (view) => oneSlash(template(view));
  }
  const [source = "", template = ""] = conf.regex_uri ?? [];
  const pattern = compilePattern(source);
  const keep = template.startsWith("//");
  return (view) => {
    if (!pattern.test(view.path)) return undefined;
    const made = escapeBackslash(pattern.replace(view.path, template));
    return keep ? made : oneSlash(made);
  };
}

/** Two slashes in front would name another host. */
function oneSlash(location: string): string {
  return location.startsWith("//") ? location.replace(/^\/+/, "/") : location;
}

function finish(made: string, view: RequestView, conf: Conf): string {
  const mark = made.indexOf("?");
  let location = made;
  if (conf.encode_uri) location = mark < 0 ? escapePath(made) : escapePath(made.slice(0, mark)) + made.slice(mark);
  if (conf.append_query_string && view.head.query) location += `${mark < 0 ? "?" : "&"}${view.head.query}`;
  return escapeLocation(location);
}

/** Browsers read a backslash as a slash: one that a client sent is escaped, a configured one is meant. */
function escapeBackslash(value: string): string {
  return value.replaceAll("\\", "%5C");
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
