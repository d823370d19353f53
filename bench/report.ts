/**
 * Results as JSON, as a Markdown table and as an SVG chart. Medians with their spread; ratios only within one run.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Measured } from "./load.ts";
import { type Machine, median } from "./machine.ts";

export interface Row {
  readonly case: string;
  readonly server: string;
  readonly rounds: readonly Measured[];
}

export interface Results {
  readonly machine: Machine;
  readonly commit: string;
  readonly date: string;
  readonly seconds: number;
  readonly rows: readonly Row[];
  readonly skipped: readonly string[];
  readonly notes: readonly string[];
}

const of = (row: Row, pick: (measured: Measured) => number): number => median(row.rounds.map(pick));
const cpu = (row: Row): number => of(row, (m) => m.cpuMicrosPerRequest);
const spread = (row: Row): string => {
  const values = row.rounds.map((m) => m.cpuMicrosPerRequest);
  return `${Math.min(...values).toFixed(1)}–${Math.max(...values).toFixed(1)}`;
};

export function markdown(results: Results): string {
  const plain = results.rows.find((row) => row.case === "plain" && row.server === "nginx");
  const lines = [
    "# Benchmark",
    "",
    `${results.date}, commit ${results.commit}, ${results.machine.cpu}, ${results.machine.cores} cores, Node ${results.machine.node}.`,
    `Server on core 0, wrk (1 thread, 64 connections) and the nginx upstream on core 1; ${results.rows[0]?.rounds.length ?? 0} interleaved rounds of ${results.seconds} s; medians.`,
    "CPU is user + system time of the server's processes per request. x is CPU over plain nginx **of this run**.",
    "",
    "| case | server | CPU µs/req | spread | x | req/s | p50 ms | p99 ms | p99.9 ms | RSS MiB | errors |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
  ];
  for (const row of results.rows) {
    const base = plain ?? results.rows.find((other) => other.case === row.case && other.server === "nginx");
    const ratio = base ? (cpu(row) / cpu(base)).toFixed(2) : "–";
    const numbers = [
      cpu(row).toFixed(1),
      spread(row),
      ratio,
      of(row, (m) => m.requestsPerSecond).toFixed(0),
      of(row, (m) => m.p50Ms).toFixed(2),
      of(row, (m) => m.p99Ms).toFixed(2),
      of(row, (m) => m.p999Ms).toFixed(2),
      of(row, (m) => m.rssMiB).toFixed(0),
      row.rounds.reduce((sum, m) => sum + m.socketErrors, 0),
    ];
    lines.push(`| ${row.case} | ${row.server} | ${numbers.join(" | ")} |`);
  }
  for (const note of results.notes) lines.push("", note);
  if (results.skipped.length > 0) lines.push("", `Skipped: ${results.skipped.join("; ")}.`);
  return `${lines.join("\n")}\n`;
}

/** Horizontal bars of CPU per request, grouped by case. */
export function svg(results: Results): string {
  const rowHeight = 18;
  const width = 900;
  const widest = Math.max(...results.rows.map(cpu), 1);
  const scale = (value: number): number => (Math.log10(1 + value) / Math.log10(1 + widest)) * (width - 420);
  const bars = results.rows.map((row, i) => {
    const y = 40 + i * rowHeight;
    const fill = row.server.startsWith("jotgate") ? "#1f6feb" : "#8b949e";
    return [
      `<text x="8" y="${y + 12}">${row.case}</text><text x="190" y="${y + 12}">${row.server}</text>`,
      `<rect x="330" y="${y + 2}" width="${scale(cpu(row)).toFixed(1)}" height="${rowHeight - 5}" fill="${fill}"/>`,
      `<text x="${(335 + scale(cpu(row))).toFixed(1)}" y="${y + 12}">${cpu(row).toFixed(1)}</text>`,
    ].join("");
  });
  const height = 50 + results.rows.length * rowHeight;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/><text x="8" y="22" font-size="14">CPU µs per request (log scale), ${results.date}, ${results.machine.cpu}</text>${bars.join("")}</svg>\n`;
}

/** Writes NAME.json, NAME.md and NAME.svg into `folder`. */
export function writeResults(folder: string, name: string, results: Results): void {
  writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(results, null, 1)}\n`);
  writeFileSync(join(folder, `${name}.md`), markdown(results));
  writeFileSync(join(folder, `${name}.svg`), svg(results));
}
