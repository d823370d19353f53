/**
 * How many tokens are revoked, and who revoked what: the count that a bound is held against, and the history's entries.
 * Promise: no entry holds a token; revocations of single tokens of one caller share an entry for a minute, so that a
 * program that revokes all day does not push the writes of configuration out of the history.
 */
import type { RevocationRule } from "../../model/revocation.ts";
import type { AdminContext, AdminRequest, WriteSide } from "../admin-context.ts";
import { newHistoryId } from "../history/history.ts";
import { encodeEntry, type HistoryEntry, type Revoked } from "../history/history-entry.ts";
import { historyDir } from "../store-paths.ts";
import type { Plan } from "../write/write-plan.ts";
import { listBatches } from "./revocation-store.ts";

const COUNT_AGAIN_MS = 5_000;
const SHARED_MS = 60_000;
const CALLERS_MAX = 100;
const PATH_LENGTH_MAX = 1_024;

interface Shared {
  readonly id: string;
  readonly startedMs: number;
  readonly entry: HistoryEntry;
  tokens: number;
}

export interface RevocationLedger {
  /** Entries of tokens in the store, at most some seconds old, ours at once. */
  total(admin: AdminContext): Promise<number>;
  added(tokens: number): void;
  planTokens(
    admin: WriteSide,
    plan: Plan,
    calls: readonly { readonly request: AdminRequest; readonly count: number }[],
  ): void;
  planRules(
    admin: WriteSide,
    plan: Plan,
    request: AdminRequest,
    what: { readonly rules: readonly RevocationRule[]; readonly takenBack?: boolean },
  ): void;
}

export function openRevocationLedger(): RevocationLedger {
  const shared = new Map<string, Shared>();
  let counted: { readonly atMs: number; total: number } | undefined;

  const entryOf = (admin: WriteSide, request: AdminRequest): HistoryEntry => ({
    timeMs: admin.clock.nowMs(),
    actor: request.actor.name,
    address: request.address,
    method: request.method,
    path: request.path.slice(0, PATH_LENGTH_MAX),
    changes: [],
  });
  const put = (admin: WriteSide, plan: Plan, id: string, entry: HistoryEntry, revoked: Revoked): void => {
    plan.put(`${historyDir(admin.prefix)}${id}`, encodeEntry({ ...entry, revoked }));
  };
  const sharedOf = (admin: WriteSide, request: AdminRequest): Shared => {
    const caller = `${request.actor.name} ${request.address}`;
    const nowMs = admin.clock.monotonicMs();
    const known = shared.get(caller);
    if (known && nowMs - known.startedMs < SHARED_MS) return known;
    if (shared.size >= CALLERS_MAX) shared.clear();
    const fresh = { id: newHistoryId(admin.clock), startedMs: nowMs, entry: entryOf(admin, request), tokens: 0 };
    shared.set(caller, fresh);
    return fresh;
  };

  return {
    async total(admin) {
      const nowMs = admin.clock.monotonicMs();
      if (counted && nowMs - counted.atMs < COUNT_AGAIN_MS) return counted.total;
      const total = (await listBatches(admin)).reduce((sum, { entries }) => sum + entries, 0);
      counted = { atMs: nowMs, total };
      return total;
    },
    added(tokens) {
      if (counted) counted.total += tokens;
    },
    planTokens(admin, plan, calls) {
      if (!admin.history.keeps) return;
      for (const { request, count } of calls) {
        const one = sharedOf(admin, request);
        one.tokens += count;
      }
      for (const one of new Set(calls.map(({ request }) => sharedOf(admin, request)))) {
        if (plan.hasRoom) put(admin, plan, one.id, one.entry, { tokens: one.tokens });
      }
    },
    planRules(admin, plan, request, { rules, takenBack }) {
      if (!admin.history.keeps) return;
      const shown = rules.map(shownRule);
      const revoked = takenBack ? { taken_back: shown } : { rules: shown };
      put(admin, plan, newHistoryId(admin.clock), entryOf(admin, request), revoked);
    },
  };
}

/** A rule as answers show it. */
export function shownRule(rule: RevocationRule): object {
  const { type, value, issuer, issuedBefore, reason } = rule;
  return {
    type,
    value,
    ...(issuer !== undefined && { issuer }),
    ...(issuedBefore !== undefined && { issued_before: issuedBefore }),
    ...(reason !== undefined && { reason }),
  };
}
