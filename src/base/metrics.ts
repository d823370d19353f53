/**
 * Metrics with a cheap write side: children are plain numbers bound when configuration changes,
 * prom-client reads them only when somebody scrapes.
 * Promise: label values come from configuration; a family never holds more children than its limit.
 */
import { Registry } from "prom-client";
import type { Clock, Timer } from "./clock.ts";

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
  /** A counter kept elsewhere, read at scrape time. */
  counterOf(name: string, help: string, labels: readonly string[], read: () => readonly Sample[]): void;
  readonly registry: Registry;
}

/** What the value of a node is, given those of its workers: of configuration, not the sum. */
export type Merge = "sum" | "min" | "max";

export interface Sample {
  readonly labels: readonly string[];
  readonly value: number;
}

/** How often children with an expiry are looked at, at least; twice within shorter expiries. */
const SWEEP_MS = 10_000;

/** Beyond this many children a family counts into one child whose labels are all "other". */
const MAX_CHILDREN = 20_000;

type MetricType = "counter" | "gauge" | "histogram";
interface PromValue {
  labels: Record<string, string | number>;
  value: number;
  metricName?: string;
}

interface FamilyMore {
  readonly merge?: Merge | undefined;
  readonly expiry?: Expiry | undefined;
}

interface Entry<Child> {
  readonly labels: readonly string[];
  readonly child: Child;
  /** What the child said when its last change was noticed, and when that was. */
  seen: number;
  sinceMs: number;
}

abstract class BoundFamily<Child> implements Family<Child> {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly aggregator: Merge;
  readonly labelNames: readonly string[];
  protected readonly children = new Map<string, Entry<Child>>();
  generation = 0;
  readonly #expiry: Expiry | undefined;
  /** Runs while there are children that can expire. */
  #sweeps: Timer | undefined;

  constructor(
    type: MetricType,
    name: string,
    help: string,
    labelNames: readonly string[],
    { merge = "sum", expiry }: FamilyMore = {},
  ) {
    this.#expiry = expiry !== undefined && expiry.afterMs > 0 ? expiry : undefined;
    this.type = type;
    this.name = name;
    this.help = help;
    this.labelNames = labelNames;
    this.aggregator = merge;
  }

  child(...labels: string[]): Child {
    if (labels.length !== this.labelNames.length)
      throw new TypeError(`${this.name} has labels ${this.labelNames.join(", ")}`);
    const key = labels.join("\u0000");
    const known = this.children.get(key);
    if (known) return known.child;
    if (this.children.size >= MAX_CHILDREN) return this.child(...labels.map(() => "other"));
    const child = this.make();
    this.children.set(key, { labels, child, seen: 0, sinceMs: this.#expiry?.clock.monotonicMs() ?? 0 });
    if (this.#expiry) this.#sweep(this.#expiry);
    return child;
  }

  forget(name: string, value: string): void {
    const at = this.labelNames.indexOf(name);
    if (at < 0) return;
    for (const [key, { labels }] of this.children) if (labels[at] === value) this.#drop(key);
  }

  #drop(key: string): void {
    this.children.delete(key);
    this.generation++;
    this.#rest();
  }

  #sweep(expiry: Expiry): void {
    this.#sweeps ??= expiry.clock.every(Math.min(SWEEP_MS, expiry.afterMs / 2), () => this.#expire(expiry));
  }

  #rest(): void {
    if (this.children.size > 0) return;
    this.#sweeps?.cancel();
    this.#sweeps = undefined;
  }

  /** Changes are noticed here, so that counting costs nothing more: a child lives up to one sweep longer. */
  #expire({ clock, afterMs }: Expiry): void {
    const nowMs = clock.monotonicMs();
    for (const [key, entry] of this.children) {
      const activity = this.activity(entry.child);
      if (activity !== entry.seen) {
        entry.seen = activity;
        entry.sinceMs = nowMs;
      } else if (nowMs - entry.sinceMs >= afterMs) this.#drop(key);
    }
  }

  reset(): void {
    this.children.clear();
    this.#rest();
  }

  /** Called by prom-client on each scrape. */
  async get(): Promise<{ name: string; help: string; type: MetricType; aggregator: string; values: PromValue[] }> {
    if (this.#expiry) this.#expire(this.#expiry);
    const values: PromValue[] = [];
    for (const { labels, child } of this.children.values()) {
      const named: Record<string, string | number> = {};
      for (const [i, name] of this.labelNames.entries()) named[name] = labels[i] ?? "";
      this.write(child, named, values);
    }
    return { name: this.name, help: this.help, type: this.type, aggregator: this.aggregator, values };
  }

  protected abstract make(): Child;
  /** A number that changes whenever the child does. */
  protected abstract activity(child: Child): number;
  protected abstract write(child: Child, labels: Record<string, string | number>, values: PromValue[]): void;
}

class NumberChild implements Counter, Gauge {
  value = 0;
  inc(by = 1): void {
    this.value += by;
  }
  set(value: number): void {
    this.value = value;
  }
  add(by: number): void {
    this.value += by;
  }
}

