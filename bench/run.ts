/**
 * `npm run bench`: the hot path against peers in one run, what big tables and the Admin API cost, and which aims are
 * reached. Prints progress; writes bench/results/latest.{json,md,svg} after each series, so a run that is cut is not lost.
 * Ends with 1 when a case failed: its answers were wrong, or it could not be set up. Options: options.ts.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { ADMIN_SIZES, type AdminCosts, measureAdmin } from "./admin.ts";
import { buildOther, type OtherBuild, seriesAgainst } from "./against.ts";
import { computeAims } from "./aims.ts";
import { SERIES } from "./cases.ts";
import { etcdMissing } from "./etcd.ts";
import { machine } from "./machine.ts";
import { isWanted, type Options, readOptions } from "./options.ts";
import { compare, comparisonLine } from "./pairs.ts";
import { type Results, writeResults } from "./report.ts";
import type { Row } from "./rows.ts";
import { runSeries, type Setting } from "./run-series.ts";
import type { Series } from "./series.ts";
import { has, ROOT, startUpstream } from "./servers.ts";
import type { TableFacts } from "./table-facts.ts";

const ADMIN_CASE = "admin";
/** Of the load average; above it, something else wants the cores. */
const BUSY = 0.7;
const began = performance.now();
const minutes = (): number => (performance.now() - began) / 60_000;
const say = (text: string): void => {
  const seconds = Math.floor(minutes() * 60);
  console.log(`${String(Math.floor(seconds / 60)).padStart(2)}:${String(seconds % 60).padStart(2, "0")} ${text}`);
};

function optionsOrEnd(): Options {
  try {
    return readOptions(process.argv.slice(2));
  } catch (error) {
    console.log(error instanceof Error ? error.message : String(error));
    process.exit(2);
  }
}

/** Ends when what every case needs is missing; installs the Node peers, or lets them be skipped. */
function checkTools(): void {
  const missing = ["wrk", "nginx", "taskset"].filter((tool) => !has(tool));
  if (missing.length > 0) {
    console.log(
      `not installed: ${missing.join(", ")}; apt-get install -y wrk nginx-light haproxy etcd-server util-linux`,
    );
    process.exit(1);
  }
  if (existsSync(join(ROOT, "bench/peers/node_modules"))) return;
  say("installing the Node peers into bench/peers");
  const cwd = join(ROOT, "bench/peers");
  const done = spawnSync("npm", ["install", "--no-audit", "--no-fund"], { cwd, stdio: "inherit" });
  if (done.status !== 0) say("the Node peers could not be installed; they are skipped");
}

function commit(): string {
  const git = (...args: string[]): string => execFileSync("git", ["-C", ROOT, ...args], { encoding: "utf8" }).trim();
  try {
    return `${git("rev-parse", "--short", "HEAD")}${git("status", "--porcelain", "src") === "" ? "" : " with changes"}`;
  } catch {
    return "unknown";
  }
}

const options = optionsOrEnd();
if (options.list) {
  for (const one of SERIES) for (const name of one.cases) console.log(name);
  console.log(ADMIN_CASE);
  process.exit(0);
}
const loadBefore = loadavg()[0] ?? 0;
checkTools();
if (loadBefore > BUSY)
  say(`something else runs here, or just did (load average ${loadBefore.toFixed(1)}): timings mean little`);

const rows: Row[] = [];
const tables: TableFacts[] = [];
const skipped = new Set<string>();
const failed: string[] = [];
let admin: AdminCosts | undefined;

function write(): void {
  const results: Results = {
    machine: machine(),
    commit: commit(),
    date: new Date().toISOString(),
    loadBefore,
    minutes: minutes(),
    rounds: options.rounds,
    seconds: options.seconds,
    warmSeconds: options.warmSeconds,
    rows,
    aims: computeAims(rows, tables),
    tables,
    ...(admin && { admin }),
    skipped: [...skipped],
    failed,
  };
  writeResults(join(ROOT, "bench/results"), options.name, results);
}

async function runOne(one: Series, setting: Setting): Promise<void> {
  const missing = one.missing?.();
  if (missing) {
    skipped.add(`${one.name}: ${missing}`);
    return;
  }
  try {
    const result = await runSeries(one, setting);
    rows.push(...result.rows);
    tables.push(...result.tables);
    failed.push(...result.failed);
    for (const what of result.skipped) skipped.add(what);
  } catch (error) {
    failed.push(`${one.name}: ${String(error)}`);
    say(`  FAILED ${String(error)}`);
  }
}

async function runAdmin(folder: string): Promise<void> {
  const missing = etcdMissing();
  if (missing) {
    skipped.add(`${ADMIN_CASE}: ${missing}`);
    return;
  }
  try {
    admin = await measureAdmin(ADMIN_SIZES, folder, say);
  } catch (error) {
    failed.push(`${ADMIN_CASE}: ${String(error)}`);
    say(`  FAILED ${String(error)}`);
  }
}

const wanted = (name: string): boolean => isWanted(name, options.only);
const folder = mkdtempSync(join(tmpdir(), "jotgate-bench-"));
let other: OtherBuild | undefined;
try {
  if (options.against !== undefined) {
    say(`building ${options.against}`);
    other = buildOther(options.against, folder);
  }
} catch (error) {
  console.log(error instanceof Error ? error.message : String(error));
  process.exit(2);
}
const all = other ? seriesAgainst(other.kind) : SERIES;
const chosen = all.filter((one) => one.cases.some(wanted) && (!options.quick || one.quick));
const withAdmin = wanted(ADMIN_CASE) && !options.quick && !other;
const parts = chosen.length + Number(withAdmin);
if (parts === 0) {
  console.log(`no case is named like ${options.only.join(", ")}; --list names all`);
  process.exit(2);
}
const upstream = await startUpstream(join(folder, "upstream"));
try {
  for (const [at, one] of chosen.entries()) {
    say(`[${at + 1}/${parts}] ${one.name}`);
    await runOne(one, { options, folder, upstream: upstream.url, wanted, say });
    write();
  }
  if (withAdmin) {
    say(`[${parts}/${parts}] ${ADMIN_CASE}`);
    await runAdmin(folder);
    write();
  }
} finally {
  await upstream.stop();
  other?.stop();
  rmSync(folder, { recursive: true, force: true });
}
if (other) {
  say(`CPU per request of this build over that of ${other.kind.name}, median and quartiles of rounds side by side:`);
  for (const now of rows) {
    const then = rows.find((row) => row.case === now.case && row.server === other?.kind.name);
    const compared = now !== then && then ? compare(now, then) : undefined;
    if (compared) say(comparisonLine(compared));
  }
}
for (const one of other ? [] : computeAims(rows, tables)) {
  const { measured, reached } = one;
  if (measured !== undefined)
    say(`${reached ? "reached    " : "NOT reached"} ${one.case}: ${one.aim}: ${measured.toFixed(3)} ${one.unit}`);
}
for (const one of skipped) say(`skipped: ${one}`);
for (const one of failed) say(`FAILED: ${one}`);
say(`written to bench/results/${options.name}.{json,md,svg}`);
process.exit(failed.length > 0 ? 1 : 0); // with whatever is still running
