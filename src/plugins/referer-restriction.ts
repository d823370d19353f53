/**
 * referer-restriction: allows or refuses by the host in the Referer header.
 * Source: APISIX 3.18 referer-restriction.
 */
import { Type } from "typebox";
import { Host } from "../model/shared-schema.ts";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { jsonAnswer } from "../plugin/plugin-answer.ts";

const schema = Type.Object(
  {
    bypass_missing: Defaulted(Type.Boolean({ default: false })),
    whitelist: Type.Optional(Type.Array(Host, { minItems: 1 })),
    blacklist: Type.Optional(Type.Array(Host, { minItems: 1 })),
    message: Defaulted(Type.String({ minLength: 1, maxLength: 1024, default: "Your referer host is not allowed" })),
  },
  { oneOf: [{ required: ["whitelist"] }, { required: ["blacklist"] }] },
);

export const refererRestriction = definePlugin({
  name: "referer-restriction",
  version: 0.1,
  priority: 2990,
  explain: "run",
  schema,
  compile(conf) {
    const listed = compileHosts(conf.whitelist ?? conf.blacklist ?? []);
    const refuseListed = conf.whitelist === undefined;
    const refused = jsonAnswer(403, { message: conf.message }, "referer_restricted");
    return {
      access(view) {
        const host = hostOf(view.header("referer"));
        if (host === undefined) return conf.bypass_missing ? undefined : refused;
        return listed(host) === refuseListed ? refused : undefined;
      },
    };
  },
});

/** Host of an absolute http(s) URL in lower case; undefined for whatever is none. */
function hostOf(referer: string | undefined): string | undefined {
  if (referer === undefined || !/^https?:\/\//i.test(referer) || !URL.canParse(referer)) return undefined;
  return new URL(referer).hostname;
}

/** Patterns are exact names, or `*` followed by how the name ends. */
function compileHosts(patterns: readonly string[]): (host: string) => boolean {
  const lower = patterns.map((pattern) => pattern.toLowerCase());
  const exact = new Set(lower.filter((pattern) => !pattern.startsWith("*")));
  const endings = lower.filter((pattern) => pattern.startsWith("*")).map((pattern) => pattern.slice(1));
  return (host) => exact.has(host) || endings.some((ending) => host.endsWith(ending));
}
