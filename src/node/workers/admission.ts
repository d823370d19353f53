/**
 * When a new worker may answer requests.
 * Promise: never with less than the node has applied, unless the store cannot be had and waiting would leave the node short
 * of workers: then it serves what it has, as the others do.
 */
import type { Clock } from "../../base/clock.ts";
import type { Revision } from "../../store/store.ts";

/** How far a worker is. */
export interface Progress {
  readonly loaded: boolean;
  readonly connected: boolean;
  readonly applied: Revision;
}

const WITHOUT_STORE_MS = 3_000;
/** The store is there and does not get it further, as when it was put back to an older state. */
const WITH_STORE_MS = 30_000;

/** One worker that asks again until it is let in. */
export class WorkerAdmission {
  readonly #clock: Clock;
  #askedMs: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** @param wanted what the node has applied */
  admits({ loaded, connected, applied }: Progress, wanted: Revision): boolean {
    const nowMs = this.#clock.monotonicMs();
    this.#askedMs ??= nowMs;
    if (!loaded) return false;
    return applied >= wanted || nowMs - this.#askedMs >= (connected ? WITH_STORE_MS : WITHOUT_STORE_MS);
  }
}
