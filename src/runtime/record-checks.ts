/**
 * What a record from the store must satisfy beyond its schema before the data plane takes it.
 * Tolerant where real APISIX nodes may have written something we do not know; strict where taking it would be wrong.
 */
import type { RecordKey } from "../model/keys.ts";
import { KINDS } from "../model/kinds.ts";
import type { StoredValue } from "../model/record.ts";
import { credentialError } from "./consumers.ts";
import type { PluginRegistry } from "./plugin-registry.ts";
import { routeError, serviceError } from "./route-record.ts";

/** @returns why the record is refused */
export function recordError(key: RecordKey, value: StoredValue, registry: PluginRegistry): string | undefined {
  const side = KINDS[key.kind].pluginSide;
  const error = side && registry.checkAll(value["plugins"], side, "read");
  if (error !== undefined) return error;
  switch (key.kind) {
    case "route":
      return routeError(value);
    case "service":
      return serviceError(value);
    case "credential":
      return credentialError(value, registry);
    case "plugin_metadata":
      return registry.get(key.id) && registry.check(key.id, withoutId(value), "metadata");
    default:
      return undefined;
  }
}

/** Metadata as plugins know it: `id` is ours. */
export function withoutId(value: StoredValue): StoredValue {
  const { id: _, ...rest } = value;
  return rest;
}
