/**
 * The metrics of a process of a node: bounded by its settings, cleared of records that are gone.
 */
import type { Log } from "../base/log.ts";
import { type Metrics, openMetrics } from "../base/metrics.ts";
import { parseKey } from "../model/keys.ts";
import type { Settings } from "../settings/settings.ts";

/** Kinds of records after which labels are named. */
const LABELS: Readonly<Record<string, string>> = {
  route: "route",
  service: "service",
  consumer: "consumer",
  token_issuer: "issuer",
};

/** What the names begin with that APISIX gives; `prometheus.metric_prefix` stands for it. */
const APISIX_PREFIX = "apisix_";

export function openNodeMetrics({ prometheus }: Settings, log: Log): Metrics {
  const { metricPrefix, maxSeries } = prometheus;
  return openMetrics({
    maxSeries,
    rename: (name) => (name.startsWith(APISIX_PREFIX) ? metricPrefix + name.slice(APISIX_PREFIX.length) : name),
    onFull: (metric) => log.warn({ metric, series: maxSeries }, "a metric is full; further series count as other"),
  });
}

/** Forgets the series of a record that was deleted. @param key of the record in the store */
export function forgetSeries(metrics: Pick<Metrics, "forget">, prefix: string, key: string): void {
  const parsed = parseKey(prefix, key);
  const label = parsed && LABELS[parsed.kind];
  if (label !== undefined) metrics.forget(label, parsed?.id ?? "");
}
