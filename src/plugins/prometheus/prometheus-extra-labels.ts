/**
 * Labels that `prometheus.metrics.*.extra_labels` adds, read from request variables.
 * Promise: no label holds a token, a key or a cookie; whatever clients send, a label has a bounded number of values of bounded length; the rest is "other".
 */
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { valueText } from "../../plugin/variables/template.ts";
import type { ExtraLabels } from "./prometheus-families.ts";

const VALUES_MAX = 500; // per label and process; a family as a whole has its own bound
const VALUE_LENGTH_MAX = 128;
const OTHER = "other";

/** @returns undefined where the settings add no label */
export function compileExtraLabels(env: NodeEnv): ((view: RequestView) => ExtraLabels) | undefined {
  const { metrics } = env.settings.prometheus;
  if (Object.values(metrics).every(({ extraLabels }) => extraLabels.length === 0)) return undefined;
  const reader = (metric: string): ((view: RequestView) => readonly string[]) => {
    const reads = (metrics[metric]?.extraLabels ?? []).map(([label, variable]) => {
      const read = env.shown(variable);
      const values = knownValues(env, `${metric} ${label}`);
      return (view: RequestView): string => bound(valueText(read(view)), values);
    });
    return (view) => reads.map((read) => read(view));
  };
  const [status, latency, bandwidth] = [reader("http_status"), reader("http_latency"), reader("bandwidth")];
  return (view) => ({ status: status(view), latency: latency(view), bandwidth: bandwidth(view) });
}

/** One set per label and process, however often the plugin is compiled; it is never given back, and bounded. */
function knownValues(env: NodeEnv, label: string): Set<string> {
  return env.states.hold(`prometheus values ${label}`, () => new Set<string>()).state;
}

function bound(value: string, values: Set<string>): string {
  const cut = value.length > VALUE_LENGTH_MAX ? value.slice(0, VALUE_LENGTH_MAX) : value;
  if (values.has(cut)) return cut;
  if (values.size >= VALUES_MAX) return OTHER;
  values.add(cut);
  return cut;
}
