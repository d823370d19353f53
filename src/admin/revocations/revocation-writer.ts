/**
 * Writes revocations: tokens in immutable batches, what comes within 5 ms in one transaction; rules one by one, the
 * stricter of two always.
 * Promise: what is answered for is in the store; writing the same again does no harm, so a lost answer may be repeated.
 */
import { randomBytes } from "node:crypto";
import { sleep } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
import {
  decodeRule,
  encodeBatch,
  encodeRule,
  hourDir,
  type RevocationRule,
  ruleName,
  rulesDir,
} from "../../model/revocation.ts";
import type { AdminContext, AdminRequest } from "../admin-context.ts";
import { commit } from "../write/commit.ts";
import { Plan } from "../write/write-plan.ts";
import type { WantedRule, WantedToken } from "./revocation-body.ts";
import { openRevocationLedger, type RevocationLedger } from "./revocation-ledger.ts";

export const BATCH_ENTRIES = 3_000;
/** Of one transaction: what etcd takes is 128 operations and 1.5 MiB. */
const TXN_OPERATIONS = 100;
const TXN_TOKENS = 12_000;
const TXN_RULES = 50;
const JOIN_MS = 5;
const RULE_ATTEMPTS = 10;
const RETRY_MS = 50;

export interface RevocationWritten {
  readonly revision: bigint;
  /** Whether the ask was part of that transaction. */
  readonly asked: boolean;
}

interface RevocationWriter {
  /** @throws CodedError STORE_* */
  writeTokens(admin: AdminContext, request: AdminRequest, tokens: readonly WantedToken[]): Promise<RevocationWritten>;
  /** @throws CodedError STORE_* */
  writeRules(admin: AdminContext, request: AdminRequest, rules: readonly WantedRule[]): Promise<RevocationWritten>;
}

interface Job {
  readonly request: AdminRequest;
  readonly tokens: readonly WantedToken[];
  done(written: RevocationWritten): void;
  failed(error: unknown): void;
}

function openRevocationWriter(ledger: RevocationLedger): RevocationWriter {
  const writer = randomBytes(4).toString("hex");
  let numbers = 0;
  let jobs: Job[] = [];

  const flush = async (admin: AdminContext): Promise<void> => {
    const taken = jobs;
    jobs = [];
    try {
      const written = await writeBatches(admin, taken);
      for (const job of taken) job.done(written);
    } catch (error) {
      for (const job of taken) job.failed(error);
    }
  };

  const writeBatches = async (admin: AdminContext, taken: readonly Job[]): Promise<RevocationWritten> => {
    const { clock, prefix, store } = admin;
    const batches = batchesOf(taken.flatMap(({ tokens }) => tokens));
    const ask = taken.find(({ request }) => request.ask !== undefined)?.request.ask;
    let written: RevocationWritten | undefined;
    while (batches.length > 0) {
      const plan = new Plan();
      let planned = 0;
      let first: { readonly key: string; readonly after: Buffer } | undefined;
      while (batches[0] && plan.operations.length < TXN_OPERATIONS && planned + batches[0].length <= TXN_TOKENS) {
        const batch = batches.shift() as readonly WantedToken[]; // true: it was looked at
        const key = `${hourDir(prefix, batch[0]?.hour ?? 0)}${writer}-${++numbers}-${batch.length}`;
        const bytes = encodeBatch(batch, clock.nowMs());
        plan.expect(key, 0n).put(key, bytes);
        planned += batch.length;
        first ??= { key, after: bytes };
      }
      if (!first) break;
      const isLast = batches.length === 0;
      if (isLast)
        ledger.planTokens(
          admin,
          plan,
          taken.map(({ request, tokens }) => ({ request, count: tokens.length })),
        );
      const done = await commit(store, clock, plan, { ...first, before: 0n }, isLast ? ask : undefined);
      if (done.kind === "conflict") throw conflicts();
      ledger.added(planned);
      written = done;
    }
    if (!written) throw new TypeError("nothing to write");
    return written;
  };

  return {
    writeTokens(admin, request, tokens) {
      return new Promise((done, failed) => {
        jobs.push({ request, tokens, done, failed });
        if (jobs.length === 1) admin.clock.after(JOIN_MS, () => void flush(admin));
      });
    },
    async writeRules(admin, request, rules) {
      let written: RevocationWritten | undefined;
      for (let at = 0; at < rules.length; at += TXN_RULES) {
        const some = rules.slice(at, at + TXN_RULES);
        written = await writeSomeRules(admin, request, ledger, some, at + TXN_RULES >= rules.length);
      }
      if (!written) throw new TypeError("nothing to write");
      return written;
    },
  };
}

