/**
 * What Jotgate aims to reach, computed from the rows of one run. Pure. An aim without its rows is open, not reached.
 */
import { cpuOf, p99Of, type Row } from "./rows.ts";
import type { TableFacts } from "./table-facts.ts";

export interface AimResult {
  readonly case: string;
  readonly aim: string;
  /** In `unit`; undefined when this run did not measure it. */
  readonly measured: number | undefined;
  /** At most this. */
  readonly limit: number;
  readonly unit: "x" | "ms" | "bytes" | "s";
  readonly reached: boolean | undefined;
}

interface Aim {
  readonly case: string;
  readonly aim: string;
  readonly limit: number;
  readonly unit: AimResult["unit"];
  measure(rows: Rows, tables: readonly TableFacts[]): number | undefined;
}

type Pick = (row: Row) => number;
type Rows = (name: string, server: string, pick: Pick) => number | undefined;

const FAST = "jotgate, fast lane";
const GENERAL = "jotgate, general lane";
const SMALL = "table 10 routes 1k consumers";
const LARGE = "table 100k routes 1M consumers";

function over(above: number | undefined, below: number | undefined): number | undefined {
  return above === undefined || below === undefined || below === 0 ? undefined : above / below;
}

/** CPU of one row over that of another. */
const ratio =
  (name: string, server: string, toName: string, toServer: string): Aim["measure"] =>
  (rows) =>
    over(rows(name, server, cpuOf), rows(toName, toServer, cpuOf));

const jwtTo = (server: string): Aim["measure"] => ratio("jwt one token", FAST, "jwt one token", server);

const last = (tables: readonly TableFacts[], consumers: number): TableFacts | undefined =>
  tables.find((one) => one.consumers === consumers);

const AIMS: readonly Aim[] = [
  {
    ...{ case: "plain proxy, fast lane", aim: "CPU <= 1.5 x nginx plain", limit: 1.5, unit: "x" },
    measure: ratio("plain", FAST, "plain", "nginx"),
  },
  {
    ...{ case: "jwt HS256 verified, fast lane", aim: "CPU <= 1.0 x HAProxy jwt_verify", limit: 1, unit: "x" },
    measure: jwtTo("haproxy jwt_verify"),
  },
  {
    ...{ case: "jwt HS256 verified, fast lane", aim: "CPU <= 1.7 x nginx plain", limit: 1.7, unit: "x" },
    measure: jwtTo("nginx"),
  },
  {
    ...{
      case: "jwt HS256 verified, fast lane",
      aim: "CPU <= 1/5 of fastify + jwt + http-proxy",
      limit: 1 / 5,
      unit: "x",
    },
    measure: jwtTo("fastify + jwt + http-proxy"),
  },
  {
    ...{ case: "jwt HS256 verified, fast lane", aim: "CPU <= 1/50 of express-gateway", limit: 1 / 50, unit: "x" },
    measure: jwtTo("express-gateway"),
  },
  {
    ...{ case: "10,000 distinct tokens", aim: "CPU within 15 % of one token", limit: 1.15, unit: "x" },
    measure: ratio("jwt 10k tokens", FAST, "jwt one token", FAST),
  },
  {
    ...{ case: "access-token ES256 known", aim: "CPU <= 1.10 x jwt-auth HS256 known", limit: 1.1, unit: "x" },
    measure: ratio("access token ES256", FAST, "jwt one token", FAST),
  },
  {
    ...{
      case: "10,000 access tokens in turn",
      aim: "100 issuers: CPU <= 1.05 x one access token",
      limit: 1.05,
      unit: "x",
    },
    measure: ratio("access token 10k tokens", FAST, "access token ES256", FAST),
  },
  {
    ...{ case: "every token new, HS256", aim: "CPU <= 1.6 x the cached case", limit: 1.6, unit: "x" },
    measure: ratio("jwt new tokens HS256", FAST, "jwt one token", FAST),
  },
  {
    ...{ case: "general lane, jwt", aim: "CPU <= 3.5 x nginx plain", limit: 3.5, unit: "x" },
    measure: ratio("jwt one token", GENERAL, "jwt one token", "nginx"),
  },
  {
    ...{ case: "signing HS256", aim: "CPU <= 1.5 x nginx returning a constant", limit: 1.5, unit: "x" },
    measure: ratio("sign", FAST, "sign", "nginx"),
  },
  {
    ...{ case: "half load", aim: "p99 added to nginx's < 1 ms", limit: 1, unit: "ms" },
    measure: (rows) => {
      const [ours, theirs] = [rows("half load", FAST, p99Of), rows("half load", "nginx", p99Of)];
      return ours === undefined || theirs === undefined ? undefined : ours - theirs;
    },
  },
  {
    ...{ case: "100k routes, 1M consumers", aim: "CPU within 15 % of 10 / 1,000", limit: 1.15, unit: "x" },
    measure: ratio(LARGE, FAST, SMALL, FAST),
  },
  {
    ...{
      case: "100k routes, 1M consumers",
      aim: "one change <= 1 ms of loop (CPU of the process)",
      limit: 1,
      unit: "ms",
    },
    measure: (_rows, tables) => last(tables, 1_000_000)?.changeCpuMs,
  },
  {
    ...{ case: "100k routes, 1M consumers", aim: "<= 1 KiB resident per record", limit: 1_024, unit: "bytes" },
    measure: (_rows, tables) => bytesPerRecord(last(tables, 1_000_000), last(tables, 1_000)),
  },
  {
    ...{ case: "100k routes, 1M consumers", aim: "loading blocks the loop <= 50 ms at a time", limit: 50, unit: "ms" },
    measure: (_rows, tables) => last(tables, 1_000_000)?.longestTurnMs,
  },
  {
    ...{ case: "100k consumers", aim: "start and first sync <= 5 s", limit: 5, unit: "s" },
    measure: (_rows, tables) => over(last(tables, 100_000)?.readyMs, 1_000),
  },
  {
    ...{ case: "10 changes a second", aim: "p99 <= 1.3 x none, at the same load", limit: 1.3, unit: "x" },
    measure: (rows) => over(rows("10 changes a second", FAST, p99Of), rows("no changes", FAST, p99Of)),
  },
];

/** Resident bytes by which a big table exceeds a small one, per route or consumer: consumers are the smaller ones. */
export function bytesPerRecord(big: TableFacts | undefined, small: TableFacts | undefined): number | undefined {
  if (!big || !small) return undefined;
  const more = big.routes + big.consumers - small.routes - small.consumers;
  return ((big.rssMiB - small.rssMiB) * 2 ** 20) / more;
}

export function computeAims(rows: readonly Row[], tables: readonly TableFacts[]): AimResult[] {
  const pick: Rows = (name, server, value) => {
    const row = rows.find((one) => one.case === name && one.server === server && one.rounds.length > 0);
    return row ? value(row) : undefined;
  };
  return AIMS.map(({ measure, ...aim }) => {
    const measured = measure(pick, tables);
    return { ...aim, measured, reached: measured === undefined ? undefined : measured <= aim.limit };
  });
}
