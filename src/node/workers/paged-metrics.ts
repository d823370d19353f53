/**
 * A worker's metrics as its primary reads them: page by page, each in a turn of its own.
 */
import type { SeriesPage } from "../../base/metric-pages.ts";
import type { Metrics } from "../../base/metrics.ts";
import type { MetricsPage } from "./protocol.ts";

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
