import { describe, expect, test } from "vitest";
import { ADMIN_SIZES } from "../../bench/admin.ts";
import { type AimResult, bytesPerRecord, computeAims } from "../../bench/aims.ts";
import { SERIES } from "../../bench/cases.ts";
import { isWanted, readOptions } from "../../bench/options.ts";
import type { TableFacts } from "../../bench/table-facts.ts";
import { measured, row } from "./rows.ts";

const FAST = "jotgate, fast lane";
const table = (given: Partial<TableFacts>): TableFacts => ({
  ...{ routes: 10, consumers: 1_000, readyMs: 800, longestTurnMs: 5, startTurnMs: 70, rssMiB: 80, changeCpuMs: 0.2 },
  ...given,
});

function aim(results: readonly AimResult[], text: string): AimResult {
  const found = results.find((one) => one.aim === text);
  if (!found) throw new Error(`no aim is called ${text}`);
  return found;
}

describe("aims", () => {
  test("compare rounds that ran side by side, else medians", () => {
    const paired = [row("plain", "nginx", 10, 20, 10), row("plain", FAST, 14, 28, 30)];
    expect(aim(computeAims(paired, []), "CPU <= 1.4 x nginx plain")).toMatchObject({ measured: 1.4, reached: true });
    const rows = [row("plain", "nginx", 9, 10, 30), row("plain", FAST, 14)];
    expect(aim(computeAims(rows, []), "CPU <= 1.4 x nginx plain")).toMatchObject({ measured: 1.4, reached: true });
  });

  test("at the limit are reached, above it they are not", () => {
    const at = (micros: number) => {
      const rows = [row("jwt one token", "haproxy jwt_verify", 20), row("jwt one token", FAST, micros)];
      return aim(computeAims(rows, []), "CPU <= 1.0 x HAProxy jwt_verify").reached;
    };
    expect([at(20), at(20.1)]).toEqual([true, false]);
  });

  test("are open without their rows, and with a row that has no rounds", () => {
    expect(computeAims([], []).every((one) => one.measured === undefined && one.reached === undefined)).toBe(true);
    const rows = [row("plain", "nginx"), row("plain", FAST, 14)];
    expect(aim(computeAims(rows, []), "CPU <= 1.4 x nginx plain").reached).toBeUndefined();
  });

  test("the p99 added at half load is a difference, that of changes a ratio", () => {
    const at = (name: string, server: string, p99Ms: number) => ({
      case: name,
      server,
      rounds: [measured({ p99Ms })],
    });
    const rows = [
      ...[at("half load", "nginx", 0.5), at("half load", FAST, 1.25)],
      ...[at("no changes", FAST, 2), at("10 changes a second", FAST, 3)],
    ];
    const aims = computeAims(rows, []);
    expect(aim(aims, "p99 added to nginx's < 1 ms")).toMatchObject({ measured: 0.75, reached: true });
    expect(aim(aims, "p99 <= 1.3 x none, at the same load")).toMatchObject({ measured: 1.5, reached: false });
  });

  test("of big tables read the table they are about", () => {
    const tables = [
      table({}),
      table({ routes: 1_000, consumers: 100_000, readyMs: 4_000 }),
      table({ routes: 100_000, consumers: 1_000_000, rssMiB: 1_200, longestTurnMs: 60, changeCpuMs: 0.9 }),
    ];
    const aims = computeAims([], tables);
    expect(aim(aims, "start and first sync <= 5 s")).toMatchObject({ measured: 4, reached: true });
    expect(aim(aims, "loading blocks the loop <= 50 ms at a time")).toMatchObject({ measured: 60, reached: false });
    expect(aim(aims, "one change <= 1 ms of loop (CPU of the process)")).toMatchObject({
      measured: 0.9,
      reached: true,
    });
    expect(bytesPerRecord(tables[2], tables[0])).toBeCloseTo((1_120 * 2 ** 20) / 1_098_990, 6);
  });

  test("are about cases that exist", () => {
    const names = new Set(SERIES.flatMap((one) => one.cases));
    const rows = [...names].flatMap((name) =>
      [
        "nginx",
        "haproxy jwt_verify",
        "fastify + jwt + http-proxy",
        "express-gateway",
        FAST,
        "jotgate, general lane",
        "jotgate, newest Node",
        "haproxy",
      ].map((server) => row(name, server, 10)),
    );
    const tables = [1_000, 100_000, 1_000_000].map((consumers) => table({ consumers }));
    expect(computeAims(rows, tables).filter((one) => one.measured === undefined)).toEqual([]);
  });
});

describe("cases", () => {
  test("are called by one name each, without commas, so that --only can name them", () => {
    const names = SERIES.flatMap((one) => one.cases);
    expect(new Set(names).size).toBe(names.length);
    expect(names.filter((name) => name.includes(","))).toEqual([]);
    for (const name of names) expect(isWanted(name, readOptions(["--only", name]).only), name).toBe(true);
  });

  test("of the admin are measured beside 10,000 routes and 100,000 consumers", () => {
    expect(ADMIN_SIZES).toMatchObject({ routes: 10_000, consumers: 100_000 });
  });
});
