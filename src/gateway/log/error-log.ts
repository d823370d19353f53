/**
 * Log lines about requests, bounded per cause: a broken upstream under load must not fill the disk.
 * Promise: at most `LINES` lines per cause and window; the next window says how many were left out.
 */
import type { Clock } from "../../base/clock.ts";
import type { Fields, Log } from "../../base/log.ts";
import type { OwnReason } from "../gateway-reasons.ts";

const WINDOW_MS = 10_000;
const LINES = 5;

interface Window {
  startMs: number;
  lines: number;
  dropped: number;
}

export class ErrorLog {
  readonly #log: Log;
  readonly #clock: Clock;
  readonly #windows = new Map<OwnReason, Window>();
  readonly #warned = new Set<OwnReason>();

  constructor(log: Log, clock: Clock) {
    this.#log = log;
    this.#clock = clock;
  }

  /** @param reason lines are counted under it */
  warn(reason: OwnReason, fields: Fields, message: string): void {
    const dropped = this.#admit(reason);
    if (dropped !== undefined) this.#log.warn(this.#facts(reason, fields, dropped), message);
  }

  error(reason: OwnReason, fields: Fields, message: string): void {
    const dropped = this.#admit(reason);
    if (dropped !== undefined) this.#log.error(this.#facts(reason, fields, dropped), message);
  }

  /** What one line of a process says once and for all. @param tell its facts; undefined: there is nothing to say yet */
  warnOnce(reason: OwnReason, tell: () => Fields | undefined, message: string): void {
    if (this.#warned.has(reason)) return;
    const fields = tell();
    if (!fields) return;
    this.#warned.add(reason);
    this.warn(reason, fields, message);
  }

  #facts(reason: OwnReason, fields: Fields, dropped: number): Fields {
    return dropped === 0 ? { reason, ...fields } : { reason, ...fields, leftOut: dropped };
  }

  /** @returns how many lines of this cause were left out before this one; undefined when this one is left out too */
  #admit(reason: OwnReason): number | undefined {
    const nowMs = this.#clock.monotonicMs();
    let window = this.#windows.get(reason);
    if (!window) {
      window = { startMs: nowMs, lines: 0, dropped: 0 };
      this.#windows.set(reason, window);
    }
    let dropped = 0;
    if (nowMs - window.startMs >= WINDOW_MS) {
      dropped = window.dropped;
      window.startMs = nowMs;
      window.lines = 0;
      window.dropped = 0;
    }
    if (window.lines >= LINES) {
      window.dropped++;
      return undefined;
    }
    window.lines++;
    return dropped;
  }
}
