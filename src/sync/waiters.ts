/**
 * Those who wait until a revision is applied. Bounded by their own time-outs.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Revision } from "../store/store.ts";

interface Waiter {
  readonly revision: Revision;
  readonly done: (applied: boolean) => void;
  readonly timer: Timer;
}

export class Waiters {
  readonly #clock: Clock;
  readonly #waiting = new Set<Waiter>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves true once `applied` reaches `revision`, false after `timeoutMs`. */
  wait(revision: Revision, timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const waiter: Waiter = {
        revision,
        done: (applied) => {
          this.#waiting.delete(waiter);
          waiter.timer.cancel();
          resolve(applied);
        },
        timer: this.#clock.after(timeoutMs, () => waiter.done(false)),
      };
      this.#waiting.add(waiter);
    });
  }

  reached(revision: Revision): void {
    for (const waiter of this.#waiting) if (waiter.revision <= revision) waiter.done(true);
  }

  giveUp(): void {
    for (const waiter of this.#waiting) waiter.done(false);
  }
}
