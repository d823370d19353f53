/**
 * response-rewrite: changes status, headers and body of responses, those the gateway made included.
 * Bodies are decoded (gzip, deflate, br) before filters see them and go out plain.
 * Source: docs/spec/plugins.md section 9, APISIX 3.18.
 */
import { isUtf8 } from "node:buffer";
import { type Static, Type } from "typebox";
import { isCodedError, messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { compilePattern, type Pattern, patternError } from "../base/regex.ts";
import { checkExpression } from "../model/expression.ts";
import type { HeaderList } from "../plugin/headers.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { afterBody, readsBody } from "../plugin/variables/body-variables.ts";
import { compileCondition } from "../plugin/variables/condition.ts";
import {
  compileHeaderEdits,
  type EditHeaders,
  type HeaderText,
  hasEditForm,
  headerError,
} from "./shared/header-operations.ts";
import { HeaderMap, Vars, Words } from "./shared/schema-parts.ts";
import { unpackBody } from "./shared/unpacked-body.ts";

interface EditForm {
  readonly add?: readonly string[];
  readonly set?: HeaderMap;
  readonly remove?: readonly string[];
}

const EDIT_FORM = {
  properties: {
    add: { type: "array", minItems: 1, items: { type: "string", pattern: "^[^:]+:[^:]*[^/]$" } },
    set: HeaderMap,
    remove: { type: "array", minItems: 1, items: { type: "string", pattern: "^[^:]+$" } },
  },
};

const Filter = Type.Object({
  regex: Type.String({ minLength: 1 }),
  scope: Defaulted(Words(["once", "global"], { default: "once" })),
  replace: Type.String(),
  options: Defaulted(Type.String({ default: "jo" })),
});
type Filter = Static<typeof Filter>;

const schema = Type.Object(
  {
    max_resp_body_size: Defaulted(Type.Integer({ minimum: 1, default: 67_108_864 })),
    headers: Type.Optional(Type.Unsafe<EditForm | HeaderMap>({ anyOf: [HeaderMap, EDIT_FORM] })),
    body: Type.Optional(Type.String()),
    body_base64: Defaulted(Type.Boolean({ default: false })),
    status_code: Type.Optional(Type.Integer({ minimum: 200, maximum: 598 })),
    vars: Type.Optional(Vars),
    filters: Type.Optional(Type.Array(Filter, { minItems: 1 })),
  },
  { dependencies: { body: { not: { required: ["filters"] } }, filters: { not: { required: ["body"] } } } },
);
type Conf = Static<typeof schema>;

export const responseRewrite = definePlugin({
  name: "response-rewrite",
  version: 0.1,
  priority: 899,
  explain: "run",
  schema,
  check: (conf) => headersError(conf.headers) ?? bodyError(conf) ?? varsError(conf.vars) ?? filtersError(conf.filters),
  compile(conf, env) {
    const condition = conf.vars && compileCondition(conf.vars, env.clock);
    const editHeaders = conf.headers && compileHeaders(conf.headers);
    const body = conf.body === undefined ? undefined : Buffer.from(conf.body, conf.body_base64 ? "base64" : "utf8");
    const replacements = conf.filters?.map(compileFilter);
    return {
      // By the time the response comes the request's body is gone.
      ...(readsBody(conf) ? { rewrite: afterBody(conf, () => undefined) } : {}),
      headerFilter(view, response) {
        if (condition && !condition.test(view)) return;
        if (conf.status_code !== undefined) response.status = conf.status_code;
        if (body) response.replaceBody(body);
        else if (replacements) {
          const encoding = response.headers.get("content-encoding");
          const limitBytes = conf.max_resp_body_size;
          response.filterBody({
            limitBytes,
            apply: (bytes) => {
              const plain = decode(bytes, encoding, limitBytes, env.log);
              if (plain) return replaceIn(plain, replacements);
              // As the upstream sent it, and said to be so: the client may be able to read it.
              restoreEncoding(response.headers, encoding);
              return bytes;
            },
          });
        }
        editHeaders?.(view, response.headers);
      },
    };
  },
});

/** A coding that gzip or brotli adds comes after it. */
function restoreEncoding(headers: HeaderList, encoding: string | undefined): void {
  if (encoding === undefined) return;
  const added = headers.get("content-encoding");
  headers.set("Content-Encoding", added === undefined ? encoding : `${encoding}, ${added}`);
}

function headersError(headers: Conf["headers"]): string | undefined {
  for (const [name, value] of headers ? pairsOf(headers) : []) {
    const error = headerError(name, value);
    if (error !== undefined) return error;
  }
  return undefined;
}

function bodyError(conf: Conf): string | undefined {
  if (!conf.body_base64) return undefined;
  const isBase64 = conf.body && conf.body.length % 4 !== 1 && /^[A-Za-z0-9+/]+={0,2}$/.test(conf.body);
  return isBase64 ? undefined : "invalid base64 content";
}

function varsError(vars: Conf["vars"]): string | undefined {
  const error = vars && checkExpression(vars);
  return error === undefined ? undefined : `failed to validate the 'vars' expression: ${error}`;
}

function filtersError(filters: Conf["filters"]): string | undefined {
  for (const { regex, options } of filters ?? []) {
    const unknown = [...options].find((flag) => !FLAGS.includes(flag));
    if (unknown !== undefined)
      return `regex "${regex}" validation failed: unknown flag "${unknown}" (flags "${options}")`;
    const error = patternError(sourceOf(regex, options), { caseInsensitive: options.includes("i") });
    if (error !== undefined) return `regex "${regex}" validation failed: ${error}`;
  }
  return undefined;
}

function pairsOf(headers: EditForm | HeaderMap): readonly (readonly [string, HeaderText])[] {
  if (!hasEditForm(headers)) return Object.entries(headers as HeaderMap);
  const form = headers as EditForm; // true: one of the form's members is an object
  return [...(form.add ?? []).map(splitLine), ...Object.entries(form.set ?? {})];
}

function compileHeaders(headers: EditForm | HeaderMap): EditHeaders {
  const options = { dropEmpty: true }; // an empty value takes the header away, as in nginx
  if (!hasEditForm(headers)) return compileHeaderEdits({ set: Object.entries(headers as HeaderMap) }, options);
  const form = headers as EditForm; // true: one of the form's members is an object
  return compileHeaderEdits(
    { add: (form.add ?? []).map(splitLine), set: Object.entries(form.set ?? {}), remove: form.remove ?? [] },
    options,
  );
}

function splitLine(line: string): readonly [string, string] {
  const colon = line.indexOf(":");
  return [line.slice(0, colon).trim(), line.slice(colon + 1).trim()];
}

/** Options of ngx.re that are accepted; "x" is not, and of the others only i, m and s change what matches. */
const FLAGS = "adDijJmosuU";

interface Replacement {
  readonly pattern: Pattern;
  /** PCRE's "$" stands before a last newline too, which RE2's does not: that newline is kept aside. */
  readonly beforeNewline: boolean;
  readonly template: string;
  readonly all: boolean;
}

function compileFilter(filter: Filter): Replacement {
  const caseInsensitive = filter.options.includes("i");
  const pattern = compilePattern(sourceOf(filter.regex, filter.options), { caseInsensitive });
  const beforeNewline = /(?<!\\)\$$/.test(filter.regex);
  return { pattern, beforeNewline, template: filter.replace, all: filter.scope === "global" };
}

/** Options of ngx.re that change the meaning, as flags inside the pattern; "j" and "o" only tune PCRE. */
function sourceOf(regex: string, options: string): string {
  const flags = ["s", "m"].filter((flag) => options.includes(flag)).join("");
  return flags === "" ? regex : `(?${flags})${regex}`;
}

function replaceIn(plain: Buffer, replacements: readonly Replacement[]): Buffer {
  const charset = isUtf8(plain) ? "utf8" : "latin1"; // latin1 keeps bytes that are no text as they are
  let text = plain.toString(charset);
  for (const { pattern, beforeNewline, template, all } of replacements) {
    const end = beforeNewline && text.endsWith("\n") ? text.length - 1 : text.length;
    text = pattern.replace(text.slice(0, end), template, all) + text.slice(end);
  }
  return Buffer.from(text, charset);
}

/**
 * @returns undefined when the body cannot be decoded
 * @throws CodedError when it unpacks to more than the limit: nobody has looked at what a filter should have changed
 */
function decode(bytes: Buffer, encoding: string | undefined, limitBytes: number, log: Log): Buffer | undefined {
  try {
    const plain = unpackBody(bytes, encoding, limitBytes);
    if (plain === undefined)
      log.error({ plugin: "response-rewrite", encoding }, "filters cannot read this content encoding");
    return plain;
  } catch (error) {
    if (isCodedError(error)) throw error;
    log.error({ plugin: "response-rewrite", encoding, error: messageOf(error) }, "the body could not be decoded");
    return undefined;
  }
}
