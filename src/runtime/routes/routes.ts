/**
 * Routes, services and plugin configs: who points to whom, and the router's entries that follow from it.
 * Promise: a change touches the routes that depend on it and no others; what they become is worked out when a request
 * comes. Until the first one, a route is what the router needs, and the bytes of its record.
 * Source: docs/spec/resources.md "Merging at request time".
 */
import { BigMap } from "../../base/packed/big-map.ts";
import type { StoredRecord, StoredValue } from "../../model/record.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { KeyValue } from "../../store/store.ts";
import {
  NO_PLUGINS,
  openBlockedSet,
  openPluginSet,
  type PluginHost,
  type PluginSet,
  replacePluginSet,
} from "../plugins/plugin-unit.ts";
import { UpstreamSlot, type UpstreamSlotHost } from "../upstream/upstream-slot.ts";
import { compileRoute } from "./compile-route.ts";
import type { Tried } from "./path-table.ts";
import {
  LiveRoute,
  type MaterialisedRoute,
  type MethodSets,
  type RouteMatch,
  type RoutePattern,
  type RouteRecord,
  readRoute,
  readService,
  type ServiceRecord,
} from "./route-entry.ts";
import type { Route, RouteUnit, UpstreamChoice } from "./route-unit.ts";
import { openRouter, type RouterMode } from "./router.ts";

export interface RoutesInput {
  readonly mode: RouterMode;
  readonly host: PluginHost;
  readonly slots: UpstreamSlotHost;
  /** The upstream record with this id, as of now. */
  upstreamById(id: string): UpstreamChoice;
  /** Keeps the bytes of a route without content. */
  setAside(kv: KeyValue): void;
  /** Reads a route's record again that was taken before. */
  read(id: string): StoredRecord;
}

export interface Routes {
  readonly needsBody: boolean;
  readonly counts: { readonly route: number; readonly service: number; readonly plugin_config: number };
  match(view: RequestView, path: string | undefined): RouteMatch | undefined;
  /** What `match` looks at, for explanations. */
  tried(view: RequestView, path?: string): IterableIterator<Tried>;
  /** The route by id, matched or not. */
  unit(id: string): Route | undefined;
  /**
   * @param value  has passed all checks
   * @param kv     what it was read from
   * @returns what takes the record in, or why that cannot be after all
   */
  prepareRoute(id: string, value: StoredValue, kv: KeyValue): (() => void) | string;
  /**
   * The route was refused: what it would have matched is refused too, and not left to routes that guard less.
   * @param match what it asks of requests, which has passed all checks
   * @returns false when an older version of it serves
   */
  blockRoute(id: string, match: StoredValue, kv: KeyValue): boolean;
  deleteRoute(id: string): void;
  prepareService(id: string, key: string, value: StoredValue): (() => void) | string;
  /** The service was refused. @returns false when an older version of it serves */
  blockService(id: string): boolean;
  deleteService(id: string): void;
  putPluginConfig(id: string, value: StoredValue): void;
  deletePluginConfig(id: string): void;
  /** Lets every route be compiled again at its next request. */
  invalidateAll(): void;
  close(): void;
}

export interface ServiceEntry {
  readonly record: ServiceRecord;
  readonly plugins: PluginSet;
  readonly inline: UpstreamSlot | undefined;
  readonly isBlocked?: boolean;
}

