/**
 * Whether a burst measured what its case says. A case with wrong answers is never a number in a table. Pure.
 */
import type { Measured } from "./load.ts";
import type { Counted } from "./own-metrics.ts";

export interface Expected {
  /** Status of every answer. */
  readonly status: number;
  /** Ours only: whether tokens are found among the verified ones, or none is. */
  readonly tokens?: "cached" | "new";
}

/** Of requests; a reset while a burst ends is no wrong answer, more than these is. */
const SOCKET_ERRORS = 1e-4;
/** Of look-ups; the first look at each token is a miss. */
const WRONG_LOOKUPS = 0.02;
/** The load generator closes its connections with requests under way; a node notes those as closed by the client. */
const CLIENT_CLOSED = "499";

/** @returns what is wrong, or undefined */
export function judge(expected: Expected, measured: Measured, counted?: Counted): string | undefined {
  const { requests, statusErrors, socketErrors } = measured;
  const wanted = expected.status < 400 ? 0 : requests;
  if (statusErrors !== wanted) {
    return `${statusErrors} of ${requests} answers were of 400 and above, not ${wanted}${byStatus(counted)}`;
  }
  if (socketErrors > requests * SOCKET_ERRORS) return `${socketErrors} socket errors at ${requests} requests`;
  if (!counted) return undefined;
  const others = Object.keys(counted.byStatus).filter(
    (one) => one !== String(expected.status) && one !== CLIENT_CLOSED,
  );
  if (others.length > 0) return `answers were not all ${expected.status}${byStatus(counted)}`;
  return tokensProblem(expected, counted);
}

function byStatus(counted: Counted | undefined): string {
  return counted ? `: ${JSON.stringify(counted.byStatus)}` : "";
}

function tokensProblem(expected: Expected, counted: Counted): string | undefined {
  if (!expected.tokens) return undefined;
  const { cacheHits, cacheMisses } = counted;
  const wrong = expected.tokens === "cached" ? cacheMisses : cacheHits;
  return wrong > (cacheHits + cacheMisses) * WRONG_LOOKUPS || cacheHits + cacheMisses === 0
    ? `tokens were to be ${expected.tokens}, but look-ups were ${cacheHits} hits and ${cacheMisses} misses`
    : undefined;
}
