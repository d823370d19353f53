/**
 * The real revocations of a process, filled as the store would fill them.
 */
import type { Clock } from "../../src/base/clock.ts";
import { fingerprintOfText } from "../../src/base/jose/token.ts";
import { openMetrics } from "../../src/base/metrics.ts";
import {
  encodeBatch,
  encodeRule,
  hourDir,
  hourOf,
  type RevocationRule,
  ruleName,
  rulesDir,
  UNTIL_MAX,
} from "../../src/model/revocation.ts";
import { type LiveRevocations, openRevocations } from "../../src/runtime/revocation/live-revocations.ts";

export interface TestRevocations {
  readonly live: LiveRevocations;
  /** By its text, as jwt-auth knows it. */
  revoke(token: string): void;
  /** Until further notice. @returns the key of its record */
  rule(rule: Omit<RevocationRule, "until" | "writtenMs">): string;
}

export function openTestRevocations(clock: Clock, metrics = openMetrics()): TestRevocations {
  const live = openRevocations({ prefix: "/apisix", clock, metrics, keepMs: 600_000 });
  let batches = 0;
  return {
    live,
    revoke(token) {
      const payload = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
      const hour = hourOf(payload.exp);
      const until = hour === 0 ? UNTIL_MAX : Math.ceil(payload.exp);
      const batch = encodeBatch([{ fingerprint: fingerprintOfText(token), until }], clock.nowMs());
      live.apply(`${hourDir("/apisix", hour)}test-${++batches}-1`, batch);
    },
    rule(rule) {
      const key = `${rulesDir("/apisix")}${ruleName(rule)}`;
      live.apply(key, encodeRule({ ...rule, until: UNTIL_MAX, writtenMs: clock.nowMs() }));
      return key;
    },
  };
}
