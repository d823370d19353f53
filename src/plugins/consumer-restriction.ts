/**
 * consumer-restriction: allows or refuses by consumer, consumer group, service or route.
 * Source: docs/spec/plugins.md section 5, APISIX 3.18.
 */
import { Type } from "typebox";
import { Method } from "../model/shared-schema.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { jsonAnswer } from "../plugin/plugin-answer.ts";
import { compileVariable } from "../plugin/variables/variables.ts";
import { Words } from "./shared/schema-parts.ts";

const schema = Type.Object(
  {
    type: Defaulted(
      Words(["consumer_name", "service_id", "route_id", "consumer_group_id"], { default: "consumer_name" }),
    ),
    blacklist: Type.Optional(Type.Array(Type.String(), { minItems: 1 })),
    whitelist: Type.Optional(Type.Array(Type.String(), { minItems: 1 })),
    allowed_by_methods: Type.Optional(
      Type.Array(
        Type.Object({
          user: Type.Optional(Type.String()),
          methods: Type.Optional(Type.Array(Method, { minItems: 1 })),
        }),
      ),
    ),
    rejected_code: Defaulted(Type.Integer({ minimum: 200, default: 403 })),
    rejected_msg: Type.Optional(Type.String()),
  },
  { anyOf: [{ required: ["blacklist"] }, { required: ["whitelist"] }, { required: ["allowed_by_methods"] }] },
);

export const consumerRestriction = definePlugin({
  name: "consumer-restriction",
  version: 0.1,
  priority: 2400,
  explain: "run",
  schema,
  compile(conf) {
    const read = compileVariable(conf.type);
    const blacklist = new Set(conf.blacklist ?? []);
    const whitelist = conf.whitelist && new Set(conf.whitelist);
    const methods = new Map<string, ReadonlySet<string>>();
    for (const { user, methods: allowed } of conf.allowed_by_methods ?? [])
      if (user !== undefined && !methods.has(user)) methods.set(user, new Set(allowed ?? []));
    const unknown = jsonAnswer(
      401,
      { message: `The request is rejected, please check the ${conf.type} for this request` },
      "restriction_unknown",
    );
    const refused = jsonAnswer(
      conf.rejected_code,
      { message: conf.rejected_msg ?? `The ${conf.type} is forbidden.` },
      "restricted",
    );
    return {
      access(view) {
        const value = read(view);
        if (typeof value !== "string") return unknown;
        if (blacklist.has(value)) return refused;
        if (whitelist?.has(value)) return undefined;
        if (whitelist) return refused;
        return methods.get(value)?.has(view.head.method) === false ? refused : undefined;
      },
    };
  },
});
