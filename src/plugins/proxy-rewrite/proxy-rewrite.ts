/**
 * proxy-rewrite: changes what the upstream is asked: path, method, host, headers.
 * Promise: the path sent is escaped anew and holds no control character, whatever a variable or capture brought.
 * Source: docs/spec/plugins.md section 8, APISIX 3.18.
 */
import { type Static, Type } from "typebox";
import { compilePattern, patternError } from "../../base/regex.ts";
import { type CompileEnv, Defaulted, definePlugin } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { afterBody } from "../../plugin/variables/body-variables.ts";
import {
  compileHeaderEdits,
  type EditHeaders,
  type HeaderEdits,
  type HeaderText,
  hasEditForm,
  headerError,
} from "../shared/header-operations.ts";
import { replacementError } from "../shared/pattern-list.ts";
import { HeaderMap, Words } from "../shared/schema-parts.ts";
import { CAPTURES_NOTE, compileRegexUri, compileUri, type RewriteUri } from "./proxy-rewrite-uri.ts";

const METHODS = [
  "GET",
  "POST",
  "PUT",
  "HEAD",
  "DELETE",
  "OPTIONS",
  "MKCOL",
  "COPY",
  "MOVE",
  "PROPFIND",
  "LOCK",
  "UNLOCK",
  "PATCH",
  "TRACE",
] as const;

type Values = Readonly<Record<string, HeaderText | readonly HeaderText[]>>;
interface EditForm {
  readonly add?: Values;
  readonly set?: Values;
  readonly remove?: readonly string[];
}

const TEXT = { oneOf: [{ type: "string" }, { type: "number" }] };
const VALUES = {
  type: "object",
  minProperties: 1,
  patternProperties: {
    "^[^:]+$": { oneOf: [...TEXT.oneOf, { type: "array", minItems: 1, items: TEXT }] },
  },
};
const EDIT_FORM = {
  type: "object",
  minProperties: 1,
  additionalProperties: false,
  properties: {
    add: VALUES,
    set: VALUES,
    remove: { type: "array", minItems: 1, items: { type: "string", pattern: "^[^:]+$" } },
  },
};

const schema = Type.Object(
  {
    uri: Type.Optional(
      Type.String({ description: "new uri for upstream", minLength: 1, maxLength: 4096, pattern: "^\\/.*" }),
    ),
    method: Type.Optional(Words(METHODS, { description: "proxy route method" })),
    regex_uri: Type.Optional(Type.Array(Type.String({ description: "regex uri" }), { minItems: 2 })),
    host: Type.Optional(Type.String({ description: "new host for upstream", pattern: "^[0-9a-zA-Z-.]+(:\\d{1,5})?$" })),
    headers: Type.Optional(Type.Unsafe<EditForm | HeaderMap>({ oneOf: [EDIT_FORM, HeaderMap] })),
    use_real_request_uri_unsafe: Defaulted(Type.Boolean({ default: false })),
  },
  { minProperties: 1 },
);
type Conf = Static<typeof schema>;

export const proxyRewrite = definePlugin({
  name: "proxy-rewrite",
  version: 0.1,
  priority: 1008,
  explain: "run",
  schema,
  check: (conf) => regexUriError(conf.regex_uri) ?? headersError(conf.headers),
  compile(conf, env) {
    const rewriteUri = compileTarget(conf);
    const editHeaders = compileHeaders(conf.headers, env);
    return {
      rewrite: afterBody(conf, (view) => {
        if (conf.host !== undefined) view.upstreamHost = conf.host;
        const refusal = rewriteUri?.(view);
        if (refusal) return refusal;
        editHeaders?.(view, view.headers);
        if (conf.method !== undefined) view.method = conf.method;
        return undefined;
      }),
    };
  },
});

