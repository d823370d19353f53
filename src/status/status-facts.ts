/**
 * What the status and control listeners want to know of a node. The composition root answers; nothing here knows how.
 * Every method reads the present moment and is cheap.
 */

import type { Address } from "../settings/setting-kinds.ts";
import type { IssuerStatus } from "../token/issuer-facts.ts";

/** A record that could not be used; its last good version goes on serving. */
export interface RecordProblem {
  readonly key: string;
  readonly kind: string;
  readonly revision: bigint;
  /** Why, without any secret. */
  readonly reason: string;
  /** Requests in its scope are answered 503 because of it. */
  readonly blocks: boolean;
}

/** How far the configuration of this node is. Of several workers: the one that is furthest behind. */
export interface ConfigStatus {
  /** A list or the last-known-good file was applied; what readiness depends on. */
  readonly loaded: boolean;
  /** The store was heard of within seconds. */
  readonly connected: boolean;
  /** Proven to be what the store holds. */
  readonly fresh: boolean;
  readonly stalenessSeconds: number;
  readonly appliedRevision: bigint;
  readonly storeHeadRevision: bigint;
  /** The last attempt to reach the store succeeded. */
  readonly reachable: boolean;
  /** What is wrong with the store, if anything. */
  readonly problem: { readonly code: string; readonly text: string; readonly sinceMs: number } | undefined;
  readonly records: number;
  readonly epochs: Readonly<Record<string, number>>;
  readonly lists: Readonly<Record<string, number>>;
  readonly auditDifferences: number;
  readonly beat: { readonly writtenMs: number; readonly receivedMs: number } | undefined;
  /** Wall time of the last change applied. */
  readonly changedAtMs: number | undefined;
  /** Equal on nodes that hold the same configuration. */
  readonly hash: string;
  readonly problems: readonly RecordProblem[];
  /** The last-known-good file; undefined where none is kept. */
  readonly copy?: CopyStatus | undefined;
}

export interface CopyStatus {
  /** Wall time of what it holds; undefined before the first. */
  readonly savedAtMs: number | undefined;
  readonly savedRevision: bigint | undefined;
  /** Why it was ignored or cannot be written. */
  readonly problem: string | undefined;
}

export interface WorkerInfo {
  readonly id: number;
  readonly pid: number;
  readonly state: "starting" | "serving" | "draining";
  readonly startedAtMs: number;
  readonly appliedRevision: bigint;
}

export interface ListenerInfo {
  readonly name: string;
  readonly address: Address;
  readonly tls: boolean;
}

export interface NodeSource {
  readonly id: string;
  readonly role: "all" | "admin" | "gateway";
  readonly version: string;
  /** What tools made for APISIX are told: of `server_header` where that says APISIX, else `version`. */
  readonly apisixVersion: string;
  readonly startedAtMs: number;
  readonly store: "etcd" | "embedded" | "file";
  /** Traffic is refused and readiness lost beyond this age; undefined: never. */
  readonly maxStaleMs: number | undefined;
  /** Which problems of records take readiness away. */
  readonly readyProblems: "ignore" | "blocking" | "all";
  config(): ConfigStatus;
  /** Newest change of each kind of record, by APISIX's name for it; empty where no configuration is held. */
  modifyIndexes(): Readonly<Record<string, number>>;
  draining(): boolean;
  /** Empty where the node is one process. */
  workers(): readonly WorkerInfo[];
  listeners(): readonly ListenerInfo[];
  /** Issuers of tokens whose keys this node fetches. */
  issuers(): readonly IssuerStatus[];
  /** Resolves true once `revision` is applied by every worker, false after `waitMs`. */
  waitApplied(revision: bigint, waitMs: number): Promise<boolean>;
}

/** Why a load balancer must not send traffic here now; undefined when it may. */
export function notReady(facts: NodeSource): string | undefined {
  if (facts.draining()) return "the node is stopping";
  const { loaded, stalenessSeconds, problem, problems } = facts.config();
  // An admin holds no configuration: it is ready when its store answers.
  if (!loaded && facts.role === "admin") return `the store does not answer${problem ? `: ${problem.text}` : " yet"}`;
  if (!loaded) return `no configuration was loaded yet${problem ? `: ${problem.text}` : ""}`;
  if (problem?.code === "apply-failed") return `the configuration cannot be brought up to date: ${problem.text}`;
  if (facts.maxStaleMs !== undefined && stalenessSeconds * 1_000 > facts.maxStaleMs) {
    return "the configuration is older than max_stale";
  }
  if (facts.readyProblems === "ignore") return undefined;
  const counted = facts.readyProblems === "all" ? problems : problems.filter(({ blocks }) => blocks);
  const [first] = counted;
  if (first === undefined) return undefined;
  const what = facts.readyProblems === "all" ? "problems of records" : "problems of records refuse requests";
  return `${counted.length} ${what}, the first is ${first.key}: ${first.reason}`;
}
