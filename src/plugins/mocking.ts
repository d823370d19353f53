/**
 * mocking: answers with an example, or with data made from a JSON schema, without asking an upstream.
 * Source: docs/spec/plugins.md section 10, APISIX 3.18.
 */
import { type Static, Type } from "typebox";
import { sleep } from "../base/clock.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { Answer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { afterBody } from "../plugin/variables/body-variables.ts";
import type { HeaderText } from "./shared/header-operations.ts";
import { HeaderMap } from "./shared/schema-parts.ts";
import { compileTemplatedAnswer } from "./shared/templated-answer.ts";

const schema = Type.Object(
  {
    delay: Defaulted(Type.Integer({ default: 0 })),
    response_status: Defaulted(Type.Integer({ default: 200, minimum: 100 })),
    content_type: Defaulted(Type.String({ default: "application/json;charset=utf8" })),
    response_example: Type.Optional(Type.String()),
    response_schema: Type.Optional(Type.Unsafe<ExampleSchema>({ type: "object" })),
    with_mock_header: Defaulted(Type.Boolean({ default: true })),
    response_headers: Type.Optional(HeaderMap),
  },
  { anyOf: [{ required: ["response_example"] }, { required: ["response_schema"] }] },
);
type Conf = Static<typeof schema>;

const CONTENT_TYPES = new Set(["application/xml", "application/json", "text/plain", "text/html", "text/xml"]);

export const mocking = definePlugin({
  name: "mocking",
  version: 0.1,
  priority: 10_900,
  explain: { not: "it may delay" },
  schema,
  check: (conf) => (CONTENT_TYPES.has(mediaType(conf)) ? undefined : "unsupported content type!"),
  compile(conf, env) {
    const makeAnswer = compileAnswer(conf, env.settings.serverName);
    const delayMs = conf.delay * 1000;
    return {
      access: afterBody(conf, (view) =>
        delayMs > 0 ? sleep(env.clock, delayMs).then(() => makeAnswer(view)) : makeAnswer(view),
      ),
    };
  },
});

function mediaType(conf: Conf): string {
  return conf.content_type.split(";", 1)[0] ?? "";
}

function compileAnswer(conf: Conf, serverName: string): (view: RequestView) => Answer {
  const headers: (readonly [string, HeaderText])[] = [["Content-Type", conf.content_type]];
  if (conf.with_mock_header) headers.push(["x-mock-by", serverName]);
  headers.push(...Object.entries(conf.response_headers ?? {}));
  const answerWith = (body: string): ((view: RequestView) => Answer) =>
    compileTemplatedAnswer({ status: conf.response_status, headers, body }, "mocked");
  if (conf.response_example !== undefined) return answerWith(conf.response_example);
  const example = conf.response_schema ?? {};
  const type = mediaType(conf);
  // Made anew each time, as data made from a schema is random.
  return (view) => answerWith(exampleText(example, type))(view);
}

function exampleText(example: ExampleSchema, type: string): string {
  const data = makeExample({ ...example, type: "object" });
  if (type === "text/html") return ""; // APISIX makes only JSON and XML from schemas
  return type.endsWith("xml") ? toXml("data", data) : JSON.stringify(data);
}

/**
 * Makes data from a JSON schema, from its examples where it has them, at random elsewhere.
 * Promise: the depth is bounded; what has no known type is left out.
 */
interface ExampleSchema {
  readonly type?: string;
  readonly example?: unknown;
  readonly properties?: Readonly<Record<string, ExampleSchema>>;
  readonly items?: ExampleSchema;
}

const DEPTH_MAX = 32;
const LETTERS = "abcdefghijklmnopqrstuvwxyz";

function makeExample(schema: ExampleSchema, depth = 0): unknown {
  if (depth > DEPTH_MAX) return undefined;
  const { example } = schema;
  switch (typeof schema.type === "string" ? schema.type.toLowerCase() : "") {
    case "object":
      return Object.fromEntries(
        Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, makeExample(inner, depth + 1)]),
      );
    case "array": {
      const { items } = schema;
      return items && Array.from({ length: pick(1, 3) }, () => makeExample(items, depth + 1));
    }
    case "string":
      return typeof example === "string"
        ? example
        : Array.from({ length: pick(1, 10) }, () => LETTERS[pick(0, 25)]).join("");
    case "number":
      return typeof example === "number" ? example : Math.random() * 10_000;
    case "integer":
      return typeof example === "number" ? Math.floor(example) : pick(1, 10_000);
    case "boolean":
      return typeof example === "boolean" ? example : Math.random() < 0.5;
    default:
      return undefined;
  }
}

/** Data as elements; an array repeats its element. */
function toXml(name: string, value: unknown): string {
  if (value === undefined) return "";
  if (Array.isArray(value)) return value.map((item) => toXml(name, item)).join("");
  const inner =
    typeof value === "object" && value !== null
      ? Object.entries(value)
          .map(([member, one]) => toXml(member, one))
          .join("")
      : escapeXml(String(value));
  return `<${name}>${inner}</${name}>`;
}

function escapeXml(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function pick(from: number, to: number): number {
  return from + Math.floor(Math.random() * (to - from + 1));
}
