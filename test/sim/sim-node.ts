/**
 * One simulated node: the real watcher, table, live configuration, router and registration, and beside them the tiny model
 * that says what they must show.
 */
import type { Clock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openMetrics } from "../../src/base/metrics.ts";
import { Registration } from "../../src/cluster/registry.ts";
import { parseKey } from "../../src/model/keys.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { mocking } from "../../src/plugins/mocking.ts";
import { type LiveConfiguration, openLive } from "../../src/runtime/live.ts";
import { openPluginRegistry } from "../../src/runtime/plugins/plugin-registry.ts";
import { openStates } from "../../src/runtime/shared-states.ts";
import { openSecrets } from "../../src/secret/resolver.ts";
import type { KeyValue, Revision } from "../../src/store/store.ts";
import type { Position } from "../../src/sync/sync-status.ts";
import { type RecordBatch, type RestoredRecord, Table } from "../../src/sync/table.ts";
import { Watcher } from "../../src/sync/watcher.ts";
import { openBench } from "../runtime/upstream-fixture.ts";
import type { SimEtcd } from "./sim-etcd.ts";
import { Link, simSource } from "./sim-link.ts";

export const PREFIX = "/apisix";
const ROUTES = `${PREFIX}/routes/`;
const registry = openPluginRegistry([mocking]);
const metrics = openMetrics();
const bench = openBench();

/** The text of a route that says which write it comes from; a broken one cannot be taken. */
export function routeText(id: string, mark: string, broken: boolean): string {
  const uri = broken ? 7 : `/${id}`;
  return JSON.stringify({ uri, name: mark, plugins: { mocking: { response_example: "x" } } });
}

export interface SimNode {
  readonly link: Link;
  readonly watcher: Watcher;
  readonly table: Table;
  readonly live: LiveConfiguration;
  /** The first thing that was wrong. */
  wrong: string | undefined;
  /** What a file written now would hold. */
  copy(): SavedNode | undefined;
  /** Compares what requests meet with the model. */
  check(): string | undefined;
  stop(): Promise<void>;
}

export interface SavedNode {
  readonly position: Position;
  readonly records: readonly RestoredRecord[];
  /** Route id → the mark that was served. */
  readonly served: ReadonlyMap<string, string>;
}

export interface SimNodeOptions {
  readonly name: string;
  readonly etcd: SimEtcd;
  readonly clock: Clock;
  readonly random: () => number;
  readonly saved?: SavedNode | undefined;
}

export async function openSimNode(options: SimNodeOptions): Promise<SimNode> {
  const { etcd, clock, random, saved } = options;
  const link = new Link();
  const source = simSource(etcd, link, clock);
  const states = openStates(clock);
  const live = openLive({
    ...{ clock, log: silentLog, metrics, states, registry, upstreams: bench.upstreams },
    settings: {
      ...{ compat: "default", serverName: "sim", environment: {}, httpsPort: undefined, deniedAddresses: [] },
      tokenCache: { entries: 1_000, bytes: 1_000_000 },
      prometheus: { exportUri: "/metrics", buckets: [1], metrics: {} },
    },
    secrets: openSecrets({ environment: {}, clock, log: silentLog, metrics: openMetrics() }),
  });
  /** Route id → the mark that is served. */
  const good = new Map<string, string>();
  const refused = new Set<string>();
  const model = (batch: RecordBatch): void => {
    for (const { key, kv } of batch.changes) {
      if (!key.startsWith(ROUTES)) continue;
      const id = key.slice(ROUTES.length);
      if (!kv) {
        good.delete(id);
        refused.delete(id);
        continue;
      }
      const { uri, name } = JSON.parse(kv.value.toString("utf8")) as { uri: unknown; name: string };
      if (typeof uri === "string") {
        good.set(id, name);
        refused.delete(id);
      } else refused.add(id);
    }
  };
  const table = new Table({
    clock,
    accepts: (key) => parseKey(PREFIX, key) !== undefined,
    consumer: {
      apply(batch, taken) {
        model(batch);
        return live.apply(batch, taken);
      },
    },
  });
  table.subscribe(() => {
    node.wrong ??= node.check();
  });
  let last: Revision = 0n;
  let lists = 0;
  const watcher = new Watcher({
    ...{ source, table, clock, random, log: silentLog, prefix: PREFIX },
    restored: saved && { ...saved.position, savedAtMs: clock.nowMs() },
    onApplied(revision) {
      const listed = Object.values(watcher.facts().lists).reduce((sum, count) => sum + count, 0);
      if (revision <= last && listed === lists) node.wrong ??= `revision ${revision} is applied after ${last}`;
      last = revision;
      lists = listed;
      node.wrong ??= compare(table, etcd, revision);
    },
  });
  const registrationStore = source.open();
  const registration = new Registration({
    ...{ store: registrationStore, prefix: PREFIX, id: options.name, clock, random, log: silentLog },
    report: () => ({
      ...{ version: "sim", address: "", startedMs: 0, workers: 1, stalenessSeconds: 0, problems: 0 },
      applied: String(watcher.facts().appliedRevision),
      hash: table.hash(),
    }),
  });
  const node: SimNode = {
    ...{ link, watcher, table, live, wrong: undefined },
    copy() {
      const position = watcher.position();
      if (!position) return undefined;
      const records = [...table.entries()].map(([key, record]) => ({ key, record, lastGood: table.lastGood(key) }));
      return { position, records, served: new Map(good) };
    },
    check() {
      for (let i = 0; i < 8; i++) {
        const id = `r${i}`;
        const met = live.match(makeView({ target: `/${id}` }))?.facts;
        const want = good.get(id);
        if (met?.name !== want) return `/${id} meets ${met?.name}, not ${want}`;
      }
      const problems = new Set(live.problems().map(({ key }) => key.slice(ROUTES.length)));
      const missing = [...refused].filter((id) => !problems.has(id));
      const more = [...problems].filter((id) => !refused.has(id));
      if (missing.length + more.length > 0) return `problems: missing ${missing}, too many ${more}`;
      return undefined;
    },
    async stop() {
      await registration.stop();
      await watcher.stop();
      await registrationStore.close();
      live.close();
      states.close();
    },
  };
  if (saved) {
    await table.restore(saved.records, saved.position.applied);
    for (const id of new Set([...saved.served.keys(), ...good.keys()]))
      if (saved.served.get(id) !== good.get(id))
        node.wrong ??= `${id} was served of ${saved.served.get(id)}, after a restart of ${good.get(id)}`;
  }
  watcher.start();
  void registration.start();
  return node;
}

/** What is wrong with a table that claims to be at `revision`. */
export function compare(table: Table, etcd: SimEtcd, revision: Revision): string | undefined {
  const want = new Map<string, KeyValue>();
  for (const kv of etcd.list({ start: `${PREFIX}/`, end: `${PREFIX}0` }, revision))
    if (parseKey(PREFIX, kv.key)) want.set(kv.key, kv);
  for (const [key, record] of table.entries()) {
    const kv = want.get(key);
    if (!kv) return `${key} is held at revision ${revision}, but not in the store`;
    if (kv.modRevision !== record.modRevision || !kv.value.equals(record.value))
      return `${key} is held of revision ${record.modRevision}, at ${revision} the store has ${kv.modRevision}`;
    want.delete(key);
  }
  const [missed] = want.keys();
  return missed === undefined ? undefined : `${missed} is missing at revision ${revision}`;
}
