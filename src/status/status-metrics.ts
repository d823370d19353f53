/**
 * The metrics that tell how a node itself is doing; the numbers are asked for at scrape time.
 * Promise: labels are words of this program, record kinds and the machine's name; their number is bounded.
 */
import { hostname } from "node:os";
import { collectDefaultMetrics } from "prom-client";
import type { Metrics, Sample } from "../base/metrics.ts";
import type { ConfigStatus, NodeSource, RecordProblem } from "./status-facts.ts";

/** Process metrics (memory, CPU, event loop, descriptors) of this process. */
export function collectProcessMetrics(metrics: Metrics): void {
  collectDefaultMetrics({ register: metrics.registry });
  // Gauges named as counters; the same is in the families without the suffix.
  for (const what of ["handles", "requests", "resources"]) {
    metrics.registry.removeSingleMetric(`nodejs_active_${what}_total`);
  }
}

/** Configuration and node metrics; in the primary process only. */
export function collectNodeMetrics(metrics: Metrics, facts: NodeSource): void {
  const gauge = (name: string, help: string, read: (config: ConfigStatus) => number | undefined): void =>
    metrics.gaugeOf(name, help, [], () => one(read(facts.config())));

  gauge("jotgate_config_applied_revision", "Store revision that every worker has applied.", (config) =>
    Number(config.appliedRevision),
  );
  gauge("jotgate_config_store_head_revision", "Newest revision the store was seen at.", (config) =>
    Number(config.storeHeadRevision),
  );
  gauge("jotgate_config_loaded", "1 when a configuration was loaded.", (config) => Number(config.loaded));
  gauge("jotgate_config_fresh", "1 when the configuration is proven to be what the store holds.", (config) =>
    Number(config.fresh),
  );
  gauge("jotgate_config_apply_ok", "0 while a change is known and cannot be applied.", ({ problem }) =>
    Number(problem?.code !== "apply-failed"),
  );
  if (facts.store === "file") {
    gauge(
      "jotgate_config_file_ok",
      "0 while the file is not as it should be, and the last good one serves.",
      ({ problem }) => Number(problem?.code !== "file-invalid"),
    );
  }
  gauge("jotgate_config_connected", "1 when the store was heard of within seconds.", (config) =>
    Number(config.connected),
  );
  gauge(
    "jotgate_config_staleness_seconds",
    "Seconds since what is applied was last shown to be what the store holds.",
    (config) => config.stalenessSeconds,
  );
  gauge("jotgate_config_records", "Records held.", (config) => config.records);
  gauge("jotgate_config_propagation_seconds", "From the writing of the last beat to its arrival here.", (config) =>
    config.beat ? (config.beat.receivedMs - config.beat.writtenMs) / 1_000 : undefined,
  );
  gauge("jotgate_etcd_reachable", "1 when the store answered last time.", (config) => Number(config.reachable));
  metrics.gaugeOf("jotgate_config_problems", "Records that cannot be used, by kind.", ["kind"], () =>
    countByKind(facts.config().problems),
  );
  metrics.counterOf("jotgate_config_watch_epochs_total", "Watches that ended, by reason.", ["end"], () =>
    samples(facts.config().epochs),
  );
  metrics.counterOf("jotgate_config_lists_total", "Complete lists read from the store, by reason.", ["why"], () =>
    samples(facts.config().lists),
  );
  metrics.counterOf(
    "jotgate_config_audit_differences_total",
    "Differences an audit found between the store and this node.",
    [],
    () => one(facts.config().auditDifferences),
  );
  gauge(
    "jotgate_last_known_good_ok",
    "1 when the last-known-good file could be read or written last time.",
    ({ copy }) => (copy ? Number(copy.problem === undefined) : undefined),
  );
  metrics.gaugeOf("jotgate_node_info", "1; the labels say what runs here.", ["version", "role", "store"], () => [
    { labels: [facts.version, facts.role, facts.store], value: 1 },
  ]);
  metrics.gaugeOf("jotgate_node_draining", "1 while the node stops.", [], () => one(Number(facts.draining())));
  metrics.gaugeOf("jotgate_node_start_time_seconds", "When the node started, in seconds since 1970.", [], () =>
    one(facts.startedAtMs / 1_000),
  );
  metrics.gaugeOf("jotgate_node_workers", "Worker processes, by state.", ["state"], () => countByState(facts));
  collectApisixMetrics(metrics, facts);
}

/** What dashboards made for APISIX look for. Source: docs/spec/plugins.md section 11. */
function collectApisixMetrics(metrics: Metrics, facts: NodeSource): void {
  metrics.gaugeOf("apisix_node_info", "Info of APISIX node", ["hostname", "version"], () => [
    { labels: [hostname(), facts.apisixVersion], value: 1 },
  ]);
  if (facts.store !== "etcd") return;
  metrics.gaugeOf("apisix_etcd_reachable", "Config server etcd reachable from APISIX, 0 is unreachable", [], () =>
    one(Number(facts.config().reachable)),
  );
  metrics.gaugeOf("apisix_etcd_modify_indexes", "Etcd modify index for APISIX keys", ["key"], () => {
    const indexes = facts.modifyIndexes();
    // A change can be applied before the workers have told of the store's head.
    const head = Math.max(Number(facts.config().storeHeadRevision), indexes["max_modify_index"] ?? 0);
    return samples({ ...indexes, x_etcd_index: head });
  });
}

function one(value: number | undefined): readonly Sample[] {
  return value === undefined ? [] : [{ labels: [], value }];
}

function samples(counts: Readonly<Record<string, number>>): readonly Sample[] {
  return Object.entries(counts).map(([label, value]) => ({ labels: [label], value }));
}

function countByKind(problems: readonly RecordProblem[]): readonly Sample[] {
  const counts: Record<string, number> = {};
  for (const { kind } of problems) counts[kind] = (counts[kind] ?? 0) + 1;
  return samples(counts);
}

function countByState(facts: NodeSource): readonly Sample[] {
  const counts: Record<string, number> = {};
  for (const { state } of facts.workers()) counts[state] = (counts[state] ?? 0) + 1;
  return samples(counts);
}
