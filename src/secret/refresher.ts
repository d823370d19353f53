/**
 * Reads held references again when their time is over: one timer, whatever their number; none while nothing is held.
 * Cost of a tick: what is due, not what is held.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { SecretEntry } from "./secret-entry.ts";

const TICK_MS = 1000;

export class Refresher {
  readonly #clock: Clock;
  readonly #refresh: (entry: SecretEntry) => void;
  /** Second in which they are due → entries. */
  readonly #buckets = new Map<number, Set<SecretEntry>>();
  readonly #bucketOf = new Map<SecretEntry, number>();
  #timer: Timer | undefined;
  #lastSecond = 0;
  #stopped = false;

  constructor(clock: Clock, refresh: (entry: SecretEntry) => void) {
    this.#clock = clock;
    this.#refresh = refresh;
  }

  /** Plans the next reading at the entry's `dueMs`; an earlier plan is dropped. */
  add(entry: SecretEntry): void {
    if (this.#stopped) return;
    this.remove(entry);
    if (!this.#timer) {
      this.#lastSecond = secondOf(this.#clock.monotonicMs());
      this.#timer = this.#clock.every(TICK_MS, () => this.#tick());
    }
    const second = Math.max(secondOf(entry.dueMs) + 1, this.#lastSecond + 1);
    const bucket = this.#buckets.get(second) ?? new Set();
    bucket.add(entry);
    this.#buckets.set(second, bucket);
    this.#bucketOf.set(entry, second);
  }

  remove(entry: SecretEntry): void {
    const second = this.#bucketOf.get(entry);
    if (second === undefined) return;
    this.#bucketOf.delete(entry);
    const bucket = this.#buckets.get(second);
    bucket?.delete(entry);
    if (bucket?.size === 0) this.#buckets.delete(second);
    if (this.#bucketOf.size === 0) this.#cancel();
  }

  stop(): void {
    this.#stopped = true;
    this.#buckets.clear();
    this.#bucketOf.clear();
    this.#cancel();
  }

  #cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #tick(): void {
    const now = secondOf(this.#clock.monotonicMs());
    const due: SecretEntry[] = [];
    // Seconds without entries cost a look-up each; after a long sleep of the machine the buckets are fewer than those.
    const passed = now - this.#lastSecond;
    if (passed > this.#buckets.size) {
      for (const [second, bucket] of this.#buckets) if (second <= now) due.push(...bucket);
    } else {
      for (let second = this.#lastSecond + 1; second <= now; second++) due.push(...(this.#buckets.get(second) ?? []));
    }
    this.#lastSecond = now;
    for (const entry of due) {
      this.remove(entry);
      this.#refresh(entry);
    }
  }
}

function secondOf(ms: number): number {
  return Math.floor(ms / 1000);
}
