/**
 * ip-restriction: allows or refuses by the client's address, as real-ip left it.
 * Source: docs/spec/plugins.md section 5, APISIX 3.18.
 */
import { Type } from "typebox";
import { compileIpSet, ipListError } from "../base/net/ip.ts";
import { Ip } from "../model/shared-schema.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { jsonAnswer } from "../plugin/plugin-answer.ts";

const schema = Type.Object(
  {
    message: Defaulted(Type.String({ minLength: 1, maxLength: 1024, default: "Your IP address is not allowed" })),
    response_code: Defaulted(Type.Integer({ minimum: 403, maximum: 404, default: 403 })),
    whitelist: Type.Optional(Type.Array(Ip, { minItems: 1 })),
    blacklist: Type.Optional(Type.Array(Ip, { minItems: 1 })),
  },
  { oneOf: [{ required: ["whitelist"] }, { required: ["blacklist"] }] },
);

export const ipRestriction = definePlugin({
  name: "ip-restriction",
  version: 0.1,
  priority: 3000,
  explain: "run",
  schema,
  check: (conf) => ipListError(conf.whitelist ?? conf.blacklist ?? []),
  compile(conf) {
    const listed = compileIpSet(conf.whitelist ?? conf.blacklist ?? []);
    const refuseListed = conf.whitelist === undefined;
    const refused = jsonAnswer(conf.response_code, { message: conf.message }, "ip_restricted");
    return { access: (view) => (listed(view.clientAddress) === refuseListed ? refused : undefined) };
  },
});
