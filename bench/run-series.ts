/**
 * Runs one series: all its servers are started, checked and warmed alike, then take turns, so that a machine that drifts
 * drifts for all of them. A run whose answers are wrong is dropped and named; the others go on.
 */
import { mkdtempSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { measureHttp2 } from "./http2.ts";
import { judge } from "./judge.ts";
import { type Burst, type Measured, measure, measureAtRate } from "./load.ts";
import type { Options } from "./options.ts";
import { type Counted, countedBetween, readCounted } from "./own-metrics.ts";
import { prime, probe } from "./probe.ts";
import type { Round, Row } from "./rows.ts";
import type { Run, Series } from "./series.ts";
import { LOAD_CORE, moveSelfTo, type Server } from "./servers.ts";
import type { TableFacts } from "./table-facts.ts";

export interface SeriesResult {
  readonly rows: readonly Row[];
  readonly tables: readonly TableFacts[];
  /** What is missing on this machine. */
  readonly skipped: readonly string[];
  /** What was wrong. */
  readonly failed: readonly string[];
}

interface Up {
  readonly run: Run;
  readonly name: string;
  readonly server: Server;
  readonly requests: string;
  readonly rounds: Round[];
  /** So far; each burst goes on in the file of requests, so that what was just asked for does not come again. */
  sent: number;
  wrong?: string;
}

export interface Setting {
  readonly options: Options;
  readonly folder: string;
  readonly upstream: string;
  wanted(name: string): boolean;
  say(text: string): void;
}

const CONNECTIONS = 64;
const PACE_SECONDS = 2;
const ALL_CORES = `0-${cpus().length - 1}`;

export async function runSeries(series: Series, setting: Setting): Promise<SeriesResult> {
  const { options, say } = setting;
  const skipped: string[] = [];
  const failed: string[] = [];
  const up: Up[] = [];
  moveSelfTo(ALL_CORES);
  const opened = await series.open(setting);
  try {
    for (const run of opened.runs) {
      if (!setting.wanted(run.case) || (options.quick && !run.quick)) continue;
      const missing = run.kind.missing();
      if (missing) skipped.push(missing);
      else await start(run, setting, up, failed);
    }
    moveSelfTo(LOAD_CORE);
    if (up.length > 0) say(`  warming ${up.length} servers, ${options.warmSeconds} s each`);
    for (const one of up) await attempt(one, () => warm(one, options.warmSeconds));
    const rate = await paceOf(series, up, say);
    for (let round = 1; round <= options.rounds; round++) {
      for (const one of shuffled(up)) {
        if (one.wrong !== undefined) continue;
        await attempt(one, () => oneRound(one, options, rate, setting.upstream));
        say(`  ${label(one)} ${round}/${options.rounds}: ${one.wrong ?? shortly(one.rounds.at(-1))}`);
      }
    }
    for (const one of up) {
      if (one.wrong === undefined) await attempt(one, () => probe(one.run, one.server, one.requests));
      if (one.wrong !== undefined) failed.push(`${one.run.case}, ${one.name}: ${one.wrong}`);
    }
    const rows = up
      .filter((one) => one.wrong === undefined)
      .map(({ run, name, rounds }) => ({ case: run.case, server: name, ...(rate > 0 && { rate }), rounds }));
    return { rows, tables: opened.tables ?? [], skipped, failed };
  } finally {
    await Promise.all(up.map(({ server }) => server.stop()));
    await opened.stop();
  }
}

/** Who comes after whom differs from round to round, so that nobody always follows the same neighbour. */
function shuffled<T>(list: readonly T[]): T[] {
  const mixed = [...list];
  for (let last = mixed.length - 1; last > 0; last--) {
    const at = Math.floor(Math.random() * (last + 1));
    [mixed[last], mixed[at]] = [mixed[at] as T, mixed[last] as T]; // true: both are in the list
  }
  return mixed;
}

const label = (one: Up): string => `${one.run.case.padEnd(30)} ${one.name.padEnd(26)}`;

function shortly(round: Round | undefined): string {
  if (!round) return "";
  const late = round.lateMs === undefined ? "" : `, generator late ${round.lateMs.toFixed(2)} ms`;
  return `${round.cpuMicrosPerRequest.toFixed(1)} us, ${round.requestsPerSecond.toFixed(0)}/s, p99 ${round.p99Ms.toFixed(2)} ms${late}`;
}

/** What goes wrong with one server is kept with it. */
async function attempt(one: Up, act: () => Promise<void>): Promise<void> {
  try {
    await act();
  } catch (error) {
    one.wrong = error instanceof Error ? error.message : String(error);
  }
}

async function start(run: Run, setting: Setting, up: Up[], failed: string[]): Promise<void> {
  const name = run.server ?? run.kind.name;
  const own = mkdtempSync(join(setting.folder, "server-"));
  try {
    const server = await run.kind.start(setting.upstream, own);
    const one: Up = { run, name, server, requests: "", rounds: [], sent: 0 };
    up.push(one);
    const requests = await run.prepare(server, setting.upstream, own);
    up[up.length - 1] = { ...one, requests };
    await probe(run, server, requests);
    if (run.expect.tokens === "cached") await prime(server, requests);
  } catch (error) {
    const text = `${run.case}, ${name}: ${error instanceof Error ? error.message : String(error)}`;
    setting.say(`  FAILED ${text}`);
    failed.push(text);
    const last = up.at(-1);
    if (last?.run === run) {
      up.pop();
      await last.server.stop();
    }
  }
}

function burstOf({ run, server, requests, sent }: Up, seconds: number): Burst {
  const { method = "GET", bodyBytes = 0 } = run;
  return {
    url: server.url,
    pid: server.pid,
    requests,
    skip: sent,
    seconds,
    method,
    bodyBytes,
    connections: CONNECTIONS,
  };
}

const measureOne = ({ server }: Up, burst: Burst): Promise<Measured> =>
  server.http2 === undefined ? measure(burst) : measureHttp2(burst, server.http2);

async function warm(one: Up, seconds: number): Promise<void> {
  const { requests } = await measureOne(one, burstOf(one, seconds));
  one.sent += requests + CONNECTIONS;
}

/** @returns requests a second, 0 for as fast as it goes */
async function paceOf(series: Series, up: readonly Up[], say: (text: string) => void): Promise<number> {
  const { halfOf } = series;
  if (!halfOf) return 0;
  const pace = up.find((one) => one.run.case === halfOf.case && one.name === halfOf.server);
  if (!pace) {
    for (const one of up) one.wrong ??= `its rate comes from ${halfOf.case}, ${halfOf.server}, which did not run`;
    return 0;
  }
  const full = await measure(burstOf(pace, PACE_SECONDS));
  const rate = Math.max(1, Math.round(full.requestsPerSecond / 2));
  say(`  ${pace.name} gets ${full.requestsPerSecond.toFixed(0)}/s at most: ${rate}/s for all`);
  return rate;
}

/** @throws Error when the answers were not what the case is about */
async function oneRound(one: Up, options: Options, rate: number, upstream: string): Promise<void> {
  const { run, server } = one;
  const burst = burstOf(one, options.seconds);
  const before = await counted(server);
  const stop = run.during?.(server, upstream);
  const measured = await (rate > 0 ? measureAtRate(burst, rate, run.expect.status) : measureOne(one, burst)).finally(
    stop,
  );
  one.sent += measured.requests + CONNECTIONS; // those under way at its end were sent, too
  const after = await counted(server);
  const between = before && after ? countedBetween(before, after) : undefined;
  const wrong = judge(run.expect, measured, between);
  if (wrong !== undefined) throw new Error(wrong);
  one.rounds.push({ ...measured, ...(between && { counted: between }) });
}

async function counted(server: Server): Promise<Counted | undefined> {
  return server.status ? readCounted(await (await fetch(`${server.status}/metrics`)).text()) : undefined;
}
