import type { RequestView } from "../../plugin/request-view.ts";
import { compileHostFilter, HostSets, normaliseHosts } from "./host-sets.ts";
import { PathTable, type RouteConditions, type Tried } from "./path-table.ts";
import { compileUriPattern, type UriPattern } from "./uri-pattern.ts";

export type RouterMode = "radixtree_host_uri" | "radixtree_uri" | "radixtree_uri_with_parameter";

export interface Router<M> {
  readonly mode: RouterMode;
  readonly size: number;
  /** Whether some route's `vars` read the body: then `loadBodyVariables` must run before `match`. */
  readonly needsBody: boolean;
  add(rule: RouteConditions<M>): void;
  /** @param rule the object that was added */
  remove(rule: RouteConditions<M>): void;
  /**
   * Sets `view.uriParams` when the pattern that matched captures parameters.
   * @param path what patterns are compared with; other than `view.path` only under match_uri_encoded_slash
   */
  match(view: RequestView, path?: string): M | undefined;
  /** What `match` looks at for this request, in its order, and why each is not it; for explanations. */
  tried(view: RequestView, path?: string): IterableIterator<Tried>;
}

export function openRouter<M>(mode: RouterMode): Router<M> {
  return mode === "radixtree_host_uri" ? new HostRouter<M>() : new UriRouter<M>(mode);
}

class HostRouter<M> implements Router<M> {
  readonly mode = "radixtree_host_uri";
  readonly #hosts = new HostSets<PathTable<M>>();
  readonly #hostless = new PathTable<M>(false);
  /** Used within one call of `match` only. */
  readonly #found: PathTable<M>[] = [];
  size = 0;
  #withBody = 0;

  get needsBody(): boolean {
    return this.#withBody > 0;
  }

  add(rule: RouteConditions<M>): void {
    this.size++;
    if (rule.needsBody) this.#withBody++;
    const patterns = patternsOf(rule, false);
    if (rule.hosts.length === 0) this.#hostless.add(rule, patterns, undefined, [""]);
    for (const host of normaliseHosts(rule.hosts)) {
      let table = this.#hosts.get(host);
      if (!table) {
        table = new PathTable(false);
        this.#hosts.set(host, table);
      }
      table.add(rule, patterns, undefined, [host]);
    }
  }

  remove(rule: RouteConditions<M>): void {
    this.size--;
    if (rule.needsBody) this.#withBody--;
    if (rule.hosts.length === 0) this.#hostless.remove(rule);
    for (const host of normaliseHosts(rule.hosts)) {
      const table = this.#hosts.get(host);
      table?.remove(rule);
      if (table?.isEmpty) this.#hosts.delete(host);
    }
  }

  match(view: RequestView, path = view.path): M | undefined {
    const count = this.#hosts.collect(view.host, this.#found);
    for (let at = 0; at < count; at++) {
      const match = (this.#found[at] as PathTable<M>).match(view, path);
      if (match !== undefined) return match;
    }
    return this.#hostless.match(view, path);
  }

  *tried(view: RequestView, path = view.path): IterableIterator<Tried> {
    const found: PathTable<M>[] = [];
    const count = this.#hosts.collect(view.host, found);
    for (const table of found.slice(0, count)) yield* table.tried(view, path);
    yield* this.#hostless.tried(view, path);
    let others = OTHER_HOSTS_MAX;
    for (const [host, table] of this.#hosts.entries()) {
      if (found.includes(table)) continue;
      if (--others < 0) return;
      const why = `its host is ${host}, the request's is ${view.host || "missing"}`;
      for (const one of table.tried(view, path)) yield { ...one, why };
    }
  }
}

class UriRouter<M> implements Router<M> {
  readonly mode: RouterMode;
  readonly #table: PathTable<M>;
  size = 0;
  #withBody = 0;

  constructor(mode: RouterMode) {
    this.mode = mode;
    this.#table = new PathTable(mode === "radixtree_uri_with_parameter");
  }

  get needsBody(): boolean {
    return this.#withBody > 0;
  }

  add(rule: RouteConditions<M>): void {
    this.size++;
    if (rule.needsBody) this.#withBody++;
    const hosts = normaliseHosts(rule.hosts);
    const patterns = patternsOf(rule, this.#table.withParameters);
    if (hosts.length === 0) this.#table.add(rule, patterns, undefined, [""]);
    else this.#table.add(rule, patterns, compileHostFilter(hosts), hosts);
  }

  remove(rule: RouteConditions<M>): void {
    this.size--;
    if (rule.needsBody) this.#withBody--;
    this.#table.remove(rule);
  }

  match(view: RequestView, path = view.path): M | undefined {
    return this.#table.match(view, path);
  }

  tried(view: RequestView, path = view.path): IterableIterator<Tried> {
    return this.#table.tried(view, path);
  }
}

function patternsOf<M>(rule: RouteConditions<M>, withParameters: boolean): UriPattern[] {
  return [...new Set(rule.uris)].map((uri) => compileUriPattern(uri, withParameters));
}

/** Hosts other than the request's, whose routes an explanation looks at. */
const OTHER_HOSTS_MAX = 1_000;
