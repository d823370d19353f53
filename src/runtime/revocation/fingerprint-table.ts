/**
 * A set of fingerprints in flat memory: segments of open addressing, found by the first bits of the fingerprint.
 * Promise: an insertion moves at most one segment's entries (under a millisecond), however many there are; a look-up
 * costs two reads of memory on average; a fingerprint is there once, with the latest time it was given.
 */
import type { Fingerprint } from "../../base/jose/token.ts";

/** Words of a slot: four of the fingerprint, then `until`; a slot whose `until` is 0 is free. */
const SLOT = 5;
const FIRST_SLOTS = 6;
/**
 * A full segment of this size is split, smaller ones are doubled: all of a big table are of one size, so that the memory of
 * one that was split fits the next. A million, the most by default, fill them to 64 of 100.
 */
const SPLIT_SLOTS = FIRST_SLOTS * 2 ** 9;
/** Beyond it segments are doubled again: bits that do not differ, which no hash gives, must not cost a directory. */
const DEPTH_MAX = 14;

interface Segment {
  words: Uint32Array;
  used: number;
  /** How many of the first bits its fingerprints have in common. */
  depth: number;
}

export class FingerprintTable {
  #directory: Segment[] = [openSegment(0, FIRST_SLOTS)];
  #depth = 0;
  #size = 0;
  #words = FIRST_SLOTS * SLOT;

  get size(): number {
    return this.#size;
  }

  /** Memory outside the heap. */
  get bytes(): number {
    return this.#words * 4;
  }

  /** @param until unsigned 32 bits @returns whether it was not there */
  add(a: number, b: number, c: number, d: number, until: number): boolean {
    const segment = this.#segmentOf(a);
    const { words } = segment;
    const at = slotOf(words, a, b, c, d);
    if (words[at + 4] !== 0) {
      if (until > (words[at + 4] ?? 0)) words[at + 4] = until;
      return false;
    }
    fill(words, at, a, b, c, d, Math.max(1, until));
    segment.used++;
    this.#size++;
    if (segment.used * SLOT * 4 > words.length * 3) this.#relieve(segment, a);
    return true;
  }

  /** When it may be forgotten; 0: it is not there. */
  untilOf({ a, b, c, d }: Fingerprint): number {
    const { words } = this.#segmentOf(a);
    return words[slotOf(words, a, b, c, d) + 4] ?? 0;
  }

  /**
   * Takes out what may be forgotten, some segments at a time.
   * @param from 0, or what the call before returned @returns where to go on; 0 when it was the last part
   */
  forget(untilBefore: number, from: number, segments: number): number {
    let at = from < this.#directory.length ? from : 0;
    for (let done = 0; done < segments && at < this.#directory.length; done++) {
      const segment = this.#directory[at] as Segment; // true: `at` is below the length
      this.#forgetIn(segment, untilBefore);
      at += 2 ** (this.#depth - segment.depth);
    }
    return at < this.#directory.length ? at : 0;
  }

  #forgetIn(segment: Segment, untilBefore: number): void {
    const before = segment.words;
    const used = segment.used;
    if (!hasEnded(before, untilBefore)) return;
    segment.words = new Uint32Array(before.length);
    segment.used = 0;
    for (let at = 0; at < before.length; at += SLOT) {
      const until = before[at + 4] ?? 0;
      if (until === 0 || until < untilBefore) continue;
      copy(before, at, segment.words);
      segment.used++;
    }
    this.#size -= used - segment.used;
  }

  #segmentOf(a: number): Segment {
    // True: the directory has an entry for each value of its bits.
    return this.#directory[indexOf(a, this.#depth)] as Segment;
  }

  #relieve(segment: Segment, a: number): void {
    const slots = segment.words.length / SLOT;
    if (slots < SPLIT_SLOTS || segment.depth >= DEPTH_MAX) {
      const before = segment.words;
      segment.words = new Uint32Array(before.length * 2);
      for (let at = 0; at < before.length; at += SLOT) if (before[at + 4] !== 0) copy(before, at, segment.words);
      this.#words += before.length;
      return;
    }
    if (segment.depth === this.#depth) {
      this.#directory = this.#directory.flatMap((one) => [one, one]);
      this.#depth++;
    }
    const span = 2 ** (this.#depth - segment.depth);
    const first = indexOf(a, segment.depth) * span;
    // One half stays where it is: what every split leaves behind would be as much again, until the collector comes.
    const other = openSegment(++segment.depth, SPLIT_SLOTS);
    const { words } = segment;
    const before = scratchOf(words);
    words.fill(0);
    segment.used = 0;
    for (let at = 0; at < before.length; at += SLOT) {
      if (before[at + 4] === 0) continue;
      const half = ((before[at] ?? 0) >>> (32 - segment.depth)) & 1 ? other : segment;
      copy(before, at, half.words);
      half.used++;
    }
    this.#words += other.words.length;
    for (let i = span / 2; i < span; i++) this.#directory[first + i] = other;
  }
}

/** For the moment of a split, and for all tables: segments that are split are of one size. */
const scratch = new Uint32Array(SPLIT_SLOTS * SLOT);

function scratchOf(words: Uint32Array): Uint32Array {
  scratch.set(words);
  return scratch;
}

function openSegment(depth: number, slots: number): Segment {
  return { words: new Uint32Array(slots * SLOT), used: 0, depth };
}

/** The first bits as a number. A shift by 32 would be one by 0. */
function indexOf(a: number, depth: number): number {
  return depth === 0 ? 0 : a >>> (32 - depth);
}

/** Where it is, or the free slot where it belongs. */
function slotOf(words: Uint32Array, a: number, b: number, c: number, d: number): number {
  const { length } = words;
  // By the second word, as the first has chosen the segment.
  let at = ((b >>> 0) % (length / SLOT)) * SLOT;
  while (words[at + 4] !== 0) {
    const isSame =
      words[at] === a >>> 0 && words[at + 1] === b >>> 0 && words[at + 2] === c >>> 0 && words[at + 3] === d >>> 0;
    if (isSame) return at;
    at += SLOT;
    if (at === length) at = 0;
  }
  return at;
}

function fill(words: Uint32Array, at: number, a: number, b: number, c: number, d: number, until: number): void {
  words[at] = a;
  words[at + 1] = b;
  words[at + 2] = c;
  words[at + 3] = d;
  words[at + 4] = until;
}

function hasEnded(words: Uint32Array, untilBefore: number): boolean {
  for (let at = 4; at < words.length; at += SLOT) {
    const until = words[at] ?? 0;
    if (until !== 0 && until < untilBefore) return true;
  }
  return false;
}

/** Into a table that it is not in yet. */
function copy(from: Uint32Array, at: number, to: Uint32Array): void {
  const { length } = to;
  let into = ((from[at + 1] ?? 0) % (length / SLOT)) * SLOT;
  while (to[into + 4] !== 0) {
    into += SLOT;
    if (into === length) into = 0;
  }
  for (let word = 0; word < SLOT; word++) to[into + word] = from[at + word] ?? 0;
}