class NumberFamily extends BoundFamily<NumberChild> {
  protected make(): NumberChild {
    return new NumberChild();
  }
  protected activity(child: NumberChild): number {
    return child.value;
  }
  protected write(child: NumberChild, labels: Record<string, string | number>, values: PromValue[]): void {
    values.push({ labels, value: child.value });
  }
}

class HistogramChild implements Histogram {
  readonly bounds: Float64Array;
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: Float64Array) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const bounds = this.bounds;
    let i = 0;
    while (i < bounds.length && value > (bounds[i] as number)) i++;
    this.counts[i] = (this.counts[i] as number) + 1;
    this.sum += value;
  }
}

class HistogramFamily extends BoundFamily<HistogramChild> {
  readonly #bounds: Float64Array;

  constructor(
    name: string,
    help: string,
    labelNames: readonly string[],
    buckets: readonly number[],
    more?: FamilyMore,
  ) {
    super("histogram", name, help, labelNames, more);
    this.#bounds = Float64Array.from(buckets);
  }

  protected make(): HistogramChild {
    return new HistogramChild(this.#bounds);
  }

  protected activity(child: HistogramChild): number {
    let total = 0;
    for (const count of child.counts) total += count;
    return total;
  }

  protected write(child: HistogramChild, labels: Record<string, string | number>, values: PromValue[]): void {
    let total = 0;
    for (let i = 0; i <= child.bounds.length; i++) {
      total += child.counts[i] as number;
      const le = i === child.bounds.length ? "+Inf" : (child.bounds[i] as number);
      values.push({ labels: { ...labels, le }, value: total, metricName: `${this.name}_bucket` });
    }
    values.push({ labels, value: child.sum, metricName: `${this.name}_sum` });
    values.push({ labels, value: total, metricName: `${this.name}_count` });
  }
}

class ReadFamily extends BoundFamily<NumberChild> {
  readonly #read: () => readonly Sample[];

  constructor(
    type: MetricType,
    name: string,
    help: string,
    labelNames: readonly string[],
    read: () => readonly Sample[],
    merge?: Merge,
  ) {
    super(type, name, help, labelNames, { merge });
    this.#read = read;
  }

  protected make(): NumberChild {
    return new NumberChild();
  }

  protected activity(child: NumberChild): number {
    return child.value;
  }

  protected write(child: NumberChild, labels: Record<string, string | number>, values: PromValue[]): void {
    values.push({ labels, value: child.value });
  }

  override async get(): ReturnType<BoundFamily<NumberChild>["get"]> {
    this.children.clear();
    for (const { labels, value } of this.#read()) this.child(...labels).set(value);
    return super.get();
  }
}

const APISIX_PREFIX = "apisix_";

/**
 * The metrics as text. Of a family without samples nothing is said, as in APISIX: a series that was forgotten is gone.
 * Cost: one pass over the text.
 */
export async function metricsText(registry: Pick<Registry, "metrics">): Promise<string> {
  const text = (await registry.metrics()).split("\n\n").filter(hasSamples).join("\n\n");
  return text === "" || text.endsWith("\n") ? text : `${text}\n`;
}

/** Whether anything follows its lines `# HELP` and `# TYPE`. */
function hasSamples(family: string): boolean {
  const end = family.indexOf("\n", family.indexOf("\n") + 1);
  return end >= 0 && end < family.length - 1;
}

/** Opens an empty set of metrics. @param apisixPrefix what the names APISIX gives begin with (`prometheus.metric_prefix`) */
export function openMetrics(apisixPrefix = APISIX_PREFIX): Metrics {
  const registry = new Registry();
  const families = new Map<string, BoundFamily<unknown>>();
  const add = <F extends BoundFamily<unknown>>(family: F): F => {
    families.set(family.name, family);
    registry.removeSingleMetric(family.name);
    // True: prom-client asks registered metrics only for `name` and `get()`.
    registry.registerMetric(family as unknown as Parameters<Registry["registerMetric"]>[0]);
    return family;
  };
  // Asked for twice, a family is shared: plugins are compiled many times.
  const known = <F>(name: string, make: (name: string) => BoundFamily<unknown>): F =>
    (families.get(shown(name)) ?? add(make(shown(name)))) as unknown as F;
  const shown = (name: string): string =>
    name.startsWith(APISIX_PREFIX) ? apisixPrefix + name.slice(APISIX_PREFIX.length) : name;
  return {
    registry,
    counter: (name, help, labels = [], expiry) =>
      known(name, (as) => new NumberFamily("counter", as, help, labels, { expiry })),
    gauge: (name, help, labels = []) => known(name, (as) => new NumberFamily("gauge", as, help, labels)),
    histogram: (name, help, buckets, labels = [], expiry) =>
      known(name, (as) => new HistogramFamily(as, help, labels, buckets, { expiry })),
    gaugeOf: (name, help, labels, read, merge) =>
      void add(new ReadFamily("gauge", shown(name), help, labels, read, merge)),
    counterOf: (name, help, labels, read) => void add(new ReadFamily("counter", shown(name), help, labels, read)),
  };
}
