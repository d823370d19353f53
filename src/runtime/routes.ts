/**
 * Routes, services and plugin configs: who points to whom, and the router's entries that follow from it.
 * Promise: a change touches the routes that depend on it and no others; what they become is worked out when a request
 * comes. Source: resources.md "Merging at request time".
 */
import type { StoredValue } from "../model/record.ts";
import type { RequestView, RouteFacts } from "../plugin/request-view.ts";
import { CompiledRoute, type UpstreamSource } from "./compiled-route.ts";
import { NO_PLUGINS, openPluginSet, type PluginHost, type PluginSet, replacePluginSet } from "./plugin-unit.ts";
import { type MethodSets, type RouteRecord, readRoute, readService, type ServiceRecord } from "./route-record.ts";
import type { RouteUnit, UpstreamChoice } from "./route-unit.ts";
import { openRouter, type RouterMode, type Rule } from "./router.ts";
import { NO_UPSTREAM, UpstreamSlot, type UpstreamSlotHost } from "./upstream-slot.ts";

/** A route as it matched. */
export interface RouteMatch {
  readonly unit: RouteUnit;
  /** `unit.facts` with the patterns that matched. */
  readonly facts: RouteFacts;
}

export interface RoutesInput {
  readonly mode: RouterMode;
  readonly host: PluginHost;
  readonly slots: UpstreamSlotHost;
  /** The upstream record with this id, as of now. */
  upstreamById(id: string): UpstreamChoice;
  /** Told the names of plugins that are not loaded. */
  unknown(name: string): void;
}

export interface Routes {
  readonly needsBody: boolean;
  readonly counts: { readonly route: number; readonly service: number; readonly plugin_config: number };
  match(view: RequestView, path: string | undefined): RouteMatch | undefined;
  /** The route by id, matched or not. */
  unit(id: string): RouteUnit | undefined;
  /**
   * @param value  has passed all checks
   * @param order  create revision
   * @returns what takes the record in, or why that cannot be after all
   */
  prepareRoute(id: string, key: string, value: StoredValue, order: number): (() => void) | string;
  deleteRoute(id: string): void;
  prepareService(id: string, key: string, value: StoredValue): (() => void) | string;
  deleteService(id: string): void;
  putPluginConfig(id: string, value: StoredValue): void;
  deletePluginConfig(id: string): void;
  /** Lets every route be compiled again at its next request. */
  invalidateAll(): void;
  close(): void;
}

interface ServiceEntry {
  readonly record: ServiceRecord;
  readonly plugins: PluginSet;
  readonly inline: UpstreamSlot | undefined;
}

interface RouteEntry {
  readonly id: string;
  readonly order: number;
  readonly record: RouteRecord;
  readonly plugins: PluginSet;
  readonly inline: UpstreamSlot | undefined;
  rule: Rule<RouteBinding> | undefined;
  /** undefined until a request needs it after one of its records changed. */
  unit: CompiledRoute | undefined;
}

