/**
 * Horizontal bars of CPU per request, grouped by case. Pure.
 */
import type { Machine } from "./machine.ts";
import { cpuOf, type Row } from "./rows.ts";

const WIDTH = 960;
const ROW = 18;
const TOP = 40;
const BARS_AT = 390;
const NUMBERS = 60;

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

export function svg(results: {
  readonly date: string;
  readonly machine: Machine;
  readonly rows: readonly Row[];
}): string {
  const rows = results.rows.filter((row) => cpuOf(row) > 0); // without a gateway nothing is used
  const widest = Math.max(...rows.map(cpuOf), 1);
  const scale = (value: number): number =>
    (Math.log10(1 + value) / Math.log10(1 + widest)) * (WIDTH - BARS_AT - NUMBERS);
  const bars = rows.map((row, n) => {
    const y = TOP + n * ROW;
    const fill = row.server.startsWith("jotgate") ? "#1f6feb" : "#8b949e";
    // The name of a case stands once, at its first server.
    const name = rows[n - 1]?.case === row.case ? "" : `<text x="8" y="${y + 12}">${escaped(row.case)}</text>`;
    return [
      `${name}<text x="220" y="${y + 12}">${escaped(row.server)}</text>`,
      `<rect x="${BARS_AT}" y="${y + 2}" width="${scale(cpuOf(row)).toFixed(1)}" height="${ROW - 5}" fill="${fill}"/>`,
      `<text x="${(BARS_AT + 5 + scale(cpuOf(row))).toFixed(1)}" y="${y + 12}">${cpuOf(row).toFixed(1)}</text>`,
    ].join("");
  });
  const height = TOP + 10 + rows.length * ROW;
  const title = `CPU µs per request (log scale), ${results.date}, ${results.machine.cpu}, Node ${results.machine.node}`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/><text x="8" y="22" font-size="14">${escaped(title)}</text>${bars.join("")}</svg>\n`;
}
