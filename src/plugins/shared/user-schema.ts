/**
 * JSON schemas that operators write to check what clients send: compiled by an Ajv of their own, so that they can be
 * forgotten together with the configuration they stand in.
 * Promise: their patterns run on the linear-time engine; defaults are filled into the value that is checked.
 */
import { Ajv, type ErrorObject, type Options } from "ajv";
import addFormats from "ajv-formats";
import { messageOf } from "../../base/errors.ts";
import { isMembers } from "../../base/json/members.ts";
import { compilePattern } from "../../base/regex.ts";
import { explain } from "../../base/schema/schema-text.ts";

/** @returns the first error in APISIX's words, or undefined; may fill defaults into the value */
type CheckUserValue = (value: unknown) => string | undefined;

/** @returns why a schema is none */
export function userSchemaError(schema: object | undefined): string | undefined {
  if (schema === undefined) return undefined;
  const mistake = findMistake(schema);
  if (mistake !== undefined) return mistake;
  try {
    compileUserSchema(schema);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

/** Cost: milliseconds, when configuration changes. Throws for a schema that is none. */
export function compileUserSchema(schema: object): CheckUserValue {
  const ajv = new Ajv({
    strict: false,
    useDefaults: true,
    logger: false,
    validateSchema: true,
    verbose: true,
    code: { regExp: LINEAR },
  });
  addFormats.default(ajv, ["date", "date-time", "time", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"]);
  const { $schema: _dialect, ...plain } = fromLua(schema) as { $schema?: unknown };
  const accepts = ajv.compile(plain);
  return (value) => (accepts(value) ? undefined : wordsOf(accepts.errors?.[0]));
}

const TYPES = new Set("string number integer boolean null object array table function".split(" "));

type Schema = Readonly<Record<string, unknown>>;

/** The mistakes that APISIX words so; all others are worded by Ajv. */
function findMistake(schema: unknown): string | undefined {
  if (!isMembers(schema)) return undefined;
  const { type, enum: words, required } = schema as Schema;
  if (typeof type === "string" && !TYPES.has(type)) return `invalid JSON type: ${type}`;
  const notList = [words, required].find((list) => typeof list === "string");
  if (notList !== undefined) return "bad argument #1 to 'ipairs' (table expected, got string)";
  return subschemas(schema as Schema)
    .map(([, inner]) => findMistake(inner))
    .find((mistake) => mistake !== undefined);
}

/** Lua's own types, which APISIX's validator knows: a table is an object or array, and nothing that is sent a function. */
function fromLua(schema: unknown): unknown {
  if (!isMembers(schema)) return schema;
  const members: Record<string, unknown> = { ...schema };
  if (members["type"] === "table") members["type"] = ["object", "array"];
  else if (members["type"] === "function") {
    delete members["type"];
    members["not"] = {};
  }
  for (const [place, inner] of subschemas(members)) {
    const [member, name] = place;
    if (name === undefined) members[member] = fromLua(inner);
    else members[member] = { ...(members[member] as object), [name]: fromLua(inner) };
  }
  return members;
}

/** Schemas directly inside one, with the member they stand in and, for maps of them, their name there. */
function subschemas(schema: Schema): [readonly [string, string | undefined], unknown][] {
  const found: [readonly [string, string | undefined], unknown][] = [];
  for (const member of ["items", "additionalProperties", "not", "if", "then", "else"])
    if (schema[member] !== undefined) found.push([[member, undefined], schema[member]]);
  for (const member of ["properties", "patternProperties", "definitions"])
    if (typeof schema[member] === "object" && schema[member] !== null)
      for (const [name, inner] of Object.entries(schema[member])) found.push([[member, name], inner]);
  return found;
}

type RegExpEngine = NonNullable<NonNullable<Options["code"]>["regExp"]>;

/** Ajv's place for another regular expression engine; `code` names it in standalone output, which is not used. */
const LINEAR: RegExpEngine = Object.assign(
  (source: string) => {
    const pattern = compilePattern(source);
    return { test: (text: string) => pattern.test(text) };
  },
  { code: "compilePattern" },
);

function wordsOf(error: ErrorObject | undefined): string {
  if (!error) return "validation failed";
  let words = bareWords(error);
  for (const step of error.instancePath.split("/").slice(1).reverse()) {
    const name = step.replaceAll("~1", "/").replaceAll("~0", "~");
    words = /^\d+$/.test(name)
      ? `failed to validate item ${Number(name) + 1}: ${words}`
      : `property "${name}" validation failed: ${words}`;
  }
  return words;
}

function bareWords({ keyword, params, message, schema, data }: ErrorObject): string {
  switch (keyword) {
    case "additionalProperties":
      return `additional properties forbidden, found ${params["additionalProperty"]}`;
    case "pattern":
      return `failed to match pattern ${JSON.stringify(params["pattern"])} with ${JSON.stringify(data)}`;
    case "anyOf":
      return "object matches none of the required";
    case "oneOf":
      return "value should match only one schema, but matches none";
    default:
      // One keyword alone, none that holds patterns: these went to the linear engine and stay there.
      return (SIMPLE.has(keyword) ? explain({ [keyword]: schema }, data, false) : undefined) ?? message ?? keyword;
  }
}

const SIMPLE = new Set(
  (
    "type required enum const minLength maxLength minimum maximum exclusiveMinimum exclusiveMaximum multipleOf " +
    "minItems maxItems uniqueItems minProperties maxProperties format"
  ).split(" "),
);
