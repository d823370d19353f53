/**
 * The only place that reads time or sets timers, so that tests can move time by hand.
 * Wall time is for claims and timestamps; monotonic time is for durations, leases and caches.
 */
export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Milliseconds since 1970, follows the machine's clock. */
  nowMs(): number;
  /** Milliseconds since an arbitrary start; never goes back. */
  monotonicMs(): number;
  /** Calls `run` once after `delayMs`. Such a timer never keeps the process alive. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls `run` every `intervalMs`. Such a timer never keeps the process alive. */
  every(intervalMs: number, run: () => void): Timer;
}

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  after(delayMs, run) {
    const handle = setTimeout(run, delayMs);
    handle.unref();
    return { cancel: () => clearTimeout(handle) };
  },
  every(intervalMs, run) {
    const handle = setInterval(run, intervalMs);
    handle.unref();
    return { cancel: () => clearInterval(handle) };
  },
};

/** Resolves after `delayMs`, or at once when `signal` aborts; never rejects. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) {
      resolve();
      return;
    }
    const finish = (): void => {
      timer.cancel();
      signal?.removeEventListener("abort", finish);
      resolve();
    };
    const timer = clock.after(delayMs, finish);
    signal?.addEventListener("abort", finish, { once: true });
  });
}

interface Pending {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly run: () => void;
}

/** A clock for tests: time stands still until `advance`. */
export class FakeClock implements Clock {
  #wallMs: number;
  #monoMs = 0;
  readonly #pending = new Set<Pending>();

  constructor(wallMs = 1_700_000_000_000) {
    this.#wallMs = wallMs;
  }

  nowMs(): number {
    return this.#wallMs;
  }

  monotonicMs(): number {
    return this.#monoMs;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.#add({ atMs: this.#monoMs + delayMs, everyMs: undefined, run });
  }

  every(intervalMs: number, run: () => void): Timer {
    return this.#add({ atMs: this.#monoMs + intervalMs, everyMs: Math.max(1, intervalMs), run });
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#pending.size;
  }

  /** Moves both clocks and runs what became due, in order of time. */
  advance(byMs: number): void {
    const end = this.#monoMs + byMs;
    for (;;) {
      let next: Pending | undefined;
      for (const item of this.#pending) if (item.atMs <= end && (!next || item.atMs < next.atMs)) next = item;
      if (!next) break;
      this.#wallMs += next.atMs - this.#monoMs;
      this.#monoMs = next.atMs;
      if (next.everyMs === undefined) this.#pending.delete(next);
      else next.atMs += next.everyMs;
      next.run();
    }
    this.#wallMs += end - this.#monoMs;
    this.#monoMs = end;
  }

  /** Moves the wall clock only, as an operator or NTP would. */
  jump(byMs: number): void {
    this.#wallMs += byMs;
  }

  #add(item: Pending): Timer {
    this.#pending.add(item);
    return { cancel: () => void this.#pending.delete(item) };
  }
}
