/**
 * What both adapters refuse before anything is sent or written: the limits of etcd's defaults.
 * So a transaction that passes on one store passes on the other.
 */
import { CodedError } from "../base/errors.ts";
import type { KeyRange, Operation, Txn } from "./store.ts";

/** etcd's default `--max-txn-ops`; it counts compares and operations separately. */
const MAX_TXN_OPERATIONS = 128;
/** etcd's default `--max-request-bytes`, on the encoded request. */
export const MAX_REQUEST_BYTES = 1_572_864;
/** Longer keys do not fit the embedded store's pages. */
const MAX_KEY_BYTES = 1_024;
/** What encoding adds to a key and a value, rounded up. */
const FRAME_BYTES = 64;

/**
 * @throws CodedError STORE_TOO_LARGE beyond a limit, REQUEST_INVALID for a key written twice
 */
export function checkTxn(txn: Txn): void {
  const otherwise = txn.else ?? [];
  for (const [count, what] of [
    [txn.compare.length, "conditions"],
    [txn.then.length, "operations"],
    [otherwise.length, "operations"],
  ] as const) {
    if (count > MAX_TXN_OPERATIONS)
      throw tooLarge(`${count} ${what} in one transaction, at most ${MAX_TXN_OPERATIONS}`);
  }
  let bytes = 0;
  for (const compare of txn.compare) {
    bytes += keyBytes(compare.key) + (compare.target === "value" ? compare.value.length : 0) + FRAME_BYTES;
  }
  bytes += checkOperations(txn.then) + checkOperations(otherwise);
  if (bytes > MAX_REQUEST_BYTES) throw tooLarge(`${bytes} bytes in one transaction, at most ${MAX_REQUEST_BYTES}`);
}

export function isInRange(key: string, range: KeyRange): boolean {
  return compareKeys(key, range.start) >= 0 && compareKeys(key, range.end) < 0;
}

/** Order of UTF-8 bytes, which differs from JavaScript's order of UTF-16 units only beyond the basic plane. */
export function compareKeys(a: string, b: string): number {
  if (a === b) return 0;
  for (let i = 0; i < a.length && i < b.length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    if (x < 0xd800 || y < 0xd800) return x - y;
    return Buffer.compare(Buffer.from(a, "utf8"), Buffer.from(b, "utf8"));
  }
  return a.length - b.length;
}

function checkOperations(operations: readonly Operation[]): number {
  let bytes = 0;
  const puts = new Set<string>();
  for (const operation of operations) {
    bytes += FRAME_BYTES + (operation.op === "deleteRange" ? keyBytes(operation.range.start) : keyBytes(operation.key));
    if (operation.op !== "put") continue;
    bytes += operation.value.length;
    if (puts.has(operation.key)) throw writtenTwice(operation.key);
    puts.add(operation.key);
  }
  for (const operation of operations) {
    if (operation.op === "delete" && puts.has(operation.key)) throw writtenTwice(operation.key);
    if (operation.op !== "deleteRange") continue;
    for (const key of puts) if (isInRange(key, operation.range)) throw writtenTwice(key);
  }
  return bytes;
}

function keyBytes(key: string): number {
  const bytes = Buffer.byteLength(key, "utf8");
  if (bytes === 0 || bytes > MAX_KEY_BYTES)
    throw tooLarge(`a key of ${bytes} bytes, from 1 to ${MAX_KEY_BYTES} are possible`);
  return bytes;
}

function tooLarge(message: string): CodedError {
  return new CodedError("STORE_TOO_LARGE", { message });
}

function writtenTwice(key: string): CodedError {
  return new CodedError("REQUEST_INVALID", { message: `key written twice in one transaction: ${key}` });
}
