/**
 * One coarse timer for all deadlines of sockets: connect, send, read, idle.
 * Promise: a deadline is never early and at most two ticks late; moving one further away costs one assignment.
 * Time here is time the event loop was running: a blocked loop does not make everybody time out at once.
 */
import type { Clock, Timer } from "../base/clock.ts";

export const TICK_MS = 50;
const SLOTS = 1024; // one turn is 51 s; longer deadlines are looked at once per turn
const LEAP_MAX_MS = TICK_MS * 4;

/** Something with one deadline. Extend it; the links belong to the wheel. */
export abstract class Timed {
  /** Wheel time at which `onDeadline` is due; 0 when not armed. */
  deadlineMs = 0;
  /** @internal slot number while linked, else -1 */
  wheelSlot = -1;
  /** @internal tick at which the wheel will look at this one */
  wheelTick = 0;
  /** @internal */
  wheelNext: Timed | undefined = undefined;
  /** @internal */
  wheelPrevious: Timed | undefined = undefined;

  abstract onDeadline(): void;
}

/** A deadline that calls a function. */
export class Deadline extends Timed {
  readonly #run: () => void;

  constructor(run: () => void) {
    super();
    this.#run = run;
  }

  override onDeadline(): void {
    this.#run();
  }
}

export class TimerWheel {
  /** Wheel time in milliseconds; cheap to read, moves once per tick. */
  nowMs = TICK_MS;
  readonly #slots: (Timed | undefined)[] = new Array<Timed | undefined>(SLOTS).fill(undefined);
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #lastMs = 0;
  #tick = 1;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  start(): void {
    if (this.#timer) return;
    this.#lastMs = this.#clock.monotonicMs();
    this.#timer = this.#clock.every(TICK_MS, () => this.#advance());
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Sets the deadline to `delayMs` from now, replacing the former one. */
  arm(item: Timed, delayMs: number): void {
    const deadlineMs = this.nowMs + delayMs + TICK_MS;
    item.deadlineMs = deadlineMs;
    // Later than the wheel will look anyway: it is put right then.
    if (item.wheelSlot >= 0 && item.wheelTick * TICK_MS <= deadlineMs) return;
    if (item.wheelSlot >= 0) this.#unlink(item);
    this.#link(item);
  }

  /** Takes the deadline away; the item may be armed again. */
  disarm(item: Timed): void {
    item.deadlineMs = 0;
  }

  /** Takes the deadline away and forgets the item, for things that are over. */
  remove(item: Timed): void {
    item.deadlineMs = 0;
    if (item.wheelSlot >= 0) this.#unlink(item);
  }

  #advance(): void {
    const nowMs = this.#clock.monotonicMs();
    this.nowMs += Math.min(nowMs - this.#lastMs, LEAP_MAX_MS);
    this.#lastMs = nowMs;
    while ((this.#tick + 1) * TICK_MS <= this.nowMs) {
      this.#tick++;
      this.#visit(this.#tick % SLOTS);
    }
  }

  /** Everything in this slot is looked at now; what is linked meanwhile never goes into the same slot. */
  #visit(slot: number): void {
    for (let item = this.#slots[slot]; item !== undefined; item = this.#slots[slot]) {
      this.#unlink(item);
      if (item.deadlineMs === 0) continue;
      if (item.deadlineMs > this.nowMs) {
        this.#link(item);
        continue;
      }
      item.deadlineMs = 0;
      item.onDeadline();
    }
  }

  #link(item: Timed): void {
    const wanted = Math.ceil(item.deadlineMs / TICK_MS);
    const tick = Math.min(Math.max(wanted, this.#tick + 1), this.#tick + SLOTS - 1);
    const slot = tick % SLOTS;
    const first = this.#slots[slot];
    item.wheelTick = tick;
    item.wheelSlot = slot;
    item.wheelPrevious = undefined;
    item.wheelNext = first;
    if (first) first.wheelPrevious = item;
    this.#slots[slot] = item;
  }

  #unlink(item: Timed): void {
    const { wheelNext, wheelPrevious } = item;
    if (wheelPrevious) wheelPrevious.wheelNext = wheelNext;
    else this.#slots[item.wheelSlot] = wheelNext;
    if (wheelNext) wheelNext.wheelPrevious = wheelPrevious;
    item.wheelSlot = -1;
    item.wheelNext = undefined;
    item.wheelPrevious = undefined;
  }
}
