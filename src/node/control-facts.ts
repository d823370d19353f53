/**
 * What the control listener tells of a node, in the words of APISIX's Control API. Secrets are masked.
 */
import { hostname } from "node:os";
import { catalogOf, type PluginCatalog } from "../admin/plugin-catalog.ts";
import { masked } from "../admin/read/masking.ts";
import { isMembers } from "../base/json/members.ts";
import type { Keyring } from "../base/keyring.ts";
import { withDefaults } from "../base/schema/schema-defaults.ts";
import { parseKey, type RecordKey } from "../model/keys.ts";
import { KINDS } from "../model/kinds.ts";
import { readRecord, type StoredValue } from "../model/record.ts";
import { openFields } from "../runtime/field-opener.ts";
import type { PluginRegistry } from "../runtime/plugins/plugin-registry.ts";
import { readScheme, readTargets } from "../runtime/upstream/target-list.ts";
import type { UpstreamRecord } from "../runtime/upstream/upstream-record.ts";
import type { ControlRecord, ControlSource } from "../status/control-server.ts";
import type { Table } from "../sync/table.ts";
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

/**
 * Records as a node runs them, for the Control API: opened, with every default filled in, nodes as a list; secrets masked.
 * A record that cannot be read is not run, and not shown.
 */

type Open = (key: RecordKey, value: StoredValue) => StoredValue;

/** @returns undefined for what the node could not read */
function runningRecord(catalog: PluginCatalog, open: Open, key: RecordKey, text: string): StoredValue | undefined {
  try {
    const read = readRecord(key, text);
    if (!read.ok) return undefined;
    const kind = KINDS[key.kind];
    const filled = withDefaults<StoredValue>(kind.schema, open(key, read.value));
    const whole = key.kind === "upstream" ? withNodes(filled) : withParts(catalog, filled);
    return masked(catalog, kind, whole);
  } catch {
    return undefined; // what no key opens, and nodes that name no address, are problems of the record
  }
}

function withParts(catalog: PluginCatalog, value: StoredValue): StoredValue {
  const { plugins, upstream } = value;
  return {
    ...value,
    ...(isMembers(plugins) && {
      plugins: Object.fromEntries(
        Object.entries(plugins).map(([name, conf]) => {
          const schema = catalog.get(name)?.schema;
          return [name, schema ? withDefaults(schema, conf) : conf];
        }),
      ),
    }),
    ...(isMembers(upstream) && { upstream: withNodes(upstream) }),
  };
}

/** A map of nodes as the list that is balanced over. */
function withNodes(upstream: StoredValue): StoredValue {
  const { nodes, scheme } = upstream as Pick<UpstreamRecord, "nodes" | "scheme">; // checked against the kind's schema
  if (nodes === undefined || Array.isArray(nodes) || !isHttp(scheme)) return upstream;
  const list = readTargets(nodes, readScheme(scheme)).map(({ host, port, weight }) => ({ host, port, weight }));
  return { ...upstream, nodes: list };
}

function isHttp(scheme: string | undefined): boolean {
  return scheme === undefined || /^(?:http|grpc)s?$/.test(scheme);
}

/**
 * The newest revision at which a record of each kind was written or deleted, as dashboards made for APISIX ask for it.
 * Cost: one look at each changed key; nothing at scrape time. A deletion from before the start is not known.
 */

/** By what APISIX calls it; a kind without a record is 0. */
export type ModifyIndexes = Readonly<Record<string, number>>;

/** Directories that APISIX shows; credentials are in that of consumers. */
const SHOWN = [
  "routes",
  "services",
  "ssls",
  "consumers",
  "global_rules",
  "upstreams",
  "stream_routes",
  "protos",
] as const;

/** Call it before the table is filled. */
export function trackModifyIndexes(table: Table, prefix: string): () => ModifyIndexes {
  const newest: Record<string, number> = Object.fromEntries(SHOWN.map((dir) => [dir, 0]));
  let previousGlobal = 0; // what `global_rules` was before its last change
  table.subscribe(({ revision, changes }) => {
    for (const { key, kv } of changes) {
      const parsed = parseKey(prefix, key);
      if (!parsed) continue;
      const dir = parsed.kind === "credential" ? KINDS.consumer.dir : KINDS[parsed.kind].dir;
      const known = newest[dir];
      const at = Number(kv?.modRevision ?? revision);
      if (known === undefined || at <= known) continue;
      if (dir === "global_rules") previousGlobal = known;
      newest[dir] = at;
    }
  });
  return () => ({ ...newest, prev_index: previousGlobal, max_modify_index: Math.max(...Object.values(newest)) });
}
