/**
 * "Did you mean …?": the known name nearest to one that was mistyped.
 */

/** @returns the nearest of `known`, or undefined when none is near: at most a third of the letters may differ. */
export function suggest(written: string, known: Iterable<string>): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.min(Math.max(1, Math.floor(written.length / 3)) + 1, written.length);
  for (const name of known) {
    const distance = editDistance(written, name, bestDistance);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

/** A sentence to put behind a message, or nothing. */
export function didYouMean(written: string, known: Iterable<string>, show = (name: string): string => name): string {
  const near = suggest(written, known);
  return near === undefined ? "" : `; did you mean ${show(near)}?`;
}

/** Insertions, deletions, replacements and swaps of neighbours that turn one text into the other; capped at `limit`. */
function editDistance(from: string, to: string, limit: number): number {
  if (Math.abs(from.length - to.length) >= limit) return limit;
  let beforeLast: number[] = [];
  let last = Array.from({ length: to.length + 1 }, (_, at) => at);
  for (let i = 1; i <= from.length; i++) {
    const row = [i];
    for (let j = 1; j <= to.length; j++) {
      const same = from[i - 1] === to[j - 1];
      let cost = Math.min((last[j] ?? limit) + 1, (row[j - 1] ?? limit) + 1, (last[j - 1] ?? limit) + (same ? 0 : 1));
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1]) {
        cost = Math.min(cost, (beforeLast[j - 2] ?? limit) + 1);
      }
      row.push(cost);
    }
    beforeLast = last;
    last = row;
  }
  return Math.min(last[to.length] ?? limit, limit);
}
