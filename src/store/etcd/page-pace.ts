/**
 * How many records the pages of one list have: few at first, more while the way to the store is quick, fewer where it is
 * slow or records are large. Promise: a list, or another one after it, goes on over any way that lets the smallest page
 * through within a call's deadline, and whatever single records a message can hold; a store that is silent is reported
 * after one deadline.
 */
import type { Clock } from "../../base/clock.ts";
import { isCodedError } from "../../base/errors.ts";

export const FIRST_PAGE = 32;
const SMALLEST = 10;
/** Decoding a page of it is a turn of a few milliseconds. */
const PAGE_BYTES = 2 ** 20;

interface Paced {
  readonly deadlineMs: number;
  readonly clock: Clock;
  /** What the lists of one source have in common: how many records a first page may have. */
  readonly shared: { firstPage: number };
}

export class PagePace {
  readonly #paced: Paced;
  #largest: number;
  #limit: number;
  #isFirst = true;

  constructor(largest: number, paced: Paced) {
    this.#paced = paced;
    this.#largest = largest;
    this.#limit = Math.min(paced.shared.firstPage, largest);
  }

  /**
   * Fetches a page; once more with fewer records when a message was too small for it, or the deadline too short after
   * pages that came: a first page that does not come may as well mean a silent store, so the next list begins with fewer.
   * @param bytesOf what it brought; default: little
   */
  async run<T>(fetch: (limit: number) => Promise<T>, bytesOf: (page: T) => number = () => 0): Promise<T> {
    const { clock, deadlineMs, shared } = this.#paced;
    for (;;) {
      const limit = this.#limit;
      const startMs = clock.monotonicMs();
      try {
        const page = await fetch(limit);
        this.#adapt(clock.monotonicMs() - startMs, limit, bytesOf(page));
        return page;
      } catch (error) {
        if (limit > 1 && isCodedError(error, "STORE_TOO_LARGE")) {
          this.#largest = Math.floor((limit + 3) / 4);
          this.#limit = this.#largest;
          continue;
        }
        const wasSlow = clock.monotonicMs() - startMs >= deadlineMs * 0.9;
        if (!wasSlow || limit <= SMALLEST || !isCodedError(error, "STORE_UNAVAILABLE")) throw error;
        this.#limit = Math.max(SMALLEST, Math.floor(limit / 4));
        if (!this.#isFirst) continue;
        shared.firstPage = this.#limit;
        throw error;
      }
    }
  }

  #adapt(tookMs: number, limit: number, bytes: number): void {
    const { deadlineMs, shared } = this.#paced;
    if (tookMs * 8 < deadlineMs) this.#limit = Math.min(this.#largest, this.#limit * 2);
    else if (tookMs * 3 > deadlineMs)
      this.#limit = Math.max(Math.min(SMALLEST, this.#largest), Math.floor(this.#limit / 2));
    const most = bytes === 0 ? this.#limit : Math.floor((limit * PAGE_BYTES) / bytes);
    this.#limit = Math.max(1, Math.min(this.#limit, Math.max(most, Math.min(SMALLEST, limit))));
    if (this.#isFirst) shared.firstPage = Math.min(FIRST_PAGE, this.#limit);
    this.#isFirst = false;
  }
}