/** By hour, each at most BATCH_ENTRIES. */
function batchesOf(tokens: readonly WantedToken[]): (readonly WantedToken[])[] {
  const byHour = new Map<number, WantedToken[]>();
  for (const token of tokens) {
    const others = byHour.get(token.hour);
    if (others) others.push(token);
    else byHour.set(token.hour, [token]);
  }
  return [...byHour.values()].flatMap((all) => {
    const count = Math.ceil(all.length / BATCH_ENTRIES);
    return Array.from({ length: count }, (_, i) => all.slice(i * BATCH_ENTRIES, (i + 1) * BATCH_ENTRIES));
  });
}

async function writeSomeRules(
  admin: AdminContext,
  request: AdminRequest,
  ledger: RevocationLedger,
  wanted: readonly WantedRule[],
  isLast: boolean,
): Promise<RevocationWritten> {
  const { store, clock, prefix } = admin;
  for (let attempt = 1; ; attempt++) {
    const plan = new Plan("last");
    const rules = new Map<string, RevocationRule>();
    let evidence: { readonly key: string; readonly before: bigint; readonly after: Buffer } | undefined;
    for (const one of wanted) {
      const name = ruleName(one);
      const key = `${rulesDir(prefix)}${name}`;
      const { kv } = await store.get(key);
      const known = rules.get(name) ?? (kv && decodeRule(kv.value));
      const rule = stricter({ ...one, writtenMs: clock.nowMs() }, typeof known === "string" ? undefined : known);
      rules.set(name, rule);
      const after = encodeRule(rule);
      plan.expect(key, kv?.modRevision ?? 0n).put(key, after);
      if (evidence === undefined || evidence.key === key) evidence = { key, before: kv?.modRevision ?? 0n, after };
    }
    if (!evidence) throw new TypeError("nothing to write");
    ledger.planRules(admin, plan, request, { rules: [...rules.values()] });
    const done = await commit(store, clock, plan, evidence, isLast ? request.ask : undefined);
    if (done.kind === "done") return done;
    if (attempt >= RULE_ATTEMPTS) throw conflicts();
    await sleep(clock, RETRY_MS * attempt * Math.random());
  }
}

/** A rule that is there already is never weakened; the newer reason is the better one. */
export function stricter(rule: RevocationRule, known: RevocationRule | undefined): RevocationRule {
  if (!known || rule.issuedBefore === undefined) return rule;
  return {
    ...rule,
    reason: rule.reason ?? known.reason,
    issuedBefore: Math.max(rule.issuedBefore, known.issuedBefore ?? 0),
    until: Math.max(rule.until, known.until),
  };
}

function conflicts(): CodedError {
  return new CodedError("STORE_UNAVAILABLE", { message: "others keep changing the same revocations: try again" });
}

/**
 * What the Admin API keeps for revocations: the writer, the count, and the bounds.
 */
export interface RevocationLimits {
  /** Most tokens that may be revoked by themselves. */
  readonly maxTokens: number;
  /** How long after its end a revoked token is remembered. */
  readonly keepMs: number;
}

export interface AdminRevocations extends RevocationLimits {
  readonly writer: RevocationWriter;
  readonly ledger: RevocationLedger;
}

export function openAdminRevocations(limits: Partial<RevocationLimits> = {}): AdminRevocations {
  const ledger = openRevocationLedger();
  return { maxTokens: 1_000_000, keepMs: 600_000, ...limits, ledger, writer: openRevocationWriter(ledger) };
}
