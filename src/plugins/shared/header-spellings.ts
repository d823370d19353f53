/**
 * Header names that only the gateway may send upstream on a route: what a client sends under them is removed, in every
 * spelling that a back end may read as the same (`X_User`, `x.user` for `X-User`).
 */
import type { HeaderList } from "../../plugin/headers.ts";

type RemoveSpellings = (headers: HeaderList) => void;

/** As CGI-like back ends read it: letters and digits, everything else alike. */
export function foldHeaderName(name: string): string {
  return name.toLowerCase().replace(/[^a-z0-9]/g, "-");
}

/** @returns undefined where there is nothing to remove */
export function compileRemoval(names: readonly string[]): RemoveSpellings | undefined {
  if (names.length === 0) return undefined;
  const folded = new Set(names.map(foldHeaderName));
  const lengths = new Set(names.map((name) => name.length));
  const drop = (lower: string): boolean => folded.has(foldHeaderName(lower));
  return (headers) => {
    const { lines } = headers;
    for (let i = 0; i < lines.length; i += 2) {
      const name = lines[i] as string;
      if (!lengths.has(name.length) || !drop(name)) continue;
      headers.removeWhere((lower) => lengths.has(lower.length) && drop(lower));
      return;
    }
  };
}
