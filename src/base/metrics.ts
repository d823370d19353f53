/**
 * Metrics with a cheap write side: children are plain numbers bound when configuration changes, and written as text in
 * turns beside the traffic when somebody scrapes. What Node.js itself counts is prom-client's.
 * Promise: label values come from configuration; a family never has more lines than its limit, and says so once.
 */
import { Registry } from "prom-client";
import type { Clock } from "./clock.ts";
import { type AnyFamily, type FamilyDefinition, HistogramFamily, NumberFamily, ReadFamily } from "./metric-families.ts";
import { chunksOf, keyOf, type Merge, type MetricType, Pace, pagesOf, type SeriesPage } from "./metric-pages.ts";

export interface Counter {
  readonly value: number;
  inc(by?: number): void;
}
export interface Gauge {
  readonly value: number;
  set(value: number): void;
  add(by: number): void;
}
export interface Histogram {
  observe(value: number): void;
}

/** Children by label values, in the order of the label names. Unlabelled families have one child: `child()`. */
export interface Family<Child> {
  child(...labels: string[]): Child;
  /** Forgets all children whose label `name` has this value, as when a route is deleted. */
  forget(name: string, value: string): void;
  /** Grows when children were forgotten or have expired: who keeps children asks for them anew then. */
  readonly generation: number;
}

/** Children that did not change for this long are forgotten, whether or not somebody scrapes; 0: never. */
export interface Expiry {
  readonly clock: Clock;
  readonly afterMs: number;
}

export interface Metrics {
  counter(name: string, help: string, labels?: readonly string[], expiry?: Expiry): Family<Counter>;
  gauge(name: string, help: string, labels?: readonly string[]): Family<Gauge>;
  /** @param buckets upper bounds, ascending, without +Inf */
  histogram(
    name: string,
    help: string,
    buckets: readonly number[],
    labels?: readonly string[],
    expiry?: Expiry,
  ): Family<Histogram>;
  /**
   * A gauge whose value is asked for at scrape time; called again for the same name it replaces the former.
   * @param merge how the values of several workers become one; default: their sum
   */
  gaugeOf(name: string, help: string, labels: readonly string[], read: () => readonly Sample[], merge?: Merge): void;
  /** A counter kept elsewhere, read at scrape time. @param type what it is called, where APISIX calls it a gauge */
  counterOf(name: string, help: string, labels: readonly string[], read: () => readonly Sample[], type?: "gauge"): void;
  /**
   * Forgets the series of a record that is gone, in all families.
   * @param label how records of its kind are called in labels: `route`, `service`, `consumer`
   */
  forget(label: string, id: string): void;
  /** Remembers that series call the record by its name, so that they are forgotten with it. */
  named(label: string, id: string, name: string): void;
  /** All series, to be read in turns. */
  pages(): AsyncIterable<SeriesPage>;
  /** The exposition format of Prometheus, in pieces; asked for again while it is being written, it is the same one. */
  chunks(): Promise<readonly Buffer[]>;
  /** Where prom-client keeps what it collects itself. */
  readonly registry: Registry;
}

interface MetricsOptions {
  /** What a family is called when it is shown; default: as it is named. */
  readonly rename?: (name: string) => string;
  /** Lines that one family may have (`prometheus.max_series`). */
  readonly maxSeries?: number;
  /** Told once of each family that is full. */
  readonly onFull?: (name: string) => void;
}

export interface Sample {
  readonly labels: readonly string[];
  readonly value: number;
}

const MAX_SERIES = 100_000;
/** Names of records by id that are remembered. */
const NAMES_MAX = 100_000;

/** All of it as one text; for small sets, as in tests. */
export async function metricsText(metrics: Pick<Metrics, "chunks">): Promise<string> {
  return Buffer.concat(await metrics.chunks()).toString("utf8");
}

/** Lets all who ask while a scrape runs have that one. */
export function shared<T>(make: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= make().finally(() => {
      running = undefined;
    });
    return running;
  };
}