export function openRoutes(input: RoutesInput): Routes {
  const router = openRouter<RoutePattern>(input.mode);
  const routes = new BigMap<LiveRoute>();
  const services = new Map<string, ServiceEntry>();
  const pluginConfigs = new Map<string, PluginSet>();
  const methodSets: MethodSets = new Map();
  const byService = new Map<string, Set<LiveRoute>>();
  const byPluginConfig = new Map<string, Set<LiveRoute>>();

  const materialise = (entry: LiveRoute): MaterialisedRoute => {
    const { storeKey, value } = input.read(entry.id);
    const record = readRoute(value, methodSets);
    const inline = hasInline(record) ? slotOf(record, storeKey) : undefined;
    return { record, inline, plugins: pluginsOf(entry.id, value) };
  };
  const compile = (entry: LiveRoute): RouteUnit => {
    entry.content ??= materialise(entry);
    entry.unit ??= compileRoute(entry.id, entry.content, services, pluginConfigs, input);
    return entry.unit;
  };
  const pluginsOf = (id: string, value: StoredValue): PluginSet =>
    openPluginSet(value["plugins"], { kind: "route", id }, input.host);
  const hostsOf = ({ ownHosts, serviceId }: LiveRoute): readonly string[] => {
    if (ownHosts.length > 0 || serviceId === undefined) return ownHosts;
    return services.get(serviceId)?.record.hosts ?? ownHosts;
  };
  const activate = (entry: LiveRoute): void => {
    if (!entry.isEnabled) return;
    entry.hosts = hostsOf(entry);
    entry.isInRouter = true;
    router.add(entry);
  };
  const withdraw = (entry: LiveRoute): void => {
    if (entry.isInRouter) router.remove(entry);
    entry.isInRouter = false;
  };
  const link = (entry: LiveRoute): void => {
    addTo(byService, entry.serviceId, entry);
    addTo(byPluginConfig, entry.pluginConfigId, entry);
  };
  const unlink = (entry: LiveRoute): void => {
    removeFrom(byService, entry.serviceId, entry);
    removeFrom(byPluginConfig, entry.pluginConfigId, entry);
  };

  const setService = (id: string, next: ServiceEntry | undefined): void => {
    const before = services.get(id);
    if (next) services.set(id, next);
    else services.delete(id);
    const moved = (before?.record.hosts ?? []).join(" ") !== (next?.record.hosts ?? []).join(" ");
    for (const entry of byService.get(id) ?? []) {
      entry.unit = undefined;
      if (!moved || entry.ownHosts.length > 0) continue;
      withdraw(entry);
      activate(entry);
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
  const setRoute = (id: string, next: LiveRoute | undefined): void => {
    const before = routes.get(id);
    if (before) {
      withdraw(before);
      unlink(before);
    }
    if (next) {
      routes.set(id, next);
      link(next);
      activate(next);
    } else routes.delete(id);
    if (!before?.content) return;
    replacePluginSet(before.content.plugins, next?.content?.plugins ?? NO_PLUGINS);
    before.content.inline?.close();
  };
  const slotOf = (record: RouteRecord | ServiceRecord, key: string): UpstreamSlot =>
    // By `hasInline` there is one.
    new UpstreamSlot(record.upstream as StoredValue, { key, id: "", name: record.name }, key, input.slots);
  const openInline = (
    record: RouteRecord | ServiceRecord,
    key: string,
    before: UpstreamSlot | undefined,
  ): UpstreamSlot | string | undefined => {
    if (!hasInline(record)) {
      input.slots.report(key, undefined);
      return undefined;
    }
    const slot = slotOf(record, key);
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
    tried: (view, path) => router.tried(view, path),
    unit(id) {
      const entry = routes.get(id);
      return entry?.compiled();
    },
    prepareRoute(id, value, kv) {
      const record = readRoute(value, methodSets);
      const order = Number(kv.createRevision);
      const before = routes.get(id)?.content;
      if (!before) {
        if (!hasInline(record)) input.slots.report(kv.key, undefined);
        return () => {
          input.setAside(kv);
          setRoute(id, new LiveRoute({ id, order }, record, undefined, compile));
        };
      }
      const inline = openInline(record, kv.key, before.inline);
      if (typeof inline === "string") return inline;
      const content = { record, inline, plugins: pluginsOf(id, value) };
      return () => setRoute(id, new LiveRoute({ id, order }, record, content, compile));
    },
    blockRoute(id, match, kv) {
      const before = routes.get(id);
      if (before && before.content?.isBlocked !== true) return false;
      const record = readRoute(match, methodSets);
      const plugins = openBlockedSet("refused", "record_refused", { kind: "route", id }, input.host);
      const content = { record, plugins, inline: undefined, isBlocked: true };
      setRoute(id, new LiveRoute({ id, order: Number(kv.createRevision) }, record, content, compile));
      return true;
    },
    deleteRoute: (id) => setRoute(id, undefined),
    prepareService(id, key, value) {
      const record = readService(value);
      const inline = openInline(record, key, services.get(id)?.inline);
      if (typeof inline === "string") return inline;
      const plugins = openPluginSet(value["plugins"], { kind: "service", id }, input.host);
      return () => setService(id, { record, plugins, inline });
    },
    blockService(id) {
      const before = services.get(id);
      if (before && before.isBlocked !== true) return false;
      const plugins = openBlockedSet("refused", "record_refused", { kind: "service", id }, input.host);
      setService(id, { record: readService({}), plugins, inline: undefined, isBlocked: true });
      return true;
    },
    deleteService: (id) => setService(id, undefined),
    putPluginConfig(id, value) {
      setPluginConfig(id, openPluginSet(value["plugins"], { kind: "plugin_config", id }, input.host));
    },
    deletePluginConfig: (id) => setPluginConfig(id, undefined),
    invalidateAll() {
      for (const entry of routes.values()) entry.unit = undefined;
    },
    close() {
      for (const { content } of routes.values()) if (content) closeMaterial(content);
      for (const service of services.values()) closeMaterial(service);
      for (const plugins of pluginConfigs.values()) for (const unit of plugins) unit.close();
    },
  };
}

function hasInline({ upstream, upstreamId }: RouteRecord | ServiceRecord): boolean {
  return upstream !== undefined && upstreamId === undefined;
}

function closeMaterial({ plugins, inline }: Pick<MaterialisedRoute, "plugins" | "inline">): void {
  for (const unit of plugins) unit.close();
  inline?.close();
}

function addTo(index: Map<string, Set<LiveRoute>>, id: string | undefined, entry: LiveRoute): void {
  if (id === undefined) return;
  const set = index.get(id) ?? new Set();
  index.set(id, set.add(entry));
}

function removeFrom(index: Map<string, Set<LiveRoute>>, id: string | undefined, entry: LiveRoute): void {
  if (id === undefined) return;
  const set = index.get(id);
  set?.delete(entry);
  if (set?.size === 0) index.delete(id);
}
