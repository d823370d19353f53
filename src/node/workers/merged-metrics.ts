/**
 * The metrics of all processes of a node as one: prom-client's aggregation over the primary's own, the workers' and
 * what workers that have ended had counted.
 * Promise: counters do not go back when a worker is replaced; of one that was killed, what the last scrape saw counts.
 */
import { AggregatorRegistry, type Registry } from "prom-client";
import { metricsText } from "../../base/metrics.ts";
import type { WireMetrics } from "./protocol.ts";

/** Whoever can be asked for metrics; the object stands for the process. */
export interface MetricsSource {
  metrics(): Promise<WireMetrics>;
}

/** Series kept of workers that ended, per family: like those of a living one, their number is bounded. */
const PAST_SERIES_MAX = 200_000;

export class MergedMetrics<Source extends MetricsSource> {
  readonly #own: Registry;
  readonly #last = new Map<Source, WireMetrics>();
  readonly #retired = new WeakSet<Source>();
  #past: WireMetrics = [];

  constructor(own: Registry) {
    this.#own = own;
  }

  get contentType(): string {
    return this.#own.contentType;
  }

  /** Asks all; of one that does not answer, what it said last counts. */
  async text(sources: readonly Source[]): Promise<string> {
    await Promise.all(
      sources.map(async (source) => {
        try {
          const metrics = await source.metrics();
          if (!this.#retired.has(source)) this.#last.set(source, metrics);
        } catch {
          // Busy or ending: what it said last stands.
        }
      }),
    );
    // True: the schema of the messages says what prom-client's own type says.
    const own = (await this.#own.getMetricsAsJSON()) as unknown as WireMetrics;
    const living = sources.flatMap((source) => {
      const last = this.#last.get(source);
      return last ? [last] : [];
    });
    return await metricsText(AggregatorRegistry.aggregate([own.map(ownFirst), ...living, this.#past]));
  }

  /** The first call for a source counts. @param metrics its last ones; undefined when it did not get to say them */
  retire(source: Source, metrics: WireMetrics | undefined): void {
    if (this.#retired.has(source)) return;
    this.#retired.add(source);
    const counted = (metrics ?? this.#last.get(source) ?? []).filter(isCounted);
    this.#last.delete(source);
    if (counted.length === 0) return;
    const summed = AggregatorRegistry.aggregate([this.#past, counted]).getMetricsAsArray();
    // True: the families of an aggregation hold their values themselves.
    this.#past = (summed as unknown as WireMetrics).map(({ name, help, type, aggregator, values }) => ({
      ...{ name, help, type, aggregator },
      values: values.slice(0, PAST_SERIES_MAX),
    }));
  }
}

/** What a process says of itself alone is, for a node, what its primary says; the primary comes first. */
function ownFirst(family: WireMetrics[number]): WireMetrics[number] {
  return family.aggregator === "omit" ? { ...family, aggregator: "first" } : family;
}

/** Counts stay when those who counted are gone; levels go with them. */
function isCounted({ type }: WireMetrics[number]): boolean {
  return type === "counter" || type === "histogram";
}
