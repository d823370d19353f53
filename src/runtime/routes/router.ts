/**
 * Finds the route of a request: host sets, exact paths, longest prefix, priority, then the other conditions.
 * Promise: adding or removing one route costs what that route costs, never the table; the same routes give the same
 * answers whatever the order they came in. Source: docs/spec/routing.md sections 2 to 4.
 */
import type { IpSet } from "../../base/net/ip.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { compileHostFilter, type HostFilter, HostSets, normaliseHosts } from "./host-sets.ts";
import { PrefixTree } from "./prefix-tree.ts";
import { compileUriPattern, literalOf, type UriPattern } from "./uri-pattern.ts";

export type RouterMode = "radixtree_host_uri" | "radixtree_uri" | "radixtree_uri_with_parameter";

/** What a route asks of a request. */
export interface RouteConditions<M> {
  readonly id: string;
  /** Create revision of the record: the earlier created wins a tie, then the smaller id. */
  readonly order: number;
  readonly priority: number;
  readonly uris: readonly string[];
  /** Effective host patterns; empty for a route without hosts. */
  readonly hosts: readonly string[];
  readonly methods: ReadonlySet<string> | undefined;
  readonly remoteAddrs: IpSet | undefined;
  readonly vars: ((view: RequestView) => boolean) | undefined;
  /** Whether `vars` read the request body. */
  readonly needsBody: boolean;
  /** What `match` returns when this pattern matched under this host pattern ("" for none); called when added. */
  bind(uri: string, host: string): M;
}

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

/** One path pattern of one route whose path fits, or nearly. */
export interface Tried {
  readonly id: string;
  readonly uri: string;
  readonly hosts: readonly string[];
  /** undefined: it matches. */
  readonly why: string | undefined;
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

/** One path pattern of one route. */
interface Candidate<M> {
  readonly rule: RouteConditions<M>;
  readonly pattern: UriPattern;
  readonly hosts: HostFilter | undefined;
  /** One per host pattern, in the order of the filter. */
  readonly matches: readonly M[];
}

/** Routes of one host set by path. */
class PathTable<M> {
  readonly withParameters: boolean;
  readonly #exact = new Map<string, Candidate<M>[]>();
  readonly #prefixes = new PrefixTree<Candidate<M>[]>();

  constructor(withParameters: boolean) {
    this.withParameters = withParameters;
  }

  get isEmpty(): boolean {
    return this.#exact.size === 0 && this.#prefixes.isEmpty;
  }

  add(
    rule: RouteConditions<M>,
    patterns: readonly UriPattern[],
    filter: HostFilter | undefined,
    hosts: readonly string[],
  ): void {
    for (const pattern of patterns) {
      const matches = hosts.map((host) => rule.bind(pattern.source, host));
      const candidate: Candidate<M> = { rule, pattern, hosts: filter, matches };
      const index = pattern.exact ? this.#exact : this.#prefixes;
      const list = index.get(pattern.literal);
      if (list) list.splice(positionOf(list, rule, pattern.source), 0, candidate);
      else index.set(pattern.literal, [candidate]);
    }
  }

  remove(rule: RouteConditions<M>): void {
    for (const uri of new Set(rule.uris)) {
      const { literal, exact } = literalOf(uri, this.withParameters);
      const index = exact ? this.#exact : this.#prefixes;
      const list = index.get(literal);
      if (!list) continue;
      const at = positionOf(list, rule, uri);
      if (list[at]?.rule === rule) list.splice(at, 1);
      if (list.length === 0) index.delete(literal);
    }
  }

  match(view: RequestView, path: string): M | undefined {
    const exact = this.#exact.get(path);
    const match = exact && firstMatch(exact, view, path);
    if (match !== undefined) return match;
    for (let node = this.#prefixes.longest(path); node; node = node.shorter()) {
      // Nodes that `longest` and `shorter` return have a value.
      const found = firstMatch(node.value as Candidate<M>[], view, path);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  *tried(view: RequestView, path: string): IterableIterator<Tried> {
    for (const candidate of this.#exact.get(path) ?? []) yield judged(candidate, view, path);
    for (let node = this.#prefixes.longest(path); node; node = node.shorter())
      for (const candidate of node.value as Candidate<M>[]) yield judged(candidate, view, path);
  }
}

/** Hosts other than the request's, whose routes an explanation looks at. */
const OTHER_HOSTS_MAX = 1_000;

/** Where a candidate stands, or belongs, in its ordered list. */
function positionOf<M>(list: readonly Candidate<M>[], rule: RouteConditions<M>, uri: string): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const other = list[middle] as Candidate<M>;
    if (isBefore(other.rule, other.pattern.source, rule, uri)) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Higher priority, then longer pattern, then created earlier, then smaller id. */
function isBefore<M>(left: RouteConditions<M>, leftUri: string, right: RouteConditions<M>, rightUri: string): boolean {
  if (left.priority !== right.priority) return left.priority > right.priority;
  if (leftUri.length !== rightUri.length) return leftUri.length > rightUri.length;
  if (left.order !== right.order) return left.order < right.order;
  if (left.id !== right.id) return left.id < right.id;
  return leftUri < rightUri;
}

function firstMatch<M>(list: readonly Candidate<M>[], view: RequestView, path: string): M | undefined {
  for (let at = 0; at < list.length; at++) {
    const match = tryCandidate(list[at] as Candidate<M>, view, path);
    if (match !== undefined) return match;
  }
  return undefined;
}

function tryCandidate<M>(candidate: Candidate<M>, view: RequestView, path: string): M | undefined {
  const { rule, hosts } = candidate;
  if (rule.methods !== undefined && !rule.methods.has(view.method)) return undefined;
  if (rule.remoteAddrs !== undefined && !rule.remoteAddrs(view.clientAddress)) return undefined;
  const host = hosts === undefined ? 0 : hosts(view.host, view.head.hostHeader);
  if (host < 0) return undefined;
  const { tail } = candidate.pattern;
  if (tail === undefined) {
    view.uriParams = undefined;
  } else {
    const parameters = tail(path);
    if (parameters === undefined) return undefined;
    // Set before vars are tested, so that they may read uri_param_<name>.
    view.uriParams = parameters.size > 0 ? parameters : undefined;
  }
  if (rule.vars !== undefined && !rule.vars(view)) {
    view.uriParams = undefined;
    return undefined;
  }
  return candidate.matches[host];
}

function judged<M>(candidate: Candidate<M>, view: RequestView, path: string): Tried {
  const { rule, pattern } = candidate;
  const { uriParams } = view;
  const matches = tryCandidate(candidate, view, path) !== undefined;
  view.uriParams = uriParams;
  const why = matches ? undefined : whyNot(candidate, view, path);
  return { id: rule.id, uri: pattern.source, hosts: rule.hosts, why };
}

/** In the order of `tryCandidate`. */
function whyNot<M>({ rule, hosts, pattern }: Candidate<M>, view: RequestView, path: string): string {
  if (rule.methods !== undefined && !rule.methods.has(view.method))
    return `its methods are ${[...rule.methods].join(", ")}, the request's is ${view.method}`;
  if (rule.remoteAddrs !== undefined && !rule.remoteAddrs(view.clientAddress))
    return `its remote_addrs have no ${view.clientAddress}`;
  if (hosts !== undefined && hosts(view.host, view.head.hostHeader) < 0)
    return `its hosts are ${rule.hosts.slice(0, 8).join(", ")}, the request's is ${view.host || "missing"}`;
  if (pattern.tail !== undefined && pattern.tail(path) === undefined) return `its path is ${pattern.source}`;
  return "its vars or filter do not hold";
}
