/**
 * Series of upstream addresses (label `node`) that no upstream has any more are forgotten.
 * Promise: looked at once for all upstreams that closed within a second, when those that replace them are open.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Metrics } from "../../base/metrics.ts";

/** Also lets most requests under way end first. */
const LOOK_MS = 1_000;
/** Addresses that may wait for the look; series of others stay until they expire. */
const WAITING_MAX = 100_000;

/** Whoever has addresses of targets: those in use now. */
interface Addressed {
  addresses(): Iterable<string>;
}

export class AddressSeries {
  readonly #open: ReadonlySet<Addressed>;
  readonly #clock: Clock;
  readonly #metrics: Pick<Metrics, "forget">;
  readonly #left = new Set<string>();
  #look: Timer | undefined;
  #isClosed = false;

  /** @param open all that are open, now and later */
  constructor(open: ReadonlySet<Addressed>, clock: Clock, metrics: Pick<Metrics, "forget">) {
    this.#open = open;
    this.#clock = clock;
    this.#metrics = metrics;
  }

  /** One of them was closed. */
  left(closed: Addressed): void {
    if (this.#isClosed) return;
    for (const address of closed.addresses()) if (this.#left.size < WAITING_MAX) this.#left.add(address);
    if (this.#left.size > 0) this.#look ??= this.#clock.after(LOOK_MS, () => this.#forget());
  }

  close(): void {
    this.#isClosed = true;
    this.#look?.cancel();
    this.#left.clear();
  }

  #forget(): void {
    this.#look = undefined;
    for (const unit of this.#open) for (const address of unit.addresses()) this.#left.delete(address);
    for (const address of this.#left) this.#metrics.forget("node", address);
    this.#left.clear();
  }
}
