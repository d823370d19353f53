/**
 * One short text for all records a node holds, to compare nodes: equal tables give equal texts, in whatever order they
 * were filled. Not for secrecy or against intent; a change costs the lengths of the values that come and go.
 */
export class ConfigHash {
  #count = 0;
  #high = 0;
  #low = 0;

  add(key: string, modRevision: bigint, value: Uint8Array): void {
    const digest = digestOf(key, modRevision, value);
    this.#count++;
    this.#high = (this.#high + highOf(digest)) >>> 0;
    this.#low = (this.#low + lowOf(digest)) >>> 0;
  }

  /** Takes back what `add` was given. */
  remove(key: string, modRevision: bigint, value: Uint8Array): void {
    const digest = digestOf(key, modRevision, value);
    this.#count--;
    this.#high = (this.#high - highOf(digest)) >>> 0;
    this.#low = (this.#low - lowOf(digest)) >>> 0;
  }

  /** 24 hex digits: number of records, then the sum of their digests. */
  text(): string {
    return [this.#count, this.#high, this.#low].map((part) => part.toString(16).padStart(8, "0")).join("");
  }
}

const TWO_32 = 0x1_0000_0000;

function highOf(digest: number): number {
  return Math.floor(digest / TWO_32);
}

function lowOf(digest: number): number {
  return digest % TWO_32;
}

/** Two multiplicative lanes (FNV-1a and a rotated sibling) over key, revision and bytes, mixed at the end. */
function digestOf(key: string, modRevision: bigint, value: Uint8Array): number {
  let one = 0x811c9dc5;
  let two = 0x9e3779b9;
  const head = `${key}\u0000${modRevision}\u0000`;
  for (let at = 0; at < head.length; at++) {
    const code = head.charCodeAt(at);
    one = Math.imul(one ^ code, 0x01000193);
    two = Math.imul((two << 5) ^ (two >>> 27) ^ code, 0x85ebca6b);
  }
  for (let at = 0; at < value.length; at++) {
    const byte = value[at] as number;
    one = Math.imul(one ^ byte, 0x01000193);
    two = Math.imul((two << 5) ^ (two >>> 27) ^ byte, 0x85ebca6b);
  }
  return (finish(two) & 0xf_ffff) * TWO_32 + finish(one);
}

function finish(lane: number): number {
  let mixed = Math.imul(lane ^ (lane >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}
