/**
 * What our own node counted during a burst of load, from its /metrics: answers by status, lanes, verified tokens. Pure.
 */
export interface Counted {
  /** Requests carried by each lane. */
  readonly fast: number;
  readonly general: number;
  /** Connections that the fast lane gave to the general lane. */
  readonly handovers: number;
  readonly byStatus: Readonly<Record<string, number>>;
  /** Look-ups of verified tokens. */
  readonly cacheHits: number;
  readonly cacheMisses: number;
}

/** @param text the exposition format of Prometheus */
export function readCounted(text: string): Counted {
  const byStatus: Record<string, number> = {};
  const sums = { fast: 0, general: 0, handovers: 0, cacheHits: 0, cacheMisses: 0 };
  for (const line of text.split("\n")) {
    if (!line.startsWith("jotgate_")) continue;
    const value = Number(line.slice(line.lastIndexOf(" ") + 1));
    if (line.startsWith("jotgate_http_requests_total{")) {
      const status = labelOf(line, "status");
      byStatus[status] = (byStatus[status] ?? 0) + value;
    } else if (line.startsWith("jotgate_lane_requests_total{")) {
      if (labelOf(line, "lane") === "fast") sums.fast += value;
      else sums.general += value;
    } else if (/^jotgate_lane_handovers_total[{ ]/.test(line)) sums.handovers += value;
    else if (line.startsWith("jotgate_token_cache_total{")) {
      if (labelOf(line, "result") === "hit") sums.cacheHits += value;
      else sums.cacheMisses += value;
    }
  }
  return { ...sums, byStatus };
}

function labelOf(line: string, name: string): string {
  const at = line.indexOf(`${name}="`);
  return at < 0 ? "" : line.slice(at + name.length + 2, line.indexOf('"', at + name.length + 2));
}

/** What came in between two readings; statuses that did not occur are left out. */
export function countedBetween(before: Counted, after: Counted): Counted {
  const byStatus: Record<string, number> = {};
  for (const [status, count] of Object.entries(after.byStatus)) {
    const more = count - (before.byStatus[status] ?? 0);
    if (more !== 0) byStatus[status] = more;
  }
  return {
    fast: after.fast - before.fast,
    general: after.general - before.general,
    handovers: after.handovers - before.handovers,
    cacheHits: after.cacheHits - before.cacheHits,
    cacheMisses: after.cacheMisses - before.cacheMisses,
    byStatus,
  };
}

/** @returns the share of requests that the general lane carried, 0 to 1; NaN when there were none */
export function generalShare(counted: readonly Counted[]): number {
  const general = counted.reduce((sum, one) => sum + one.general, 0);
  return general / counted.reduce((sum, one) => sum + one.general + one.fast, 0);
}
