/**
 * What the control listener tells of a node, in the words of APISIX's Control API. Secrets are masked.
 */
import { hostname } from "node:os";
import { catalogOf } from "../admin/plugin-catalog.ts";
import type { Keyring } from "../base/keyring.ts";
import { parseKey } from "../model/keys.ts";
import { KINDS } from "../model/kinds.ts";
import { openFields } from "../runtime/field-opener.ts";
import type { PluginRegistry } from "../runtime/plugins/plugin-registry.ts";
import type { ControlRecord, ControlSource } from "../status/control-server.ts";
import { runningRecord } from "./control-records.ts";
import type { Serving } from "./serving.ts";

interface ControlInput {
  readonly id: string;
  readonly version: string;
  readonly registry: PluginRegistry;
  readonly prefix: string;
  readonly startedMs: number;
  readonly keyring: Keyring | undefined;
  readonly serving: () => Serving | undefined;
}

export function controlFacts(input: ControlInput): ControlSource {
  const { id, version, registry, prefix } = input;
  const catalog = catalogOf(registry, { compat: "default" });
  const open = openFields(input.keyring, registry, prefix);
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
    refusals: async (query) => (await input.serving()?.refusals(query)) ?? [],
    records(dir) {
      const found: ControlRecord[] = [];
      for (const [storeKey, record] of input.serving()?.entries() ?? []) {
        const key = parseKey(prefix, storeKey);
        if (!key || KINDS[key.kind].dir !== dir) continue;
        const value = runningRecord(catalog, open, key, record.value.toString("utf8"));
        if (!value) continue;
        found.push({
          key: storeKey,
          value,
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
    ...(plugin?.credential || plugin?.authenticates ? { type: "auth" } : {}),
  };
}
