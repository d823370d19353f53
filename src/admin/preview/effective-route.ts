/**
 * What a route amounts to once its service and plugin config are laid under it: for warnings, not for serving.
 * Promise: reads as the gateway does (runtime/routes/route-record.ts, runtime/routes/routes.ts), from records as they are.
 */

import { metaOf } from "../../runtime/plugins/plugin-registry.ts";
import { normaliseHosts } from "../../runtime/routes/host-sets.ts";
import type { RouterMode } from "../../runtime/routes/router.ts";
import { literalOf } from "../../runtime/routes/uri-pattern.ts";
import { type Members, own, ownMembers } from "../read/stored-record.ts";
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

export interface EffectiveRoute {
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
export async function readRoutes(view: ConfigView, mode: RouterMode): Promise<ReadonlyMap<string, EffectiveRoute>> {
  const [routes, services, configs, upstreams] = await Promise.all([
    view.all("route"),
    view.all("service"),
    view.all("plugin_config"),
    view.all("upstream"),
  ]);
  const layers: Layers = { services, configs, upstreams, withParameters: mode === "radixtree_uri_with_parameter" };
  return new Map([...routes].map(([id, record]) => [id, effectiveRoute(record, layers)]));
}

interface Layers {
  readonly services: ReadonlyMap<string, ViewedRecord>;
  readonly configs: ReadonlyMap<string, ViewedRecord>;
  readonly upstreams: ReadonlyMap<string, ViewedRecord>;
  readonly withParameters: boolean;
}

function effectiveRoute({ id, value, order }: ViewedRecord, layers: Layers): EffectiveRoute {
  const service = layers.services.get(String(own(value, "service_id")))?.value;
  const config = layers.configs.get(String(own(value, "plugin_config_id")))?.value;
  const hosts = normaliseHosts(texts(value, "host", "hosts"));
  const vars = own(value, "vars");
  const priority = own(value, "priority");
  return {
    id,
    order,
    priority: typeof priority === "number" ? priority : 0,
    isEnabled: own(value, "status") !== 0,
    hosts: orAny(hosts.length > 0 ? hosts : normaliseHosts(texts(service, "host", "hosts"))),
    paths: texts(value, "uri", "uris").map((uri) => pathOf(uri, layers.withParameters)),
    methods: new Set(texts(value, "", "methods")),
    addresses: texts(value, "remote_addr", "remote_addrs"),
    vars: Array.isArray(vars) && vars.length > 0 ? JSON.stringify(vars) : "",
    plugins: pluginsOf([service, config, value]),
    upstream: upstreamOf(value, layers) ?? (service && upstreamOf(service, layers)),
    layers: ["service", "plugin_config"].map((kind) => `${kind}/${own(value, `${kind}_id`)}`),
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

function upstreamOf(value: Members, layers: Layers): EffectiveRoute["upstream"] {
  const id = own(value, "upstream_id");
  if (id !== undefined && id !== null) return layers.upstreams.get(String(id))?.value ?? "missing";
  return own(value, "upstream") === undefined ? undefined : ownMembers(value, "upstream");
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
