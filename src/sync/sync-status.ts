/**
 * What a watcher knows about itself, for metrics and status; and how its ends, lists and problems are named.
 */

import type { Revision } from "../store/store.ts";
import type { StoreIdentity } from "../store/store-identity.ts";

/**
 * Why a session ended. `unreachable`: no answer to the probe or list; `foreign`: another store; `dead`: a beat was read
 * that the watch did not show; `audit`: the table differed from the store.
 */
export const SESSION_ENDS = [
  "stopped",
  "compacted",
  "behind",
  "refused",
  "broken",
  "unreachable",
  "foreign",
  "dead",
  "audit",
] as const;
export type SessionEnd = (typeof SESSION_ENDS)[number];

/** Why a list was needed. */
export const LIST_REASONS = ["first", "compacted", "behind", "raised", "audit"] as const;
export type ListReason = (typeof LIST_REASONS)[number];

export interface SyncProblem {
  readonly code:
    | "store-unreachable"
    | "file-invalid"
    | "store-refused"
    | "store-changed"
    | "store-empty"
    | "store-silent"
    | "apply-failed";
  readonly text: string;
  /** Wall time. */
  readonly sinceMs: number;
}

export interface BeatStatus {
  /** The writer's clock when it wrote. */
  readonly writtenMs: number;
  /** Our clock when the watch showed it; the difference is propagation plus clock skew. */
  readonly receivedMs: number;
}

export interface SyncStatus {
  /** A list or the disk file was applied; stays true. What readiness depends on. */
  readonly loaded: boolean;
  /** Bytes came from the watch within 6 s. */
  readonly connected: boolean;
  /** Loaded, what is applied was shown to be what the store holds within 15 s, and the store is not known to be away. */
  readonly fresh: boolean;
  /** Seconds since that was shown; before the first time, since start plus the age of the disk file. */
  readonly stalenessSeconds: number;
  readonly appliedRevision: Revision;
  /** The newest revision that the store was seen at. */
  readonly storeHeadRevision: Revision;
  readonly identity: StoreIdentity | undefined;
  readonly clusterId: string | undefined;
  /** The last probe was answered. */
  readonly reachable: boolean;
  readonly problem: SyncProblem | undefined;
  readonly beat: BeatStatus | undefined;
  readonly records: number;
  readonly epochs: Readonly<Record<SessionEnd, number>>;
  readonly lists: Readonly<Record<ListReason, number>>;
  readonly auditDifferences: number;
}

/** What a restart needs to go on without a list. */
export interface Position {
  readonly applied: Revision;
  readonly identity: StoreIdentity | undefined;
  readonly clusterId: string | undefined;
}

/** A position read from disk, with the wall time it was written at. */
export interface SavedPosition extends Position {
  readonly savedAtMs: number;
}

export function zeroes<K extends string>(names: readonly K[]): Record<K, number> {
  // True: every name gets its number.
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<K, number>;
}

/** Of the last-known-good file. */
export interface LastKnownGoodStatus {
  /** Wall time of the last commit, ours or the one read at start. */
  readonly savedAtMs: number | undefined;
  readonly savedRevision: bigint | undefined;
  /** Why the file was ignored or could not be written; cleared by the next success. */
  readonly problem: string | undefined;
}
