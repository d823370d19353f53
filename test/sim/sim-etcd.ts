/**
 * An etcd as small as it can be: revisions, history, compaction, leases, watches in etcd's own messages. Everything in
 * memory and on a clock that is moved by hand, so that a seed decides all that happens.
 */
import type { Clock } from "../../src/base/clock.ts";
import type {
  Change,
  Compare,
  KeyRange,
  KeyValue,
  LeaseId,
  OperationResult,
  Revision,
  Txn,
  TxnResult,
} from "../../src/store/store.ts";

export interface LoggedRevision {
  readonly revision: Revision;
  readonly changes: readonly Change[];
}

/** What a backup holds. */
export interface Backup {
  readonly revision: Revision;
  readonly records: readonly KeyValue[];
}

export class SimEtcd {
  readonly #clock: Clock;
  /** Every version of every key since the last compaction, oldest first; undefined: deleted. */
  #versions = new Map<string, { readonly revision: Revision; readonly kv: KeyValue | undefined }[]>();
  #log: LoggedRevision[] = [];
  #leases = new Map<LeaseId, { ttlMs: number; endMs: number }>();
  #nextLease = 1n;
  /** Rises when the data is another: what was read before does not go on. */
  generation = 0;
  head: Revision = 1n;
  compacted: Revision = 0n;
  readonly listeners = new Set<(entry: LoggedRevision) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  at(key: string, revision: Revision = this.head): KeyValue | undefined {
    return this.#versions.get(key)?.findLast((version) => version.revision <= revision)?.kv;
  }

  list(range: KeyRange, revision: Revision = this.head): KeyValue[] {
    const found: KeyValue[] = [];
    for (const key of [...this.#versions.keys()].sort()) {
      const kv = key >= range.start && key < range.end ? this.at(key, revision) : undefined;
      if (kv) found.push(kv);
    }
    return found;
  }

  /** What happened from `revision` on. */
  since(revision: Revision): readonly LoggedRevision[] {
    return this.#log.filter((entry) => entry.revision >= revision);
  }

  txn(txn: Txn): TxnResult {
    this.#expire();
    const succeeded = txn.compare.every((compare) => this.#holds(compare));
    const operations = succeeded ? txn.then : (txn.else ?? []);
    const revision = this.head + 1n;
    const changes: Change[] = [];
    const results = operations.map((operation): OperationResult => {
      switch (operation.op) {
        case "get":
          return { op: "get", kv: this.at(operation.key) };
        case "put":
          changes.push(this.#put(operation.key, operation.value, operation.lease ?? 0n, revision));
          return { op: "put" };
        case "delete":
          return { op: "delete", deleted: this.#delete(operation.key, revision, changes) };
        case "deleteRange": {
          const keys = this.list(operation.range).map(({ key }) => key);
          return { op: "deleteRange", deleted: keys.filter((key) => this.#delete(key, revision, changes)).length };
        }
        default:
          throw new TypeError("no such operation");
      }
    });
    this.#commit(revision, changes);
    return { succeeded, revision: this.head, results };
  }

  compact(revision: Revision): void {
    if (revision <= this.compacted || revision > this.head) return;
    this.compacted = revision;
    this.#log = this.#log.filter((entry) => entry.revision >= revision);
  }

  grant(ttlSeconds: number): LeaseId {
    const lease = this.#nextLease++;
    this.#leases.set(lease, { ttlMs: ttlSeconds * 1_000, endMs: this.#clock.monotonicMs() + ttlSeconds * 1_000 });
    return lease;
  }

  keepAlive(lease: LeaseId): number {
    this.#expire();
    const held = this.#leases.get(lease);
    if (!held) return 0;
    held.endMs = this.#clock.monotonicMs() + held.ttlMs;
    return held.ttlMs / 1_000;
  }

  /** Ends a lease; all of them without an id. */
  revoke(only?: LeaseId): void {
    for (const lease of only === undefined ? [...this.#leases.keys()] : [only]) {
      if (!this.#leases.delete(lease)) continue;
      const revision = this.head + 1n;
      const changes: Change[] = [];
      for (const key of [...this.#versions.keys()])
        if (this.at(key)?.lease === lease) this.#delete(key, revision, changes);
      this.#commit(revision, changes);
    }
  }

  backup(): Backup {
    return { revision: this.head, records: this.list({ start: "", end: "\uffff" }) };
  }

  /** The same member with other data, or none: its address and cluster id stay. */
  replace(backup: Backup | undefined): void {
    this.generation++;
    this.#versions = new Map(
      (backup?.records ?? []).map((kv) => [kv.key, [{ revision: kv.modRevision, kv: { ...kv, lease: 0n } }]]),
    );
    this.head = backup?.revision ?? 1n;
    this.compacted = backup ? backup.revision : 0n;
    this.#log = [];
    this.#leases = new Map();
  }

  #expire(): void {
    for (const [lease, { endMs }] of [...this.#leases]) if (endMs <= this.#clock.monotonicMs()) this.revoke(lease);
  }

  #holds(compare: Compare): boolean {
    const kv = this.at(compare.key);
    if (compare.target === "value") return kv?.value.equals(compare.value) ?? false;
    const have = kv?.[compare.target] ?? 0n;
    if (compare.is === "==") return have === compare.value;
    return compare.is === ">" ? have > compare.value : have < compare.value;
  }

  #put(key: string, value: Buffer, lease: LeaseId, revision: Revision): Change {
    const before = this.at(key);
    const kv: KeyValue = {
      key,
      value: Buffer.from(value),
      createRevision: before?.createRevision ?? revision,
      modRevision: revision,
      version: (before?.version ?? 0n) + 1n,
      lease,
    };
    this.#remember(key, revision, kv);
    return { type: "put", key, kv };
  }

  #delete(key: string, revision: Revision, changes: Change[]): number {
    if (!this.at(key)) return 0;
    this.#remember(key, revision, undefined);
    changes.push({ type: "delete", key, kv: undefined });
    return 1;
  }

  #remember(key: string, revision: Revision, kv: KeyValue | undefined): void {
    const versions = this.#versions.get(key) ?? [];
    versions.push({ revision, kv });
    this.#versions.set(key, versions);
  }

  #commit(revision: Revision, changes: readonly Change[]): void {
    if (changes.length === 0) return;
    this.head = revision;
    const entry = { revision, changes };
    this.#log.push(entry);
    for (const listener of [...this.listeners]) listener(entry);
  }
}
