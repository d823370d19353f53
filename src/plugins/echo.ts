/**
 * echo: puts fixed texts before, after or in place of a response's body; for trying things out.
 * Source: APISIX 3.18 echo.
 */
import { Type } from "typebox";
import { definePlugin } from "../plugin/plugin.ts";
import { headerError } from "./shared/header-operations.ts";

const schema = Type.Object(
  {
    before_body: Type.Optional(Type.String({ description: "body before the filter phase." })),
    body: Type.Optional(Type.String({ description: "body to replace upstream response." })),
    after_body: Type.Optional(Type.String({ description: "body after the modification of filter phase." })),
    headers: Type.Optional(
      Type.Unsafe<Readonly<Record<string, unknown>>>({
        description: "new headers for response",
        type: "object",
        minProperties: 1,
      }),
    ),
  },
  {
    anyOf: [{ required: ["before_body"] }, { required: ["body"] }, { required: ["after_body"] }],
    minProperties: 1,
  },
);

const BODY_LIMIT_BYTES = 64 * 1024 * 1024; // a longer upstream body is not read into memory

export const echo = definePlugin({
  name: "echo",
  version: 0.1,
  priority: 412,
  explain: "run",
  schema,
  compile(conf) {
    const before = Buffer.from(conf.before_body ?? "");
    const after = Buffer.from(conf.after_body ?? "");
    const whole = conf.body === undefined ? undefined : Buffer.concat([before, Buffer.from(conf.body), after]);
    const around = { limitBytes: BODY_LIMIT_BYTES, apply: (body: Buffer) => Buffer.concat([before, body, after]) };
    const pairs = Object.entries(conf.headers ?? {})
      .filter(([name, value]) => headerError(name, value) === undefined)
      .map(([name, value]) => [name, String(value)] as const);
    return {
      headerFilter(_view, response) {
        if (whole) response.replaceBody(whole);
        else response.filterBody(around);
        for (const [name, value] of pairs) response.headers.set(name, value);
      },
    };
  },
});