export function openRoutes(input: RoutesInput): Routes {
  const router = openRouter<RouteBinding>(input.mode);
  const routes = new Map<string, RouteEntry>();
  const services = new Map<string, ServiceEntry>();
  const pluginConfigs = new Map<string, PluginSet>();
  const methodSets: MethodSets = new Map();
  const byService = new Map<string, Set<RouteEntry>>();
  const byPluginConfig = new Map<string, Set<RouteEntry>>();

  const compile = (entry: RouteEntry): CompiledRoute => {
    entry.unit ??= compileRoute(entry, services, pluginConfigs, input);
    return entry.unit;
  };
  const hostsOf = ({ record }: RouteEntry): readonly string[] => {
    if (record.hosts.length > 0 || record.serviceId === undefined) return record.hosts;
    return services.get(record.serviceId)?.record.hosts ?? record.hosts;
  };
  const enter = (entry: RouteEntry): void => {
    if (!entry.record.isEnabled) return;
    entry.rule = ruleOf(entry, hostsOf(entry), compile);
    router.add(entry.rule);
  };
  const leave = (entry: RouteEntry): void => {
    if (entry.rule) router.remove(entry.rule);
    entry.rule = undefined;
  };
  const link = (entry: RouteEntry): void => {
    join(byService, entry.record.serviceId, entry);
    join(byPluginConfig, entry.record.pluginConfigId, entry);
  };
  const unlink = (entry: RouteEntry): void => {
    part(byService, entry.record.serviceId, entry);
    part(byPluginConfig, entry.record.pluginConfigId, entry);
  };

  const setService = (id: string, next: ServiceEntry | undefined): void => {
    const before = services.get(id);
    if (next) services.set(id, next);
    else services.delete(id);
    const moved = (before?.record.hosts ?? []).join(" ") !== (next?.record.hosts ?? []).join(" ");
    for (const entry of byService.get(id) ?? []) {
      entry.unit = undefined;
      if (!moved || entry.record.hosts.length > 0) continue;
      leave(entry);
      enter(entry);
    }
    if (!before) return;
    replacePluginSet(before.plugins, next?.plugins ?? NO_PLUGINS);
    before.inline?.close();
  };
  const setPluginConfig = (id: string, next: PluginSet | undefined): void => {
    const before = pluginConfigs.get(id);
    if (next) pluginConfigs.set(id, next);
    else pluginConfigs.delete(id);
    for (const entry of byPluginConfig.get(id) ?? []) entry.unit = undefined;
    if (before) replacePluginSet(before, next ?? NO_PLUGINS);
  };
  const setRoute = (id: string, next: RouteEntry | undefined): void => {
    const before = routes.get(id);
    if (before) {
      leave(before);
      unlink(before);
    }
    if (next) {
      routes.set(id, next);
      link(next);
      enter(next);
    } else routes.delete(id);
    if (!before) return;
    replacePluginSet(before.plugins, next?.plugins ?? NO_PLUGINS);
    before.inline?.close();
  };
  const openInline = (
    record: RouteRecord | ServiceRecord,
    key: string,
    before: UpstreamSlot | undefined,
  ): UpstreamSlot | string | undefined => {
    if (record.upstream === undefined || record.upstreamId !== undefined) {
      input.slots.report(key, undefined);
      return undefined;
    }
    const slot = new UpstreamSlot(record.upstream, { key, id: "", name: record.name }, key, input.slots);
    // One that is in use is replaced only by one that works.
    return (before?.isCompiled ? slot.compile() : undefined) ?? slot;
  };

  return {
    get needsBody() {
      return router.needsBody;
    },
    get counts() {
      return { route: routes.size, service: services.size, plugin_config: pluginConfigs.size };
    },
    match: (view, path) => router.match(view, path)?.match(),
    unit(id) {
      const entry = routes.get(id);
      return entry && compile(entry);
    },
    prepareRoute(id, key, value, order) {
      const record = readRoute(value, methodSets);
      const inline = openInline(record, key, routes.get(id)?.inline);
      if (typeof inline === "string") return inline;
      const plugins = openPluginSet(value["plugins"], { kind: "route", id }, input.host, input.unknown);
      return () => setRoute(id, { id, order, record, plugins, inline, rule: undefined, unit: undefined });
    },
    deleteRoute: (id) => setRoute(id, undefined),
    prepareService(id, key, value) {
      const record = readService(value);
      const inline = openInline(record, key, services.get(id)?.inline);
      if (typeof inline === "string") return inline;
      const plugins = openPluginSet(value["plugins"], { kind: "service", id }, input.host, input.unknown);
      return () => setService(id, { record, plugins, inline });
    },
    deleteService: (id) => setService(id, undefined),
    putPluginConfig(id, value) {
      setPluginConfig(id, openPluginSet(value["plugins"], { kind: "plugin_config", id }, input.host, input.unknown));
    },
    deletePluginConfig: (id) => setPluginConfig(id, undefined),
    invalidateAll() {
      for (const entry of routes.values()) entry.unit = undefined;
    },
    close() {
      for (const { plugins, inline } of [...routes.values(), ...services.values()]) {
        for (const unit of plugins) unit.close();
        inline?.close();
      }
      for (const plugins of pluginConfigs.values()) for (const unit of plugins) unit.close();
    },
  };
}

