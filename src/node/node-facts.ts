/**
 * What the status listener tells of a node, read from its planes at the moment somebody asks.
 */
import type { Clock } from "../base/clock.ts";
import { NodeKeyCheck } from "../cluster/node-key.ts";
import { readExplainQuery } from "../model/explain-query.ts";
import { parseKey } from "../model/keys.ts";
import type { Address } from "../settings/setting-kinds.ts";
import type { Settings } from "../settings/settings.ts";
import type { Role } from "../settings/settings-check.ts";
import type { OperatorSource } from "../status/operator-routes.ts";
import type { ConfigStatus, ListenerInfo, NodeSource, RecordProblem, WorkerInfo } from "../status/status-facts.ts";
import type { Store } from "../store/store.ts";
import type { IssuerStatus } from "../token/issuer-facts.ts";
import type { ModifyIndexes } from "./control-facts.ts";
import { keyringOf } from "./node-parts.ts";
import type { DataPlane } from "./planes/data-plane.ts";
import type { Serving } from "./serving.ts";

interface FactsInput {
  readonly id: string;
  readonly role: Role;
  readonly version: string;
  readonly settings: Settings;
  readonly store: "etcd" | "embedded" | "file";
  readonly clock: Clock;
  readonly listeners: () => readonly ListenerInfo[];
  readonly workers: () => readonly WorkerInfo[];
  readonly draining: () => boolean;
  readonly config: () => ConfigStatus;
  readonly modifyIndexes: () => ModifyIndexes;
  readonly issuers: () => readonly IssuerStatus[];
  readonly waitApplied: (revision: bigint, waitMs: number) => Promise<boolean>;
}

export function nodeFacts(input: FactsInput): NodeSource {
  const { id, role, version, settings, store, clock, ...live } = input;
  const { maxStaleMs } = settings;
  const { readyProblems } = settings.status;
  const apisixVersion = apisixVersionOf(settings.serverHeader) ?? version;
  return {
    ...{ id, role, version, apisixVersion, store, startedAtMs: clock.nowMs(), maxStaleMs, readyProblems },
    ...live,
  };
}

/** Facts of the configuration that a data plane serves. */
export function configOfPlane(plane: DataPlane, prefix: string): ConfigStatus {
  const facts = plane.watcher.facts();
  const problems = plane
    .problems()
    .map((problem): RecordProblem => ({ ...problem, kind: parseKey(prefix, problem.key)?.kind ?? "unknown" }));
  const { loaded, connected, fresh, stalenessSeconds, appliedRevision, storeHeadRevision, reachable, problem } = facts;
  return {
    ...{ loaded, connected, fresh, stalenessSeconds, appliedRevision, storeHeadRevision, reachable, problem },
    records: facts.records,
    epochs: facts.epochs,
    lists: facts.lists,
    auditDifferences: facts.auditDifferences,
    beat: facts.beat,
    changedAtMs: plane.changedAtMs(),
    hash: plane.table.hash(),
    problems,
    copy: plane.copy(),
  };
}

/** Before anything was read. */
export const STARTING: ConfigStatus = Object.freeze({
  loaded: false,
  connected: false,
  fresh: false,
  stalenessSeconds: 0,
  appliedRevision: 0n,
  storeHeadRevision: 0n,
  reachable: false,
  problem: undefined,
  records: 0,
  epochs: {},
  lists: {},
  auditDifferences: 0,
  beat: undefined,
  changedAtMs: undefined,
  hash: "",
  problems: [],
});

/** How an admin node, which holds no configuration, sees the store. */
export interface StoreProbe {
  config(): ConfigStatus;
  stop(): void;
}

const PROBE_EVERY_MS = 2_000;

/** Reads one key now and then, so that readiness and metrics of an admin node say whether its store answers. */
export function startStoreProbe(store: Store, key: string, clock: Clock): StoreProbe {
  let head = 0n;
  let reachable = false;
  let answeredMs = clock.monotonicMs();
  let problem: ConfigStatus["problem"];
  let busy = false;
  const probe = async (): Promise<void> => {
    if (busy) return;
    busy = true;
    try {
      head = (await store.get(key)).revision;
      reachable = true;
      problem = undefined;
      answeredMs = clock.monotonicMs();
    } catch (error) {
      reachable = false;
      problem ??= {
        code: "store-unreachable",
        text: error instanceof Error ? error.message : String(error),
        sinceMs: clock.nowMs(),
      };
    } finally {
      busy = false;
    }
  };
  void probe();
  const timer = clock.every(PROBE_EVERY_MS, () => void probe());
  return {
    config: () => ({
      ...STARTING,
      loaded: reachable,
      connected: reachable,
      fresh: reachable,
      stalenessSeconds: (clock.monotonicMs() - answeredMs) / 1_000,
      appliedRevision: head,
      storeHeadRevision: head,
      reachable,
      problem,
    }),
    stop: () => timer.cancel(),
  };
}

export function listenerFacts(name: string, address: { host: string; port: number }, tls = false): ListenerInfo {
  return { name, address: address as Address, tls };
}

/** `APISIX/3.11.0`, and whatever follows. */
function apisixVersionOf(serverHeader: string | undefined): string | undefined {
  return /^APISIX\/(\S+)/i.exec(serverHeader ?? "")?.[1];
}

/**
 * What a node answers to admins that show their key: explanations and its last refusals.
 */
interface OperatorInput {
  readonly id: string;
  readonly store: Store;
  readonly settings: Settings;
  readonly clock: Clock;
  readonly serving: () => Serving | undefined;
}

export function operatorFacts({ id, store, settings, clock, serving }: OperatorInput): OperatorSource {
  const keys = new NodeKeyCheck({ store, prefix: settings.prefix, keyring: keyringOf(settings), clock });
  return {
    admits: (key) => keys.admits(key),
    refusals: async (query) => (await serving()?.refusals(query)) ?? [],
    async explain(body) {
      const query = readExplainQuery(body);
      if (typeof query === "string") return query;
      const shown = await serving()?.explain(query);
      if (shown === undefined) return "explain: this node does not serve yet: ask again";
      return typeof shown === "string" ? `explain: ${shown.replace(/^explain: /, "")}` : { ...shown, node: id };
    },
  };
}
