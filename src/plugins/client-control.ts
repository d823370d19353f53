/**
 * client-control: bounds the request body of a route, whether its length is announced or not.
 * Promise: it only narrows what `limits.body_bytes` of the node allows. Source: APISIX 3.18 client-control.
 */
import { Type } from "typebox";
import { definePlugin } from "../plugin/plugin.ts";
import { bareAnswer } from "../plugin/plugin-answer.ts";

const schema = Type.Object({
  /** Bytes; 0: no bound of its own. */
  max_body_size: Type.Optional(Type.Integer({ minimum: 0 })),
});

const TOO_LARGE = bareAnswer(413, "request_too_large");

export const clientControl = definePlugin({
  name: "client-control",
  version: 0.1,
  priority: 22_000,
  explain: "run",
  schema,
  compile({ max_body_size: mostBytes = 0 }) {
    if (mostBytes === 0) return {};
    return {
      rewrite({ body }) {
        if (body.length !== undefined && body.length > mostBytes) return TOO_LARGE;
        body.limit(mostBytes);
        return undefined;
      },
    };
  },
});
