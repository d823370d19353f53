/**
 * Keeps so many workers running: replaces those that end, at once at first and then ever more slowly; replaces all of
 * them one after another on reload; ends them in order. One more process stands by with its program loaded, because
 * loading takes most of the time until a new worker serves.
 * Promise: a worker is given up only when its successor accepts connections, or when it is gone.
 */
import { type Clock, sleep, type Timer } from "../../base/clock.ts";
import { CodedError } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Revision } from "../../store/store.ts";
import type { Listening, WorkerEnd, WorkerProcess } from "./worker-process.ts";

interface SupervisorOptions {
  readonly count: number;
  readonly fork: () => WorkerProcess;
  /** A worker's process is no more. */
  readonly onGone: (worker: WorkerProcess) => void;
  readonly drainMs: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: () => number;
}

/** A worker that lived for so long says nothing about the next one. */
const STEADY_MS = 10_000;
const BACK_OFF_MS = 250;
const BACK_OFF_LIMIT_MS = 30_000;
/** How long a successor may take until it accepts connections. */
const SUCCESSION_MS = 60_000;
const CHECK_MS = 1_000;
/** So many checks in a row without a word, though one is due each second: its event loop stands still. */
const SILENT_CHECKS = 30;

/** The place of one worker. */
interface Slot {
  current: WorkerProcess | undefined;
  /** Started by a reload, takes over when it accepts connections. */
  successor: WorkerProcess | undefined;
  /** How many ended young, in a row. */
  failures: number;
  timer: Timer | undefined;
}

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #random: () => number;
  readonly #slots: readonly Slot[];
  readonly #alive = new Set<WorkerProcess>();
  /** Stands by. */
  #spare: WorkerProcess | undefined;
  #spareFailures = 0;
  #spareTimer: Timer | undefined;
  readonly #silence = new WeakMap<WorkerProcess, { lastSignMs: number; checks: number }>();
  /** The first workers are on their way. */
  isStarting = true;
  #watchdog: Timer | undefined;
  /** Of the last reload: its former workers. */
  #draining: Promise<void> = Promise.resolve();
  #isStopping = false;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    this.#random = options.random ?? Math.random;
    this.#slots = Array.from({ length: options.count }, () => ({
      current: undefined,
      successor: undefined,
      failures: 0,
      timer: undefined,
    }));
  }

  /** Every process that has not ended, in order of their start. */
  get workers(): readonly WorkerProcess[] {
    return [...this.#alive];
  }

  /** Resolves when all accept connections; rejects with what the first one that cannot says. */
  async start(): Promise<Listening> {
    for (const slot of this.#slots) slot.current = this.#launch(slot, this.#options.fork());
    this.#watchdog = this.#options.clock.every(CHECK_MS, () => this.#check());
    const [first] = await Promise.all(this.workers.map((worker) => worker.listening));
    this.isStarting = false;
    this.#keepSpare();
    if (!first) throw new TypeError("a supervisor needs at least one worker");
    return first;
  }

  /**
   * Resolves when every worker was replaced; the former ones drain. It begins when those of the reload before have ended.
   * @throws CodedError WORKER_UNAVAILABLE when a new worker does not come up; the former ones go on then
   */
  async reload(): Promise<void> {
    await this.#draining;
    const ended: Promise<void>[] = [];
    try {
      await this.#replaceAll(ended);
    } finally {
      this.#draining = Promise.all(ended).then(() => undefined);
    }
    this.#spareFailures = 0;
    this.#spare?.kill(); // it is as old as they were
    this.#options.log.info({}, "all workers are replaced");
  }

  beginDrain(): void {
    for (const worker of this.#alive) worker.beginDrain();
  }

  /** Ends all of them; what runs is finished within `drainMs`. Idempotent. */
  async stop(drainMs: number): Promise<void> {
    this.#isStopping = true;
    this.#watchdog?.cancel();
    for (const slot of this.#slots) slot.timer?.cancel();
    this.#spareTimer?.cancel();
    this.#spare?.kill();
    // All listeners are one socket: the last worker takes what has come to it.
    const [last, ...others] = this.workers.filter((worker) => worker.state === "serving");
    await Promise.all(others.map((worker) => worker.stopAccepting(false)));
    await last?.stopAccepting(true);
    await Promise.all([this.#spare?.gone, ...this.workers.map((worker) => worker.stop(drainMs))]);
  }

  #launch(slot: Slot, worker: WorkerProcess): WorkerProcess {
    this.#alive.add(worker);
    worker.begin();
    void worker.gone.then((end) => this.#ended(slot, worker, end));
    return worker;
  }

  #refill(slot: Slot): void {
    if (slot.current) return;
    const spare = this.#spare;
    this.#spare = undefined;
    if (spare) this.#spareFailures = 0;
    const worker = this.#launch(slot, spare ?? this.#options.fork());
    slot.current = worker;
    // Not at the same time: it would only slow this one down.
    const next = (): void => this.#keepSpare();
    worker.listening.then(next, next);
  }

  #keepSpare(): void {
    if (this.#isStopping || this.#spare) return;
    const spare = this.#options.fork();
    this.#spare = spare;
    void spare.gone.then(() => {
      if (this.#spare !== spare) return; // it became a worker
      this.#spare = undefined;
      this.#options.onGone(spare);
      this.#spareTimer = this.#options.clock.after(this.#pause(++this.#spareFailures), () => this.#keepSpare());
    });
  }

  /** @param ended takes the ends of the former ones */
  async #replaceAll(ended: Promise<void>[]): Promise<void> {
    const { clock, drainMs, log } = this.#options;
    log.info({}, "replacing all workers");
    for (const slot of this.#slots) {
      if (this.#isStopping) break;
      if (!slot.current) continue; // a new one is on its way anyway
      const successor = this.#launch(slot, this.#options.fork());
      slot.successor = successor;
      const late = new CodedError("WORKER_UNAVAILABLE", { message: "the new worker does not come up" });
      try {
        const expired = sleep(clock, SUCCESSION_MS).then(() => Promise.reject(late));
        await Promise.race([successor.listening, expired]);
      } catch (error) {
        successor.kill();
        await successor.gone;
        throw error;
      }
      const former = slot.current;
      slot.successor = undefined;
      slot.current = successor;
      // Nobody waits for it to end, so idle connections may stay until their clients have used them once more.
      if (former) ended.push(former.stop(drainMs, drainMs));
    }
  }

  #ended(slot: Slot, worker: WorkerProcess, end: WorkerEnd): void {
    this.#alive.delete(worker);
    this.#options.onGone(worker);
    const { log, clock } = this.#options;
    const facts = { worker: worker.id, pid: worker.pid, ...end };
    if (slot.successor === worker) slot.successor = undefined;
    else if (slot.current === worker) slot.current = undefined;
    else {
      log.info(facts, "a former worker has ended");
      return;
    }
    if (this.#isStopping || this.isStarting) {
      log.info(facts, "a worker has ended");
      return;
    }
    if (slot.current || slot.successor) {
      log.error(facts, "a worker ended; its place is taken");
      return;
    }
    const livedMs = clock.monotonicMs() - worker.startedMonoMs;
    if (livedMs >= STEADY_MS) slot.failures = 0;
    const delayMs = this.#pause(slot.failures++);
    log.error(
      { ...facts, livedMs: Math.round(livedMs), delayMs: Math.round(delayMs) },
      "a worker ended; it is replaced",
    );
    if (delayMs === 0) this.#refill(slot);
    else slot.timer = clock.after(delayMs, () => this.#refill(slot));
  }

  #pause(failures: number): number {
    if (failures === 0) return 0;
    return Math.min(BACK_OFF_LIMIT_MS, BACK_OFF_MS * 2 ** (failures - 1)) * (0.5 + 0.5 * this.#random());
  }

  /** Kills workers that have been silent; counts checks, not time, so that a primary that was stopped itself kills nobody. */
  #check(): void {
    for (const worker of this.#alive) {
      const seen = this.#silence.get(worker);
      if (seen === undefined || seen.lastSignMs !== worker.lastSignMs) {
        this.#silence.set(worker, { lastSignMs: worker.lastSignMs, checks: 0 });
      } else if (++seen.checks === SILENT_CHECKS && worker.state !== "draining") {
        this.#options.log.error({ worker: worker.id, pid: worker.pid }, "a worker does not respond and is killed");
        worker.kill();
      }
    }
  }
}

/**
 * When a new worker may answer requests.
 * Promise: never with less than the node has applied, unless the store cannot be had and waiting would leave the node short
 * of workers: then it serves what it has, as the others do.
 */

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
