import { describe, expect, test } from "vitest";
import { computeAims } from "../../bench/aims.ts";
import { svg } from "../../bench/chart.ts";
import { markdown, type Results } from "../../bench/report.ts";
import type { Row } from "../../bench/rows.ts";
import { measured, row } from "./rows.ts";

const FAST = "jotgate, fast lane";

function results(rows: readonly Row[], failed: readonly string[] = []): Results {
  return {
    machine: { cpu: "A <CPU> & more", cores: 2, memoryGiB: 8, node: "v20", kernel: "6" },
    ...{ commit: "abc", date: "today", loadBefore: 0.1, minutes: 20, rounds: 3, seconds: 3, warmSeconds: 4 },
    ...{ rows, aims: computeAims(rows, []), tables: [], skipped: ["haproxy: not installed"], failed },
  };
}

const lineOf = (text: string, start: string): string => text.split("\n").find((line) => line.startsWith(start)) ?? "";

describe("the report", () => {
  const counted = { fast: 90, general: 10, handovers: 3, cacheHits: 0, cacheMisses: 0, byStatus: { 200: 100 } };
  const rows: Row[] = [
    row("plain", "nginx", 10, 12, 11),
    row("plain", FAST, 22, 20, 24),
    { case: "404", server: FAST, rounds: [{ ...measured({ cpuMicrosPerRequest: 33 }), counted }] },
  ];

  test("shows medians, quartiles, and CPU over nginx round by round", () => {
    const text = markdown(results(rows));
    expect(lineOf(text, `| plain | ${FAST} |`)).toContain("| 22.0 | 20.0–24.0 | 6.0 | 2.18 |");
    expect(lineOf(text, `| 404 | ${FAST} |  |`)).toContain("| 33.0 | 33.0–33.0 | 6.0 | – |");
  });

  test("says which aims are reached, and which were not measured", () => {
    const text = markdown(results(rows));
    expect(lineOf(text, "| plain proxy, fast lane |")).toBe(
      "| plain proxy, fast lane | CPU <= 1.4 x nginx plain | 2.182 x | **no** |",
    );
    expect(lineOf(text, "| signing HS256 |")).toContain("| – | not measured |");
  });

  test("shows the share of the general lane", () => {
    expect(markdown(results(rows))).toContain(`| 404 | ${FAST} | 100 | 10.00 % | 3 |`);
  });

  test("names what failed and what is missing", () => {
    const text = markdown(results(rows, ["401: 3 answers were errors"]));
    expect(text).toContain("**Failed:** 401: 3 answers were errors");
    expect(text).toContain("Skipped: haproxy: not installed.");
  });

  test("shows the generator's lateness where the load had a rate", () => {
    const rated: Row = { case: "half load", server: FAST, rate: 9_000, rounds: [measured({ lateMs: 0.25 })] };
    const text = markdown(results([rated]));
    expect(text).toContain(`| half load | ${FAST} | at 9000/s |`);
    expect(text).toContain(`- half load, ${FAST}: 0.25 ms`);
  });

  test("draws one bar for each row that used CPU, and escapes names", () => {
    const image = svg(results([...rows, row("half load", "no gateway", 0)]));
    expect(image.match(/<rect x="\d+"/g)).toHaveLength(3);
    expect(image).toContain("A &lt;CPU> &amp; more");
    expect(image.match(/>plain</g)).toHaveLength(1);
  });
});
