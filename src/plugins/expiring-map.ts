/**
 * A map whose entries end by themselves, of bounded size: what clients can make us remember.
 * Promise: never more than `most` entries; entries that ended are swept when the map has doubled since the last sweep,
 * so a look-up costs O(1) on average. At the bound the oldest entry makes room.
 */
export interface Ending {
  /** Monotonic milliseconds from which on the entry counts as absent. */
  endMs: number;
}

const SWEEP_FROM = 1024; // entries below this are not worth a sweep

export class ExpiringMap<Value extends Ending> {
  readonly #entries = new Map<string, Value>();
  readonly #most: number;
  #sweepAt = SWEEP_FROM;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string, nowMs: number): Value | undefined {
    const entry = this.#entries.get(key);
    return entry === undefined || entry.endMs <= nowMs ? undefined : entry;
  }

  set(key: string, value: Value, nowMs: number): void {
    if (!this.#entries.has(key) && this.#entries.size >= Math.min(this.#sweepAt, this.#most)) this.#makeRoom(nowMs);
    this.#entries.set(key, value);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  #makeRoom(nowMs: number): void {
    for (const [key, { endMs }] of this.#entries) if (endMs <= nowMs) this.#entries.delete(key);
    this.#sweepAt = Math.max(SWEEP_FROM, this.#entries.size * 2);
    if (this.#entries.size < this.#most) return;
    for (const oldest of this.#entries.keys()) {
      this.#entries.delete(oldest);
      break;
    }
  }
}
