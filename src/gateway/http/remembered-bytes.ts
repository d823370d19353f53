/**
 * Bytes of a head that are compared with the next one, so that what was read of them need not be read again.
 * Promise: what is remembered is a copy; bounded each and all together; where heads differ each time nothing is kept, and
 * no more is compared for a while.
 */
/** A longer one is not remembered. */
const BYTES_MAX = 8_192;
/** In a row; then heads rest for a while. */
const MISSES_MAX = 4;
const REST = 256; // heads that are not looked at
/** What is kept beside a copy: texts, lists, finished lines. */
const TIMES = 4;

/** What all remembered heads of a process hold together. */
export class HeadMemory {
  #left: number;

  /** @param bytes 0: nothing is remembered */
  constructor(bytes: number) {
    this.#left = bytes;
  }

  take(bytes: number): boolean {
    if (bytes * TIMES > this.#left) return false;
    this.#left -= bytes * TIMES;
    return true;
  }

  giveBack(bytes: number): void {
    this.#left += bytes * TIMES;
  }
}

/** Whether remembering pays where heads come one after the other. */
export class Recurrence {
  #misses = 0;
  #resting = 0;

  hit(): void {
    this.#misses = 0;
  }

  /** @returns whether what was missed shall be remembered */
  miss(): boolean {
    if (this.#resting > 0) {
      this.#resting--;
      return false;
    }
    if (++this.#misses <= MISSES_MAX) return true;
    this.#misses = 0;
    this.#resting = REST;
    return false;
  }
}

export class RememberedBytes {
  readonly #memory: HeadMemory;
  #bytes: Buffer | undefined;
  /** 0: nothing is remembered. */
  length = 0;

  constructor(memory: HeadMemory) {
    this.#memory = memory;
  }

  /** Whether what is remembered from `from` on stands in `bytes` at `at`. False where nothing is. */
  standsIn(bytes: Buffer, at: number, from = 0): boolean {
    const { length } = this;
    const mine = this.#bytes;
    const end = at + length - from;
    return mine !== undefined && length > 0 && end <= bytes.length && bytes.compare(mine, from, length, at, end) === 0;
  }

  /** Keeps a copy of bytes[start, end) in place of what was. @returns false when there is no room: nothing is kept then */
  keep(bytes: Buffer, start: number, end: number): boolean {
    const wanted = end - start;
    if (this.#bytes === undefined || this.#bytes.length < wanted) {
      this.forget();
      if (wanted > BYTES_MAX || !this.#memory.take(wanted)) return false;
      this.#bytes = Buffer.allocUnsafeSlow(wanted); // no part of a slab, which would stay with it
    }
    bytes.copy(this.#bytes, 0, start, end);
    this.length = wanted;
    return true;
  }

  forget(): void {
    if (this.#bytes !== undefined) this.#memory.giveBack(this.#bytes.length);
    this.#bytes = undefined;
    this.length = 0;
  }
}
