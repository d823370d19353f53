/**
 * acl: lets callers in by the labels of their consumer, or by what their token says of them where there is no consumer.
 * Promise: what is denied wins over what is allowed; a caller is judged once for as long as the consumer's record stands.
 * Source: APISIX 3.18 acl.
 */
import { type Static, Type } from "typebox";
import { compileJsonPath } from "../base/json/json-path.ts";
import { isMembers } from "../base/json/members.ts";
import { compilePattern, patternError } from "../base/regex.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { jsonAnswer } from "../plugin/plugin-answer.ts";
import type { Consumer } from "../plugin/plugin-consumer.ts";
import { Words } from "./shared/schema-parts.ts";

const Labels = Type.Optional(
  Type.Unsafe<Readonly<Record<string, readonly string[]>>>({
    type: "object",
    minProperties: 1,
    patternProperties: { ".*": { type: "array", minItems: 1, items: { type: "string" } } },
  }),
);

const schema = Type.Object(
  {
    external_user_label_field: Defaulted(Type.String({ default: "groups", minLength: 1 })),
    external_user_label_field_key: Type.Optional(Type.String({ minLength: 1 })),
    external_user_label_field_parser: Type.Optional(Words(["segmented_text", "json", "table"])),
    external_user_label_field_separator: Type.Optional(
      Type.String({ minLength: 1, description: "The separator(regex) of the segmented_text parser" }),
    ),
    allow_labels: Labels,
    deny_labels: Labels,
    rejected_code: Defaulted(Type.Integer({ minimum: 200, default: 403 })),
    rejected_msg: Type.Optional(Type.String()),
  },
  {
    allOf: [
      {
        if: {
          required: ["external_user_label_field_parser"],
          properties: { external_user_label_field_parser: { const: "segmented_text" } },
        },
        then: { required: ["external_user_label_field_separator"] },
      },
    ],
    anyOf: [{ required: ["allow_labels"] }, { required: ["deny_labels"] }],
  },
);
type Conf = Static<typeof schema>;

/** APISIX names no highest, but no answer can be sent with another. */
const STATUS_MAX = 599;
const UNKNOWN = jsonAnswer(401, { message: "Missing authentication." }, "acl_no_caller");

/** What a caller has, by label. */
type Held = ReadonlyMap<string, readonly unknown[]>;

export const acl = definePlugin({
  name: "acl",
  version: 0.1,
  priority: 2410,
  explain: "run",
  schema,
  check(conf) {
    if (conf.rejected_code > STATUS_MAX) return `rejected_code: no status is above ${STATUS_MAX}`;
    const { external_user_label_field: field, external_user_label_field_separator: separator } = conf;
    const path = compileJsonPath(pathOf(field));
    if (typeof path === "string") return `invalid external_user_label_field: ${path}`;
    const error = separator === undefined ? undefined : patternError(separator);
    return error === undefined ? undefined : `invalid external_user_label_field_separator: ${error}`;
  },
  compile(conf) {
    const refused = jsonAnswer(
      conf.rejected_code,
      { message: conf.rejected_msg ?? "The consumer is forbidden." },
      "acl_refused",
    );
    const denied = compileLabels(conf.deny_labels);
    const allowed = compileLabels(conf.allow_labels);
    const mayPass = (held: Held): boolean => !denied?.(held) && (allowed?.(held) ?? true);
    const judged = new WeakMap<Consumer, boolean>();
    const isConsumerIn = (consumer: Consumer): boolean => {
      const known = judged.get(consumer);
      if (known !== undefined) return known;
      const now = mayPass(new Map(Object.entries(consumer.labels).map(([name, text]) => [name, valuesOf(text)])));
      judged.set(consumer, now);
      return now;
    };
    const labelsOf = compileClaimLabels(conf);
    return {
      access(view) {
        if (view.consumer) return isConsumerIn(view.consumer) ? undefined : refused;
        const claims = view.note("access_token_payload");
        if (!isMembers(claims)) return UNKNOWN;
        return mayPass(labelsOf(claims)) ? undefined : refused;
      },
    };
  },
});

function pathOf(field: string): string {
  return field.replace(/^\$\.?(?=[^.])|^\$(?=\.)/, "");
}

/** Whether any of the labels has any of the values that are listed for it. */
function compileLabels(labels: Conf["allow_labels"]): ((held: Held) => boolean) | undefined {
  if (!labels) return undefined;
  const wanted = Object.entries(labels).map(([name, values]) => [name, new Set<unknown>(values)] as const);
  return (held) => wanted.some(([name, values]) => held.get(name)?.some((value) => values.has(value)) === true);
}

/** The one label that a token gives: the values its path leads to, each taken apart. */
function compileClaimLabels(conf: Conf): (claims: object) => Held {
  const { external_user_label_field: field, external_user_label_field_parser: parser } = conf;
  const name = conf.external_user_label_field_key ?? field;
  const find = compileJsonPath(pathOf(field));
  if (typeof find === "string") throw new TypeError(find); // `check` has refused it
  const parse = parser === undefined ? valuesOf : compileParser(parser, conf.external_user_label_field_separator);
  return (claims) => {
    const found = find(claims);
    // Of several, those that are lists are lists of labels, whatever the parser.
    const parseOne =
      found.length < 2 ? parse : (value: unknown) => (typeof value === "string" ? parse : valuesOf)(value);
    return new Map([[name, found.flatMap(parseOne)]]);
  };
}

type Parse = (value: unknown) => readonly unknown[];

function compileParser(parser: NonNullable<Conf["external_user_label_field_parser"]>, separator = ","): Parse {
  switch (parser) {
    case "table":
      return (value) => (Array.isArray(value) ? value : NOTHING);
    case "json":
      return (value) => (typeof value === "string" ? parseList(value) : NOTHING);
    case "segmented_text": {
      const parts = compileSplit(separator);
      return (value) => (typeof value === "string" ? parts(value) : NOTHING);
    }
  }
}

const NOTHING: readonly unknown[] = [];

/** A list as it is, a text by its look: JSON, parts between commas, or one value. */
function valuesOf(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  if (typeof value !== "string") return NOTHING;
  if (value.startsWith("[")) return parseList(value);
  return value.includes(",") ? splitCommas(value) : [value];
}

const splitCommas = compileSplit(",");

function parseList(text: string): readonly unknown[] {
  try {
    const value: unknown = text.startsWith("[") ? JSON.parse(text) : undefined;
    return Array.isArray(value) ? value : NOTHING;
  } catch {
    return NOTHING;
  }
}

/** @param separator a pattern; white space around it goes with it */
function compileSplit(separator: string): (text: string) => readonly string[] {
  const pattern = compilePattern(`\\s*(?:${separator})\\s*`);
  return (text) => {
    const parts: string[] = [];
    let rest = text;
    for (;;) {
      const found = pattern.exec(rest);
      if (!found || found.end === 0) return [...parts, rest];
      parts.push(rest.slice(0, found.start));
      rest = rest.slice(found.end);
    }
  };
}
