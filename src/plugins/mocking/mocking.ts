/**
 * mocking: answers with an example, or with data made from a JSON schema, without asking an upstream.
 * Source: docs/spec/plugins.md section 10, APISIX 3.18.
 */
import { type Static, Type } from "typebox";
import { sleep } from "../../base/clock.ts";
import { Defaulted, definePlugin } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { afterBody } from "../../plugin/variables/body-variables.ts";
import type { HeaderText } from "../shared/header-operations.ts";
import { HeaderMap } from "../shared/schema-parts.ts";
import { compileTemplatedAnswer } from "../shared/templated-answer.ts";
import { type ExampleSchema, makeExample, toXml } from "./mocking-example.ts";

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
