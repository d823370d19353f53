/**
 * What all request bodies of one process hold in memory together.
 * Promise: beyond the bound no body is collected any further: those on their way upstream are streamed, those that a plugin
 * wants whole are refused.
 */
export class BodyMemory {
  readonly #limitBytes: number;
  #held = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  get isFull(): boolean {
    return this.#held >= this.#limitBytes;
  }

  /** @param bytes negative when they are given back */
  add(bytes: number): void {
    this.#held += bytes;
  }
}
