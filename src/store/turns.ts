/**
 * Long synchronous work in slices, so that requests get their turns between them.
 * setImmediate is no timer: it only lets waiting I/O go first.
 */
import type { Clock } from "../base/clock.ts";

/** Longest piece of background work in one turn of the event loop. */
export const SLICE_MS = 5;
/** With a standing clock (tests) slices end by count. */
const SLICE_STEPS = 1_000;

export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Says when a slice is used up. */
export class Slice {
  readonly #clock: Clock;
  readonly #budgetMs: number;
  #endMs: number;
  #steps = 0;

  constructor(clock: Clock, budgetMs = SLICE_MS) {
    this.#clock = clock;
    this.#budgetMs = budgetMs;
    this.#endMs = clock.monotonicMs() + budgetMs;
  }

  /** Counts one step; true when the caller should yield. */
  isOver(): boolean {
    this.#steps++;
    return this.#steps >= SLICE_STEPS || this.#clock.monotonicMs() >= this.#endMs;
  }

  /** Lets others have their turn and starts the next slice. */
  async yield(): Promise<void> {
    await nextTurn();
    this.restart();
  }

  restart(): void {
    this.#steps = 0;
    this.#endMs = this.#clock.monotonicMs() + this.#budgetMs;
  }
}
