/**
 * Words of the port to words of etcd's wire and back. 64-bit numbers travel as decimal text there.
 */
import {
  CompareResult,
  CompareTarget,
  type ICompare,
  type IKeyValue,
  type IRequestOp,
  type IResponseOp,
  type ITxnRequest,
  type ITxnResponse,
} from "etcd3";
import type { Compare, KeyValue, Operation, OperationResult, Txn, TxnResult } from "../store.ts";

const RESULTS = { "==": CompareResult.Equal, ">": CompareResult.Greater, "<": CompareResult.Less } as const;

export function toKeyValue(kv: IKeyValue): KeyValue {
  return {
    key: kv.key.toString("utf8"),
    value: kv.value,
    createRevision: BigInt(kv.create_revision),
    modRevision: BigInt(kv.mod_revision),
    version: BigInt(kv.version),
    lease: BigInt(kv.lease),
  };
}

export function toTxnRequest(txn: Txn): ITxnRequest {
  return {
    compare: txn.compare.map(toCompare),
    success: txn.then.map(toRequest),
    failure: (txn.else ?? []).map(toRequest),
  };
}

export function toTxnResult(txn: Txn, response: ITxnResponse): TxnResult {
  const operations = response.succeeded ? txn.then : (txn.else ?? []);
  const results = operations.map((operation, i) => toResult(operation, response.responses[i]));
  return { succeeded: response.succeeded, revision: BigInt(response.header.revision), results };
}

function toResult(operation: Operation, answer: IResponseOp | undefined): OperationResult {
  switch (operation.op) {
    case "put":
      return { op: "put" };
    case "get": {
      const kv = answer?.response_range.kvs[0];
      return { op: "get", kv: kv === undefined ? undefined : toKeyValue(kv) };
    }
    case "delete":
    case "deleteRange":
      return { op: operation.op, deleted: Number(answer?.response_delete_range.deleted ?? 0) };
  }
}

function toCompare(compare: Compare): ICompare {
  const key = Buffer.from(compare.key, "utf8");
  const result = RESULTS[compare.is];
  switch (compare.target) {
    case "createRevision":
      return { key, result, target: CompareTarget.Create, create_revision: compare.value.toString() };
    case "modRevision":
      return { key, result, target: CompareTarget.Mod, mod_revision: compare.value.toString() };
    case "version":
      return { key, result, target: CompareTarget.Version, version: compare.value.toString() };
    case "value":
      return { key, result, target: CompareTarget.Value, value: compare.value };
  }
}

function toRequest(operation: Operation): IRequestOp {
  switch (operation.op) {
    case "put":
      return {
        request_put: {
          key: Buffer.from(operation.key, "utf8"),
          value: operation.value,
          lease: (operation.lease ?? 0n).toString(),
        },
      };
    case "get":
      return { request_range: { key: Buffer.from(operation.key, "utf8"), limit: 1 } };
    case "delete":
      return { request_delete_range: { key: Buffer.from(operation.key, "utf8") } };
    case "deleteRange":
      return {
        request_delete_range: {
          key: Buffer.from(operation.range.start, "utf8"),
          range_end: Buffer.from(operation.range.end, "utf8"),
        },
      };
  }
}
