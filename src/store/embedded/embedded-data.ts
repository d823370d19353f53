/**
 * The data of the embedded store in LMDB: every version of every key since compaction, and the log of changes.
 * Synchronous; writes only inside `write`, which commits all of them to disk or none.
 * A revision is counted up by each transaction that changes something; an empty store is at 1, as etcd is.
 */

import { randomBytes } from "node:crypto";
import type { Change, KeyRange, KeyValue, LeaseId, Revision } from "../store.ts";
import {
  decodeKey,
  decodeVersion,
  encodeKey,
  encodeVersion,
  leaseKey,
  logKey,
  splitVersionKey,
  type Version,
  versionKey,
} from "./embedded-codec.ts";
import { type Database, open, type RootDatabase } from "./lmdb.ts";

const BINARY = { encoding: "binary", keyEncoding: "binary" } as const;
const HEAD = Buffer.from("head");
const COMPACTED = Buffer.from("compacted");
const CLUSTER = Buffer.from("cluster");
const LAST_REVISION = 0xffff_ffff_ffff_fffen;

interface StoredLease {
  readonly id: LeaseId;
  readonly ttlMs: number;
  /** Wall time at which it ends. */
  readonly endsAtMs: number;
}

export class EmbeddedData {
  readonly #root: RootDatabase;
  readonly #meta: Database;
  /** (key, revision) → version. */
  readonly #versions: Database;
  /** (revision, order) → key. */
  readonly #log: Database;
  readonly #leases: Database;
  /** (lease, key) → nothing. */
  readonly #leased: Database;
  readonly folder: string;
  readonly clusterId: string;
  /** The last write failed. */
  #failed = false;

