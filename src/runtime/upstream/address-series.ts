/**
 * Series of upstream addresses (label `node`) that no upstream has any more are forgotten.
 * Promise: those of upstreams that closed within a second are looked at together, when those that replace them are open;
 * those that a name lost long after, since names may show a part of their addresses by turns.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Metrics } from "../../base/metrics.ts";

/** Also lets most requests under way end first. */
const CLOSED_MS = 1_000;
const MOVED_MS = 600_000;
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
  readonly #closed = new Map<string, number>();
  readonly #moved = new Map<string, number>();
  readonly #looks = new Map<Map<string, number>, Timer>();
  #isClosed = false;

  /** @param open all that are open, now and later */
  constructor(open: ReadonlySet<Addressed>, clock: Clock, metrics: Pick<Metrics, "forget">) {
    this.#open = open;
    this.#clock = clock;
    this.#metrics = metrics;
  }

  /** One of them was closed. */
  left(closed: Addressed): void {
    this.#note(closed.addresses(), this.#closed, CLOSED_MS);
  }

  /** A name has these addresses no more. */
  moved(addresses: Iterable<string>): void {
    this.#note(addresses, this.#moved, MOVED_MS);
  }

  close(): void {
    this.#isClosed = true;
    for (const look of this.#looks.values()) look.cancel();
  }

  #note(addresses: Iterable<string>, waiting: Map<string, number>, waitMs: number): void {
    if (this.#isClosed) return;
    const dueMs = this.#clock.monotonicMs() + waitMs;
    for (const address of addresses) {
      waiting.delete(address); // the last time counts; so the first is due first
      if (waiting.size < WAITING_MAX) waiting.set(address, dueMs);
    }
    if (waiting.size > 0 && !this.#looks.has(waiting)) this.#lookAfter(waiting, waitMs);
  }

  #lookAfter(waiting: Map<string, number>, ms: number): void {
    this.#looks.set(
      waiting,
      this.#clock.after(ms, () => this.#look(waiting)),
    );
  }

  #look(waiting: Map<string, number>): void {
    this.#looks.delete(waiting);
    const nowMs = this.#clock.monotonicMs();
    const due = new Set<string>();
    for (const [address, dueMs] of waiting) {
      if (dueMs > nowMs) {
        this.#lookAfter(waiting, dueMs - nowMs);
        break;
      }
      due.add(address);
      waiting.delete(address);
    }
    for (const unit of this.#open) for (const address of unit.addresses()) due.delete(address);
    for (const address of due) this.#metrics.forget("node", address);
  }
}
