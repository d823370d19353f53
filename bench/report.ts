/**
 * Results as JSON, as Markdown and as an SVG chart. Medians with their spread; ratios only within one run.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { AdminCosts } from "./admin.ts";
import { adminLines } from "./admin-report.ts";
import type { AimResult } from "./aims.ts";
import { svg } from "./chart.ts";
import type { Machine } from "./machine.ts";
import { generalShare } from "./own-metrics.ts";
import { pairedRatios, quartiles } from "./pairs.ts";
import { cpuOf, medianOf, p99Of, type Row } from "./rows.ts";
import type { TableFacts } from "./table-facts.ts";

export interface Results {
  readonly machine: Machine;
  readonly commit: string;
  readonly date: string;
  /** Processes that wanted to run on this machine in the minute before: near 0 on one that is fit to measure on. */
  readonly loadBefore: number;
  /** How long the whole run took. */
  readonly minutes: number;
  readonly rounds: number;
  readonly seconds: number;
  readonly warmSeconds: number;
  readonly rows: readonly Row[];
  readonly aims: readonly AimResult[];
  readonly tables: readonly TableFacts[];
  readonly admin?: AdminCosts;
  /** What is missing on this machine. */
  readonly skipped: readonly string[];
  /** Cases whose answers were wrong, or that could not be set up; they have no row. */
  readonly failed: readonly string[];
}

export function markdown(results: Results): string {
  const { machine, rounds, seconds, warmSeconds } = results;
  const lines = [
    "# Benchmark",
    "",
    `${results.date}, commit ${results.commit}, ${machine.cpu}, ${machine.cores} cores, Node ${machine.node}, Linux ${machine.kernel}; load average before it ${results.loadBefore.toFixed(1)}; it took ${results.minutes.toFixed(0)} minutes.`,
    `Server on core 0; wrk (1 thread, 64 connections), the nginx upstream and etcd on core 1. Every server had the same warm-up of ${warmSeconds} s before its first measured round; then ${rounds} interleaved rounds of ${seconds} s each; medians.`,
    "CPU is user + system time of the server's processes per request. x is CPU over plain nginx **of this run**, round by round: of the same case, else of the case plain. user is the part outside of the kernel. Every answer had the status its case expects.",
  ];
  if (results.failed.length > 0) lines.push("", ...results.failed.map((one) => `**Failed:** ${one}`));
  lines.push("", ...aimLines(results.aims), "", ...rowLines(results.rows), "", ...laneLines(results.rows));
  lines.push("", ...tableLines(results.tables));
  if (results.admin) lines.push("", ...adminLines(results.admin));
  if (results.skipped.length > 0) lines.push("", `Skipped: ${results.skipped.join("; ")}.`);
  return `${lines.join("\n")}\n`;
}

const REACHED = { true: "yes", false: "**no**", undefined: "not measured" } as const;

function aimLines(aims: readonly AimResult[]): string[] {
  const show = ({ measured, unit }: AimResult): string => {
    if (measured === undefined) return "–";
    if (unit === "bytes") return `${measured.toFixed(0)} bytes`;
    return unit === "x" ? `${measured.toFixed(3)} x` : `${measured.toFixed(2)} ${unit}`;
  };
  return [
    "## Aims",
    "",
    "| case | aim | measured | reached |",
    "|---|---|---|---|",
    ...aims.map((one) => `| ${one.case} | ${one.aim} | ${show(one)} | ${REACHED[`${one.reached}`]} |`),
  ];
}