/** One path pattern and host pattern of one route; what the router returns. */
class RouteBinding {
  readonly #entry: RouteEntry;
  readonly #uri: string;
  readonly #host: string;
  readonly #compile: (entry: RouteEntry) => CompiledRoute;
  #match: RouteMatch | undefined;

  constructor(entry: RouteEntry, uri: string, host: string, compile: (entry: RouteEntry) => CompiledRoute) {
    this.#entry = entry;
    this.#uri = uri;
    this.#host = host;
    this.#compile = compile;
  }

  match(): RouteMatch {
    const unit = this.#entry.unit ?? this.#compile(this.#entry);
    if (this.#match?.unit === unit) return this.#match;
    const isFirst = unit.facts.matchedUri === this.#uri && unit.facts.matchedHost === this.#host;
    const facts = isFirst
      ? unit.facts
      : Object.freeze({ ...unit.facts, matchedUri: this.#uri, matchedHost: this.#host });
    this.#match = { unit, facts };
    return this.#match;
  }
}

function ruleOf(
  entry: RouteEntry,
  hosts: readonly string[],
  compile: (entry: RouteEntry) => CompiledRoute,
): Rule<RouteBinding> {
  const { record, id, order } = entry;
  return {
    id,
    order,
    priority: record.priority,
    uris: record.uris,
    hosts,
    methods: record.methods,
    remoteAddrs: record.remoteAddrs,
    vars: record.condition?.test,
    needsBody: record.condition?.needsBody ?? false,
    bind: (uri, host) => new RouteBinding(entry, uri, host, compile),
  };
}

function compileRoute(
  entry: RouteEntry,
  services: ReadonlyMap<string, ServiceEntry>,
  pluginConfigs: ReadonlyMap<string, PluginSet>,
  input: RoutesInput,
): CompiledRoute {
  const { record } = entry;
  const service = record.serviceId === undefined ? undefined : services.get(record.serviceId);
  const config = record.pluginConfigId === undefined ? undefined : pluginConfigs.get(record.pluginConfigId);
  const isServiceMissing = record.serviceId !== undefined && !service;
  const isConfigMissing = record.pluginConfigId !== undefined && !config;
  return new CompiledRoute({
    facts: Object.freeze({
      id: entry.id,
      name: record.name,
      serviceId: record.serviceId ?? "",
      serviceName: service?.record.name ?? "",
      matchedUri: record.uris[0] ?? "",
      matchedHost: (record.hosts[0] ?? service?.record.hosts[0] ?? "").toLowerCase(),
    }),
    timeouts: record.timeouts,
    websocket: record.websocket ?? service?.record.websocket ?? false,
    broken: isConfigMissing ? 503 : isServiceMissing ? 404 : undefined,
    layers: [service?.plugins ?? NO_PLUGINS, config ?? NO_PLUGINS, entry.plugins],
    upstream: upstreamOf(entry, service, input),
  });
}

/** The route's id or inline upstream, else the service's; in each an id goes before an inline upstream. */
function upstreamOf(entry: RouteEntry, service: ServiceEntry | undefined, input: RoutesInput): UpstreamSource {
  for (const one of service ? [entry, service] : [entry]) {
    const { upstreamId } = one.record;
    if (upstreamId !== undefined) return { choose: () => input.upstreamById(upstreamId) };
    if (one.inline) return one.inline;
  }
  return NOWHERE;
}

const NOWHERE: UpstreamSource = Object.freeze({ choose: () => NO_UPSTREAM });

function join(index: Map<string, Set<RouteEntry>>, id: string | undefined, entry: RouteEntry): void {
  if (id === undefined) return;
  const set = index.get(id) ?? new Set();
  index.set(id, set.add(entry));
}

function part(index: Map<string, Set<RouteEntry>>, id: string | undefined, entry: RouteEntry): void {
  if (id === undefined) return;
  const set = index.get(id);
  set?.delete(entry);
  if (set?.size === 0) index.delete(id);
}
