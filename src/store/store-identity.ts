/**
 * The record that says which store this is. A wiped etcd member started with the same flags shows the same cluster id,
 * so that id proves nothing; this record is created once, by the first admin.
 */
import { randomUUID } from "node:crypto";
import { CodedError } from "../base/errors.ts";
import type { KeyValue, Operation, Store } from "./store.ts";
import { controlKeys } from "./store-keys.ts";

export interface StoreIdentity {
  readonly id: string;
  /** Raised by the operator to say: this older store is right. */
  readonly epoch: number;
  /** Ids of stores that are gone, in whose place the operator put this one; newest last. */
  readonly replaces?: readonly string[];
}

const REPLACED_MAX = 16;

/** Undefined for anything that is not an identity: the same as none. */
export function parseIdentity(value: Buffer | undefined): StoreIdentity | undefined {
  if (value === undefined) return undefined;
  try {
    const parsed: unknown = JSON.parse(value.toString("utf8"));
    if (typeof parsed !== "object" || parsed === null) return undefined;
    const { id, epoch, replaces } = parsed as Record<string, unknown>;
    if (typeof id !== "string" || typeof epoch !== "number" || !Number.isSafeInteger(epoch)) return undefined;
    if (replaces === undefined) return { id, epoch };
    return Array.isArray(replaces) && replaces.every((one) => typeof one === "string")
      ? { id, epoch, replaces }
      : undefined;
  } catch {
    return undefined; // not written by us
  }
}

/**
 * Creates the identity when there is none, in one transaction with `alongside` (the placeholders of the prefix).
 * @returns the identity the store has now; `created` tells whether this call made it
 */
export async function createIdentity(
  store: Store,
  prefix: string,
  alongside: readonly Operation[] = [],
): Promise<{ readonly identity: StoreIdentity; readonly created: boolean }> {
  const key = controlKeys(prefix).identity;
  const identity: StoreIdentity = { id: randomUUID(), epoch: 1 };
  const result = await store.txn({
    compare: [{ key, target: "createRevision", is: "==", value: 0n }],
    then: [{ op: "put", key, value: encode(identity) }, ...alongside],
    else: [{ op: "get", key }],
  });
  if (result.succeeded) return { identity, created: true };
  const [found] = result.results;
  const theirs = parseIdentity(found?.op === "get" ? found.kv?.value : undefined);
  if (theirs === undefined)
    throw new CodedError("RECORD_INVALID", { message: `the value of ${key} is not a store identity` });
  return { identity: theirs, created: false };
}

/**
 * The operator's word that this store, though older than what nodes hold, is right; every node lists it and follows.
 * `alongside` is done in the same transaction.
 * @param replaces id of a store that is gone: nodes that hold its records follow this one too
 * @throws CodedError RECORD_INVALID when there is no identity to raise, STORE_UNAVAILABLE when others keep writing it
 */
export async function raiseEpoch(
  store: Store,
  prefix: string,
  alongside: readonly Operation[] = [],
  replaces?: string,
): Promise<StoreIdentity> {
  const key = controlKeys(prefix).identity;
  for (let attempt = 0; attempt < 5; attempt++) {
    const { kv } = await store.get(key);
    const raised = raise(kv, key, replaces);
    const result = await store.txn({
      compare: [{ key, target: "modRevision", is: "==", value: kv?.modRevision ?? 0n }],
      then: [{ op: "put", key, value: encode(raised) }, ...alongside],
    });
    if (result.succeeded) return raised;
  }
  throw new CodedError("STORE_UNAVAILABLE", { message: "the store identity changes too fast" });
}

function raise(kv: KeyValue | undefined, key: string, replaces: string | undefined): StoreIdentity {
  const identity = parseIdentity(kv?.value);
  if (identity === undefined)
    throw new CodedError("RECORD_INVALID", { message: `there is no store identity at ${key}` });
  return raisedOf(identity, replaces);
}

/** What `raiseEpoch` makes of an identity. */
export function raisedOf({ id, epoch, replaces: before = [] }: StoreIdentity, replaces?: string): StoreIdentity {
  const all = replaces === undefined ? before : [...before.filter((one) => one !== replaces), replaces];
  return { id, epoch: epoch + 1, ...(all.length > 0 && { replaces: all.slice(-REPLACED_MAX) }) };
}

function encode(identity: StoreIdentity): Buffer {
  return Buffer.from(JSON.stringify(identity), "utf8");
}