function rowLines(rows: readonly Row[]): string[] {
  const plain = rows.find((row) => row.case === "plain" && row.server === "nginx");
  const line = (row: Row): string => {
    const base = rows.find((other) => other.case === row.case && other.server.startsWith("nginx")) ?? plain;
    const cpus = quartiles(row.rounds.map((round) => round.cpuMicrosPerRequest));
    const ratios = base ? pairedRatios(row, base, (round) => round.cpuMicrosPerRequest) : [];
    const used = cpuOf(row) > 0; // without a gateway nothing is
    const numbers = [
      row.rate === undefined ? "" : `at ${row.rate}/s`,
      used ? cpuOf(row).toFixed(1) : "–",
      used ? `${cpus.q1.toFixed(1)}–${cpus.q3.toFixed(1)}` : "–",
      used ? medianOf(row, (round) => round.userMicrosPerRequest).toFixed(1) : "–",
      used && ratios.length > 0 ? quartiles(ratios).median.toFixed(2) : "–",
      medianOf(row, (round) => round.requestsPerSecond).toFixed(0),
      medianOf(row, (round) => round.p50Ms).toFixed(2),
      p99Of(row).toFixed(2),
      medianOf(row, (round) => round.p999Ms).toFixed(2),
      medianOf(row, (round) => round.rssMiB).toFixed(0),
      row.rounds.reduce((sum, round) => sum + round.socketErrors, 0),
    ];
    return `| ${row.case} | ${row.server} | ${numbers.join(" | ")} |`;
  };
  const lines = [
    "## Cases",
    "",
    "| case | server | load | CPU µs/req | quartiles | user | x | req/s | p50 ms | p99 ms | p99.9 ms | RSS MiB | socket errors |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ...rows.map(line),
    "",
    "HAProxy computes the HMAC of each token anew; Jotgate remembers tokens that were verified, and asks each time whether they still count. The cases of new tokens show what a look at a token costs.",
  ];
  if (rows.some((row) => row.rate !== undefined)) lines.push("", ...rateLines(rows));
  return lines;
}

function rateLines(rows: readonly Row[]): string[] {
  const late = rows
    .filter((row) => row.rate !== undefined)
    .map((row) => `${row.case}, ${row.server}: ${medianOf(row, (round) => round.lateMs ?? 0).toFixed(2)} ms`);
  return [
    "Where the load has a rate, requests are due at fixed times and latencies count from then, however long a request had to wait for a connection. The generator's own lateness is part of them; at the 99th percentile it was:",
    "",
    ...late.map((one) => `- ${one}`),
  ];
}

/** How much of each case left the fast lane. */
function laneLines(rows: readonly Row[]): string[] {
  const lines = rows.flatMap((row) => {
    const counted = row.rounds.flatMap((round) => (round.counted ? [round.counted] : []));
    const requests = counted.reduce((sum, one) => sum + one.fast + one.general, 0);
    if (requests === 0) return [];
    const handovers = counted.reduce((sum, one) => sum + one.handovers, 0);
    const share = (generalShare(counted) * 100).toFixed(2);
    return [`| ${row.case} | ${row.server} | ${requests} | ${share} % | ${handovers} |`];
  });
  return [
    "## Lanes",
    "",
    "From `jotgate_lane_requests_total` and `jotgate_lane_handovers_total`. A connection that is handed over stays in the general lane.",
    "",
    "| case | server | requests | by the general lane | connections handed over |",
    "|---|---|---|---|---|",
    ...lines,
  ];
}

export function tableLines(tables: readonly TableFacts[]): string[] {
  if (tables.length === 0) return [];
  return [
    "## Tables",
    "",
    "| routes | consumers | start to ready, ms | longest turn of the loop while loading, ms | and before, ms | resident at rest, MiB | CPU per changed route, ms |",
    "|---|---|---|---|---|---|---|",
    ...tables.map(
      (one) =>
        `| ${one.routes} | ${one.consumers} | ${one.readyMs.toFixed(0)} | ${one.longestTurnMs.toFixed(1)} | ${one.startTurnMs.toFixed(1)} | ${one.rssMiB.toFixed(0)} | ${one.changeCpuMs.toFixed(2)} |`,
    ),
  ];
}

/** Writes NAME.json, NAME.md and NAME.svg into `folder`. */
export function writeResults(folder: string, name: string, results: Results): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(results, (_name, value) => value ?? null, 1)}\n`);
  writeFileSync(join(folder, `${name}.md`), markdown(results));
  writeFileSync(join(folder, `${name}.svg`), svg(results));
}
