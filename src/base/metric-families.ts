/**
 * Families of series: children are plain numbers bound when configuration changes, read only when somebody scrapes.
 * Promise: a family never holds more lines than its limit; what goes through all children does so in turns.
 */
import { systemClock, type Timer } from "./clock.ts";
import { keyOf, linesOf, type Merge, type MetricType, Pace, pagesOf, type SeriesPage } from "./metric-pages.ts";
import type { Counter, Expiry, Family, Gauge, Histogram, Sample } from "./metrics.ts";

/** How often children with an expiry are looked at, at least; twice within shorter expiries. */
const SWEEP_MS = 10_000;
/** What was forgotten is gone after this long, scraped or not. */
const FORGET_MS = 1_000;
/** Between two looks at the time. */
const STEP = 64;

export interface FamilyDefinition {
  readonly type: MetricType;
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
  readonly merge?: Merge | undefined;
  readonly counted?: boolean | undefined;
  readonly bounds?: number[];
  /** Lines that the family may have. */
  readonly most: number;
  /** Somebody asked for one more. */
  readonly onFull: () => void;
}

interface ChildEntry<Child> {
  readonly labels: readonly string[];
  readonly child: Child;
  /** Counts children. */
  readonly born: number;
  /** What the child said when its last change was noticed, and when that was. */
  seen: number;
  sinceMs: number;
}

abstract class BoundFamily<Child> implements Family<Child> {
  readonly facts: FamilyDefinition;
  generation = 0;
  readonly #children = new Map<string, ChildEntry<Child>>();
  readonly #most: number;
  readonly #expiry: Expiry | undefined;
  /** Label → value → children born up to this one are to go. */
  readonly #forgotten = new Map<number, Map<string, number>>();
  #born = 0;
  /** Runs while there are children that can expire. */
  #sweeps: Timer | undefined;
  #isSweeping = false;
  #forgets: Timer | undefined;

  constructor(facts: FamilyDefinition, expiry?: Expiry) {
    this.facts = facts;
    this.#most = Math.max(1, Math.floor(facts.most / linesOf(facts.bounds ?? [])));
    this.#expiry = expiry !== undefined && expiry.afterMs > 0 ? expiry : undefined;
  }

  child(...labels: string[]): Child {
    const { name, labelNames } = this.facts;
    if (labels.length !== labelNames.length) throw new TypeError(`${name} has labels ${labelNames.join(", ")}`);
    const key = keyOf(labelNames, labels);
    const known = this.#children.get(key);
    if (known) return known.child;
    if (this.#children.size < this.#most) return this.#add(key, labels);
    this.facts.onFull();
    const others = labels.map(() => "other");
    const rest = keyOf(labelNames, others);
    return this.#children.get(rest)?.child ?? this.#add(rest, others);
  }

  #add(key: string, labels: readonly string[]): Child {
    const child = this.make();
    const sinceMs = this.#expiry?.clock.monotonicMs() ?? 0;
    this.#children.set(key, { labels, child, born: ++this.#born, seen: 0, sinceMs });
    if (this.#expiry) this.#sweep(this.#expiry);
    return child;
  }

  forget(name: string, value: string): void {
    const at = this.facts.labelNames.indexOf(name);
    if (at < 0 || this.#children.size === 0) return;
    const values = this.#forgotten.get(at) ?? new Map<string, number>();
    this.#forgotten.set(at, values.set(value, this.#born));
    this.#forgets ??= systemClock.after(FORGET_MS, () => void this.settle());
  }

  /** Drops what was forgotten. */
  async settle(): Promise<void> {
    this.#forgets?.cancel();
    this.#forgets = undefined;
    if (this.#expiry) this.#expire(this.#expiry);
    if (this.#forgotten.size === 0) return;
    const forgotten = [...this.#forgotten];
    this.#forgotten.clear();
    await this.#each((key, { labels, born }) => {
      for (const [at, values] of forgotten) if (born <= (values.get(labels[at] ?? "") ?? 0)) return this.#drop(key);
    });
  }

  #drop(key: string): void {
    if (!this.#children.delete(key)) return;
    this.generation++;
    if (this.#children.size > 0) return;
    this.#sweeps?.cancel();
    this.#sweeps = undefined;
  }

  #sweep(expiry: Expiry): void {
    this.#sweeps ??= expiry.clock.every(Math.min(SWEEP_MS, expiry.afterMs / 2), () => this.#expire(expiry));
  }

  /** Changes are noticed here, so that counting costs nothing more: a child lives up to one sweep longer. */
  #expire({ clock, afterMs }: Expiry): void {
    if (this.#isSweeping) return;
    this.#isSweeping = true;
    const nowMs = clock.monotonicMs();
    const look = (key: string, entry: ChildEntry<Child>): void => {
      const activity = this.activity(entry.child);
      if (activity !== entry.seen) {
        entry.seen = activity;
        entry.sinceMs = nowMs;
      } else if (nowMs - entry.sinceMs >= afterMs) this.#drop(key);
    };
    void this.#each(look, () => {
      this.#isSweeping = false;
    });
  }

  /** In this turn, where there are few. */
  async #each(look: (key: string, entry: ChildEntry<Child>) => void, done?: () => void): Promise<void> {
    const pace = new Pace();
    let count = 0;
    for (const [key, entry] of this.#children) {
      look(key, entry);
      if (++count % STEP === 0 && pace.isDue()) await pace.rest();
    }
    done?.();
  }

