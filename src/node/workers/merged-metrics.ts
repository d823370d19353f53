/**
 * The metrics of all processes of a node as one: the primary's own, the workers' and what workers that have ended had
 * counted. They come in pages and are merged in turns, so that nobody waits for a scrape.
 * Promise: counters do not go back when a worker is replaced; of one that was killed, what the last scrape saw counts.
 */
import { chunksOf, labelText, mergePages, type SeriesPage } from "../../base/metric-pages.ts";
import { type Metrics, shared } from "../../base/metrics.ts";

/** Whoever can be asked for metrics; the object stands for the process. */
export interface MetricsSource {
  metrics(): Promise<readonly SeriesPage[]>;
}

/** Labels of records that are gone and may still be in what ended workers had counted. */
const FORGOTTEN_MAX = 100_000;
/** Pages of ended workers beyond which they are put together, though nobody scrapes. */
const PAST_PAGES = 1_000;

export class MergedMetrics<Source extends MetricsSource> {
  readonly #own: Metrics;
  readonly #sources: () => readonly Source[];
  readonly #maxSeries: number;
  readonly #last = new Map<Source, readonly SeriesPage[]>();
  readonly #retired = new WeakSet<Source>();
  /** Grows at its end only; whoever shortens it keeps what was added meanwhile. */
  #past: readonly SeriesPage[] = [];
  #forgotten = new Set<string>();

  /** @param maxSeries lines of one metric in one process */
  constructor(own: Metrics, sources: () => readonly Source[], maxSeries: number) {
    this.#maxSeries = maxSeries;
    this.#own = own;
    this.#sources = sources;
  }

  /** The exposition format, in pieces. Of a process that does not answer, what it said last counts. */
  readonly chunks: () => Promise<readonly Buffer[]> = shared(() => this.#collect());

  async #collect(): Promise<readonly Buffer[]> {
    await Promise.all(
      this.#sources().map(async (source) => {
        try {
          const pages = await source.metrics();
          if (!this.#retired.has(source)) this.#last.set(source, pages);
        } catch {
          // Busy or ending: what it said last stands.
        }
      }),
    );
    const own: SeriesPage[] = [];
    for await (const page of this.#own.pages()) own.push(page);
    await this.#tidy();
    // At one moment, so that a worker that ends meanwhile counts once.
    const living = [...this.#last.values()];
    return await chunksOf(
      await mergePages([...own, ...living.flat(), ...this.#past], this.#maxSeries * (living.length + 1)),
    );
  }

  /** The first call for a source counts. @param pages its last ones; undefined when it did not get to say them */
  retire(source: Source, pages: readonly SeriesPage[] | undefined): void {
    if (this.#retired.has(source)) return;
    this.#retired.add(source);
    // Counts stay when those who counted are gone; levels go with them.
    const counted = (pages ?? this.#last.get(source) ?? []).filter((page) => page.counted);
    this.#last.delete(source);
    this.#past = [...this.#past, ...counted];
    if (this.#past.length > PAST_PAGES) void this.#tidy();
  }

  /** The series of a record that is gone. */
  forget(label: string, id: string): void {
    if (this.#past.length > 0 && this.#forgotten.size < FORGOTTEN_MAX) this.#forgotten.add(labelText(label, id));
  }

  readonly #tidy: () => Promise<void> = shared(async () => {
    const [past, forgotten] = [this.#past, this.#forgotten];
    this.#forgotten = new Set();
    const leaves = (key: string): boolean => (key.match(LABEL) ?? []).some((label) => forgotten.has(label));
    const merged = await mergePages(past, this.#maxSeries, forgotten.size > 0 ? leaves : undefined);
    this.#past = [...merged, ...this.#past.slice(past.length)];
  });
}

/** Each label in a key as `labelText` writes it. */
const LABEL = /[A-Za-z_][A-Za-z0-9_]*="(?:[^"\\]|\\.)*"/g;
