/**
 * A real clock that runs faster, so that time-outs of seconds are seen in fractions of one. Sockets keep real time.
 */
import { type Clock, systemClock } from "../../src/base/clock.ts";

export function fastClock(factor: number): Clock {
  const startMs = systemClock.nowMs();
  return {
    nowMs: () => startMs + (systemClock.nowMs() - startMs) * factor,
    monotonicMs: () => systemClock.monotonicMs() * factor,
    after: (delayMs, run) => systemClock.after(delayMs / factor, run),
    every: (intervalMs, run) => systemClock.every(intervalMs / factor, run),
  };
}
