/**
 * Warnings that a million records may cause at once: so many in a minute are logged, of the rest only their number.
 */
import type { Clock } from "./clock.ts";
import type { Fields, Log } from "./log.ts";

export type Warn = (fields: Fields, message: string) => void;

const MINUTE_MS = 60_000;

export function openLimitedWarn(log: Log, clock: Clock, perMinute = 10): Warn {
  let sinceMs = Number.NEGATIVE_INFINITY;
  let count = 0;
  return (fields, message) => {
    const nowMs = clock.monotonicMs();
    if (nowMs - sinceMs >= MINUTE_MS) {
      if (count > perMinute) log.warn({ left: count - perMinute }, "more warnings were left out");
      sinceMs = nowMs;
      count = 0;
    }
    count++;
    if (count <= perMinute) log.warn(fields, message);
  };
}
