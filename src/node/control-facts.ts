/**
 * What the control listener tells of a node, in the words of APISIX's Control API. Secrets are masked.
 */
import { hostname } from "node:os";
import { catalogOf } from "../admin/plugin-catalog.ts";
import { masked } from "../admin/read/masking.ts";
import { parseKey } from "../model/keys.ts";
import { KINDS } from "../model/kinds.ts";
import { readRecord } from "../model/record.ts";
import type { PluginRegistry } from "../runtime/plugins/plugin-registry.ts";
import type { ControlFacts, ControlRecord } from "../status/control-server.ts";
import type { Serving } from "./serving.ts";

export interface ControlInput {
  readonly id: string;
  readonly version: string;
  readonly registry: PluginRegistry;
  readonly prefix: string;
  readonly startedMs: number;
  readonly serving: () => Serving | undefined;
}

export function controlFacts(input: ControlInput): ControlFacts {
  const { id, version, registry, prefix } = input;
  const catalog = catalogOf(registry, { compat: "default" });
  return {
    serverInfo: () => ({
      id,
      version,
      hostname: hostname(),
      boot_time: Math.floor(input.startedMs / 1_000),
      etcd_version: "3",
    }),
    schemas: () => ({
      main: Object.fromEntries(Object.values(KINDS).map((kind) => [kind.name, kind.schema])),
      plugins: Object.fromEntries(registry.names.map((name) => [name, pluginSchemas(registry, name)])),
    }),
    health: async () => (await input.serving()?.health()) ?? [],
    records(dir) {
      const found: ControlRecord[] = [];
      for (const [storeKey, record] of input.serving()?.entries() ?? []) {
        const key = parseKey(prefix, storeKey);
        if (!key || KINDS[key.kind].dir !== dir) continue;
        const read = readRecord(key, record.value.toString("utf8"));
        if (!read.ok) continue;
        found.push({
          key: storeKey,
          value: masked(catalog, KINDS[key.kind], read.value),
          createdIndex: Number(record.createRevision),
          modifiedIndex: Number(record.modRevision),
        });
      }
      return found;
    },
  };
}

function pluginSchemas(registry: PluginRegistry, name: string): Record<string, unknown> {
  const plugin = registry.get(name);
  const consumerSchema = registry.schema(name, "consumer");
  const metadataSchema = registry.schema(name, "metadata");
  return {
    version: plugin?.version,
    priority: plugin?.priority,
    schema: registry.schema(name, "route"),
    ...(consumerSchema ? { consumer_schema: consumerSchema } : {}),
    ...(metadataSchema ? { metadata_schema: metadataSchema } : {}),
    ...(plugin?.credential ? { type: "auth" } : {}),
  };
}