function regexUriError(pairs: readonly string[] | undefined): string | undefined {
  if (!pairs) return undefined;
  if (pairs.length % 2 !== 0) return "The length of regex_uri should be an even number";
  for (let i = 0; i < pairs.length; i += 2) {
    const error = patternError(pairs[i] as string) ?? replacementError(pairs[i + 1] as string);
    if (error !== undefined) return `invalid regex_uri(${pairs[i]}, ${pairs[i + 1]}): ${error}`;
  }
  return undefined;
}

function headersError(headers: Conf["headers"]): string | undefined {
  if (!headers) return undefined;
  const { add, set, remove } = editsOf(headers);
  for (const [name, value] of [...(add ?? []), ...(set ?? [])])
    for (const one of typeof value === "object" ? value : [value]) {
      const error = headerError(name, one);
      if (error !== undefined) return error;
    }
  return remove?.map((name) => headerError(name, "")).find((error) => error !== undefined);
}

function compileTarget(conf: Conf): RewriteUri | undefined {
  const unsafe = conf.use_real_request_uri_unsafe;
  if (conf.uri !== undefined) return compileUri(conf.uri, unsafe);
  const pairs = conf.regex_uri ?? [];
  const rules = [];
  for (let i = 0; i + 1 < pairs.length; i += 2)
    rules.push({ pattern: compilePattern(pairs[i] as string), template: pairs[i + 1] as string });
  return rules.length > 0 || unsafe ? compileRegexUri(rules, unsafe) : undefined;
}

/** Headers that frame the message or belong to one connection: the lanes make these, no configuration does. */
const FRAMING = new Set(
  "connection content-length keep-alive proxy-connection te trailer transfer-encoding upgrade".split(" "),
);

function compileHeaders(headers: Conf["headers"], env: CompileEnv): EditHeaders | undefined {
  if (!headers) return undefined;
  const edits = editsOf(headers);
  const isFraming = (name: string): boolean => FRAMING.has(name.toLowerCase());
  const names = [...(edits.add ?? []).map(nameOf), ...(edits.set ?? []).map(nameOf), ...(edits.remove ?? [])];
  for (const name of names.filter(isFraming))
    env.log.warn({ plugin: "proxy-rewrite", ...env.resource, header: name }, "this header is not for plugins to set");
  const hosts = (edits.set ?? []).filter(([name]) => name.toLowerCase() === "host");
  const keep = ([name]: readonly [string, unknown]): boolean => !isFraming(name) && name.toLowerCase() !== "host";
  const options = { clock: env.clock, dropEmpty: true, local: capture };
  const edit = compileHeaderEdits(
    {
      add: (edits.add ?? []).filter(keep),
      set: (edits.set ?? []).filter(keep),
      remove: (edits.remove ?? []).filter((name) => !isFraming(name) && name.toLowerCase() !== "host"),
    },
    options,
  );
  if (hosts.length === 0) return edit;
  const setHost = compileHeaderEdits({ set: hosts }, options);
  return (view, list) => {
    edit(view, list);
    setHost(view, list);
    view.upstreamHost = list.get("host") ?? view.upstreamHost;
  };
}

function nameOf([name]: readonly [string, unknown]): string {
  return name;
}

/** `$1` in a header value is what the matching regex_uri captured. */
function capture(name: string) {
  if (!/^\d{1,2}$/.test(name)) return undefined;
  const at = Number(name);
  return (view: RequestView) => {
    const captures = view.note(CAPTURES_NOTE);
    return Array.isArray(captures) ? (captures[at] as string | undefined) : undefined;
  };
}

function editsOf(headers: EditForm | HeaderMap): HeaderEdits {
  if (!hasEditForm(headers)) return { set: Object.entries(headers as HeaderMap) };
  const form = headers as EditForm; // true: it has one of the form's members as an object
  const add = Object.entries(form.add ?? {}).flatMap(([name, value]) =>
    (typeof value === "object" ? value : [value]).map((one): readonly [string, HeaderText] => [name, one]),
  );
  return { add, set: Object.entries(form.set ?? {}), remove: form.remove ?? [] };
}
