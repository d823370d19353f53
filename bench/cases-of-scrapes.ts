/**
 * Traffic while all metrics are read, again and again, beside the same traffic while nobody reads them.
 */
import { setTimeout as delay } from "node:timers/promises";
import { arrived, put, roundrobin } from "./case-parts.ts";
import { requestsFile } from "./request-lines.ts";
import { type Run, type Series, series } from "./series.ts";
import { FAST, type Server } from "./servers.ts";

export const CALM = "no scrape";
export const SCRAPED = "scraped with 100k series";

const SERIES = 100_000;
/** Each consumer has some 55 series on one route. */
const CONSUMERS = 2_000;
const PATH = "/scraped/x";
const SCRAPE_PAUSE_MS = 100;

const authorization = (n: number): string => `Basic ${Buffer.from(`s${n}:bench`).toString("base64")}`;

async function prepare(server: Server, upstream: string, folder: string): Promise<string> {
  const all = Array.from({ length: CONSUMERS }, (_, n) => n);
  await put(server, "/global_rules/numbers", { plugins: { prometheus: {} } });
  const plugins = { "basic-auth": { hide_credentials: true } };
  await put(server, "/routes/scraped", { uri: "/scraped/*", plugins, upstream: roundrobin(upstream) });
  for (const n of all)
    await put(server, "/consumers", {
      username: `s${n}`,
      plugins: { "basic-auth": { username: `s${n}`, password: "bench" } },
    });
  await arrived(server, PATH, 200, authorization(CONSUMERS - 1));
  for (const n of all) await arrived(server, PATH, 200, authorization(n));
  const found = await scrape(server);
  if (found < SERIES) throw new Error(`${found} series, not ${SERIES}: the case needs more consumers`);
  return requestsFile(
    folder,
    "scraped",
    all.map((n) => `${PATH}\t${authorization(n)}`),
  );
}

/** @returns how many series it had */
async function scrape(server: Server): Promise<number> {
  const answer = await fetch(`${server.status}/metrics`);
  let series = 0;
  let isStart = true;
  for await (const piece of answer.body ?? [])
    for (const byte of piece) {
      if (isStart && byte !== 0x23 && byte !== 0x0a) series++; // neither a comment nor empty
      isStart = byte === 0x0a;
    }
  return series;
}

function during(server: Server): () => Promise<void> {
  let isStopped = false;
  const scraping = (async () => {
    while (!isStopped) {
      // Not counted: that would take this process as long as the server takes to write it.
      await (await fetch(`${server.status}/metrics`)).arrayBuffer();
      await delay(SCRAPE_PAUSE_MS);
    }
  })();
  return async () => {
    isStopped = true;
    await scraping;
  };
}

const run: Omit<Run, "case"> = { kind: FAST, expect: { status: 200 }, prepare };

/** Twins with the same series, consumers and load; the metrics of one are read. */
export const scrapes: Series = series(
  "scrapes",
  [
    { ...run, case: CALM },
    { ...run, case: SCRAPED, during },
  ],
  { case: CALM, server: FAST.name },
);
