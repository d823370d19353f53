/**
 * What a record from the store must satisfy beyond its schema before the data plane takes it.
 * Tolerant where real APISIX nodes may have written something we do not know; strict where taking it would be wrong.
 */
import type { RecordKey } from "../model/keys.ts";
import { KINDS, type KindName, tolerantValidator } from "../model/kinds.ts";
import type { StoredValue } from "../model/record.ts";
import { nextTurn } from "../store/turns.ts";
import { credentialError } from "./consumers/consumers.ts";
import type { PluginRegistry } from "./plugins/plugin-registry.ts";
import { routeError, serviceError } from "./routes/route-record.ts";

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

/** Kinds that mean nothing here, and secrets, whose schema depends on their manager. */
const UNCOMPILED: ReadonlySet<KindName> = new Set(["secret", "proto", "stream_route"]);

/**
 * Compiles how records are checked, each kind in a turn of its own. The first record of a kind would otherwise hold up
 * requests for as long as its schema takes, up to tens of milliseconds.
 */
export async function compileChecks(): Promise<void> {
  for (const kind of Object.values(KINDS)) {
    if (UNCOMPILED.has(kind.name)) continue;
    tolerantValidator(kind, "").check({});
    await nextTurn();
  }
}
