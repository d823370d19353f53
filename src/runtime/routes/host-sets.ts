/**
 * Host patterns of routes: one value per exact name or wildcard, looked up most specific first; and a filter for the
 * routers that match the path first. Source: docs/spec/routing.md section 4.
 */

/** Values by host pattern. A look-up costs the length of the host, a change nothing that grows with the table. */
export class HostSets<T> {
  readonly #exact = new Map<string, T>();
  readonly #suffixes = new Map<string, T>();
  /** How many wildcards have a suffix of that length; those that begin with a dot apart, since they are the many. */
  readonly #dotted = new Lengths();
  readonly #other = new Lengths();

  get(pattern: string): T | undefined {
    return isWildcard(pattern) ? this.#suffixes.get(pattern.slice(1)) : this.#exact.get(pattern);
  }

  set(pattern: string, value: T): void {
    if (!isWildcard(pattern)) {
      this.#exact.set(pattern, value);
      return;
    }
    const suffix = pattern.slice(1);
    if (!this.#suffixes.has(suffix)) this.#lengthsOf(suffix).add(suffix.length);
    this.#suffixes.set(suffix, value);
  }

  delete(pattern: string): void {
    if (!isWildcard(pattern)) {
      this.#exact.delete(pattern);
      return;
    }
    const suffix = pattern.slice(1);
    if (this.#suffixes.delete(suffix)) this.#lengthsOf(suffix).remove(suffix.length);
  }

  /** Every pattern with its value. */
  *entries(): IterableIterator<[string, T]> {
    yield* this.#exact;
    for (const [suffix, value] of this.#suffixes) yield [`*${suffix}`, value];
  }

  /** Puts the values whose pattern matches into `found`, most specific first. @returns how many */
  collect(host: string, found: T[]): number {
    let count = 0;
    const exact = this.#exact.get(host);
    if (exact !== undefined) found[count++] = exact;
    if (this.#suffixes.size === 0) return count;
    for (let at = 0; at <= host.length; at++) {
      const lengths = host.charCodeAt(at) === 0x2e ? this.#dotted : this.#other;
      if (!lengths.has(host.length - at)) continue;
      const value = this.#suffixes.get(host.slice(at));
      if (value !== undefined) found[count++] = value;
    }
    return count;
  }

  #lengthsOf(suffix: string): Lengths {
    return suffix.charCodeAt(0) === 0x2e ? this.#dotted : this.#other;
  }
}

function isWildcard(pattern: string): boolean {
  return pattern.charCodeAt(0) === 0x2a;
}

class Lengths {
  readonly #counts: number[] = [];

  has(length: number): boolean {
    return (this.#counts[length] ?? 0) > 0;
  }

  add(length: number): void {
    for (let at = this.#counts.length; at <= length; at++) this.#counts.push(0);
    this.#counts[length] = (this.#counts[length] ?? 0) + 1;
  }

  remove(length: number): void {
    this.#counts[length] = (this.#counts[length] ?? 1) - 1;
  }
}

/** Lower case, each once. */
export function normaliseHosts(patterns: readonly string[]): readonly string[] {
  return [...new Set(patterns.map((pattern) => pattern.toLowerCase()))];
}

/**
 * @param host    lower case, without port
 * @param header  the Host header as received; compared with patterns that name a port
 * @returns the index of the first pattern that matches, or -1
 */
export type HostFilter = (host: string, header: string) => number;

/** @param patterns as `normaliseHosts` returns them; at least one */
export function compileHostFilter(patterns: readonly string[]): HostFilter {
  const tests = patterns.map(compileHostTest);
  return (host, header) => {
    for (let at = 0; at < tests.length; at++) if ((tests[at] as HostTest)(host, header)) return at;
    return -1;
  };
}

type HostTest = (host: string, header: string) => boolean;

function compileHostTest(pattern: string): HostTest {
  const withPort = /^(?:\[[^\]]*\]|[^:[\]]*):\d+$/.test(pattern);
  if (!isWildcard(pattern)) {
    return withPort ? (_, header) => header.toLowerCase() === pattern : (host) => host === pattern;
  }
  const suffix = pattern.slice(1);
  if (suffix === "") return () => true;
  const fits = (text: string): boolean => text.endsWith(suffix);
  return withPort ? (_, header) => fits(header.toLowerCase()) : fits;
}
