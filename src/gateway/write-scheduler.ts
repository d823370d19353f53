/**
 * Lets what one turn of the event loop has to say leave together at its end. The peers are woken once instead of once per
 * message, and the reads of a turn run without system calls of other kinds between them.
 * Promise: whoever was added is told before the next turn begins, in the order of adding; nothing waits for a timer.
 */

/** Holds bytes back until it is told. */
export interface Deferred {
  /** Writes what is held; nothing to do when it left already. Must not throw. */
  flushDeferred(): void;
}

export class WriteScheduler {
  #waiting: Deferred[] = [];
  #spare: Deferred[] = [];
  readonly #run = (): void => this.#writeAll();

  /** @param held must be added once per held text, not once per piece of it */
  add(held: Deferred): void {
    if (this.#waiting.push(held) === 1) setImmediate(this.#run);
  }

  #writeAll(): void {
    const waiting = this.#waiting;
    this.#waiting = this.#spare;
    for (let i = 0; i < waiting.length; i++) (waiting[i] as Deferred).flushDeferred();
    waiting.length = 0;
    this.#spare = waiting;
  }
}
