/**
 * Lays the plugins of several records over each other and turns them into one array of functions per phase.
 * Promise: a request that waits for nothing runs a phase without a promise, a closure or a look-up.
 * Source: docs/spec/resources.md "Merging at request time", docs/spec/plugins.md section 1.
 */

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

/** Compiles what has not been compiled yet. @param ran units whose rewrite phase is over */
export function compilePipeline(units: PluginSet, ran?: ReadonlySet<PluginUnit>): Pipeline {
  const active = inOrder(units);
  if (active.length === 0) return EMPTY_PIPELINE;
  const pipeline: MutablePipeline = { ...emptyPhases(), plugins: active };
  for (const unit of active) {
    const phases = unit.phases();
    if (phases.rewrite && ran?.has(unit) !== true) {
      pipeline.rewrite.push(phases.rewrite);
      pipeline.afterConsumer.push(phases.rewrite);
      // Whoever authenticates says who calls; what runs before cannot know.
      if (authenticates(unit)) pipeline.toConsumer.push(...pipeline.afterConsumer.splice(0));
    }
    if (phases.access) pipeline.access.push(phases.access);
    if (phases.beforeProxy) pipeline.beforeProxy.push(phases.beforeProxy);
    if (phases.headerFilter) pipeline.headerFilter.push(phases.headerFilter);
    if (phases.log) pipeline.log.push(phases.log);
  }
  return freeze(pipeline);
}

/**
 * The units of a route whose rewrite phase runs before it is known who calls: those up to the last that authenticates.
 * @param late all that have one: the consumer became known by something else
 */
export function ranBeforeConsumer(units: PluginSet, late: boolean): ReadonlySet<PluginUnit> {
  const rewriting = inOrder(units).filter((unit) => unit.phases().rewrite !== undefined);
  return new Set(late ? rewriting : rewriting.slice(0, rewriting.findLastIndex(authenticates) + 1));
}

/** Equal priorities run in order of name, so that every node runs them alike. */
function inOrder(units: PluginSet): PluginUnit[] {
  return units
    .filter((unit) => !unit.disabled)
    .sort((a, b) => b.priority - a.priority || (a.plugin.name < b.plugin.name ? -1 : 1));
}

function authenticates({ plugin }: PluginUnit): boolean {
  return plugin.credential !== undefined || plugin.authenticates === true;
}

type MutablePipeline = { -readonly [Phase in keyof Pipeline]: Pipeline[Phase][number][] };

function freeze(made: MutablePipeline): Pipeline {
  return Object.freeze({
    plugins: Object.freeze(made.plugins),
    rewrite: Object.freeze(made.rewrite),
    toConsumer: Object.freeze(made.toConsumer),
    afterConsumer: Object.freeze(made.afterConsumer),
    access: Object.freeze(made.access),
    beforeProxy: Object.freeze(made.beforeProxy),
    headerFilter: Object.freeze(made.headerFilter),
    log: Object.freeze(made.log),
  });
}

function emptyPhases(): MutablePipeline {
  return {
    plugins: [],
    rewrite: [],
    toConsumer: [],
    afterConsumer: [],
    access: [],
    beforeProxy: [],
    headerFilter: [],
    log: [],
  };
}

export const EMPTY_PIPELINE: Pipeline = freeze(emptyPhases());
