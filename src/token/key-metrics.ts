/**
 * What is counted of the keys of issuers; labels are ids of records and fixed words.
 */
import type { Clock } from "../base/clock.ts";
import type { Metrics, Sample } from "../base/metrics.ts";
import type { KeeperOptions, KeyKeeper } from "./key-keeper.ts";

const SECONDS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** @param keepers read at scrape time */
export function countFetches(
  metrics: Metrics,
  clock: Clock,
  keepers: ReadonlyMap<string, KeyKeeper>,
): (issuer: string) => KeeperOptions["onFetched"] {
  const fetches = metrics.counter("jotgate_jwks_fetches_total", "Fetches of issuers' keys", ["issuer", "result"]);
  const seconds = metrics.histogram("jotgate_jwks_fetch_seconds", "How long fetches of keys took", SECONDS).child();
  const each = (value: (keeper: KeyKeeper) => number | undefined) => (): readonly Sample[] =>
    [...keepers].flatMap(([id, keeper]) => {
      const read = value(keeper);
      return read === undefined ? [] : [{ labels: [id], value: read }];
    });
  metrics.gaugeOf(
    "jotgate_jwks_age_seconds",
    "Since the keys of an issuer were last seen to be good",
    ["issuer"],
    each(({ held }) => held && Math.max(0, clock.nowMs() - held.fetchedAtMs) / 1_000),
  );
  metrics.gaugeOf(
    "jotgate_jwks_keys",
    "Usable keys of an issuer",
    ["issuer"],
    each(({ set }) => set?.keys.length ?? 0),
  );
  metrics.gaugeOf("jotgate_jwks_waiting", "Requests, or workers, that wait for keys", [], () => [
    { labels: [], value: [...keepers.values()].reduce((sum, keeper) => sum + keeper.waiting, 0) },
  ]);
  return (issuer) => (result, took) => {
    fetches.child(issuer, result).inc();
    seconds.observe(took);
  };
}

export function countForced(metrics: Metrics): (issuer: string) => KeeperOptions["onForced"] {
  const forced = metrics.counter(
    "jotgate_jwks_forced_total",
    "Tokens with keys that are not known, by what came of it",
    ["issuer", "result"],
  );
  // Children are bound when asked for first, and then looked up by the metrics: an attack costs no allocation here.
  return (issuer) => (result) => forced.child(issuer, result).inc();
}