/** Opens an empty set of metrics. */
export function openMetrics(options: MetricsOptions = {}): Metrics {
  const { rename: shown = (name: string) => name, maxSeries = MAX_SERIES } = options;
  const registry = new Registry();
  const families = new Map<string, AnyFamily>();
  const names = new Map<string, string>();
  const full = new Map<string, number>();
  const factsOf = (type: MetricType, name: string, help: string, labelNames: readonly string[]): FamilyDefinition => ({
    ...{ type, name: shown(name), help, labelNames, most: maxSeries },
    onFull() {
      const before = full.get(name) ?? 0;
      full.set(name, before + 1);
      if (before === 0) options.onFull?.(shown(name));
    },
  });
  // Asked for twice, a family is shared: plugins are compiled many times.
  const known = <F extends AnyFamily>(name: string, make: () => F): F => {
    const family = (families.get(name) as F | undefined) ?? make();
    families.set(name, family);
    return family;
  };
  async function* pages(pace = new Pace()): AsyncGenerator<SeriesPage> {
    for (const [, family] of [...families].sort(byName)) {
      await family.settle();
      for (const page of family.pages()) {
        yield page;
        if (pace.isDue()) await pace.rest();
      }
    }
    yield* collectedPages(registry);
  }
  const metrics: Metrics = {
    registry,
    counter: (name, help, labels = [], expiry) =>
      known(name, () => new NumberFamily(factsOf("counter", name, help, labels), expiry)),
    gauge: (name, help, labels = []) => known(name, () => new NumberFamily(factsOf("gauge", name, help, labels))),
    histogram: (name, help, bounds, labels = [], expiry) =>
      known(
        name,
        () => new HistogramFamily({ ...factsOf("histogram", name, help, labels), bounds: [...bounds] }, expiry),
      ),
    gaugeOf: (name, help, labels, read, merge) =>
      void families.set(name, new ReadFamily({ ...factsOf("gauge", name, help, labels), merge }, read)),
    // Beside a gauge of the same name, as where some of its series only grow.
    counterOf: (name, help, labels, read, type: MetricType = "counter") =>
      void families.set(
        `${name}${COUNTED}`,
        new ReadFamily({ ...factsOf(type, name, help, labels), counted: true }, read),
      ),
    forget(label, id) {
      const alias = `${label} ${id}`;
      const name = names.get(alias);
      names.delete(alias);
      for (const family of families.values()) {
        family.forget(label, id);
        if (name !== undefined) family.forget(label, name);
      }
    },
    named(label, id, name) {
      if (names.size < NAMES_MAX) names.set(`${label} ${id}`, name);
    },
    pages: () => pages(),
    chunks: shared(() => {
      const pace = new Pace();
      return chunksOf(pages(pace), pace);
    }),
  };
  metrics.counterOf(
    "jotgate_metric_series_left_out_total",
    "Times that a series was counted as other because its family was full, by family.",
    ["family"],
    () => [...full].map(([name, value]) => ({ labels: [shown(name)], value })),
  );
  return metrics;
}

const COUNTED = " counted";

/** Parts of a family stand together; otherwise the order of their making stays. */
function byName([one]: readonly [string, AnyFamily], [other]: readonly [string, AnyFamily]): number {
  const [before, after] = [one.replace(COUNTED, ""), other.replace(COUNTED, "")];
  return before < after ? -1 : Number(before > after);
}

/** What prom-client collected. Of each process only its own (omit) is a matter of the first. */
async function* collectedPages(registry: Registry): AsyncGenerator<SeriesPage> {
  for (const { name, help, type, aggregator, values } of await registry.getMetricsAsJSON()) {
    const merge = aggregator === "omit" ? "first" : (aggregator as Merge);
    // True: prom-client's type says less than its aggregation rests on.
    const given = values as unknown as readonly {
      metricName?: string;
      labels: Record<string, unknown>;
      value: number;
    }[];
    const bySample = new Map<string, [string, number[]][]>();
    for (const { metricName = name, labels, value } of given) {
      if (!Number.isFinite(value)) continue;
      const series = bySample.get(metricName) ?? [];
      bySample.set(metricName, series);
      series.push([keyOf(Object.keys(labels), Object.values(labels).map(String)), [value]]);
    }
    // True: the type of a metric of prom-client is a word in its JSON.
    const kind = String(type) as MetricType;
    for (const [sample, series] of bySample)
      yield* pagesOf({ name, help, type: kind, merge, counted: kind !== "gauge", sample, bounds: [] }, series);
  }
}
