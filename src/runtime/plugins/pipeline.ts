/**
 * Lays the plugins of several records over each other and turns them into one array of functions per phase.
 * Promise: a request that waits for nothing runs a phase without a promise, a closure or a look-up.
 * Source: docs/spec/resources.md "Merging at request time", docs/spec/plugins.md section 1.
 */

import type { PhaseHandler, PhaseResult } from "../../plugin/plugin.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { Pipeline } from "../routes/route-unit.ts";
import type { PluginSet, PluginUnit } from "./plugin-unit.ts";

/**
 * One unit per plugin name: the last layer that has the plugin gives its whole configuration.
 * @param layers lowest first: service, plugin config, route, consumer group, consumer
 */
export function mergePlugins(layers: readonly PluginSet[]): PluginSet {
  const filled = layers.filter((layer) => layer.length > 0);
  if (filled.length <= 1) return filled[0] ?? NOTHING;
  const merged = new Map<string, PluginUnit>();
  for (const layer of filled) for (const unit of layer) merged.set(unit.plugin.name, unit);
  return [...merged.values()];
}

const NOTHING: PluginSet = Object.freeze([]);

/**
 * What a consumer and its group lay over a route: authentication plugins there are credentials, not configurations.
 * @param over consumer and group merged
 * @returns undefined when they bring nothing that would run
 */
export function consumerPlugins(over: PluginSet): PluginSet | undefined {
  const kept = over.filter((unit) => unit.plugin.credential === undefined);
  return kept.length === 0 ? undefined : kept;
}

/** Compiles what has not been compiled yet. @param rewrite which units run in that phase; default: all */
export function compilePipeline(units: PluginSet, rewrite?: (unit: PluginUnit) => boolean): Pipeline {
  const active = units.filter((unit) => !unit.disabled);
  if (active.length === 0) return EMPTY_PIPELINE;
  // Equal priorities run in order of name, so that every node runs them alike.
  active.sort((a, b) => b.priority - a.priority || (a.plugin.name < b.plugin.name ? -1 : 1));
  const pipeline: MutablePipeline = { rewrite: [], access: [], beforeProxy: [], headerFilter: [], log: [] };
  for (const unit of active) {
    const phases = unit.phases();
    if (phases.rewrite && (rewrite === undefined || rewrite(unit))) pipeline.rewrite.push(phases.rewrite);
    if (phases.access) pipeline.access.push(phases.access);
    if (phases.beforeProxy) pipeline.beforeProxy.push(phases.beforeProxy);
    if (phases.headerFilter) pipeline.headerFilter.push(phases.headerFilter);
    if (phases.log) pipeline.log.push(phases.log);
  }
  return freeze(pipeline);
}

type MutablePipeline = {
  -readonly [Phase in Exclude<keyof Pipeline, "close">]: Pipeline[Phase][number][];
};

function freeze(made: MutablePipeline): Pipeline {
  return Object.freeze({
    rewrite: Object.freeze(made.rewrite),
    access: Object.freeze(made.access),
    beforeProxy: Object.freeze(made.beforeProxy),
    headerFilter: Object.freeze(made.headerFilter),
    log: Object.freeze(made.log),
    // The units belong to their records and are closed with them; a pipeline only points to them.
    close: () => undefined,
  });
}

export const EMPTY_PIPELINE: Pipeline = freeze({ rewrite: [], access: [], beforeProxy: [], headerFilter: [], log: [] });

/**
 * Runs the handlers of a phase in order, beginning at `from`, until one answers.
 * @returns a promise only when a handler returned one
 */
export function runPhase(handlers: readonly PhaseHandler[], view: RequestView, from = 0): PhaseResult {
  for (let at = from; at < handlers.length; at++) {
    const result = (handlers[at] as PhaseHandler)(view);
    if (result === undefined) continue;
    return result instanceof Promise ? resume(result, handlers, view, at + 1) : result;
  }
  return undefined;
}

async function resume(
  waiting: Promise<Answer | undefined>,
  handlers: readonly PhaseHandler[],
  view: RequestView,
  next: number,
): Promise<Answer | undefined> {
  return (await waiting) ?? runPhase(handlers, view, next);
}
