/**
 * Reads revocations from the store: counts by the names of batches, rules, and whether one fingerprint is there.
 */
import type { Fingerprint } from "../../base/jose/token.ts";
import {
  decodeBatch,
  decodeRule,
  entriesIn,
  HOUR_UNKNOWN,
  hourDir,
  parseRevocationKey,
  type RevocationRule,
  revocationsDir,
  rulesDir,
  tokensIn,
} from "../../model/revocation.ts";
import { type KeyValue, prefixRange } from "../../store/store.ts";
import type { AdminContext } from "../admin-context.ts";

export type StorePart = Pick<AdminContext, "store" | "prefix">;

/** A batch of 3,000 has 80 KB. */
const PAGE_BATCHES = 8;

export interface StoredBatch extends Pick<KeyValue, "key" | "modRevision"> {
  readonly hour: number;
  readonly entries: number;
}

/** All batches, without what is in them. */
export async function listBatches(admin: StorePart): Promise<readonly StoredBatch[]> {
  const batches: StoredBatch[] = [];
  for await (const page of admin.store.list(prefixRange(revocationsDir(admin.prefix)), { keysOnly: true })) {
    for (const { key, modRevision } of page.kvs) {
      const parsed = parseRevocationKey(admin.prefix, key);
      if (parsed?.kind !== "batch") continue;
      batches.push({ key, modRevision, hour: parsed.hour, entries: entriesIn(parsed.batch) });
    }
  }
  return batches;
}

interface NamedRule {
  readonly name: string;
  readonly rule: RevocationRule;
  readonly modRevision: bigint;
}

/** All rules by name; what is none is left out, gateway nodes report it. */
export async function listRules(admin: StorePart): Promise<readonly NamedRule[]> {
  const rules: NamedRule[] = [];
  const dir = rulesDir(admin.prefix);
  for await (const page of admin.store.list(prefixRange(dir))) {
    for (const { key, value, modRevision } of page.kvs) {
      const rule = decodeRule(value);
      if (typeof rule !== "string") rules.push({ name: key.slice(dir.length), rule, modRevision });
    }
  }
  return rules;
}

/** Whether one of the fingerprints is revoked in that hour, or in the one of tokens whose end is not known. */
export async function isStored(admin: StorePart, hour: number, wanted: readonly Fingerprint[]): Promise<boolean> {
  for (const one of new Set([hour, HOUR_UNKNOWN])) {
    const range = prefixRange(hourDir(admin.prefix, one));
    for await (const page of admin.store.list(range, { pageSize: PAGE_BATCHES })) {
      for (const { value } of page.kvs) {
        const batch = decodeBatch(value);
        if (
          typeof batch !== "string" &&
          tokensIn(batch).some((token) => wanted.some((w) => equals(token.fingerprint, w)))
        ) {
          return true;
        }
      }
    }
  }
  return false;
}

function equals(one: Fingerprint, other: Fingerprint): boolean {
  return one.a === other.a && one.b === other.b && one.c === other.c && one.d === other.d;
}
