/**
 * What the overview counts, out of a node's metrics in Prometheus' text format. Pure.
 * Promise: lines that are not understood count nothing.
 */

/** Counters since the start of a node, summed over its routes. */
export interface MetricsTally {
  /** By name: `requests 2xx`, `refused bad_host` (by the gateway), `refused key-auth key_missing` (by a plugin), `tokens jwt-auth expired`. */
  readonly counts: ReadonlyMap<string, number>;
  /** Cumulative, by upper bound in seconds. */
  readonly buckets: ReadonlyMap<number, number>;
}

const LINE =
  /^jotgate_(http_requests_total|http_request_duration_seconds_bucket|gateway_errors_total|refusals_total|jwt_total|access_token_total)\{(.*)\} (\S+)/gm;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export function tallyOf(text: string): MetricsTally {
  const counts = new Map<string, number>();
  const buckets = new Map<number, number>();
  for (const [, family, labels = "", written] of text.matchAll(LINE)) {
    const value = Number(written);
    if (!Number.isFinite(value)) continue;
    const label = new Map([...labels.matchAll(LABEL)].map(([, name = "", text = ""]) => [name, text]));
    if (family === "http_request_duration_seconds_bucket") {
      const bound = label.get("le") === "+Inf" ? Number.POSITIVE_INFINITY : Number(label.get("le"));
      buckets.set(bound, (buckets.get(bound) ?? 0) + value);
      continue;
    }
    if (family === "refusals_total" && (label.get("plugin") ?? "") === "") continue; // the gateway's own, counted above
    const name = nameOf(family, label);
    counts.set(name, (counts.get(name) ?? 0) + value);
  }
  return { counts, buckets };
}

function nameOf(family: string | undefined, label: ReadonlyMap<string, string>): string {
  switch (family) {
    case "http_requests_total":
      return `requests ${label.get("status")?.[0] ?? "?"}xx`;
    case "gateway_errors_total":
      return `refused ${label.get("reason") ?? ""}`;
    case "refusals_total":
      return `refused ${label.get("plugin") ?? ""} ${label.get("reason") ?? ""}`;
    default:
      return `tokens ${family === "jwt_total" ? "jwt-auth" : "access-token"} ${label.get("outcome") ?? ""}`;
  }
}

/** What was counted between two looks at one node; counters that are smaller than before began anew. */
export function sinceTally(now: MetricsTally, before: MetricsTally): MetricsTally {
  const less = <Name>(to: ReadonlyMap<Name, number>, from: ReadonlyMap<Name, number>): Map<Name, number> =>
    new Map(
      [...to].map(([name, value]) => [name, value >= (from.get(name) ?? 0) ? value - (from.get(name) ?? 0) : value]),
    );
  return { counts: less(now.counts, before.counts), buckets: less(now.buckets, before.buckets) };
}

export function addTallies(tallies: readonly MetricsTally[]): MetricsTally {
  const counts = new Map<string, number>();
  const buckets = new Map<number, number>();
  for (const one of tallies) {
    for (const [name, value] of one.counts) counts.set(name, (counts.get(name) ?? 0) + value);
    for (const [bound, value] of one.buckets) buckets.set(bound, (buckets.get(bound) ?? 0) + value);
  }
  return { counts, buckets };
}

/** Seconds below which this share of requests was done, linear within a bucket as Prometheus does; null: there were none. */
export function quantileOf(share: number, { buckets }: MetricsTally): number | null {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const total = sorted.at(-1)?.[1] ?? 0;
  if (total === 0) return null;
  let below = { bound: 0, count: 0 };
  for (const [bound, count] of sorted) {
    if (count >= share * total) {
      if (!Number.isFinite(bound)) return below.bound;
      const within = count === below.count ? 1 : (share * total - below.count) / (count - below.count);
      return below.bound + (bound - below.bound) * within;
    }
    below = { bound, count };
  }
  return below.bound;
}
