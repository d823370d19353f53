/**
 * What Jotgate aims to reach, computed from the rows of one run. Pure. An aim without its rows is open, not reached.
 */
import { median } from "./machine.ts";
import { pairedRatios } from "./pairs.ts";
import { medianOf, p99Of, type Round, type Row } from "./rows.ts";
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

type Rows = (name: string, server: string) => Row | undefined;

const FAST = "jotgate, fast lane";
const GENERAL = "jotgate, general lane";
const SMALL = "table 10 routes 1k consumers";
const NEWEST = "jotgate, newest Node";
const HAPROXY_JWT = "haproxy jwt_verify";
const KNOWN = "jwt one token";
const LARGE = "table 100k routes 1M consumers";

function over(above: number | undefined, below: number | undefined): number | undefined {
  return above === undefined || below === undefined || below === 0 ? undefined : above / below;
}

/** One row over another: round by round where they ran side by side, else by their medians. */
const ratio =
  (name: string, server: string, toName: string, toServer: string, pick = cpu): Aim["measure"] =>
  (rows) => {
    const [above, below] = [rows(name, server), rows(toName, toServer)];
    if (!above || !below) return undefined;
    const paired = pairedRatios(above, below, pick);
    return paired.length > 0 ? median(paired) : over(medianOf(above, pick), medianOf(below, pick));
  };
const cpu = (round: Round): number => round.cpuMicrosPerRequest;
const p99 = (round: Round): number => round.p99Ms;
const same = (name: string, server: string, to: string, pick = cpu): Aim["measure"] =>
  ratio(name, server, name, to, pick);

const jwtTo = (server: string): Aim["measure"] => same(KNOWN, FAST, server);
/** p99 of one row less that of another. */
const addedMs =
  (server: string): Aim["measure"] =>
  (rows) => {
    const [ours, theirs] = [rows("half load", FAST), rows("half load", server)];
    return ours && theirs ? p99Of(ours) - p99Of(theirs) : undefined;
  };

const last = (tables: readonly TableFacts[], consumers: number): TableFacts | undefined =>
  tables.find((one) => one.consumers === consumers);

const AIMS: readonly Aim[] = [
  {
    ...{ case: "plain proxy, fast lane", aim: "CPU <= 1.4 x nginx plain", limit: 1.4, unit: "x" },
    measure: ratio("plain", FAST, "plain", "nginx"),
  },
  {
    ...{ case: "jwt HS256 verified, fast lane", aim: "CPU <= 1.0 x HAProxy jwt_verify", limit: 1, unit: "x" },
    measure: jwtTo("haproxy jwt_verify"),
  },
  {
    ...{ case: "jwt HS256 verified, newest Node", aim: "CPU <= 0.9 x HAProxy jwt_verify", limit: 0.9, unit: "x" },
    measure: same(KNOWN, NEWEST, HAPROXY_JWT),
  },
  {
    ...{ case: "another token in every request", aim: "CPU <= 1.2 x HAProxy jwt_verify", limit: 1.2, unit: "x" },
    measure: same("jwt another token each time", FAST, HAPROXY_JWT),
  },
  {
    ...{ case: "401 bad signature", aim: "CPU <= 1.2 x HAProxy's", limit: 1.2, unit: "x" },
    measure: same("401 bad signature", FAST, HAPROXY_JWT),
  },
  {
    ...{ case: "404", aim: "CPU <= 1.2 x HAProxy's", limit: 1.2, unit: "x" },
    measure: same("404", FAST, "haproxy"),
  },
  {
    ...{ case: "five plugins", aim: "CPU <= 1.15 x none", limit: 1.15, unit: "x" },
    measure: ratio("five plugins", FAST, "no plugins", FAST),
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
    ...{ case: "every token new, HS256", aim: "CPU <= 1.3 x the cached case", limit: 1.3, unit: "x" },
    measure: ratio("jwt new tokens HS256", FAST, "jwt one token", FAST),
  },
  {
    ...{ case: "general lane, jwt", aim: "CPU <= 2.5 x nginx plain", limit: 2.5, unit: "x" },
    measure: same(KNOWN, GENERAL, "nginx"),
  },
  {
    ...{ case: "general lane, plain", aim: "CPU <= 2.5 x nginx", limit: 2.5, unit: "x" },
    measure: same("plain", GENERAL, "nginx"),
  },
  {
    ...{ case: "signing HS256", aim: "CPU <= 1.5 x nginx returning a constant", limit: 1.5, unit: "x" },
    measure: ratio("sign", FAST, "sign", "nginx"),
  },
  {
    ...{ case: "token endpoint, ES256", aim: "CPU <= 3 x the HS256 sign endpoint", limit: 3, unit: "x" },
    measure: ratio("token endpoint ES256", FAST, "sign new payloads", FAST),
  },
  {
    ...{ case: "half load", aim: "p99 added to nginx's < 1 ms", limit: 1, unit: "ms" },
    measure: addedMs("nginx"),
  },
  {
    ...{ case: "half load", aim: "p99 added to HAProxy's < 1 ms", limit: 1, unit: "ms" },
    measure: addedMs(HAPROXY_JWT),
  },
  {
    ...{ case: "as fast as it goes, jwt", aim: "p99 <= 1.5 x HAProxy jwt_verify", limit: 1.5, unit: "x" },
    measure: same(KNOWN, FAST, HAPROXY_JWT, p99),
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
    measure: ratio("10 changes a second", FAST, "no changes", FAST, p99),
  },
  {
    ...{ case: "all metrics read, 100k series", aim: "p99 <= 1.5 x none, at the same load", limit: 1.5, unit: "x" },
    measure: ratio("scraped with 100k series", FAST, "no scrape", FAST, p99),
  },
  {
    ...{ case: "1M revoked tokens", aim: "CPU of a known token <= 1.02 x none revoked", limit: 1.02, unit: "x" },
    measure: ratio("1M revoked", FAST, "none revoked", FAST),
  },
];

/** Resident bytes by which a big table exceeds a small one, per route or consumer: consumers are the smaller ones. */
export function bytesPerRecord(big: TableFacts | undefined, small: TableFacts | undefined): number | undefined {
  if (!big || !small) return undefined;
  const more = big.routes + big.consumers - small.routes - small.consumers;
  return ((big.rssMiB - small.rssMiB) * 2 ** 20) / more;
}

export function computeAims(rows: readonly Row[], tables: readonly TableFacts[]): AimResult[] {
  const pick: Rows = (name, server) =>
    rows.find((one) => one.case === name && one.server === server && one.rounds.length > 0);
  return AIMS.map(({ measure, ...aim }) => {
    const measured = measure(pick, tables);
    return { ...aim, measured, reached: measured === undefined ? undefined : measured <= aim.limit };
  });
}
