import { NO_PLUGINS, type PluginSet } from "../plugins/plugin-unit.ts";
import { NO_UPSTREAM } from "../upstream/upstream-slot.ts";
import type { MaterialisedRoute } from "./route-entry.ts";
import { RouteUnit, type UpstreamSource } from "./route-unit.ts";
import type { RoutesInput, ServiceEntry } from "./routes.ts";
export function compileRoute(
  id: string,
  content: MaterialisedRoute,
  services: ReadonlyMap<string, ServiceEntry>,
  pluginConfigs: ReadonlyMap<string, PluginSet>,
  input: RoutesInput,
): RouteUnit {
  const { record } = content;
  const service = record.serviceId === undefined ? undefined : services.get(record.serviceId);
  const config = record.pluginConfigId === undefined ? undefined : pluginConfigs.get(record.pluginConfigId);
  const isServiceMissing = record.serviceId !== undefined && !service;
  const isConfigMissing = record.pluginConfigId !== undefined && !config;
  return new RouteUnit({
    facts: Object.freeze({
      id,
      name: record.name,
      serviceId: record.serviceId ?? "",
      serviceName: service?.record.name ?? "",
      matchedUri: record.uris[0] ?? "",
      matchedHost: (record.hosts[0] ?? service?.record.hosts[0] ?? "").toLowerCase(),
    }),
    timeouts: record.timeouts,
    websocket: record.websocket ?? service?.record.websocket ?? false,
    broken: isConfigMissing ? 503 : isServiceMissing ? 404 : undefined,
    layers: [service?.plugins ?? NO_PLUGINS, config ?? NO_PLUGINS, content.plugins],
    upstream: upstreamOf(content, service, input),
  });
}

/** The route's id or inline upstream, else the service's; in each an id goes before an inline upstream. */
function upstreamOf(content: MaterialisedRoute, service: ServiceEntry | undefined, input: RoutesInput): UpstreamSource {
  for (const one of service ? [content, service] : [content]) {
    const { upstreamId } = one.record;
    if (upstreamId !== undefined) return { choose: () => input.upstreamById(upstreamId) };
    if (one.inline) return one.inline;
  }
  return NOWHERE;
}

const NOWHERE: UpstreamSource = Object.freeze({ choose: () => NO_UPSTREAM });
