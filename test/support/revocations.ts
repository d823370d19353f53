/**
 * The real revocations of a process, filled as the store would fill them.
 */
import type { Clock } from "../../src/base/clock.ts";
import { type Fingerprint, fingerprintOfText } from "../../src/base/jose/token.ts";
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
import type { Revocations } from "../../src/plugin/revocations.ts";
import { type LiveRevocations, openRevocations } from "../../src/runtime/revocation/live-revocations.ts";

export interface TestRevocations {
  /** What clients' revocations end with from now on; undefined: they are written. */
  failure: Error | undefined;
  readonly live: LiveRevocations;
  /** By its text, as jwt-auth knows it. */
  revoke(token: string): void;
  /** Until further notice. @returns the key of its record */
  rule(rule: Omit<RevocationRule, "until" | "writtenMs">): string;
}

export function openTestRevocations(clock: Clock, metrics = openMetrics()): TestRevocations {
  let batches = 0;
  const write = (fingerprint: Fingerprint, exp: unknown): void => {
    const hour = hourOf(exp);
    const until = hour === 0 ? UNTIL_MAX : Math.ceil(Number(exp));
    live.apply(`${hourDir("/apisix", hour)}test-${++batches}-1`, encodeBatch([{ fingerprint, until }], clock.nowMs()));
  };
  const end: Revocations["end"] = async (fingerprint, expires) => {
    if (made.failure) throw made.failure;
    write(fingerprint, expires);
  };
  const live: LiveRevocations = openRevocations({ prefix: "/apisix", clock, metrics, keepMs: 600_000, end });
  const made: TestRevocations = {
    failure: undefined,
    live,
    revoke(token) {
      const payload = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8"));
      write(fingerprintOfText(token), payload.exp);
    },
    rule(rule) {
      const key = `${rulesDir("/apisix")}${ruleName(rule)}`;
      live.apply(key, encodeRule({ ...rule, until: UNTIL_MAX, writtenMs: clock.nowMs() }));
      return key;
    },
  };
  return made;
}