  pages(): Iterable<SeriesPage> {
    const { type, name, help, merge = "sum", counted = type !== "gauge", bounds = [] } = this.facts;
    return pagesOf({ type, name, sample: name, help, merge, counted, bounds }, this.#series());
  }

  *#series(): Generator<readonly [string, ArrayLike<number>]> {
    for (const [key, { child }] of this.#children) yield [key, this.valuesOf(child)];
  }

  protected abstract make(): Child;
  /** A number that changes whenever the child does. */
  protected abstract activity(child: Child): number;
  protected abstract valuesOf(child: Child): ArrayLike<number>;
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

export class NumberFamily extends BoundFamily<NumberChild> {
  protected make(): NumberChild {
    return new NumberChild();
  }
  protected activity(child: NumberChild): number {
    return child.value;
  }
  protected valuesOf(child: NumberChild): ArrayLike<number> {
    return [child.value];
  }
}

class HistogramChild implements Histogram {
  readonly bounds: Float64Array;
  /** By bucket, that beyond the last bound, and the sum of all values. */
  readonly values: Float64Array;

  constructor(bounds: Float64Array) {
    this.bounds = bounds;
    this.values = new Float64Array(bounds.length + 2);
  }

  observe(value: number): void {
    const { bounds, values } = this;
    let i = 0;
    while (i < bounds.length && value > (bounds[i] as number)) i++;
    values[i] = (values[i] as number) + 1;
    const sum = bounds.length + 1;
    values[sum] = (values[sum] as number) + value;
  }
}

export class HistogramFamily extends BoundFamily<HistogramChild> {
  readonly #bounds: Float64Array;

  constructor(facts: FamilyDefinition, expiry?: Expiry) {
    super(facts, expiry);
    this.#bounds = Float64Array.from(facts.bounds ?? []);
  }

  protected make(): HistogramChild {
    return new HistogramChild(this.#bounds);
  }

  protected activity({ values }: HistogramChild): number {
    let total = 0;
    for (let i = 0; i < values.length - 1; i++) total += values[i] as number;
    return total;
  }

  protected valuesOf({ values }: HistogramChild): ArrayLike<number> {
    return values;
  }
}

/** Numbers that are kept elsewhere. */
export class ReadFamily {
  readonly facts: FamilyDefinition;
  readonly #read: () => readonly Sample[];

  constructor(facts: FamilyDefinition, read: () => readonly Sample[]) {
    this.facts = facts;
    this.#read = read;
  }

  forget(): void {} // nothing is kept here
  async settle(): Promise<void> {}

  pages(): Iterable<SeriesPage> {
    const { type, name, help, labelNames, most, onFull, merge = "sum", counted = type !== "gauge" } = this.facts;
    const samples = this.#read();
    if (samples.length > most) onFull();
    const series = samples.slice(0, most).map(({ labels, value }) => [keyOf(labelNames, labels), [value]] as const);
    return pagesOf({ type, name, sample: name, help, merge, counted, bounds: [] }, series);
  }
}

export type AnyFamily = Pick<BoundFamily<unknown>, "facts" | "forget" | "settle" | "pages">;
