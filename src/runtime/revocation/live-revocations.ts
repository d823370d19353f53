/**
 * The revocations of one process: what the store's records say, ready to be asked by every request.
 * Promise: what was applied is refused from the same turn on; a token stays refused whatever becomes of its record, until
 * it has ended by itself; a change costs what it brings, not what is there.
 */
import type { Clock } from "../../base/clock.ts";
import type { Counter, Metrics } from "../../base/metrics.ts";
import {
  decodeBatch,
  decodeRule,
  ENTRY_BYTES,
  endOfHour,
  HOUR_UNKNOWN,
  hourOf,
  parseRevocationKey,
  RULE_TYPES,
  type RuleType,
} from "../../model/revocation.ts";
import { NO_REVOCATIONS, type Revocations } from "../../plugin/revocations.ts";
import { FingerprintTable } from "./fingerprint-table.ts";
import { RevocationRules } from "./rules.ts";

interface RevocationsOptions {
  readonly prefix: string;
  readonly clock: Clock;
  readonly metrics: Metrics;
  /** How long after its end a revoked token is remembered, for callers whose end comes later (a grace period, a slow clock). */
  readonly keepMs: number;
  /** Writes the revocation of a token; default: this process has no store to write to. */
  readonly end?: Revocations["end"] | undefined;
}

export interface LiveRevocations extends Revocations {
  /** Whether the key is one of a revocation; everything else is not for `apply`. */
  owns(key: string): boolean;
  /** @param value undefined: the record went @returns why it cannot be taken */
  apply(key: string, value: Buffer | undefined): string | undefined;
  /** How many tokens are revoked by themselves. */
  readonly tokenCount: number;
  readonly ruleCount: number;
  close(): void;
}

const FORGET_EVERY_MS = 60_000;
/** A whole batch of an admin fits. */
const SCRATCH_BYTES = 64 * 1_024;
/** Tokens whose end is not known leave one by one; this many parts of their table, 10 ms, are looked through at a time. */
const SEGMENTS_AT_A_TIME = 32;

export function openRevocations({ prefix, clock, metrics, keepMs, end }: RevocationsOptions): LiveRevocations {
  const hours = new Map<number, FingerprintTable>();
  const rules = new RevocationRules();
  const openedMs = clock.nowMs();
  // Thousands of buffers that live for a moment would leave the process with holes.
  const scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES);
  let generation = 0;
  let forgotten = 0;

  const applied = metrics.counter("jotgate_revocations_applied_total", "Revocations applied", ["type"]);
  const counters = new Map<RuleType | "token", Counter>(
    (["token", ...RULE_TYPES] as const).map((type) => [type, applied.child(type)]),
  );
  const lag = metrics
    .gauge("jotgate_revocation_lag_seconds", "From the writing of the newest revocation until it was applied")
    .child();
  const count = (type: RuleType | "token", added: number, writtenMs: number): void => {
    if (added === 0) return;
    generation++;
    counters.get(type)?.inc(added);
    // What was there before this process says nothing about the way of a revocation.
    if (writtenMs >= openedMs) lag.set(Math.max(0, clock.nowMs() - writtenMs) / 1_000);
  };
  const sum = (of: (table: FingerprintTable) => number): number => {
    let total = 0;
    for (const table of hours.values()) total += of(table);
    return total;
  };
  const gauge = (name: string, help: string, read: () => number): void =>
    metrics.gaugeOf(name, help, [], () => [{ labels: [], value: read() }], "max");
  gauge("jotgate_revoked_tokens", "Tokens revoked by themselves", () => sum(({ size }) => size));
  gauge("jotgate_revocation_rules", "Rules that revoke tokens", () => rules.size);
  metrics.gaugeOf("jotgate_revocations_bytes", "Memory of the tables of revoked tokens", [], () => [
    { labels: [], value: sum(({ bytes }) => bytes) },
  ]);

  const addBatch = (hour: number, value: Buffer): string | undefined => {
    const batch = decodeBatch(value, scratch);
    if (typeof batch === "string") return batch;
    const table = hours.get(hour) ?? new FingerprintTable();
    hours.set(hour, table);
    let added = 0;
    const { entries } = batch;
    for (let at = 0; at < entries.length; at += ENTRY_BYTES) {
      // No object for each: there are thousands, and requests wait.
      const [a, b] = [entries.readInt32BE(at), entries.readInt32BE(at + 4)];
      const [c, d] = [entries.readInt32BE(at + 8), entries.readInt32BE(at + 12)];
      if (table.add(a, b, c, d, entries.readUInt32BE(at + 16))) added++;
    }
    count("token", added, batch.writtenMs);
    return undefined;
  };
  const setRule = (name: string, value: Buffer | undefined): string | undefined => {
    if (value === undefined) {
      if (rules.delete(name)) generation++;
      return undefined;
    }
    const rule = decodeRule(value);
    if (typeof rule === "string") return rule;
    rules.set(name, rule);
    count(rule.type, 1, rule.writtenMs);
    return undefined;
  };
  const forget = (): void => {
    const overBefore = (clock.nowMs() - keepMs) / 1_000;
    for (const hour of hours.keys()) if (hour !== HOUR_UNKNOWN && endOfHour(hour) <= overBefore) hours.delete(hour);
    const unknown = hours.get(HOUR_UNKNOWN);
    if (unknown) forgotten = unknown.forget(overBefore, forgotten, SEGMENTS_AT_A_TIME);
  };
  const forgetting = clock.every(FORGET_EVERY_MS, forget);

  return {
    get generation() {
      return generation;
    },
    get hasTokens() {
      return hours.size > 0;
    },
    find(token, fingerprint) {
      if (fingerprint !== undefined) {
        const hour = hourOf(token.expires);
        const isThere =
          (hours.get(hour)?.untilOf(fingerprint) ?? 0) !== 0 ||
          (hour !== HOUR_UNKNOWN && (hours.get(HOUR_UNKNOWN)?.untilOf(fingerprint) ?? 0) !== 0);
        if (isThere) return BY_ITSELF;
      }
      return rules.find(token);
    },
    end: end ?? NO_REVOCATIONS.end,
    coversConsumer: (username) => rules.covers("consumer", username),
    owns: (key) => parseRevocationKey(prefix, key) !== undefined,
    apply(key, value) {
      const parsed = parseRevocationKey(prefix, key);
      if (parsed === undefined) return "no key of a revocation";
      if (parsed.kind === "rule") return setRule(parsed.name, value);
      // A batch that goes was merged into another, or its tokens have ended.
      return value === undefined ? undefined : addBatch(parsed.hour, value);
    },
    get tokenCount() {
      return sum(({ size }) => size);
    },
    get ruleCount() {
      return rules.size;
    },
    close: () => forgetting.cancel(),
  };
}

const BY_ITSELF = Object.freeze({ type: "token" } as const);
