/**
 * Global rules, merged into one pipeline that runs for every request, matched or not.
 * Promise: what cannot be enforced refuses requests and is listed: a plugin that stands, enabled, in more than one rule,
 * a rule that was refused while nothing older serves. Source: docs/spec/plugins.md section 1.
 */
import type { StoredValue } from "../../model/record.ts";
import { FIRST } from "../plugins/blocking-plugin.ts";
import { compilePipeline } from "../plugins/pipeline.ts";
import {
  NO_PLUGINS,
  openBlockedSet,
  openPluginSet,
  type PluginHost,
  type PluginSet,
  replacePluginSet,
} from "../plugins/plugin-unit.ts";
import type { Problems } from "../problems.ts";
import type { Pipeline, RouteUnit } from "./route-unit.ts";

export interface GlobalRules {
  readonly count: number;
  /** @param route what matched; some plugins (prometheus) leave the work to the route when it has them too */
  pipeline(route: RouteUnit | undefined): Pipeline;
  put(id: string, key: string, value: StoredValue, modRevision: bigint): void;
  /** The rule was refused. @returns whether requests are refused because of it: no older version of it serves */
  block(id: string, key: string, modRevision: bigint): boolean;
  delete(id: string): void;
  /** Lets pipelines be compiled again at the next request. */
  invalidate(): void;
  close(): void;
}

interface GlobalRulesInput {
  readonly host: PluginHost;
  readonly problems: Problems;
}

interface RuleEntry {
  readonly key: string;
  readonly modRevision: bigint;
  readonly plugins: PluginSet;
  readonly isBlocked?: boolean;
}

interface Merged {
  readonly units: PluginSet;
  /** Names of those that leave the work to a route which has them. */
  readonly yielding: readonly string[];
  readonly pipeline: Pipeline;
  /** Without some of the yielding ones, by their names. */
  readonly without: Map<string, Pipeline>;
}

export function openGlobalRules(input: GlobalRulesInput): GlobalRules {
  const { host } = input;
  const rules = new Map<string, RuleEntry>();
  let merged: Merged | undefined;

  const set = (id: string, next: RuleEntry | undefined): void => {
    const before = rules.get(id);
    if (next) rules.set(id, next);
    else rules.delete(id);
    if (before) replacePluginSet(before.plugins, next?.plugins ?? NO_PLUGINS);
    merged = undefined;
    const others = [...rules.values()];
    for (const { plugin } of [...(before?.plugins ?? []), ...(next?.plugins ?? [])]) {
      reportRepetition(plugin.name, others, input);
    }
  };

  return {
    get count() {
      return rules.size;
    },
    pipeline(route) {
      merged ??= merge([...rules.values()], host);
      if (merged.yielding.length === 0 || route === undefined) return merged.pipeline;
      return pipelineBeside(route, merged);
    },
    put(id, key, value, modRevision) {
      const plugins = openPluginSet(value["plugins"], { kind: "global_rule", id }, host);
      set(id, { key, modRevision, plugins });
    },
    block(id, key, modRevision) {
      const before = rules.get(id);
      if (before && before.isBlocked !== true) return false;
      const plugins = openBlockedSet(`refused ${id}`, "record_refused", { kind: "global_rule", id }, host);
      set(id, { key, modRevision, plugins, isBlocked: true });
      return true;
    },
    delete: (id) => set(id, undefined),
    invalidate() {
      merged = undefined;
    },
    close() {
      for (const { plugins } of rules.values()) for (const unit of plugins) unit.close();
    },
  };
}

function merge(rules: readonly RuleEntry[], host: PluginHost): Merged {
  const enabled = rules.flatMap((rule) => rule.plugins).filter((unit) => !unit.disabled);
  const uses = new Map<string, number>();
  for (const { plugin } of enabled) uses.set(plugin.name, (uses.get(plugin.name) ?? 0) + 1);
  const units = enabled.filter(({ plugin }) => uses.get(plugin.name) === 1 || plugin.priority === FIRST);
  for (const [name, count] of uses) {
    if (count < 2 || host.mayBeMissing(name)) continue;
    units.push(...openBlockedSet(name, "plugin_repeated", { kind: "global_rule", id: "" }, host));
  }
  return {
    units,
    yielding: units.filter((unit) => unit.plugin.preferRoute === true).map((unit) => unit.plugin.name),
    pipeline: compilePipeline(units),
    without: new Map(),
  };
}

function pipelineBeside(route: RouteUnit, merged: Merged): Pipeline {
  let taken = "";
  for (const name of merged.yielding) if (route.runs(name)) taken += ` ${name}`;
  if (taken === "") return merged.pipeline;
  let pipeline = merged.without.get(taken);
  if (!pipeline) {
    const names = new Set(taken.split(" "));
    pipeline = compilePipeline(merged.units.filter((unit) => !names.has(unit.plugin.name)));
    merged.without.set(taken, pipeline);
  }
  return pipeline;
}

/** Each rule that has the plugin is told of the others. */
function reportRepetition(name: string, rules: readonly RuleEntry[], { host, problems }: GlobalRulesInput): void {
  const blocks = !host.mayBeMissing(name);
  const holders = rules.filter(({ plugins }) => plugins.some((unit) => unit.plugin.name === name && !unit.disabled));
  for (const { key, modRevision } of holders) {
    if (holders.length < 2) problems.clear(key, `repeated ${name}`);
    else {
      const what = `plugin ${name} stands in ${holders.length} global rules and runs in none of them`;
      const cure = blocks ? ": requests are answered 503; keep it in one of them, or set _meta.disable" : "";
      problems.set(key, `repeated ${name}`, modRevision, what + cure, blocks);
    }
  }
}
