/**
 * When the requests of an open loop are due, and what their latencies come to. Pure.
 * Promise: a latency counts from the moment a request was due, not from when it could be sent; a server that stalls is
 * charged for every request that had to wait meanwhile (no "coordinated omission").
 */

/** Milliseconds after the start at which request `index` (0-based) is due. @param rate requests a second */
export function dueAfterMs(index: number, rate: number): number {
  return (index * 1_000) / rate;
}

/** How many requests are due at `elapsedMs` after the start, of `total`. */
export function dueBy(elapsedMs: number, rate: number, total: number): number {
  return elapsedMs < 0 ? 0 : Math.min(total, Math.floor((elapsedMs * rate) / 1_000) + 1);
}

/** @param sorted ascending. @param percent 0 to 100 @returns the smallest value that at least so many are not above */
export function percentile(sorted: Float64Array, percent: number): number {
  const rank = Math.ceil((percent / 100) * sorted.length);
  return sorted[Math.max(0, rank - 1)] ?? Number.NaN;
}
