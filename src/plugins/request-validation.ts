/**
 * request-validation: refuses requests whose headers or body do not satisfy a JSON schema.
 * Promise: the JSON that was checked is the JSON that goes upstream; patterns of schemas run in linear time.
 * Source: APISIX 3.18 request-validation.
 */
import { type Static, Type } from "typebox";
import { isCodedError } from "../base/errors.ts";
import { parseJson } from "../base/json/json.ts";
import type { HeaderList } from "../plugin/headers.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { type Answer, bareAnswer, textAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { compileUserSchema, userSchemaError } from "./shared/user-schema.ts";

const UserSchema = Type.Unsafe<object>({ type: "object" });

const schema = Type.Object(
  {
    header_schema: Type.Optional(UserSchema),
    body_schema: Type.Optional(UserSchema),
    max_req_body_size: Defaulted(Type.Integer({ minimum: 1, default: 67_108_864 })),
    rejected_code: Defaulted(Type.Integer({ minimum: 200, maximum: 599, default: 400 })),
    rejected_msg: Type.Optional(Type.String({ minLength: 1, maxLength: 256 })),
  },
  { anyOf: [{ required: ["header_schema"] }, { required: ["body_schema"] }] },
);
type Conf = Static<typeof schema>;

export const requestValidation = definePlugin({
  name: "request-validation",
  version: 0.1,
  priority: 2800,
  explain: "run",
  schema,
  check: (conf) => userSchemaError(conf.body_schema) ?? userSchemaError(conf.header_schema),
  compile(conf) {
    const refuse = compileRefusal(conf);
    const checkHeaders = conf.header_schema && compileUserSchema(lowerNames(conf.header_schema));
    const checkBody = conf.body_schema && compileUserSchema(conf.body_schema);

    const validateBody = async (view: RequestView): Promise<Answer | undefined> => {
      const bytes = await readBody(view, conf.max_req_body_size);
      const types = view.headers.getAll("content-type");
      // Two of them: the gateway and the upstream may read the body differently.
      if (bytes === undefined || bytes.length === 0 || types.length > 1) return refuse(undefined);
      if (types[0]?.toLowerCase().startsWith("application/x-www-form-urlencoded"))
        return refuseIf(checkBody?.(formMembers(bytes.toString())));
      const parsed = parseJson(bytes);
      if (!parsed.ok) return refuse(parsed.error);
      const error = checkBody?.(parsed.value);
      if (error === undefined) view.body.replace(Buffer.from(JSON.stringify(parsed.value)));
      return refuseIf(error);
    };
    const refuseIf = (error: string | undefined): Answer | undefined =>
      error === undefined ? undefined : refuse(error);
    return {
      rewrite(view) {
        const error = checkHeaders?.(headerMembers(view.headers));
        if (error !== undefined) return refuse(error);
        return checkBody ? validateBody(view) : undefined;
      },
    };
  },
});

function compileRefusal(conf: Conf): (error: string | undefined) => Answer {
  const { rejected_code: status, rejected_msg: message } = conf;
  const fixed =
    message === undefined ? bareAnswer(status, "request_not_valid") : textAnswer(status, message, "request_not_valid");
  return (error) =>
    message !== undefined || error === undefined ? fixed : textAnswer(status, error, "request_not_valid");
}

/** @returns undefined for a body above the limit */
async function readBody(view: RequestView, limitBytes: number): Promise<Buffer | undefined> {
  try {
    return await view.body.read(limitBytes);
  } catch (error) {
    if (isCodedError(error, "REQUEST_TOO_LARGE")) return undefined;
    throw error;
  }
}

/** Header names have no case: the schema's are compared in lower case, like the request's. */
function lowerNames(source: object): object {
  const { properties, required, ...rest } = source as { properties?: object; required?: unknown };
  const lowered: Record<string, unknown> = { ...rest };
  if (properties)
    lowered["properties"] = Object.fromEntries(
      Object.entries(properties).map(([name, inner]) => [name.toLowerCase(), inner]),
    );
  if (required !== undefined)
    lowered["required"] = Array.isArray(required) ? required.map((name) => String(name).toLowerCase()) : required;
  return lowered;
}

/** A header sent more than once is a list. */
function headerMembers(headers: HeaderList): Record<string, unknown> {
  return gather(headers.lines.map((text, at) => (at % 2 === 0 ? text.toLowerCase() : text)));
}

function formMembers(text: string): Record<string, unknown> {
  return gather([...new URLSearchParams(text)].flat());
}

function gather(flat: readonly string[]): Record<string, unknown> {
  const members = new Map<string, unknown>();
  for (let at = 0; at + 1 < flat.length; at += 2) {
    const name = flat[at] as string;
    const before = members.get(name);
    const value = flat[at + 1];
    members.set(name, before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value]);
  }
  return Object.fromEntries(members);
}
