/**
 * Variables that need the request body: `post_arg_<name>`, `post_arg.<path>`, `graphql_<fact>`.
 * Whoever compiled one of them (see `needsBody`) calls `loadBodyVariables` before it reads them; the body is parsed at
 * most once per request and kind, and still goes upstream.
 */
import { CodedError } from "../../base/errors.ts";
import { parseJson, repeatedMember } from "../../base/json/json.ts";
import { compileJsonPath } from "../../base/json/json-path.ts";
import type { RequestView } from "../request-view.ts";
import { type GraphqlOperation, parseGraphql } from "./graphql.ts";
import { decodeFormText, firstArg, type Variable, type VariableValue } from "./query.ts";

const BODY_LIMIT_BYTES = 1024 * 1024; // APISIX's graphql.max_size; a body above it has no variables

/** Whether a variable can only be read after `loadBodyVariables`. */
export function needsBody(name: string): boolean {
  return name.startsWith("post_arg_") || name.startsWith("post_arg.") || name.startsWith("graphql_");
}

/**
 * Reads the body so that variables can look into it.
 * @returns undefined when there is nothing to wait for; a body that is too large has no variables
 * @throws CodedError REQUEST_INVALID in `strict`, by rejecting, for a body that can be read in two ways, and for one that
 *         is too large to be read
 */
export function loadBodyVariables(view: RequestView): Promise<undefined> | undefined {
  if (view.note(NOTE) !== undefined) return undefined;
  const length = view.body.length;
  const strict = view.head.strict === true;
  if (length === 0 || ((length ?? 0) > BODY_LIMIT_BYTES && !strict)) {
    view.setNote(NOTE, new ReadBody(""));
    return undefined;
  }
  return view.body.read(BODY_LIMIT_BYTES).then(
    (bytes) => {
      const text = bytes.toString();
      const doubt = strict ? bodyDoubt(view, text) : undefined;
      if (doubt !== undefined)
        throw new CodedError("REQUEST_INVALID", { message: `a condition on the body: ${doubt}` });
      view.setNote(NOTE, new ReadBody(text));
      return undefined;
    },
    (error: unknown) => {
      if (strict) throw error;
      // Too large or gone: whoever sends the request on meets the same fault and answers it.
      view.setNote(NOTE, new ReadBody(""));
      return undefined;
    },
  );
}

/** Why two programs may read this body differently. */
function bodyDoubt(view: RequestView, text: string): string | undefined {
  if (view.headers.getAll("content-type").length > 1) return "it has two Content-Types";
  if (view.headers.has("content-encoding")) return "it is encoded";
  if (isType(view, FORM)) return repeats(formNames(text)) ? "an argument repeats" : undefined;
  if (isType(view, "multipart/form-data")) return repeats(partNames(text)) ? "a field repeats" : undefined;
  if (!isType(view, "application/json")) return undefined;
  if (!parseJson(text).ok) return "it is no JSON";
  if (repeatedMember(text) !== undefined) return "a member repeats";
  return firstArg(view.query, "query") === undefined ? undefined : "a query stands in the target too";
}

function repeats(names: readonly string[]): boolean {
  return new Set(names).size < names.length;
}

function formNames(text: string): readonly string[] {
  return text.split("&").map((pair) => decodeFormText(pair.split("=", 1)[0] ?? ""));
}

function partNames(text: string): readonly string[] {
  return [...text.matchAll(/content-disposition:[^\r\n]*;\s*name="([^"]*)"/gi)].map((match) => match[1] ?? "");
}

/** Whether a plugin's configuration names such a variable anywhere, as text or in a template. */
export function readsBody(conf: object): boolean {
  return /\b(?:post_arg[_.]|graphql_)/.test(JSON.stringify(conf));
}

/** The handler itself, or one that loads the body first; decided once, when configuration changes. */
export function afterBody<Result>(
  conf: object,
  handler: (view: RequestView) => Result | Promise<Result>,
): (view: RequestView) => Result | Promise<Result> {
  if (!readsBody(conf)) return handler;
  return (view) => {
    const loading = loadBodyVariables(view);
    return loading === undefined ? handler(view) : loading.then(() => handler(view));
  };
}

