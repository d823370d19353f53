/**
 * Series as they travel and are shown: in pages small enough that what reads them never holds traffic up.
 * Promise: pages are made, merged and written in turns of about a millisecond, with rests in between.
 */
import { sleep, systemClock } from "./clock.ts";

export type MetricType = "counter" | "gauge" | "histogram" | "summary";

/** What the value of a node is, given those of its processes: of configuration, not the sum. */
export type Merge = "sum" | "min" | "max" | "average" | "first";

export interface SeriesPage {
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  readonly merge: Merge;
  /** It only grows: what a process that is gone had counted stays. */
  readonly counted: boolean;
  /** What the lines begin with; differs from `name` where a family was rendered elsewhere. */
  readonly sample: string;
  /** Upper bounds of a histogram, else empty. */
  readonly bounds: number[];
  /** Labels as they are written, without braces; one for each series. */
  readonly keys: string[];
  /** One for each key; of histograms each bucket's own count, that beyond the last bound, and the sum. */
  readonly values: number[];
}

/** So many lines are a page. */
const PAGE_LINES = 250;
const SLICE_MS = 1;
const REST_MS = 5;

/** Lines that one series has. */
export const linesOf = (bounds: readonly number[]): number => (bounds.length === 0 ? 1 : bounds.length + 3);
const valuesOf = (bounds: readonly number[]): number => (bounds.length === 0 ? 1 : bounds.length + 2);

/** Work in turns: `if (pace.isDue()) await pace.rest()`. Those who work on the same pages in the same turns share one. */
export class Pace {
  #sinceMs = systemClock.monotonicMs();

  isDue(): boolean {
    return systemClock.monotonicMs() - this.#sinceMs >= SLICE_MS;
  }

  async rest(): Promise<void> {
    await sleep(systemClock, REST_MS);
    this.#sinceMs = systemClock.monotonicMs();
  }
}

/**
 * The exposition format of Prometheus, in pieces. Families without series are left out, as in APISIX.
 * @param pace that of the pages where they are made meanwhile: the rests of two would add up
 */
export async function chunksOf(
  pages: Iterable<SeriesPage> | AsyncIterable<SeriesPage>,
  pace = new Pace(),
): Promise<Buffer[]> {
  const chunks: Buffer[] = [];
  let family = "";
  for await (const page of pages) {
    if (page.keys.length === 0) continue;
    const isNew = page.name !== family;
    const head = `# HELP ${page.name} ${escapeHelp(page.help)}\n# TYPE ${page.name} ${page.type}\n`;
    const text = pageText(page);
    chunks.push(Buffer.from(isNew ? `${family === "" ? "" : "\n"}${head}${text}` : text, "utf8"));
    family = page.name;
    if (pace.isDue()) await pace.rest();
  }
  return chunks;
}

function pageText({ sample, bounds, keys, values }: SeriesPage): string {
  let text = "";
  if (bounds.length === 0) {
    for (const [i, key] of keys.entries()) text += `${sample}${braced(key)} ${shown(values[i] ?? 0)}\n`;
    return text;
  }
  const width = valuesOf(bounds);
  for (const [i, key] of keys.entries()) {
    const lead = key === "" ? "" : `${key},`;
    let total = 0;
    for (let at = 0; at <= bounds.length; at++) {
      total += values[i * width + at] ?? 0;
      text += `${sample}_bucket{${lead}le="${at === bounds.length ? "+Inf" : bounds[at]}"} ${total}\n`;
    }
    text += `${sample}_sum${braced(key)} ${shown(values[i * width + width - 1] ?? 0)}\n`;
    text += `${sample}_count${braced(key)} ${total}\n`;
  }
  return text;
}

const braced = (key: string): string => (key === "" ? "" : `{${key}}`);
const shown = (value: number): string =>
  Number.isFinite(value) ? String(value) : Number.isNaN(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf";
const escapeHelp = (text: string): string => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");

/** Labels as they are written: `route="1",status="200"`. */
export function keyOf(names: readonly string[], values: readonly string[]): string {
  let key = "";
  for (const [i, name] of names.entries()) key += `${i === 0 ? "" : ","}${name}="${escapeLabel(values[i] ?? "")}"`;
  return key;
}

/** The label as `keyOf` writes it. */
export const labelText = (name: string, value: string): string => `${name}="${escapeLabel(value)}"`;

const TO_ESCAPE = /[\\"\n]/;
function escapeLabel(value: string): string {
  if (!TO_ESCAPE.test(value)) return value;
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

/** Cuts series into pages; `series` may be read over many turns. */
export function* pagesOf(
  family: Omit<SeriesPage, "keys" | "values">,
  series: Iterable<readonly [key: string, values: ArrayLike<number>]>,
): Generator<SeriesPage> {
  const most = Math.max(1, Math.floor(PAGE_LINES / linesOf(family.bounds)));
  let keys: string[] = [];
  let values: number[] = [];
  for (const [key, given] of series) {
    keys.push(key);
    for (let at = 0; at < given.length; at++) values.push(given[at] ?? 0);
    if (keys.length < most) continue;
    yield { ...family, keys, values };
    keys = [];
    values = [];
  }
  if (keys.length > 0) yield { ...family, keys, values };
}

interface Merged {
  readonly family: Omit<SeriesPage, "keys" | "values">;
  readonly series: Map<string, { readonly values: number[]; parts: number }>;
}

/**
 * The pages of several processes as those of one.
 * @param most   series of a family that are kept; those of later pages beyond it are lost
 * @param leaves which series are left out
 */
export async function mergePages(
  lists: Iterable<SeriesPage>,
  most: number,
  leaves: (key: string) => boolean = () => false,
): Promise<SeriesPage[]> {
  const pace = new Pace();
  const families = new Map<string, Map<string, Merged>>();
  for (const page of lists) {
    const { keys: _keys, values: _values, ...family } = page;
    const samples = families.get(page.name) ?? new Map<string, Merged>();
    families.set(page.name, samples);
    const part = `${page.sample} ${page.counted}`;
    const merged = samples.get(part) ?? { family, series: new Map() };
    samples.set(part, merged);
    addPage(merged, page, most, leaves);
    if (pace.isDue()) await pace.rest();
  }
  const pages: SeriesPage[] = [];
  for (const samples of families.values()) {
    for (const { family, series } of samples.values()) {
      for (const page of pagesOf(family, valuesIn(series, family.merge))) {
        pages.push(page);
        if (pace.isDue()) await pace.rest();
      }
    }
  }
  return pages;
}

function addPage({ family, series }: Merged, page: SeriesPage, most: number, leaves: (key: string) => boolean): void {
  const width = valuesOf(page.bounds);
  if (width !== valuesOf(family.bounds)) return; // of a program with other buckets
  for (const [i, key] of page.keys.entries()) {
    if (leaves(key)) continue;
    const known = series.get(key);
    if (!known) {
      if (series.size < most) series.set(key, { values: page.values.slice(i * width, (i + 1) * width), parts: 1 });
      continue;
    }
    known.parts++;
    for (let at = 0; at < width; at++)
      known.values[at] = mergeValues(family.merge, known.values[at] ?? 0, page.values[i * width + at] ?? 0);
  }
}

function mergeValues(merge: Merge, one: number, other: number): number {
  if (merge === "min") return Math.min(one, other);
  if (merge === "max") return Math.max(one, other);
  return merge === "first" ? one : one + other;
}

function* valuesIn(series: Merged["series"], merge: Merge): Generator<readonly [string, number[]]> {
  for (const [key, { values, parts }] of series)
    yield [key, merge === "average" ? values.map((value) => value / parts) : values];
}
