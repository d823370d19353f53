/**
 * The metric families of the prometheus plugin, with the labels APISIX 3.18 gives them; those of its AI plugins are "".
 * Labels that the plugin's metadata disables are "" too, so that their series fall together. The settings may add labels.
 */
import { Type } from "typebox";
import type { Counter, Histogram } from "../../base/metrics.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { valueText } from "../../plugin/variables/template.ts";

const TAIL = ["request_type", "request_llm_model", "llm_model"] as const;
const STATUS = [
  "code",
  "route",
  "matched_uri",
  "matched_host",
  "service",
  "consumer",
  "node",
  ...TAIL,
  "response_source",
] as const;
const LATENCY = ["type", "route", "service", "consumer", "node", ...TAIL] as const;
const BANDWIDTH = LATENCY;
const REQUEST_TYPE = "traditional_http";

const labelList = (labels: readonly string[]) =>
  Type.Optional(
    Type.Array(
      // What tells series apart by nature cannot be disabled.
      Type.Unsafe<string>({ type: "string", enum: labels.filter((label) => label !== "code" && label !== "type") }),
    ),
  );

export const disabledLabels = Type.Object({
  disabled_labels: Type.Optional(
    Type.Object(
      { http_status: labelList(STATUS), http_latency: labelList(LATENCY), bandwidth: labelList(BANDWIDTH) },
      { additionalProperties: false },
    ),
  ),
});

/** Values of the labels that the settings add, for one request. */
export interface ExtraLabels {
  readonly status: readonly string[];
  readonly latency: readonly string[];
  readonly bandwidth: readonly string[];
}

export interface PrometheusFamilies {
  /** Grows when a series is gone, so that series kept elsewhere are asked for anew. */
  readonly generation: number;
  /** Undefined where the settings add none. */
  readonly extra: ((view: RequestView) => ExtraLabels) | undefined;
  status(labels: readonly [code: string, ...string[]], source: string, extra: readonly string[]): Counter;
  latency(labels: readonly [type: string, ...string[]], extra: readonly string[]): Histogram;
  bandwidth(labels: readonly [type: string, ...string[]], extra: readonly string[]): Counter;
}

/** @param metadata the plugin's metadata record, checked, or undefined */
export function openFamilies(env: NodeEnv, metadata: unknown): PrometheusFamilies {
  // True: metadata is checked against `disabledLabels` before it is offered.
  const disabled = (metadata as { disabled_labels?: Record<string, string[]> } | undefined)?.disabled_labels ?? {};
  const { metrics, clock, settings } = env;
  const conf = settings.prometheus;
  const added = (name: string): readonly string[] => (conf.metrics[name]?.extraLabels ?? []).map(([label]) => label);
  const expiry = (name: string) => ({ clock, afterMs: conf.metrics[name]?.expireMs ?? 0 });
  const status = metrics.counter(
    "apisix_http_status",
    "HTTP status codes per service in APISIX",
    [...STATUS, ...added("http_status")],
    expiry("http_status"),
  );
  const latency = metrics.histogram(
    "apisix_http_latency",
    "HTTP request latency in milliseconds per service in APISIX",
    conf.buckets,
    [...LATENCY, ...added("http_latency")],
    expiry("http_latency"),
  );
  const bandwidth = metrics.counter(
    "apisix_bandwidth",
    "Total bandwidth in bytes consumed per service in APISIX",
    [...BANDWIDTH, ...added("bandwidth")],
    expiry("bandwidth"),
  );
  const blankStatus = blanker(STATUS, disabled["http_status"]);
  const blankLatency = blanker(LATENCY, disabled["http_latency"]);
  const blankBandwidth = blanker(BANDWIDTH, disabled["bandwidth"]);
  return {
    get generation() {
      return status.generation + latency.generation + bandwidth.generation;
    },
    extra: compileExtraLabels(env),
    status: (labels, source, extra) =>
      status.child(...blankStatus([...labels, REQUEST_TYPE, "", "", source]), ...extra),
    latency: (labels, extra) => latency.child(...blankLatency([...labels, REQUEST_TYPE, "", ""]), ...extra),
    bandwidth: (labels, extra) => bandwidth.child(...blankBandwidth([...labels, REQUEST_TYPE, "", ""]), ...extra),
  };
}

function blanker(names: readonly string[], disabled: readonly string[] = []): (values: string[]) => string[] {
  if (disabled.length === 0) return (values) => values;
  const blank = names.map((name) => disabled.includes(name));
  return (values) => values.map((value, at) => (blank[at] ? "" : value));
}

/**
 * Labels that `prometheus.metrics.*.extra_labels` adds, read from request variables.
 * Promise: no label holds a token, a key or a cookie; whatever clients send, a label has a bounded number of values of bounded length; the rest is "other".
 */

const VALUES_MAX = 500; // per label and process; a family as a whole has its own bound
const VALUE_LENGTH_MAX = 128;
const OTHER = "other";

/** @returns undefined where the settings add no label */
function compileExtraLabels(env: NodeEnv): ((view: RequestView) => ExtraLabels) | undefined {
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
