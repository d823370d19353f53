/**
 * Carries out a plan, and finds out what became of it when the answer was lost or cannot be believed.
 * Promise: never reports success without having seen a revision, never does a write twice.
 * Source: docs/spec/etcd.md section 8 "Unknown outcome".
 */
import type { Clock } from "../../base/clock.ts";
import { sleep } from "../../base/clock.ts";
import { CodedError, isCodedError, messageOf } from "../../base/errors.ts";
import type { KeyValue, Store } from "../../store/store.ts";
import type { AdminRequest } from "../admin-context.ts";
import type { Plan } from "./write-plan.ts";

export type Commit =
  /** `asked`: the ask was part of the transaction of this revision. */
  | { readonly kind: "done"; readonly revision: bigint; readonly asked: boolean }
  /** A condition did not hold: something changed between reading and writing. */
  | { readonly kind: "conflict" };

/** The key by which a lost answer is judged: what it was, and what the plan makes of it. */
interface Evidence {
  readonly key: string;
  /** 0n: it was absent. */
  readonly before: bigint;
  /** undefined: the plan deletes it. */
  readonly after: Buffer | undefined;
}

const UNKNOWN_RETRIES = 2;
const RETRY_MS = 100;

/**
 * @param ask goes along if there is room for it
 * @throws CodedError STORE_* ; STORE_OUTCOME_UNKNOWN only when reading the key could not settle it
 */
export async function commit(
  store: Store,
  clock: Clock,
  plan: Plan,
  evidence: Evidence,
  ask: AdminRequest["ask"],
): Promise<Commit> {
  const asked = ask !== undefined && plan.hasRoom;
  if (asked) plan.put(ask.key, ask.value);
  const txn = plan.toTxn();
  for (let attempt = 0; ; attempt++) {
    try {
      const result = await store.txn(txn);
      return result.succeeded ? { kind: "done", revision: result.revision, asked } : { kind: "conflict" };
    } catch (error) {
      // The write that crosses etcd's quota is done and refused all the same (quotaApplierV3 in its apply.go).
      const full = isCodedError(error, "STORE_FULL");
      if (!full && !isCodedError(error, "STORE_OUTCOME_UNKNOWN")) throw error;
      const { kv, revision } = await readAfter(store, evidence.key, error);
      const outcome = outcomeOf(kv, evidence);
      // What was deleted shows no revision: then the store's own, which is later, stands for it.
      if (outcome === "done")
        return { kind: "done", revision: kv?.modRevision ?? revision, asked: asked && kv !== undefined };
      if (full && outcome === "untouched") throw error;
      if (outcome === "other" || attempt >= UNKNOWN_RETRIES) throw unknown(error);
      await sleep(clock, RETRY_MS * (0.5 + Math.random()));
    }
  }
}

async function readAfter(store: Store, key: string, cause: unknown) {
  try {
    return await store.get(key);
  } catch {
    throw unknown(cause); // the store is still away: that is the news, not why this read failed
  }
}

function outcomeOf(kv: KeyValue | undefined, evidence: Evidence): "done" | "untouched" | "other" {
  const now = kv?.modRevision ?? 0n;
  if (now === evidence.before) return "untouched";
  if (evidence.after === undefined) return kv === undefined ? "done" : "other";
  return kv !== undefined && now > evidence.before && kv.value.equals(evidence.after) ? "done" : "other";
}

function unknown(cause: unknown): CodedError {
  return new CodedError("STORE_OUTCOME_UNKNOWN", {
    message: `the store did not answer in time; whether the change was made is unknown: ${messageOf(cause)}`,
    cause,
  });
}
