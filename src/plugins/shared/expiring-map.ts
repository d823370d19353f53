/**
 * A map whose entries end by themselves, of bounded size: what clients can make us remember.
 * Promise: never more than `most` entries; ended ones are swept before the map has doubled since the last sweep; at the
 * bound the oldest entry makes room. Each of it costs O(1) on average, at the bound too. Keys hold no request alive.
 */
export interface Ending {
  /** Monotonic milliseconds from which on the entry counts as absent. */
  endMs: number;
}

const SWEEP_FROM = 1024; // entries below this are not worth a sweep
const SLICE_FROM = 13; // V8 copies shorter parts of a text, and lets longer ones point into the whole of it

export class ExpiringMap<Value extends Ending> {
  readonly #entries = new Map<string, Value>();
  readonly #most: number;
  /** New entries until the next sweep. */
  #untilSweep = SWEEP_FROM;
  /** Goes on where the last one that made room stood: all before are gone. */
  #oldest: Iterator<string> | undefined;

  constructor(most: number) {
    this.#most = most;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: string, nowMs: number): Value | undefined {
    const entry = this.#entries.get(key);
    return entry === undefined || entry.endMs <= nowMs ? undefined : entry;
  }

  set(key: string, value: Value, nowMs: number): void {
    if (this.#entries.has(key)) {
      this.#entries.set(key, value);
      return;
    }
    if (--this.#untilSweep < 0) this.#sweep(nowMs);
    if (this.#entries.size >= this.#most) this.#dropOldest();
    this.#entries.set(ownText(key), value);
  }

  delete(key: string): void {
    this.#entries.delete(key);
  }

  #sweep(nowMs: number): void {
    for (const [key, { endMs }] of this.#entries) if (endMs <= nowMs) this.#entries.delete(key);
    this.#untilSweep = Math.max(SWEEP_FROM, this.#entries.size);
  }

  #dropOldest(): void {
    this.#oldest ??= this.#entries.keys();
    let next = this.#oldest.next();
    if (next.done) {
      this.#oldest = this.#entries.keys();
      next = this.#oldest.next();
    }
    if (!next.done) this.#entries.delete(next.value);
  }
}

/** An equal text that is not a part of another: a header's value would keep the whole head of its request. */
function ownText(text: string): string {
  if (text.length < SLICE_FROM) return text;
  let isLatin1 = true;
  for (let i = 0; i < text.length && isLatin1; i++) isLatin1 = text.charCodeAt(i) <= 0xff;
  const encoding = isLatin1 ? "latin1" : "utf16le"; // neither changes what is no well-formed text
  return Buffer.from(text, encoding).toString(encoding);
}
