/**
 * One route as the router holds it: what it asks of a request, and, once a request has met it, everything else.
 */

import { compileIpSet, type IpSet } from "../../base/net/ip.ts";
import type { StoredValue } from "../../model/record.ts";
import { luaScript, routeAfterPlugins, routeBeforeSchema } from "../../model/route.ts";
import type { RouteInfo } from "../../plugin/request-view.ts";
import { type Condition, compileCondition } from "../../plugin/variables/condition.ts";
import type { PluginSet } from "../plugins/plugin-unit.ts";
import type { UpstreamSlot } from "../upstream/upstream-slot.ts";
import type { Timeouts } from "../upstream/upstream-unit.ts";
import type { RouteConditions } from "./path-table.ts";
import type { Route, RouteUnit } from "./route-unit.ts";

/** A route as it matched. */
export interface RouteMatch {
  readonly unit: Route;
  /** `unit.facts` with the patterns that matched. */
  readonly facts: RouteInfo;
}

/** What a route is beyond its place in the router. */
export interface MaterialisedRoute {
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
  content: MaterialisedRoute | undefined;
  /** undefined until a request needs it after one of its records changed. */
  unit: RouteUnit | undefined = undefined;
  readonly #compile: (entry: LiveRoute) => RouteUnit;

  constructor(
    { id, order }: { readonly id: string; readonly order: number },
    record: RouteRecord,
    content: MaterialisedRoute | undefined,
    compile: (entry: LiveRoute) => RouteUnit,
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

  compiled(): RouteUnit {
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

/**
 * What the data plane keeps of a route's or a service's record: read once, when the record arrives.
 * Pure: resolves no reference and compiles no plugin.
 */

/** What a route may say about where requests go; a service says the same. */
interface UpstreamChoiceRecord {
  readonly upstreamId: string | undefined;
  /** Inline; without effect beside an id. */
  readonly upstream: StoredValue | undefined;
}

export interface RouteRecord extends UpstreamChoiceRecord {
  readonly name: string;
  readonly uris: readonly string[];
  /** Of the route itself. */
  readonly hosts: readonly string[];
  readonly methods: ReadonlySet<string> | undefined;
  readonly remoteAddrs: IpSet | undefined;
  readonly condition: Condition | undefined;
  readonly priority: number;
  readonly isEnabled: boolean;
  readonly serviceId: string | undefined;
  readonly pluginConfigId: string | undefined;
  readonly timeouts: Timeouts | undefined;
  /** undefined leaves it to the service. */
  readonly websocket: boolean | undefined;
}

export interface ServiceRecord extends UpstreamChoiceRecord {
  readonly name: string;
  readonly hosts: readonly string[];
  readonly websocket: boolean;
}

/** @returns why a route that satisfies its schema still cannot be taken */
export function routeError(value: StoredValue): string | undefined {
  return routeBeforeSchema(value) ?? routeAfterPlugins(value);
}

/** @returns why a service that satisfies its schema still cannot be taken */
export function serviceError(value: StoredValue): string | undefined {
  return luaScript(value);
}

/** Sets of methods that routes share: few are in use. */
export type MethodSets = Map<string, ReadonlySet<string>>;

/** @param value has passed the schema and `routeError` */
export function readRoute(value: StoredValue, methodSets: MethodSets): RouteRecord {
  const methods = listOf(value["methods"]);
  const addresses = oneOrMany(value["remote_addr"], value["remote_addrs"]);
  const vars = value["vars"];
  return {
    ...readChoice(value),
    name: textOf(value["name"]),
    uris: oneOrMany(value["uri"], value["uris"]),
    hosts: oneOrMany(value["host"], value["hosts"]),
    methods: methods.length === 0 ? undefined : shareMethods(methods, methodSets),
    remoteAddrs: addresses.length === 0 ? undefined : compileIpSet(addresses),
    condition: Array.isArray(vars) && vars.length > 0 ? compileCondition(vars) : undefined,
    priority: typeof value["priority"] === "number" ? value["priority"] : 0,
    isEnabled: value["status"] !== 0,
    serviceId: idOf(value["service_id"]),
    pluginConfigId: idOf(value["plugin_config_id"]),
    timeouts: readTimeouts(value["timeout"]),
    websocket: typeof value["enable_websocket"] === "boolean" ? value["enable_websocket"] : undefined,
  };
}

/** @param value has passed the schema and `serviceError` */
export function readService(value: StoredValue): ServiceRecord {
  return {
    ...readChoice(value),
    name: textOf(value["name"]),
    hosts: listOf(value["hosts"]),
    websocket: value["enable_websocket"] === true,
  };
}

function readChoice(value: StoredValue): UpstreamChoiceRecord {
  // By the schema an upstream is an object.
  return { upstreamId: idOf(value["upstream_id"]), upstream: value["upstream"] as StoredValue | undefined };
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function idOf(value: unknown): string | undefined {
  return value === undefined || value === null ? undefined : String(value);
}

function listOf(value: unknown): readonly string[] {
  return Array.isArray(value) && value.length > 0 ? (value as string[]) : NOTHING;
}

function oneOrMany(one: unknown, many: unknown): readonly string[] {
  return typeof one === "string" ? [one] : listOf(many);
}

const NOTHING: readonly string[] = Object.freeze([]);

function readTimeouts(value: unknown): Timeouts | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { connect, send, read } = value as { readonly connect: number; readonly send: number; readonly read: number };
  return Object.freeze({ connectMs: connect * 1000, sendMs: send * 1000, readMs: read * 1000 });
}

const METHOD_SETS_MAX = 1_000;

function shareMethods(methods: readonly string[], known: MethodSets): ReadonlySet<string> {
  const text = methods.join(" ");
  let set = known.get(text);
  if (!set) {
    set = new Set(methods);
    if (known.size < METHOD_SETS_MAX) known.set(text, set);
  }
  return set;
}
