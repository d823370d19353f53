/**
 * The metrics of all processes of a node as one: the primary's own, the workers' and what workers that have ended had
 * counted. They come in pages and are merged in turns, so that nobody waits for a scrape.
 * Promise: counters do not go back when a worker is replaced; of one that was killed, what the last scrape saw counts.
 */
import { chunksOf, labelText, mergePages, type SeriesPage } from "../../base/metric-pages.ts";
import { type Metrics, shared } from "../../base/metrics.ts";
import type { HealthNode, HealthReport } from "../../status/control-server.ts";
import type { MetricsPage } from "./protocol.ts";

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

const WORST_FIRST: readonly HealthNode["status"][] = ["unhealthy", "mostly_unhealthy", "mostly_healthy", "healthy"];

/** @param answers of the workers; one that did not answer says nothing */
export function mergeHealth(answers: readonly PromiseSettledResult<readonly HealthReport[]>[]): HealthReport[] {
  const merged = new Map<string, HealthReport>();
  for (const report of answers.flatMap((answer) => (answer.status === "fulfilled" ? answer.value : []))) {
    const known = merged.get(report.name);
    merged.set(report.name, known ? { ...known, nodes: mergeNodes(known.nodes, report.nodes) } : report);
  }
  return [...merged.values()];
}

function mergeNodes(one: readonly HealthNode[], other: readonly HealthNode[]): readonly HealthNode[] {
  const worst = new Map<string, HealthNode>();
  for (const node of [...one, ...other]) {
    const at = `${node.hostname ?? ""} ${node.ip} ${node.port}`;
    const known = worst.get(at);
    if (!known || rank(node) < rank(known)) worst.set(at, node);
  }
  return [...worst.values()];
}

function rank({ status }: HealthNode): number {
  return WORST_FIRST.indexOf(status);
}

/** Readings at the same time: a scrape, and the last one of a worker that ends. */
const READINGS_MAX = 4;

/** What METRICS is answered with. */
export function pageMetrics(metrics: Metrics): (body: { readonly reading: number }) => Promise<MetricsPage> {
  const readings = new Map<number, AsyncIterator<SeriesPage>>();
  let last = 0;
  return async ({ reading: asked }) => {
    const reading = asked === 0 ? ++last : asked;
    const pages = readings.get(reading) ?? (asked === 0 ? metrics.pages()[Symbol.asyncIterator]() : undefined);
    if (!pages) throw new Error("this reading is over");
    readings.set(reading, pages);
    for (const oldest of readings.keys()) {
      if (readings.size <= READINGS_MAX) break;
      readings.delete(oldest);
    }
    const next = await pages.next();
    if (!next.done) return { reading, page: next.value };
    readings.delete(reading);
    return { reading, page: null };
  };
}

/** Reads all pages. @throws what `ask` throws */
export async function readPages(ask: (body: { reading: number }) => Promise<MetricsPage>): Promise<SeriesPage[]> {
  const pages: SeriesPage[] = [];
  for (let reading = 0; ; ) {
    const answer = await ask({ reading });
    if (answer.page === null) return pages;
    reading = answer.reading;
    pages.push(answer.page);
  }
}
