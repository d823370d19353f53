/**
 * Checks values against TypeBox (or plain JSON) schemas: one shared Ajv says yes quickly, and only when it says no
 * the slow, exact explainer of schema-text.ts decides and words the refusal.
 * Promise: the value is never changed and no default is filled in; compilation is lazy and cached per schema object.
 */
import { Ajv, type ValidateFunction } from "ajv";
import { FORMATS } from "./schema-format.ts";
import { explain, type JsonSchema } from "./schema-text.ts";

export interface Validator {
  readonly schema: object;
  /** @returns the first error in APISIX's words, without any prefix; undefined when the value is fine. */
  check(value: unknown): string | undefined;
}

interface SchemaOptions {
  /** A string that is a secret reference is not held to pattern, length, enum and format. Default: false. */
  readonly references?: boolean;
}

const cache = new WeakMap<object, { plain?: Validator; references?: Validator }>();

/**
 * The validator of a schema; asked twice, the same one.
 * Cost: Ajv compiles at the first check (milliseconds); a check of a good value is about a microsecond.
 */
export function compileSchema(schema: object, options: SchemaOptions = {}): Validator {
  let entry = cache.get(schema);
  if (!entry) {
    entry = {};
    cache.set(schema, entry);
  }
  if (options.references) {
    entry.references ??= buildValidator(schema, true);
    return entry.references;
  }
  entry.plain ??= buildValidator(schema, false);
  return entry.plain;
}

// Compiling blocks the loop of a serving node, and Ajv spends half of it on polishing its code, which then runs as fast as
// unpolished (V8 does that anyway). Formats are ours; unicodeRegExp off because the schemas' patterns are written for PCRE
// ("[a-zA-Z0-9-_.]").
const ajv = new Ajv({
  strict: false,
  coerceTypes: false,
  useDefaults: false,
  allErrors: false,
  unicodeRegExp: false,
  logger: false,
  validateSchema: false,
  addUsedSchema: false,
  messages: false, // refusals are worded by explain
  code: { optimize: false },
  formats: { ...FORMATS },
});

function buildValidator(schema: object, references: boolean): Validator {
  let accepts: ValidateFunction | undefined;
  return {
    schema,
    check(value) {
      accepts ??= ajv.compile(schema as JsonSchema);
      return accepts(value) ? undefined : explain(schema, value, references);
    },
  };
}