  /** @param readOnly another process may be writing; the folder holds a store */
  constructor(folder: string, readOnly = false) {
    this.folder = folder;
    // Without overlappingSync a transaction resolves when it is on disk, not before. With eventTurnBatching the library
    // makes promises of its own, whose rejection by a full disk nobody can take.
    const safe = { overlappingSync: false, eventTurnBatching: false } as const;
    this.#root = open<Buffer, Buffer>({ path: folder, ...safe, noSubdir: false, maxDbs: 8, readOnly, ...BINARY });
    this.#meta = this.#root.openDB({ name: "meta", ...BINARY });
    this.#versions = this.#root.openDB({ name: "versions", ...BINARY });
    this.#log = this.#root.openDB({ name: "log", ...BINARY });
    this.#leases = this.#root.openDB({ name: "leases", ...BINARY });
    this.#leased = this.#root.openDB({ name: "leased", ...BINARY });
    if (this.#meta.get(CLUSTER) === undefined) {
      this.#root.transactionSync(() => {
        this.#meta.putSync(CLUSTER, randomBytes(8));
        this.#meta.putSync(HEAD, revisionBytes(1n));
      });
    }
    this.clusterId = (this.#meta.get(CLUSTER) ?? Buffer.alloc(8)).readBigUInt64BE().toString();
  }

  close(): Promise<void> {
    return this.#root.close();
  }

  /**
   * Runs `work` in one transaction; resolves once it is on disk. Throws in `work` leave nothing behind.
   * @throws what the library says, for `storageError`; the next write is tried anew
   */
  async write(work: () => void): Promise<void> {
    try {
      // An environment that gave up would hold the write thread for ever, where this only throws.
      if (this.#failed) this.#root.transactionSync(() => undefined);
      await this.#root.childTransaction(work);
      this.#failed = false;
    } catch (thrown) {
      this.#failed = true;
      throw thrown;
    }
  }

  /** Reads after this see the newest committed state. */
  refresh(): void {
    this.#root.resetReadTxn();
  }

  head(): Revision {
    return this.#revision(HEAD);
  }

  compacted(): Revision {
    return this.#revision(COMPACTED);
  }

  setHead(revision: Revision): void {
    this.#meta.putSync(HEAD, revisionBytes(revision));
  }

  setCompacted(revision: Revision): void {
    this.#meta.putSync(COMPACTED, revisionBytes(revision));
  }

  get(key: string): KeyValue | undefined {
    const encoded = encodeKey(key);
    const found = this.#versions.getRange({
      start: versionKey(encoded, LAST_REVISION),
      end: versionKey(encoded, 0n),
      reverse: true,
      limit: 1,
    });
    for (const entry of found) return toKeyValue(key, splitVersionKey(entry.key).revision, decodeVersion(entry.value));
    return undefined;
  }

  /**
   * The next `limit` keys at or after `start`, as they were at `at`.
   * @param start encoded key
   */
  page(
    start: Buffer,
    end: Buffer,
    at: Revision,
    limit: number,
    keysOnly: boolean,
  ): { kvs: KeyValue[]; next: Buffer | undefined } {
    const kvs: KeyValue[] = [];
    let current: Buffer | undefined;
    let revision = 0n;
    let bytes: Buffer | undefined;
    const take = (): void => {
      if (current === undefined || bytes === undefined) return;
      const kv = toKeyValue(decodeKey(current), revision, decodeVersion(bytes));
      if (kv !== undefined) kvs.push(keysOnly ? { ...kv, value: Buffer.alloc(0) } : kv);
    };
    for (const entry of this.#versions.getRange({ start, end })) {
      const place = splitVersionKey(entry.key);
      if (current === undefined || !place.encoded.equals(current)) {
        take();
        if (kvs.length >= limit) return { kvs, next: Buffer.from(place.encoded) };
        current = Buffer.from(place.encoded);
        bytes = undefined;
      }
      if (place.revision > at) continue;
      revision = place.revision;
      bytes = entry.value;
    }
    take();
    return { kvs, next: undefined };
  }

  keysIn(range: KeyRange): string[] {
    const all = this.page(encodeKey(range.start), encodeKey(range.end), LAST_REVISION, Number.MAX_SAFE_INTEGER, true);
    return all.kvs.map((kv) => kv.key);
  }

  /** Writes one version and its line in the log. */
  append(key: string, revision: Revision, order: number, version: Version, before: KeyValue | undefined): void {
    const encoded = encodeKey(key);
    this.#versions.putSync(versionKey(encoded, revision), encodeVersion(version));
    this.#log.putSync(logKey(revision, order), encoded);
    const lease = version?.lease ?? 0n;
    if (before !== undefined && before.lease !== 0n && before.lease !== lease) {
      this.#leased.removeSync(leaseKey(before.lease, encoded));
    }
    if (lease !== 0n) this.#leased.putSync(leaseKey(lease, encoded), Buffer.alloc(0));
  }

  /** Changes from `from` on, grouped by revision, in order. Consume it within one turn. */
  *changes(from: Revision): Generator<{ readonly revision: Revision; readonly changes: Change[] }> {
    let revision = 0n;
    let changes: Change[] = [];
    for (const entry of this.#log.getRange({ start: logKey(from, 0) })) {
      const at = entry.key.readBigUInt64BE();
      if (at !== revision && changes.length > 0) {
        yield { revision, changes };
        changes = [];
      }
      revision = at;
      const key = decodeKey(entry.value);
      const version = decodeVersion(this.#versions.get(versionKey(entry.value, at)) ?? Buffer.of(0));
      const kv = toKeyValue(key, at, version);
      changes.push(kv === undefined ? { type: "delete", key, kv } : { type: "put", key, kv });
    }
    if (changes.length > 0) yield { revision, changes };
  }

  /** Forgets superseded versions up to `to`, at most `limit` log lines. True when nothing is left to forget. */
  forget(to: Revision, limit: number): boolean {
    const lines = [...this.#log.getRange({ end: logKey(to + 1n, 0), limit })];
    for (const line of lines) {
      const at = line.key.readBigUInt64BE();
      const place = versionKey(line.value, at);
      if (
        this.#isSuperseded(line.value, at, to) ||
        decodeVersion(this.#versions.get(place) ?? Buffer.of(0)) === undefined
      ) {
        this.#versions.removeSync(place);
      }
      this.#log.removeSync(line.key);
    }
    return lines.length < limit;
  }

  putLease(lease: StoredLease): void {
    const bytes = Buffer.alloc(16);
    bytes.writeDoubleBE(lease.ttlMs, 0);
    bytes.writeDoubleBE(lease.endsAtMs, 8);
    this.#leases.putSync(leaseKey(lease.id), bytes);
  }

  dropLease(id: LeaseId): void {
    this.#leases.removeSync(leaseKey(id));
    for (const key of this.#leasedKeys(id)) this.#leased.removeSync(key);
  }

  hasLease(id: LeaseId): boolean {
    return this.#leases.get(leaseKey(id)) !== undefined;
  }

  leases(): StoredLease[] {
    return [...this.#leases.getRange()].map(({ key, value }) => ({
      id: key.readBigInt64BE(),
      ttlMs: value.readDoubleBE(0),
      endsAtMs: value.readDoubleBE(8),
    }));
  }

  keysOf(id: LeaseId): string[] {
    return this.#leasedKeys(id).map((key) => decodeKey(key.subarray(8)));
  }

  #leasedKeys(id: LeaseId): Buffer[] {
    return [...this.#leased.getRange({ start: leaseKey(id), end: leaseKey(id + 1n) })].map(({ key }) => key);
  }

  #isSuperseded(encoded: Buffer, at: Revision, to: Revision): boolean {
    const newer = { start: versionKey(encoded, at + 1n), end: versionKey(encoded, to + 1n), limit: 1 };
    for (const _ of this.#versions.getRange(newer)) return true;
    return false;
  }

  #revision(key: Buffer): Revision {
    return this.#meta.get(key)?.readBigUInt64BE() ?? 0n;
  }
}

function toKeyValue(key: string, modRevision: Revision, version: Version): KeyValue | undefined {
  return version === undefined ? undefined : { key, modRevision, ...version };
}

function revisionBytes(revision: Revision): Buffer {
  const bytes = Buffer.allocUnsafe(8);
  bytes.writeBigUInt64BE(revision);
  return bytes;
}
