/**
 * Hands in what a node's credentials were used for: what changed, at intervals and once more when the node stops in
 * order. Promise: it never waits in the way of traffic; what could not be written is kept and goes with the next; a node
 * holds a fixed number of records in the store, however long no admin takes them.
 */
import { type Clock, sleep, type Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { encodeHandedIn, handedInDir, type Use } from "../model/usage.ts";
import type { Store } from "../store/store.ts";

interface HandInOptions {
  readonly store: Store;
  readonly prefix: string;
  /** Id of the node. */
  readonly id: string;
  readonly everyMs: number;
  /** What was noted since it was asked last. */
  readonly take: () => readonly Use[];
  readonly clock: Clock;
  readonly log: Log;
}

/** Records of one node that wait for an admin. */
const SLOTS = 32;
const STOP_MS = 2_000;

export class HandIn {
  readonly #options: HandInOptions;
  /** Not written yet. */
  readonly #waiting = new Map<string, Use>();
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;
  #isStopped = false;

  constructor(options: HandInOptions) {
    this.#options = options;
  }

  start(): void {
    this.#plan();
  }

  /** Of another process of this node. */
  add(uses: readonly Use[]): void {
    for (const use of uses) {
      const known = this.#waiting.get(use.name);
      if (known === undefined || known.hour < use.hour || known.created < use.created) this.#waiting.set(use.name, use);
    }
  }

  /** Writes what there is; a store that is away is waited for at most two seconds. */
  async stop(): Promise<void> {
    if (this.#isStopped) return;
    this.#isStopped = true;
    this.#timer?.cancel();
    await Promise.race([
      this.#writing?.then(() => this.#write()) ?? this.#write(),
      sleep(this.#options.clock, STOP_MS),
    ]);
  }

  #plan(): void {
    const { clock, everyMs } = this.#options;
    this.#timer = clock.after(everyMs * (0.5 + Math.random()), () => {
      this.#writing = this.#write().finally(() => {
        this.#writing = undefined;
        if (!this.#isStopped) this.#plan();
      });
    });
  }

  /** Never rejects. */
  async #write(): Promise<void> {
    const { store, prefix, id, log } = this.#options;
    this.add(this.#options.take());
    try {
      let slot = 0;
      for (const { value, uses } of encodeHandedIn(id, this.#waiting.values())) {
        for (let isWritten = false; !isWritten; slot++) {
          if (slot === SLOTS) return; // no admin takes them: what is left goes with the next
          const key = `${handedInDir(prefix)}${id}/${slot}`;
          const { succeeded } = await store.txn({
            compare: [{ key, target: "createRevision", is: "==", value: 0n }],
            then: [{ op: "put", key, value }],
          });
          isWritten = succeeded;
        }
        for (const use of uses) if (this.#waiting.get(use.name) === use) this.#waiting.delete(use.name);
      }
    } catch (error) {
      // A user of etcd that may not: docs/cluster.md has what a gateway needs.
      log.warn({ error: messageOf(error) }, "uses of credentials could not be written; they are kept");
    }
  }
}
