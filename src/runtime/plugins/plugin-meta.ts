/**
 * What `_meta` of a plugin's configuration does to its phases: a filter that is tested once per request,
 * and a body of its own for refusals. Source: docs/spec/plugins.md section 1.
 */

import type { ExplainHandler } from "../../plugin/explanation.ts";
import type { PhaseHandler, PhaseResult, PluginPhases } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { loadBodyVariables } from "../../plugin/variables/body-variables.ts";
import { type Condition, compileCondition } from "../../plugin/variables/condition.ts";

/**
 * @param meta      has passed the registry's check
 * @param noteName  under which a request remembers the filter's result; unique per record and plugin
 * @returns the same object when `_meta` asks for nothing
 */
export function applyMeta(
  phases: PluginPhases,
  meta: Readonly<Record<string, unknown>>,
  noteName: string,
): PluginPhases {
  const refused = meta["error_response"] === undefined ? phases : withErrorResponse(phases, meta["error_response"]);
  return meta["filter"] === undefined ? refused : withFilter(refused, compileCondition(meta["filter"]), noteName);
}

function withErrorResponse(phases: PluginPhases, response: unknown): PluginPhases {
  const body = typeof response === "string" ? response : `${JSON.stringify(response)}\n`;
  const replace = (answer: Answer | undefined): Answer | undefined =>
    answer === undefined || answer.status < 400 ? answer : Object.freeze({ ...answer, body });
  const wrap = (handler: PhaseHandler): PhaseHandler => {
    return (view) => {
      const result = handler(view);
      return result instanceof Promise ? result.then(replace) : replace(result);
    };
  };
  const wrapExplain = (handler: ExplainHandler): ExplainHandler => {
    return (view, explaining) => wrap((seen) => handler(seen, explaining))(view);
  };
  return {
    ...phases,
    ...(phases.rewrite && { rewrite: wrap(phases.rewrite) }),
    ...(phases.access && { access: wrap(phases.access) }),
    ...(phases.explain && { explain: wrapExplain(phases.explain) }),
  };
}

function withFilter(phases: PluginPhases, condition: Condition, noteName: string): PluginPhases {
  const holds = (view: RequestView): boolean => {
    const known = view.note(noteName);
    if (typeof known === "boolean") return known;
    const result = condition.test(view);
    view.setNote(noteName, result);
    return result;
  };
  const wrap = (handler: PhaseHandler): PhaseHandler => {
    const run = (view: RequestView): PhaseResult => (holds(view) ? handler(view) : undefined);
    if (!condition.needsBody) return run;
    return (view) => {
      const loading = loadBodyVariables(view);
      return loading === undefined ? run(view) : loading.then(() => run(view));
    };
  };
  const { rewrite, access, beforeProxy, explain, headerFilter, log, close } = phases;
  return {
    ...(rewrite && { rewrite: wrap(rewrite) }),
    ...(access && { access: wrap(access) }),
    ...(beforeProxy && { beforeProxy: (view) => void (holds(view) && beforeProxy(view)) }),
    ...(headerFilter && { headerFilter: (view, response) => void (holds(view) && headerFilter(view, response)) }),
    ...(log && { log: (view) => void (holds(view) && log(view)) }),
    ...(explain && { explain: (view, explaining) => wrap((seen) => explain(seen, explaining))(view) }),
    ...(close && { close }),
  };
}