/** Compiled by `compileVariable`; undefined until the body was loaded. */
export function compileBodyVariable(name: string): Variable {
  const read = compileRead(name);
  return (view) => {
    const body = view.note(NOTE);
    return body instanceof ReadBody ? read(body, view) : undefined;
  };
}

const NOTE = "body_variables";

class ReadBody {
  readonly text: string;
  #json: unknown = NOT_YET;
  #graphql: GraphqlOperation | undefined | typeof NOT_YET = NOT_YET;

  constructor(text: string) {
    this.text = text;
  }

  get json(): unknown {
    if (this.#json === NOT_YET) {
      const parsed = parseJson(this.text);
      this.#json = parsed.ok ? parsed.value : undefined;
    }
    return this.#json;
  }

  graphql(view: RequestView): GraphqlOperation | undefined {
    if (this.#graphql === NOT_YET) {
      const query = this.#graphqlText(view);
      this.#graphql = typeof query === "string" ? parseGraphql(query) : undefined;
    }
    return this.#graphql;
  }

  #graphqlText(view: RequestView): unknown {
    if (view.head.method === "GET") return firstArg(view.query, "query");
    return isType(view, "application/json") ? memberOf(this.json, "query") : this.text;
  }
}

const NOT_YET = Symbol("not parsed yet");

function compileRead(name: string): (body: ReadBody, view: RequestView) => VariableValue {
  if (name.startsWith("graphql_")) {
    const fact = name.slice("graphql_".length);
    return (body, view) => {
      const facts = body.graphql(view);
      return fact === "operation" || fact === "name" || fact === "root_fields" ? facts?.[fact] : undefined;
    };
  }
  const rest = name.slice("post_arg_".length);
  if (name.startsWith("post_arg_")) return (body, view) => (isType(view, FORM) ? firstArg(body.text, rest) : undefined);
  const readJson = compileJsonRead(rest);
  return (body, view) => {
    if (isType(view, FORM)) return firstArg(body.text, rest);
    if (isType(view, "multipart/form-data")) return multipartField(body.text, view.header("content-type") ?? "", rest);
    return isType(view, "application/json") ? readJson(body.json) : undefined;
  };
}

/** A path of names gives the value there; one with brackets, wildcards or descent gives the list of what it finds. */
function compileJsonRead(path: string): (json: unknown) => VariableValue {
  if (!/[[*]|\.\./.test(path)) {
    const names = path.split(".");
    return (json) => asValue(names.reduce(memberOf, json));
  }
  const find = compileJsonPath(path);
  if (typeof find === "string") return () => undefined; // refused when written; a record from elsewhere may hold it
  return (json) => {
    const found = find(json);
    return found.length === 0 ? undefined : asValue(found);
  };
}

const FORM = "application/x-www-form-urlencoded";

function isType(view: RequestView, type: string): boolean {
  return view.header("content-type")?.toLowerCase().startsWith(type) === true;
}

function memberOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Readonly<Record<string, unknown>>)[name];
}

function asValue(value: unknown): VariableValue {
  if (isScalar(value)) return value;
  return Array.isArray(value) ? value.filter(isScalar) : undefined;
}

function isScalar(value: unknown): value is string | number | boolean {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean";
}

function multipartField(text: string, contentType: string, name: string): string | undefined {
  const boundary = /boundary="?([^";]+)"?/i.exec(contentType)?.[1];
  if (boundary === undefined) return undefined;
  for (const part of text.split(`--${boundary}`)) {
    // Clients that write bare LF exist, and APISIX reads them.
    const blank = /\r?\n\r?\n/.exec(part);
    if (!blank) continue;
    const field = /content-disposition:[^\r\n]*;\s*name="([^"]*)"/i.exec(part.slice(0, blank.index))?.[1];
    if (field === undefined || decodeFormText(field) !== name) continue;
    return part.slice(blank.index + blank[0].length).replace(/\r?\n$/, "");
  }
  return undefined;
}
