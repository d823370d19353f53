/**
 * Finds numbers by the hash of a text, for millions of them, beside the JavaScript heap: the collector has nothing to
 * walk there. Texts may share a hash, so whoever asks compares what each number stands for. A change moves few entries.
 */
import { randomInt } from "node:crypto";

/** Each grows on its own, so that no turn moves more than a small part of all. */
const SHARDS = 256;
const SMALLEST = 8;
/** No number that is kept. */
const EMPTY = 0xffff_ffff;
/** Of longer texts only both ends count. */
const HASHED_CHARS = 256;
/** Another one in each process: who can choose texts cannot make them meet. */
const SEED = randomInt(0x1_0000_0000);

/** 32 bits, unsigned; for this process only. */
export function hashOf(text: string): number {
  const { length } = text;
  let mixed = SEED ^ length;
  const head = length <= HASHED_CHARS ? length : HASHED_CHARS / 2;
  for (let at = 0; at < head; at++) mixed = Math.imul(mixed ^ text.charCodeAt(at), 0x01000193);
  if (head < length)
    for (let at = length - head; at < length; at++) mixed = Math.imul(mixed ^ text.charCodeAt(at), 0x01000193);
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** Open addressing with linear probing: pairs of hash and number. */
interface Shard {
  pairs: Uint32Array;
  count: number;
}

export class HashIndex {
  readonly #shards: (Shard | undefined)[] = new Array<Shard | undefined>(SHARDS).fill(undefined);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** @param number from 0 to 2^32 - 2 */
  add(hash: number, number: number): void {
    const at = shardOf(hash);
    let shard = this.#shards[at];
    if (shard === undefined) {
      shard = { pairs: emptyPairs(SMALLEST), count: 0 };
      this.#shards[at] = shard;
    }
    if ((shard.count + 1) * 4 > (shard.pairs.length / 2) * 3) grow(shard);
    place(shard.pairs, hash, number);
    shard.count++;
    this.#size++;
  }

  /** @returns whether that very pair was there */
  remove(hash: number, number: number): boolean {
    const shard = this.#shards[shardOf(hash)];
    const at = shard === undefined ? -1 : positionOf(shard.pairs, hash, number);
    if (shard === undefined || at < 0) return false;
    close(shard.pairs, at);
    shard.count--;
    this.#size--;
    return true;
  }

  replace(hash: number, before: number, after: number): void {
    const pairs = this.#shards[shardOf(hash)]?.pairs;
    const at = pairs === undefined ? -1 : positionOf(pairs, hash, before);
    if (pairs !== undefined && at >= 0) pairs[at + 1] = after;
  }

  /** Where the search for a hash begins; for `next`. */
  first(hash: number): number {
    const pairs = this.#shards[shardOf(hash)]?.pairs;
    return pairs === undefined ? -1 : seek(pairs, hash, startOf(pairs, hash));
  }

  /** @param position of `first` or `next`, while nothing has changed @returns the next position, or -1 */
  next(hash: number, position: number): number {
    const pairs = this.#shards[shardOf(hash)]?.pairs;
    return pairs === undefined ? -1 : seek(pairs, hash, (position + 2) & (pairs.length - 1));
  }

  numberAt(hash: number, position: number): number {
    return this.#shards[shardOf(hash)]?.pairs[position + 1] ?? EMPTY;
  }

  /** All numbers, part by part: each part as it is when it is asked for. */
  *parts(): Generator<readonly number[]> {
    for (const shard of this.#shards) {
      if (shard === undefined || shard.count === 0) continue;
      const numbers: number[] = [];
      for (let at = 1; at < shard.pairs.length; at += 2) {
        const number = shard.pairs[at] as number;
        if (number !== EMPTY) numbers.push(number);
      }
      yield numbers;
    }
  }
}

function shardOf(hash: number): number {
  return hash >>> 24;
}

function startOf(pairs: Uint32Array, hash: number): number {
  return (hash << 1) & (pairs.length - 1);
}

function emptyPairs(capacity: number): Uint32Array {
  return new Uint32Array(capacity * 2).fill(EMPTY);
}

/** @returns the first pair with that hash at or after `at`, or -1 at the end of its run */
function seek(pairs: Uint32Array, hash: number, at: number): number {
  const mask = pairs.length - 1;
  for (let from = at; pairs[from + 1] !== EMPTY; from = (from + 2) & mask) if (pairs[from] === hash) return from;
  return -1;
}

function positionOf(pairs: Uint32Array, hash: number, number: number): number {
  const mask = pairs.length - 1;
  let at = seek(pairs, hash, startOf(pairs, hash));
  while (at >= 0 && pairs[at + 1] !== number) at = seek(pairs, hash, (at + 2) & mask);
  return at;
}

function place(pairs: Uint32Array, hash: number, number: number): void {
  const mask = pairs.length - 1;
  let at = startOf(pairs, hash);
  while (pairs[at + 1] !== EMPTY) at = (at + 2) & mask;
  pairs[at] = hash;
  pairs[at + 1] = number;
}

function grow(shard: Shard): void {
  const before = shard.pairs;
  const pairs = emptyPairs(before.length); // twice as many: two numbers each
  for (let at = 0; at < before.length; at += 2)
    if (before[at + 1] !== EMPTY) place(pairs, before[at] as number, before[at + 1] as number);
  shard.pairs = pairs;
}

/** Empties a place and moves up whatever could no longer be found behind it. */
function close(pairs: Uint32Array, gap: number): void {
  const mask = pairs.length - 1;
  let empty = gap;
  for (let at = (gap + 2) & mask; pairs[at + 1] !== EMPTY; at = (at + 2) & mask) {
    const home = startOf(pairs, pairs[at] as number);
    // It stays when its home lies behind the gap, on the way from there to where it is.
    if (((at - home) & mask) < ((at - empty) & mask)) continue;
    pairs[empty] = pairs[at] as number;
    pairs[empty + 1] = pairs[at + 1] as number;
    empty = at;
  }
  pairs[empty + 1] = EMPTY;
}
