/**
 * One simulated node: the real watcher, table, live configuration, router and registration, and beside them the tiny model
 * that says what they must show.
 */
import type { Clock } from "../../src/base/clock.ts";
import { readFingerprint } from "../../src/base/jose/token.ts";
import { silentLog } from "../../src/base/log.ts";
import { openMetrics } from "../../src/base/metrics.ts";
import { Registration } from "../../src/cluster/registry.ts";
import { parseKey } from "../../src/model/keys.ts";
import {
  decodeBatch,
  encodeBatch,
  encodeRule,
  hourDir,
  hourOf,
  parseRevocationKey,
  rulesDir,
  tokensIn,
} from "../../src/model/revocation.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { mocking } from "../../src/plugins/mocking.ts";
import { openLive } from "../../src/runtime/live.ts";
import type { LiveConfiguration } from "../../src/runtime/live-configuration.ts";
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

/** Nothing of a simulation lives as long as this. */
const ENDS = 2_000_000_000;
export const TOKENS = 16;
export const CONSUMERS = 4;
const RULE_FROM = 1_000;
export const BATCHES = hourDir(PREFIX, hourOf(ENDS));

function fingerprintAt(n: number) {
  return readFingerprint(Buffer.alloc(16, n + 1), 0);
}

/** A batch that ends some of the tokens. Batches are never changed, only merged and deleted. */
export function batchOf(name: string, tokens: readonly number[]): { readonly key: string; readonly value: Buffer } {
  const value = encodeBatch(
    tokens.map((n) => ({ fingerprint: fingerprintAt(n), until: ENDS })),
    0,
  );
  return { key: `${BATCHES}${name}-${tokens.length}`, value };
}

/** A rule that ends what was issued to one consumer before a second. */
export function ruleOf(consumer: number): { readonly key: string; readonly value: Buffer } {
  const rule = { type: "consumer", value: `c${consumer}`, issuedBefore: RULE_FROM, until: ENDS, writtenMs: 0 } as const;
  return { key: `${rulesDir(PREFIX)}c${consumer}`, value: encodeRule(rule) };
}

/** What the model knows of ended tokens: single ones for good, rules as long as their record is there. */
interface Ended {
  readonly tokens: Set<number>;
  readonly rules: Set<number>;
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
  /** Tokens of which the records say that they are ended. */
  readonly ended: ReadonlySet<number>;
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
  const ended: Ended = { tokens: new Set(), rules: new Set() };
  const modelRevocation = (key: string, value: Buffer | undefined): void => {
    const parsed = parseRevocationKey(PREFIX, key);
    if (parsed?.kind === "rule") {
      if (value === undefined) ended.rules.delete(Number(parsed.name.slice(1)));
      else ended.rules.add(Number(parsed.name.slice(1)));
    } else if (parsed && value) for (const n of tokensOf(value)) ended.tokens.add(n);
  };
  const model = (batch: RecordBatch): void => {
    for (const { key, kv } of batch.changes) {
      modelRevocation(key, kv?.value);
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
    accepts: (key) => (parseKey(PREFIX, key) ?? parseRevocationKey(PREFIX, key)) !== undefined,
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
      const said = records.flatMap(({ key, record }) =>
        parseRevocationKey(PREFIX, key)?.kind === "batch" ? tokensOf(record.value) : [],
      );
      return { position, records, served: new Map(good), ended: new Set(said) };
    },
    check() {
      for (let i = 0; i < 8; i++) {
        const id = `r${i}`;
        const met = live.match(makeView({ target: `/${id}` }))?.facts;
        const want = good.get(id);
        if (met?.name !== want) return `/${id} meets ${met?.name}, not ${want}`;
      }
      const wrong = endedWrongly(live, ended);
      if (wrong !== undefined) return wrong;
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
      await states.close();
    },
  };
  if (saved) {
    await table.restore(saved.records, saved.position.applied);
    for (const id of new Set([...saved.served.keys(), ...good.keys()]))
      if (saved.served.get(id) !== good.get(id))
        node.wrong ??= `${id} was served of ${saved.served.get(id)}, after a restart of ${good.get(id)}`;
    const lost = [...saved.ended].filter((n) => !ended.tokens.has(n));
    if (lost.length > 0) node.wrong ??= `tokens ${lost} were ended, and are not after a restart`;
  }
  watcher.start();
  void registration.start();
  return node;
}

/** What is wrong with a table that claims to be at `revision`. */
export function compare(table: Table, etcd: SimEtcd, revision: Revision): string | undefined {
  const want = new Map<string, KeyValue>();
  for (const kv of etcd.list({ start: `${PREFIX}/`, end: `${PREFIX}0` }, revision))
    if (parseKey(PREFIX, kv.key) ?? parseRevocationKey(PREFIX, kv.key)) want.set(kv.key, kv);
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

export function tokensOf(value: Buffer): readonly number[] {
  const batch = decodeBatch(value);
  return typeof batch === "string" ? [] : tokensIn(batch).map(({ fingerprint }) => (fingerprint.a & 0xff) - 1);
}

/** Asks for every token, and for every consumer on both sides of a rule's second. */
function endedWrongly({ env }: LiveConfiguration, { tokens, rules }: Ended): string | undefined {
  const { revocations } = env;
  const ask = (consumer: string | undefined, issuedAt: number, n: number | undefined): boolean => {
    const token = {
      ...{ consumer, client: undefined, issuer: undefined, subject: undefined, keyId: undefined, id: undefined },
      ...{ issuedAt, expires: ENDS, checked: 0, fingerprint: undefined },
    };
    return revocations.find(token, n === undefined ? undefined : fingerprintAt(n)) !== undefined;
  };
  for (let n = 0; n < TOKENS; n++)
    if (ask(undefined, 0, n) !== tokens.has(n)) return `token ${n} is ${tokens.has(n) ? "good again" : "ended"}`;
  for (let n = 0; n < CONSUMERS; n++) {
    if (ask(`c${n}`, RULE_FROM - 1, undefined) !== rules.has(n)) return `the rule on c${n} counts: ${!rules.has(n)}`;
    if (ask(`c${n}`, RULE_FROM, undefined)) return `the rule on c${n} refuses what is not older`;
  }
  return undefined;
}
