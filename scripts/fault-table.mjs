/**
 * Joins what tests measured (rows), how they ended (vitest's report) and the catalogue into the table of `npm run faults`.
 * Promise: every fault of the catalogue is in it; one that did not run without a stated reason counts as not held.
 */
import { CATALOGUE, numbersOf } from "./fault-catalogue.mjs";

const HEADER = ["no", "fault", "injected how", "sent", "failed", "fresh after", "guarantee", "held", ""];

/**
 * @param rows what `test/support/fault-report.ts` wrote: measured faults, and `{fault, why}` of those that cannot be injected
 * @param tests `{title, status}` of every test that was asked to run
 * @param isWhole false when only some files or tests were asked for: then what did not run is left out
 * @returns the lines of the table, and whether everything held
 */
export function faultTable(rows, tests, isWhole) {
  const cells = [];
  for (const [number, name] of CATALOGUE) cells.push(...linesOf(number, name, rows, tests, isWhole));
  for (const row of rows)
    if (numbersOf(row.fault).length === 0 && row.why === undefined) cells.push(measured("-", row));
  const failedElsewhere = tests.filter(({ title, status }) => status === "failed" && numbersOf(title).length === 0);
  for (const { title } of failedElsewhere)
    cells.push(["-", title, "-", "-", "-", "-", guaranteesOf(title), "NO", "test failed"]);
  return { lines: layOut([HEADER, ...cells]), held: cells.every((row) => row[7] !== "NO"), count: cells.length };
}

function linesOf(number, name, rows, tests, isWhole) {
  const own = rows.filter(({ fault, why }) => why === undefined && numbersOf(fault).includes(number));
  const why = rows.filter(({ fault, why }) => why !== undefined && numbersOf(fault).includes(number));
  const named = tests.filter(({ title }) => numbersOf(title).includes(number));
  const broken = named.filter(({ status }) => status === "failed");
  const passed = named.filter(({ status }) => status === "passed");
  const lines = own.map((row) => measured(number, row));
  if (lines.length === 0 && passed.length > 0) {
    const guarantees = [...new Set(passed.flatMap(({ title }) => guaranteesOf(title).split(" ")))].join(" ").trim();
    lines.push([number, name, "see the test", "-", "-", "-", guarantees || "-", "yes", `${passed.length} tests`]);
  }
  for (const row of why)
    lines.push([number, row.fault.replace(/^[\db ]+/, ""), "not injectable here", "-", "-", "-", "-", "-", row.why]);
  for (const { title } of broken)
    lines.push([number, title, "-", "-", "-", "-", guaranteesOf(title), "NO", "test failed"]);
  if (lines.length === 0 && isWhole)
    lines.push([number, name, "did not run", "-", "-", "-", "-", "NO", "no test of it ran"]);
  return lines;
}

function measured(number, row) {
  const fresh = typeof row.freshMs === "number" ? `${Math.round(row.freshMs)} ms` : "-";
  const name = row.fault.replace(/^(?:\d+b? )+/, "");
  const held = row.held ? "yes" : "NO";
  return [number, name, row.how, String(row.sent), String(row.failed), fresh, row.guarantees, held, row.note ?? ""];
}

function guaranteesOf(title) {
  return /^((?:G\d+ ?)+): /.exec(title)?.[1]?.trim() ?? "";
}

function layOut(table) {
  const widths = table[0].map((_, i) => Math.max(...table.map((row) => row[i].length)));
  const rule = widths.map((width) => "-".repeat(width));
  return [table[0], rule, ...table.slice(1)].map((row) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]))
      .join("  ")
      .trimEnd(),
  );
}
