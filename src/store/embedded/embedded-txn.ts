/**
 * What a transaction does to the embedded data: compare, then write all operations as one revision.
 * Runs inside a commit; checks everything that can fail before the first write.
 */
import { CodedError } from "../../base/errors.ts";
import type { Change, Compare, KeyValue, Operation, OperationResult, Revision, Txn, TxnResult } from "../store.ts";
import type { EmbeddedData } from "./embedded-data.ts";

export interface TxnWritten {
  readonly revision: Revision;
  readonly changes: readonly Change[];
}

/** @throws CodedError STORE_LEASE_GONE for a put under an unknown lease */
export function applyTxn(
  data: EmbeddedData,
  txn: Txn,
): { readonly result: TxnResult; readonly written: TxnWritten | undefined } {
  const succeeded = txn.compare.every((compare) => holds(compare, data.get(compare.key)));
  const operations = succeeded ? txn.then : (txn.else ?? []);
  const results: OperationResult[] = [];
  const written = applyOperations(data, operations, results);
  return { result: { succeeded, revision: written?.revision ?? data.head(), results }, written };
}

/** @returns undefined when nothing changed, so that no revision was used */
export function applyOperations(
  data: EmbeddedData,
  operations: readonly Operation[],
  results: OperationResult[] = [],
): TxnWritten | undefined {
  for (const operation of operations) {
    if (
      operation.op === "put" &&
      operation.lease !== undefined &&
      operation.lease !== 0n &&
      !data.hasLease(operation.lease)
    ) {
      throw new CodedError("STORE_LEASE_GONE", { message: "the lease is gone" });
    }
  }
  const revision = data.head() + 1n;
  const changes: Change[] = [];
  for (const operation of operations) results.push(applyOne(data, operation, revision, changes));
  if (changes.length === 0) return undefined;
  data.setHead(revision);
  return { revision, changes };
}

function applyOne(data: EmbeddedData, operation: Operation, revision: Revision, changes: Change[]): OperationResult {
  switch (operation.op) {
    case "get":
      return { op: "get", kv: data.get(operation.key) };
    case "put":
      put(data, operation, revision, changes);
      return { op: "put" };
    case "delete":
      return { op: "delete", deleted: remove(data, operation.key, revision, changes) };
    case "deleteRange": {
      let deleted = 0;
      for (const key of data.keysIn(operation.range)) deleted += remove(data, key, revision, changes);
      return { op: "deleteRange", deleted };
    }
  }
}

function put(data: EmbeddedData, operation: Operation & { op: "put" }, revision: Revision, changes: Change[]): void {
  const before = data.get(operation.key);
  const version = {
    value: Buffer.from(operation.value), // ours: the caller may reuse its buffer
    createRevision: before?.createRevision ?? revision,
    version: (before?.version ?? 0n) + 1n,
    lease: operation.lease ?? 0n,
  };
  data.append(operation.key, revision, changes.length, version, before);
  changes.push({ type: "put", key: operation.key, kv: { key: operation.key, modRevision: revision, ...version } });
}

function remove(data: EmbeddedData, key: string, revision: Revision, changes: Change[]): number {
  const before = data.get(key);
  if (before === undefined) return 0;
  data.append(key, revision, changes.length, undefined, before);
  changes.push({ type: "delete", key, kv: undefined });
  return 1;
}

function holds(compare: Compare, kv: KeyValue | undefined): boolean {
  if (compare.target === "value") return kv?.value.equals(compare.value) ?? false;
  const actual = kv?.[compare.target] ?? 0n;
  switch (compare.is) {
    case "==":
      return actual === compare.value;
    case ">":
      return actual > compare.value;
    case "<":
      return actual < compare.value;
  }
}
