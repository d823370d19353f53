/**
 * What the workers together say of the node.
 */
import type { Clock } from "../../base/clock.ts";
import type { ConfigStatus } from "../../status/status-facts.ts";
import { STARTING } from "../node-facts.ts";
import { addTally, mergeConfigs, NO_TALLY, type Tally } from "./config-wire.ts";
import type { WorkerProcess } from "./worker-process.ts";

export class WorkersView {
  readonly #clock: Clock;
  readonly #workers = new Set<WorkerProcess>();
  /** What was counted by workers that are gone. */
  #past: Tally = NO_TALLY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(worker: WorkerProcess): void {
    this.#workers.add(worker);
  }

  remove(worker: WorkerProcess): void {
    if (this.#workers.delete(worker) && worker.facts) this.#past = addTally(this.#past, worker.facts);
  }

  /** Those that may answer requests, draining ones included. */
  get serving(): readonly WorkerProcess[] {
    return [...this.#workers].filter((worker) => worker.isAdmitted);
  }

  /** The revision that every worker which may answer has applied; 0 when there is none. */
  applied(): bigint {
    let least: bigint | undefined;
    for (const { applied } of this.serving) if (least === undefined || applied < least) least = applied;
    return least ?? 0n;
  }

  config(): ConfigStatus {
    const now = this.#clock.monotonicMs();
    const configs = this.serving.flatMap(({ facts, applied, factsMs }) =>
      facts ? [{ facts, applied, silentSeconds: Math.max(0, now - factsMs) / 1_000 }] : [],
    );
    return mergeConfigs(configs, this.#past) ?? STARTING;
  }
}
