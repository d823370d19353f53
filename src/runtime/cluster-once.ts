/**
 * What may be shown once in the whole cluster: a key of the store for each, that goes with a lease.
 * Promise: of any number of nodes that show the same at once one is told that it was the first; who cannot ask the store
 * is told so, never that it was. Leases are shared: one for what comes within two minutes.
 */
import { hash } from "node:crypto";
import type { Clock } from "../base/clock.ts";
import type { ClusterOnce } from "../plugin/plugin.ts";
import type { LeaseId, Store } from "../store/store.ts";

interface OnceOptions {
  readonly prefix: string;
  readonly clock: Clock;
  /** Asked for at the first need. */
  readonly store: () => Store;
  /** Each question's outcome; undefined: it was answered. */
  settled(error: unknown): void;
}

interface SharedLease {
  readonly id: Promise<LeaseId>;
  readonly endMs: number;
}

const SHARED_SECONDS = 120;

/** `P-jotgate/once/`: outside of what nodes watch. */
export function onceDir(prefix: string): string {
  return `${prefix}-jotgate/once/`;
}

export function openClusterOnce({ prefix, clock, store, settled }: OnceOptions): ClusterOnce {
  let shared: SharedLease | undefined;

  const leaseFor = (seconds: number): Promise<LeaseId> => {
    const nowMs = clock.monotonicMs();
    if (shared === undefined || shared.endMs - nowMs < seconds * 1_000) {
      const ttl = Math.ceil(seconds) + SHARED_SECONDS;
      shared = { id: store().grantLease(ttl), endMs: nowMs + ttl * 1_000 };
    }
    return shared.id;
  };

  return {
    async isFirst(scope, text, seconds) {
      const key = `${onceDir(prefix)}${scope}/${hash("sha256", text, "base64url")}`;
      try {
        const lease = await leaseFor(seconds);
        const compare = [{ key, target: "createRevision", is: "==", value: 0n }] as const;
        const { succeeded } = await store().txn({ compare, then: [{ op: "put", key, value: Buffer.alloc(0), lease }] });
        settled(undefined);
        return succeeded;
      } catch (error) {
        shared = undefined; // it may be what is gone
        settled(error);
        throw error;
      }
    },
  };
}
