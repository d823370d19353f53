/**
 * How many records the pages of one list have: few at first, more while the way to the store is quick, fewer where it is
 * slow or records are large. Promise: a list goes on over any way that lets the smallest page through within a call's
 * deadline, and whatever single records a message can hold.
 */
import type { Clock } from "../../base/clock.ts";
import { isGatewayError } from "../../base/errors.ts";

const FIRST = 100;
const SMALLEST = 10;

export class PagePace {
  #largest: number;
  readonly #deadlineMs: number;
  readonly #clock: Clock;
  #limit: number;

  constructor(largest: number, deadlineMs: number, clock: Clock) {
    this.#largest = largest;
    this.#deadlineMs = deadlineMs;
    this.#clock = clock;
    this.#limit = Math.min(FIRST, largest);
  }

  /** Fetches a page; once more with fewer records when the deadline was too short for it, or a message too small. */
  async run<T>(fetch: (limit: number) => Promise<T>): Promise<T> {
    for (;;) {
      const limit = this.#limit;
      const startMs = this.#clock.monotonicMs();
      try {
        const page = await fetch(limit);
        this.#adapt(this.#clock.monotonicMs() - startMs);
        return page;
      } catch (error) {
        if (limit > 1 && isGatewayError(error, "STORE_TOO_LARGE")) {
          this.#largest = Math.floor((limit + 3) / 4);
          this.#limit = this.#largest;
          continue;
        }
        const wasSlow = this.#clock.monotonicMs() - startMs >= this.#deadlineMs * 0.9;
        if (!wasSlow || limit <= SMALLEST || !isGatewayError(error, "STORE_UNAVAILABLE")) throw error;
        this.#limit = Math.max(SMALLEST, Math.floor(limit / 4));
      }
    }
  }

  #adapt(tookMs: number): void {
    if (tookMs * 8 < this.#deadlineMs) this.#limit = Math.min(this.#largest, this.#limit * 2);
    else if (tookMs * 3 > this.#deadlineMs)
      this.#limit = Math.max(Math.min(SMALLEST, this.#largest), Math.floor(this.#limit / 2));
  }
}
