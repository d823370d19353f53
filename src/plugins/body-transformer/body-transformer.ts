/**
 * body-transformer: bodies of requests and responses made anew from templates.
 * Promise: what unpacks, unrolls or repeats into too much is refused, never cut. Source: APISIX 3.18 body-transformer.
 */
import { type Static, Type } from "typebox";
import { CodedError, isCodedError, messageOf } from "../../base/errors.ts";
import { Defaulted, definePlugin } from "../../plugin/plugin.ts";
import { type Answer, jsonAnswer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { Words } from "../shared/schema-parts.ts";
import { unpackBody } from "../shared/unpacked-body.ts";
import { type BodyFormat, decodeBody, FORMATS, formatOf } from "./body-formats.ts";
import { type BodyTemplate, compileBodyTemplate } from "./body-template.ts";

const Transform = (of: string) =>
  Type.Object(
    {
      input_format: Type.Optional(
        Words(FORMATS, { description: `What the ${of} is read as; default: by its Content-Type.` }),
      ),
      template: Type.String({ description: `What the new ${of} is made of.` }),
      template_is_base64: Type.Optional(Type.Boolean({ description: "The template is in Base64." })),
    },
    { description: `How the body of the ${of} is made anew.` },
  );

const schema = Type.Object(
  {
    request: Type.Optional(Transform("request")),
    response: Type.Optional(Transform("response")),
    max_req_body_size: Defaulted(
      Type.Integer({ minimum: 1, default: 67_108_864, description: "Requests with a longer body are refused." }),
    ),
    max_resp_body_size: Defaulted(
      Type.Integer({
        minimum: 1,
        default: 67_108_864,
        description: "Responses with a longer body, unpacked too, are a 502.",
      }),
    ),
  },
  { anyOf: [{ required: ["request"] }, { required: ["response"] }] },
);
type Side = NonNullable<Static<typeof schema>["request"]>;

const TOO_LARGE = jsonAnswer(413, { message: "request body is too large" }, "request_too_large");

export const bodyTransformer = definePlugin({
  name: "body-transformer",
  version: 0.1,
  priority: 1080,
  explain: { not: "it reads and replaces bodies" },
  schema,
  check: ({ request, response }) => templateError("request", request) ?? templateError("response", response),
  compile(conf) {
    const request = conf.request && openSide(conf.request);
    const response = conf.response && openSide(conf.response);
    const limitBytes = conf.max_resp_body_size;
    return {
      ...(request && {
        async rewrite(view: RequestView) {
          const body = await readBody(view, conf.max_req_body_size);
          if (body === undefined) return TOO_LARGE;
          const made = transformRequest(request, view, body);
          if (typeof made !== "string") return made;
          view.body.replace(Buffer.from(made));
          return undefined;
        },
      }),
      ...(response && {
        headerFilter(view, head) {
          const contentType = head.headers.get("content-type");
          const encoding = head.headers.get("content-encoding");
          head.filterBody({
            limitBytes,
            apply(bytes) {
              const body = unpackBody(bytes, encoding, limitBytes);
              if (body === undefined) throw badResponse(`Content-Encoding ${encoding} cannot be read`);
              try {
                return Buffer.from(
                  transform(
                    response,
                    view,
                    body.toString("utf8"),
                    contentType,
                    response.format ?? formatOf(contentType),
                  ),
                );
              } catch (error) {
                throw badResponse(messageOf(error));
              }
            },
          });
        },
      }),
    };
  },
});

interface OpenSide {
  readonly format: BodyFormat | undefined;
  readonly template: BodyTemplate;
}

function openSide(side: Side): OpenSide {
  return { format: side.input_format, template: compileBodyTemplate(textOf(side)) };
}

/** In Base64 where it is said to be; APISIX also takes it so where it can be read so. */
function textOf({ template, template_is_base64: isBase64 }: Side): string {
  const canBe = template.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(template);
  const decoded = canBe ? Buffer.from(template, "base64").toString("utf8") : template;
  return isBase64 || /\{[{*%]/.test(decoded) ? decoded : template;
}

function templateError(name: string, side: Side | undefined): string | undefined {
  try {
    if (side) compileBodyTemplate(textOf(side));
    return undefined;
  } catch (error) {
    return `${name}.template: ${messageOf(error)}`;
  }
}

async function readBody(view: RequestView, limitBytes: number): Promise<string | undefined> {
  try {
    return (await view.body.read(limitBytes)).toString("utf8");
  } catch (error) {
    if (isCodedError(error, "REQUEST_TOO_LARGE")) return undefined;
    throw error;
  }
}

function transformRequest(side: OpenSide, view: RequestView, body: string): string | Answer {
  const contentType = view.header("content-type");
  const format = view.head.method === "GET" ? "args" : (side.format ?? formatOf(contentType));
  try {
    return transform(side, view, body, contentType, format);
  } catch (error) {
    if (isCodedError(error, "REQUEST_INVALID"))
      return jsonAnswer(400, { message: `request body decode: ${messageOf(error)}` }, "body_not_readable");
    if (isCodedError(error, "PLUGIN_FAILED"))
      return jsonAnswer(503, { message: `request template rendering: ${messageOf(error)}` }, "body_not_transformable");
    throw error;
  }
}

function transform(
  { template }: OpenSide,
  view: RequestView,
  body: string,
  contentType: string | undefined,
  format: BodyFormat | undefined,
): string {
  const isRead = body !== "" || format === "args";
  const data = isRead ? decodeBody(format, { body, contentType, query: view.head.query }) : {};
  return template.render(data, body === "" ? undefined : body, view);
}

function badResponse(message: string): CodedError {
  return new CodedError("BAD_RESPONSE", { message: `body-transformer: ${message}` });
}
