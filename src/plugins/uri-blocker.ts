/**
 * uri-blocker: refuses requests whose normalised path or query matches a pattern.
 * Promise: what is tested is the path that policy sees and the upstream gets, decoded once (CVE-2021-43557).
 * Source: APISIX 3.18 uri-blocker.
 */
import { Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import { bareAnswer, jsonAnswer } from "../plugin/plugin-answer.ts";
import type { RequestView } from "../plugin/request-view.ts";
import { compileVariable } from "../plugin/variables/variables.ts";
import { compileAnyPattern, patternListError } from "./shared/pattern-list.ts";
import { RejectedMessage } from "./shared/schema-parts.ts";

const schema = Type.Object({
  block_rules: Type.Array(Type.String({ minLength: 1, maxLength: 4096 }), { uniqueItems: true }),
  rejected_code: Defaulted(Type.Integer({ minimum: 200, default: 403 })),
  rejected_msg: RejectedMessage,
  case_insensitive: Defaulted(Type.Boolean({ default: false })),
});

const requestUri = compileVariable("request_uri");

export const uriBlocker = definePlugin({
  name: "uri-blocker",
  version: 0.1,
  priority: 2900,
  explain: "run",
  schema,
  check: (conf) => rulesError(conf.block_rules),
  compile(conf) {
    const blocked = compileAnyPattern(conf.block_rules, { caseInsensitive: conf.case_insensitive });
    const refused =
      conf.rejected_msg === undefined
        ? bareAnswer(conf.rejected_code, "uri_blocked")
        : jsonAnswer(conf.rejected_code, { error_msg: conf.rejected_msg }, "uri_blocked");
    const isBlocked = (view: RequestView): boolean => blocked(String(requestUri(view)));
    return { rewrite: (view) => (isBlocked(view) || !view.isAlike(isBlocked) ? refused : undefined) };
  },
});

/** An open group, the usual slip, is named in APISIX's words; what else is wrong in ours, as its engine is another. */
function rulesError(rules: readonly string[]): string | undefined {
  for (const rule of rules) {
    const error = patternListError([rule]);
    if (error === undefined) continue;
    return error.includes("missing closing )") ? `pcre_compile() failed: missing ) in "${rule}"` : error;
  }
  return undefined;
}
