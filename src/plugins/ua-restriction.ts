/**
 * ua-restriction: allows or refuses by the User-Agent header.
 * Source: APISIX 3.18 ua-restriction.
 */
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { jsonAnswer } from "../plugin/plugin-answer.ts";
import { compileAnyPattern, patternListError } from "./shared/pattern-list.ts";

const Patterns = Type.Optional(Type.Array(Type.String({ minLength: 1 }), { minItems: 1 }));

const schema = Type.Object(
  {
    bypass_missing: Defaulted(Type.Boolean({ default: false })),
    allowlist: Patterns,
    denylist: Patterns,
    message: Defaulted(Type.String({ minLength: 1, maxLength: 1024, default: "Not allowed" })),
  },
  { oneOf: [{ required: ["allowlist"] }, { required: ["denylist"] }] },
);

export const uaRestriction = definePlugin({
  name: "ua-restriction",
  version: 0.1,
  priority: 2999,
  explain: "run",
  schema,
  check: (conf) => patternListError(conf.allowlist ?? conf.denylist ?? []),
  compile(conf) {
    const matches = compileAnyPattern(conf.allowlist ?? conf.denylist ?? []);
    const refused = jsonAnswer(403, { message: conf.message }, "user_agent_restricted");
    return {
      access(view) {
        const agents = view.headers.getAll("user-agent");
        if (agents.length === 0) return conf.bypass_missing ? undefined : refused;
        // Of several lines any one counts, for either list, as in APISIX.
        const found = agents.some((agent) => matches(agent.trim()));
        return found === (conf.allowlist !== undefined) ? undefined : refused;
      },
    };
  },
});
