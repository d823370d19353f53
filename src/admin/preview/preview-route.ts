/**
 * What a route amounts to once its service and plugin config are laid under it: for warnings, not for serving.
 * Promise: records are read by what the gateway reads them with; one that cannot be read is no route there either.
 */
import { type Members, own, ownMembers } from "../../base/json/members.ts";
import { metaOf } from "../../runtime/plugins/plugin-registry.ts";
import { normaliseHosts } from "../../runtime/routes/host-sets.ts";
import {
  type MethodSets,
  type RouteRecord,
  readRoute,
  readService,
  type ServiceRecord,
} from "../../runtime/routes/route-entry.ts";
import type { RouterMode } from "../../runtime/routes/router.ts";
import { literalOf } from "../../runtime/routes/uri-pattern.ts";
import type { ConfigView, ViewedRecord } from "./config-view.ts";

/** A path pattern, as far as it can be compared with another one. */
export interface Path {
  readonly source: string;
  readonly literal: string;
  readonly exact: boolean;
  /** Matches whatever begins with `literal`. */
  readonly isPrefix: boolean;
  /** Equal for patterns that match the same paths. */
  readonly shape: string;
}

export interface PreviewRoute {
  readonly id: string;
  readonly order: number;
  readonly priority: number;
  readonly isEnabled: boolean;
  /** Lower case; `[""]` when every host is welcome. */
  readonly hosts: readonly string[];
  readonly paths: readonly Path[];
  /** Empty: all. */
  readonly methods: ReadonlySet<string>;
  /** Empty: all. */
  readonly addresses: readonly string[];
  /** "" without conditions, else a text that is equal for equal conditions. */
  readonly vars: string;
  /** Plugins that run, by name. */
  readonly plugins: ReadonlyMap<string, Members>;
  /** Where requests go; undefined: nowhere. */
  readonly upstream: Members | "missing" | undefined;
  /** What it is made of beside itself: `service/1`, `plugin_config/2`. */
  readonly layers: readonly string[];
}

/** All routes by id, of the whole configuration. */
export async function readRoutes(view: ConfigView, mode: RouterMode): Promise<ReadonlyMap<string, PreviewRoute>> {
  const [routes, services, configs, upstreams] = await Promise.all([
    view.all("route"),
    view.all("service"),
    view.all("plugin_config"),
    view.all("upstream"),
  ]);
  const withParameters = mode === "radixtree_uri_with_parameter";
  const layers: Layers = { services, configs, upstreams, withParameters, methodSets: new Map() };
  const found = new Map<string, PreviewRoute>();
  for (const [id, record] of routes) {
    try {
      found.set(id, previewRoute(record, layers));
    } catch {
      // Written past this API, and refused by every node.
    }
  }
  return found;
}

interface Layers {
  readonly services: ReadonlyMap<string, ViewedRecord>;
  readonly configs: ReadonlyMap<string, ViewedRecord>;
  readonly upstreams: ReadonlyMap<string, ViewedRecord>;
  readonly withParameters: boolean;
  readonly methodSets: MethodSets;
}

function previewRoute({ id, value, order }: ViewedRecord, layers: Layers): PreviewRoute {
  const route = readRoute(value, layers.methodSets);
  const { serviceId = "", pluginConfigId = "" } = route;
  const serviceValue = layers.services.get(serviceId)?.value;
  const service = serviceValue && readService(serviceValue);
  const vars = own(value, "vars");
  return {
    id,
    order,
    priority: route.priority,
    isEnabled: route.isEnabled,
    hosts: orAny(normaliseHosts(route.hosts.length > 0 ? route.hosts : (service?.hosts ?? []))),
    paths: route.uris.map((uri) => pathOf(uri, layers.withParameters)),
    methods: route.methods ?? NO_METHODS,
    addresses: texts(value, "remote_addr", "remote_addrs"),
    vars: route.condition ? JSON.stringify(vars) : "",
    plugins: pluginsOf([serviceValue, layers.configs.get(pluginConfigId)?.value, value]),
    upstream: upstreamOf(route, layers) ?? (service && upstreamOf(service, layers)),
    layers: [`service/${serviceId}`, `plugin_config/${pluginConfigId}`],
  };
}

function pathOf(source: string, withParameters: boolean): Path {
  const { literal, exact } = literalOf(source, withParameters);
  const isPrefix = !exact && source.length === literal.length + 1 && source.endsWith("*");
  return { source, literal, exact, isPrefix, shape: withParameters ? source.replace(/([:*])[^/]*/g, "$1") : source };
}

/** Later layers win; what a layer turns off is off. */
function pluginsOf(layers: readonly (Members | undefined)[]): ReadonlyMap<string, Members> {
  const plugins = new Map<string, Members>();
  for (const layer of layers) {
    for (const name of Object.keys(ownMembers(layer, "plugins"))) {
      plugins.set(name, ownMembers(ownMembers(layer, "plugins"), name));
    }
  }
  for (const [name, conf] of plugins) if (metaOf(conf)["disable"] === true) plugins.delete(name);
  return plugins;
}

function upstreamOf({ upstreamId, upstream }: RouteRecord | ServiceRecord, layers: Layers): PreviewRoute["upstream"] {
  return upstreamId === undefined ? upstream : (layers.upstreams.get(upstreamId)?.value ?? "missing");
}

function texts(value: Members | undefined, one: string, many: string): readonly string[] {
  const single = own(value, one);
  if (typeof single === "string") return [single];
  const list = own(value, many);
  return Array.isArray(list) ? list.filter((item) => typeof item === "string") : [];
}

function orAny(hosts: readonly string[]): readonly string[] {
  return hosts.length === 0 ? ANY : hosts;
}

const ANY: readonly string[] = Object.freeze([""]);
const NO_METHODS: ReadonlySet<string> = new Set();
