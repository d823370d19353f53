/**
 * The metric families of the prometheus plugin, with the labels APISIX 3.18 gives them; those of its AI plugins are "".
 * Labels that the plugin's metadata disables are "" too, so that their series fall together.
 */
import { Type } from "typebox";
import type { Counter, Histogram, Metrics } from "../base/metrics.ts";

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
const BUCKETS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 30_000, 60_000]; // milliseconds
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

export interface PrometheusFamilies {
  status(
    code: string,
    route: string,
    matchedUri: string,
    matchedHost: string,
    service: string,
    consumer: string,
    node: string,
    source: string,
  ): Counter;
  latency(type: string, route: string, service: string, consumer: string, node: string): Histogram;
  bandwidth(type: string, route: string, service: string, consumer: string, node: string): Counter;
}

/** @param metadata the plugin's metadata record, checked, or undefined */
export function openFamilies(metrics: Metrics, metadata: unknown): PrometheusFamilies {
  // True: metadata is checked against `disabledLabels` before it is offered.
  const disabled = (metadata as { disabled_labels?: Record<string, string[]> } | undefined)?.disabled_labels ?? {};
  const status = metrics.counter("apisix_http_status", "HTTP status codes per service in APISIX", STATUS);
  const latency = metrics.histogram(
    "apisix_http_latency",
    "HTTP request latency in milliseconds per service in APISIX",
    BUCKETS,
    LATENCY,
  );
  const bandwidth = metrics.counter(
    "apisix_bandwidth",
    "Total bandwidth in bytes consumed per service in APISIX",
    BANDWIDTH,
  );
  const blankStatus = blanker(STATUS, disabled["http_status"]);
  const blankLatency = blanker(LATENCY, disabled["http_latency"]);
  const blankBandwidth = blanker(BANDWIDTH, disabled["bandwidth"]);
  return {
    status(code, route, matchedUri, matchedHost, service, consumer, node, source) {
      const first = [code, route, matchedUri, matchedHost, service, consumer, node];
      return status.child(...blankStatus([...first, REQUEST_TYPE, "", "", source]));
    },
    latency: (...labels) => latency.child(...blankLatency([...labels, REQUEST_TYPE, "", ""])),
    bandwidth: (...labels) => bandwidth.child(...blankBandwidth([...labels, REQUEST_TYPE, "", ""])),
  };
}

function blanker(names: readonly string[], disabled: readonly string[] = []): (values: string[]) => string[] {
  if (disabled.length === 0) return (values) => values;
  const blank = names.map((name) => disabled.includes(name));
  return (values) => values.map((value, at) => (blank[at] ? "" : value));
}
