/**
 * The routes of one host set by path: exact paths, then prefixes from the longest on; within one path by priority.
 * Source: docs/spec/routing.md sections 2 to 4.
 */
import type { IpSet } from "../../base/net/ip.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { HostFilter } from "./host-sets.ts";
import { PrefixTree } from "./prefix-tree.ts";
import { literalOf, type UriPattern } from "./uri-pattern.ts";

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

/** One path pattern of one route whose path fits, or nearly. */
export interface Tried {
  readonly id: string;
  readonly uri: string;
  readonly hosts: readonly string[];
  /** undefined: it matches. */
  readonly why: string | undefined;
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
export class PathTable<M> {
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
