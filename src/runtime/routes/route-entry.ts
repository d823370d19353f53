/**
 * One route as the router holds it: what it asks of a request, and, once a request has met it, everything else.
 */
import type { RouteInfo } from "../../plugin/request-view.ts";
import type { PluginSet } from "../plugins/plugin-unit.ts";
import type { UpstreamSlot } from "../upstream/upstream-slot.ts";
import type { CompiledRoute } from "./compiled-route.ts";
import type { RouteRecord } from "./route-record.ts";
import type { RouteUnit } from "./route-unit.ts";
import type { RouteConditions } from "./router.ts";

/** A route as it matched. */
export interface RouteMatch {
  readonly unit: RouteUnit;
  /** `unit.facts` with the patterns that matched. */
  readonly facts: RouteInfo;
}

/** What a route is beyond its place in the router. */
export interface RouteContent {
  readonly record: RouteRecord;
  readonly plugins: PluginSet;
  readonly inline: UpstreamSlot | undefined;
  /** It was refused and refuses. */
  readonly isBlocked?: boolean;
}

export class LiveRoute implements RouteConditions<RoutePattern> {
  readonly id: string;
  readonly order: number;
  readonly priority: number;
  readonly uris: readonly string[];
  readonly methods: ReadonlySet<string> | undefined;
  readonly remoteAddrs: RouteRecord["remoteAddrs"];
  readonly vars: RouteConditions<RoutePattern>["vars"];
  readonly needsBody: boolean;
  readonly serviceId: string | undefined;
  readonly pluginConfigId: string | undefined;
  readonly isEnabled: boolean;
  /** Of the route itself. */
  readonly ownHosts: readonly string[];
  /** Its own or its service's. */
  hosts: readonly string[];
  isInRouter = false;
  /** undefined as long as no request has met this route. */
  content: RouteContent | undefined;
  /** undefined until a request needs it after one of its records changed. */
  unit: CompiledRoute | undefined = undefined;
  readonly #compile: (entry: LiveRoute) => CompiledRoute;

  constructor(
    { id, order }: { readonly id: string; readonly order: number },
    record: RouteRecord,
    content: RouteContent | undefined,
    compile: (entry: LiveRoute) => CompiledRoute,
  ) {
    this.id = id;
    this.order = order;
    this.priority = record.priority;
    this.uris = record.uris;
    this.methods = record.methods;
    this.remoteAddrs = record.remoteAddrs;
    this.vars = record.condition?.test;
    this.needsBody = record.condition?.needsBody ?? false;
    this.serviceId = record.serviceId;
    this.pluginConfigId = record.pluginConfigId;
    this.isEnabled = record.isEnabled;
    this.ownHosts = record.hosts;
    this.hosts = record.hosts;
    this.content = content;
    this.#compile = compile;
  }

  compiled(): CompiledRoute {
    return this.unit ?? this.#compile(this);
  }

  bind(uri: string, host: string): RoutePattern {
    return new RoutePattern(this, uri, host);
  }
}

/** One path pattern and host pattern of one route; what the router returns. */
export class RoutePattern {
  readonly #entry: LiveRoute;
  readonly #uri: string;
  readonly #host: string;
  #match: RouteMatch | undefined;

  constructor(entry: LiveRoute, uri: string, host: string) {
    this.#entry = entry;
    this.#uri = uri;
    this.#host = host;
  }

  match(): RouteMatch {
    const unit = this.#entry.compiled();
    if (this.#match?.unit === unit) return this.#match;
    const isFirst = unit.facts.matchedUri === this.#uri && unit.facts.matchedHost === this.#host;
    const facts = isFirst
      ? unit.facts
      : Object.freeze({ ...unit.facts, matchedUri: this.#uri, matchedHost: this.#host });
    this.#match = { unit, facts };
    return this.#match;
  }
}
