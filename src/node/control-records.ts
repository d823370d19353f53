/**
 * Records as a node runs them, for the Control API: opened, with every default filled in, nodes as a list; secrets masked.
 * A record that cannot be read is not run, and not shown.
 */
import type { PluginCatalog } from "../admin/plugin-catalog.ts";
import { masked } from "../admin/read/masking.ts";
import { withDefaults } from "../base/schema/schema-defaults.ts";
import type { RecordKey } from "../model/keys.ts";
import { KINDS } from "../model/kinds.ts";
import { readRecord, type StoredValue } from "../model/record.ts";
import { readScheme, readTargets } from "../runtime/upstream/target-list.ts";
import type { UpstreamRecord } from "../runtime/upstream/upstream-record.ts";

type Open = (key: RecordKey, value: StoredValue) => StoredValue;

/** @returns undefined for what the node could not read */
export function runningRecord(
  catalog: PluginCatalog,
  open: Open,
  key: RecordKey,
  text: string,
): StoredValue | undefined {
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

function isMembers(value: unknown): value is StoredValue {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
