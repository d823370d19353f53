/**
 * cors: answers preflights and adds the headers that let browsers of other origins read responses.
 * Promise: a preflight never reaches authentication; an origin is echoed only when the configuration allows it.
 * Source: docs/spec/plugins.md section 7, APISIX 3.18 (a single origin that does not match sends nothing, as its tests say).
 */
import { Type } from "typebox";
import type { HeaderList } from "../plugin/headers.ts";
import { Defaulted, definePlugin, type NodeEnv } from "../plugin/plugin.ts";
import { bareAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import type { ResponseView } from "../plugin/response-view.ts";
import { compileAnyPattern, patternListError } from "./shared/pattern-list.ts";

const ORIGINS = "^(\\*|\\*\\*|null|\\w+://[^,]+(,\\w+://[^,]+)*)$";

const Texts = Type.Optional(
  Type.Array(Type.String({ minLength: 1, maxLength: 4096 }), { minItems: 1, uniqueItems: true }),
);

const schema = Type.Object({
  allow_origins: Defaulted(Type.String({ pattern: ORIGINS, default: "*" })),
  allow_methods: Defaulted(Type.String({ default: "*" })),
  allow_headers: Defaulted(Type.String({ default: "*" })),
  expose_headers: Type.Optional(Type.String()),
  max_age: Defaulted(Type.Integer({ default: 5 })),
  allow_credential: Defaulted(Type.Boolean({ default: false })),
  allow_origins_by_regex: Texts,
  allow_origins_by_metadata: Texts,
  timing_allow_origins: Type.Optional(Type.String({ pattern: ORIGINS })),
  timing_allow_origins_by_regex: Texts,
});

const metadataSchema = Type.Object({
  allow_origins: Type.Optional(
    Type.Unsafe<Readonly<Record<string, string>>>({
      type: "object",
      additionalProperties: { type: "string", pattern: ORIGINS },
    }),
  ),
});

const ALL_METHODS = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE";
const PREFLIGHT = bareAnswer(200, "cors_preflight");

/** What to send for an origin; undefined sends nothing. */
type AllowOrigin = (origin: string | undefined) => string | undefined;

export const cors = definePlugin({
  name: "cors",
  version: 0.1,
  priority: 4000,
  explain: "run",
  schema,
  metadataSchema,
  check(conf) {
    const starred = [conf.allow_origins, conf.allow_methods, conf.allow_headers, conf.expose_headers];
    if (conf.allow_credential && [...starred, conf.timing_allow_origins].includes("*"))
      return "you can not set '*' for other option when 'allow_credential' is true";
    return patternListError([...(conf.allow_origins_by_regex ?? []), ...(conf.timing_allow_origins_by_regex ?? [])]);
  },
  compile(conf, env) {
    const fromMetadata = compileMetadata(conf.allow_origins_by_metadata, env);
    const fromConf = conf.allow_origins_by_regex
      ? compileRegex(conf.allow_origins_by_regex)
      : compileOrigins(conf.allow_origins);
    const timing = conf.timing_allow_origins_by_regex
      ? compileRegex(conf.timing_allow_origins_by_regex)
      : conf.timing_allow_origins && compileOrigins(conf.timing_allow_origins);
    const varies =
      conf.allow_origins !== "*" ||
      conf.allow_origins_by_regex !== undefined ||
      conf.allow_origins_by_metadata !== undefined ||
      conf.timing_allow_origins_by_regex !== undefined ||
      (conf.timing_allow_origins !== undefined && conf.timing_allow_origins !== "*");
    const methods = conf.allow_methods === "**" ? ALL_METHODS : conf.allow_methods;

    const allowed: AllowOrigin = (origin) => {
      let allow = fromMetadata(origin);
      if (conf.allow_origins_by_metadata === undefined) allow = fromConf(origin);
      else if (!matches(origin, allow) && conf.allow_origins !== "*") allow = fromConf(origin);
      return matches(origin, allow) ? allow : fromMetadata(origin);
    };
    return {
      rewrite(view) {
        // Kept, since what goes upstream may be changed by other plugins.
        const origin = view.header("origin");
        if (origin !== undefined) view.setNote(NOTE, origin);
        return view.head.method === "OPTIONS" ? PREFLIGHT : undefined;
      },
      headerFilter(view, response) {
        const origin = originOf(view);
        const allow = allowed(origin);
        if (varies && !variesBy(response.headers, "origin")) response.headers.append("Vary", "Origin");
        if (allow !== undefined) writeHeaders(view, response, allow);
        const timingAllow = timing ? timing(origin) : undefined;
        if (timingAllow !== undefined && matches(origin, timingAllow))
          response.headers.set("Timing-Allow-Origin", timingAllow);
      },
    };

    function writeHeaders(view: RequestView, { headers }: ResponseView, allow: string): void {
      headers.set("Access-Control-Allow-Origin", allow);
      headers.set("Access-Control-Allow-Methods", methods);
      headers.set("Access-Control-Max-Age", String(conf.max_age));
      if (conf.expose_headers) headers.set("Access-Control-Expose-Headers", conf.expose_headers);
      const allowHeaders = conf.allow_headers === "**" ? view.header(ASKED_HEADERS) : conf.allow_headers;
      if (allowHeaders === undefined) headers.remove("access-control-allow-headers");
      else headers.set("Access-Control-Allow-Headers", allowHeaders);
      if (conf.allow_credential) headers.set("Access-Control-Allow-Credentials", "true");
    }
  },
});

/** Whether caches are told already. @param lower name of a request header */
function variesBy(headers: HeaderList, lower: string): boolean {
  const names = headers.getAll("vary").flatMap((line) => line.toLowerCase().split(","));
  return names.some((name) => name.trim() === lower || name.trim() === "*");
}

const NOTE = "cors_origin";
const ASKED_HEADERS = "access-control-request-headers";

function originOf(view: RequestView): string | undefined {
  const kept = view.note(NOTE);
  return typeof kept === "string" ? kept : undefined;
}

function matches(origin: string | undefined, allow: string | undefined): boolean {
  return allow === "*" || (allow !== undefined && allow === origin);
}

function compileOrigins(text: string): AllowOrigin {
  if (text === "**") return (origin) => origin ?? "*";
  if (!text.includes(",")) return () => text;
  const list = new Set(text.split(","));
  return (origin) => (origin !== undefined && list.has(origin) ? origin : undefined);
}

function compileRegex(sources: readonly string[]): AllowOrigin {
  const found = compileAnyPattern(sources);
  return (origin) => (origin !== undefined && found(origin) ? origin : undefined);
}

/** Origins that stand under these names in the plugin's metadata; compiled anew when the metadata changed. */
function compileMetadata(names: readonly string[] | undefined, env: NodeEnv): AllowOrigin {
  if (names === undefined) return () => undefined;
  let source: unknown;
  let lists: AllowOrigin[] = [];
  return (origin) => {
    const metadata = env.metadata("cors");
    if (metadata !== source) {
      source = metadata;
      // True: metadata is checked against metadataSchema before it is offered here.
      const known = (metadata as { allow_origins?: Record<string, string> } | undefined)?.allow_origins ?? {};
      lists = names.flatMap((name) => (Object.hasOwn(known, name) ? [compileOrigins(known[name] as string)] : []));
    }
    return lists.some((list) => matches(origin, list(origin))) ? origin : undefined;
  };
}
