/**
 * The side of a node that serves traffic, as the rest of the node sees it: in this process, or in workers.
 * The only place where the number of processes is decided.
 */
import { availableParallelism } from "node:os";
import type { RecentRefusal, RefusalQuery } from "../gateway/log/refusals.ts";
import type { ExplainQuery } from "../model/explain-query.ts";
import type { Address } from "../settings/setting-kinds.ts";
import type { Settings } from "../settings/settings.ts";
import type { HealthReport } from "../status/control-server.ts";
import type { ConfigStatus, WorkerInfo } from "../status/status-facts.ts";
import type { TableRecord } from "../sync/table.ts";
import type { IssuerStatus } from "../token/issuer-facts.ts";
import type { ModifyIndexes } from "./control-facts.ts";
import { configOfPlane } from "./node-facts.ts";
import { type DataPlaneOptions, openDataPlane } from "./planes/data-plane.ts";
import type { Membership } from "./store-follower.ts";
import { serveByWorkers } from "./workers/serve-by-workers.ts";

export interface Serving {
  readonly plain: Address | undefined;
  readonly tls: Address | undefined;
  config(): ConfigStatus;
  /** Empty where the node is one process. */
  workers(): readonly WorkerInfo[];
  /** Resolves true once `revision` is applied by every worker, false after `waitMs`. */
  waitApplied(revision: bigint, waitMs: number): Promise<boolean>;
  health(): Promise<readonly HealthReport[]>;
  /** The calls refused last, newest first; of several workers all. */
  refusals(query: RefusalQuery): Promise<readonly RecentRefusal[]>;
  /** What it would do with a request; text: what is wrong with the question. */
  explain(query: ExplainQuery): Promise<Readonly<Record<string, unknown>> | string>;
  /** The records that serve, by store key: of those whose newest value was refused the last good one. */
  entries(): Iterable<[string, TableRecord]>;
  modifyIndexes(): ModifyIndexes;
  /** Issuers of tokens and the keys of each. */
  issuers(): readonly IssuerStatus[];
  /** All metrics of the node, in Prometheus' text format, in pieces. */
  metrics(): Promise<readonly Buffer[]>;
  /** From now on answers ask clients to connect anew; new connections are still served. */
  beginDrain(): void;
  /** Registers the node; see `Follower.join`. */
  join(): Promise<void>;
  /** Leaves the registry, stops accepting, finishes what runs within `drainMs`. */
  close(drainMs: number): Promise<void>;
  /**
   * Serves by these settings from now on; workers are replaced one after another.
   * @throws what keeps them from it; all is as before then
   */
  reload(settings: Settings): Promise<void>;
}

export interface ServingOptions extends DataPlaneOptions {
  readonly membership: Membership;
  readonly version: string;
}

/** Resolves when the gateway accepts connections. @throws the system's error when an address is taken */
export function openServing(options: ServingOptions): Promise<Serving> {
  const count = countWorkers(options);
  return count === 1 ? serveHere(options) : serveByWorkers(options, count);
}

function countWorkers({ settings: { workers }, source }: ServingOptions): number {
  if (workers !== "auto") return workers;
  return source.kind === "etcd" ? availableParallelism() : 1;
}

async function serveHere(options: ServingOptions): Promise<Serving> {
  const plane = await openDataPlane(options);
  return {
    plain: plane.server.address,
    tls: plane.server.tlsAddress,
    config: () => configOfPlane(plane, options.settings.prefix),
    workers: () => [],
    waitApplied: (revision, waitMs) => plane.watcher.waitFor(revision, waitMs),
    health: async () => plane.upstreams.healthStatus(),
    refusals: async (query) => plane.server.refusals.find(query),
    explain: (query) => plane.explain(query),
    entries: () => plane.table.served(),
    modifyIndexes: () => plane.modifyIndexes(),
    issuers: () => plane.issuers(),
    metrics: options.metrics.chunks,
    join: plane.join,
    beginDrain: () => plane.server.beginDrain(),
    async close(drainMs) {
      await plane.stopAccepting(true);
      await plane.close(drainMs);
    },
    reload: async (settings) => plane.configure(settings),
  };
}
