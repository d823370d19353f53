/**
 * Records by key, for millions of them, packed into a few big buffers: a record costs its bytes and about 45 more, and
 * the collector sees none of them. What was read stays true: bytes once written are never written again.
 */
import { HashIndex, hashOf } from "./hash-index.ts";

export interface PackedRecord {
  readonly value: Buffer;
  readonly modRevision: bigint;
  readonly createRevision: bigint;
}

/** Records by key, for those who read. */
export interface PackedRecords {
  get(key: string): PackedRecord | undefined;
  /** The keys whose `hashOf` is this one; hardly ever more than one. */
  keysOf(hash: number): readonly string[];
}

const SLAB_BYTES = 256 * 1024;
/** Longer records have a slab of their own. */
const SHARED_BYTES = SLAB_BYTES / 4;
/** Records begin at multiples of it. */
const GRAIN = 4;
const PLACES = SLAB_BYTES / GRAIN;
const SLABS_MAX = 65_535;

/** u32 length of the key and flags | u32 length of the value | u32 hash | u64 mod | u64 create | key | value */
const HEAD_BYTES = 28;
const DEAD = 0x8000_0000;
/** The key has characters beyond Latin-1, two bytes each. */
const WIDE = 0x4000_0000;
const LENGTH = 0x3fff_ffff;

interface Slab {
  readonly bytes: Buffer;
  used: number;
  /** Bytes of records that were neither replaced nor deleted. */
  live: number;
}

export class PackedMap implements PackedRecords {
  readonly #index = new HashIndex();
  readonly #slabs: (Slab | undefined)[] = [];
  readonly #free: number[] = [];
  /** Number of the slab that is being filled. */
  #open = -1;

  get size(): number {
    return this.#index.size;
  }

  /** Bytes of its buffers, without the index. */
  get bytes(): number {
    return this.#slabs.reduce((sum, slab) => sum + (slab?.bytes.length ?? 0), 0);
  }

  has(key: string): boolean {
    return this.#find(hashOf(key), key) !== undefined;
  }

  get(key: string): PackedRecord | undefined {
    const place = this.#find(hashOf(key), key);
    return place === undefined ? undefined : this.#read(place);
  }

  keysOf(hash: number): readonly string[] {
    const keys: string[] = [];
    for (let at = this.#index.first(hash); at >= 0; at = this.#index.next(hash, at)) {
      keys.push(this.#keyAt(this.#index.numberAt(hash, at)));
    }
    return keys;
  }

  /** @param value is copied */
  set(key: string, value: Uint8Array, modRevision: bigint, createRevision: bigint): void {
    const hash = hashOf(key);
    const place = this.#write(hash, key, value, modRevision, createRevision);
    const before = this.#find(hash, key); // only now: making room may have moved it
    if (before === undefined) this.#index.add(hash, place);
    else {
      this.#index.replace(hash, before, place);
      this.#bury(before);
    }
  }

  delete(key: string): boolean {
    const hash = hashOf(key);
    const place = this.#find(hash, key);
    if (place === undefined) return false;
    this.#index.remove(hash, place);
    this.#bury(place);
    return true;
  }

  /**
   * May be walked over several turns: what stays in the map all the while is shown once, as it is by then.
   * In no order that means anything.
   */
  *entries(): IterableIterator<[string, PackedRecord]> {
    for (const key of this.keys()) {
      const record = this.get(key);
      if (record !== undefined) yield [key, record];
    }
  }

  /** As `entries`; one that was deleted meanwhile may still be shown. */
  *keys(): IterableIterator<string> {
    for (const places of this.#index.parts()) yield* places.map((place) => this.#keyAt(place));
  }

  #find(hash: number, key: string): number | undefined {
    for (let at = this.#index.first(hash); at >= 0; at = this.#index.next(hash, at)) {
      const place = this.#index.numberAt(hash, at);
      if (this.#isAt(place, key)) return place;
    }
    return undefined;
  }

  #isAt(place: number, key: string): boolean {
    const { bytes } = this.#slabOf(place);
    const head = offsetOf(place);
    const word = bytes.readUInt32LE(head);
    if ((word & WIDE) !== 0) return this.#keyAt(place) === key;
    if ((word & LENGTH) !== key.length) return false;
    const start = head + HEAD_BYTES;
    for (let at = 0; at < key.length; at++) if (bytes[start + at] !== key.charCodeAt(at)) return false;
    return true;
  }

  #keyAt(place: number): string {
    const { bytes } = this.#slabOf(place);
    const head = offsetOf(place);
    const word = bytes.readUInt32LE(head);
    const start = head + HEAD_BYTES;
    return bytes.toString((word & WIDE) === 0 ? "latin1" : "utf16le", start, start + (word & LENGTH));
  }

  #read(place: number): PackedRecord {
    const { bytes } = this.#slabOf(place);
    const head = offsetOf(place);
    const start = head + HEAD_BYTES + (bytes.readUInt32LE(head) & LENGTH);
    return {
      value: bytes.subarray(start, start + bytes.readUInt32LE(head + 4)),
      modRevision: bytes.readBigUInt64LE(head + 12),
      createRevision: bytes.readBigUInt64LE(head + 20),
    };
  }

  #write(hash: number, key: string, value: Uint8Array, modRevision: bigint, createRevision: bigint): number {
    const wide = isWide(key);
    const keyBytes = wide ? key.length * 2 : key.length;
    const place = this.#reserve(HEAD_BYTES + keyBytes + value.length);
    const { bytes } = this.#slabOf(place);
    const head = offsetOf(place);
    bytes.writeUInt32LE((keyBytes | (wide ? WIDE : 0)) >>> 0, head);
    bytes.writeUInt32LE(value.length, head + 4);
    bytes.writeUInt32LE(hash, head + 8);
    bytes.writeBigUInt64LE(modRevision, head + 12);
    bytes.writeBigUInt64LE(createRevision, head + 20);
    bytes.write(key, head + HEAD_BYTES, wide ? "utf16le" : "latin1");
    bytes.set(value, head + HEAD_BYTES + keyBytes);
    return place;
  }

  /** @returns the place of so many bytes, counted as live */
  #reserve(length: number): number {
    const whole = aligned(length);
    if (whole > SHARED_BYTES) return this.#addSlab({ bytes: Buffer.allocUnsafeSlow(whole), used: whole, live: whole });
    let slab = this.#slabs[this.#open];
    if (slab === undefined || slab.used + whole > SLAB_BYTES) {
      const full = this.#open;
      slab = { bytes: Buffer.allocUnsafeSlow(SLAB_BYTES), used: 0, live: 0 };
      this.#open = this.#addSlab(slab) / PLACES;
      this.#tidy(full);
    }
    const place = this.#open * PLACES + slab.used / GRAIN;
    slab.used += whole;
    slab.live += whole;
    return place;
  }

  /** @returns the place of its first record */
  #addSlab(slab: Slab): number {
    const number = this.#free.pop() ?? this.#slabs.length;
    if (number >= SLABS_MAX) throw new RangeError("more than 16 GiB of records");
    this.#slabs[number] = slab;
    return number * PLACES;
  }

  #bury(place: number): void {
    const slab = this.#slabOf(place);
    const head = offsetOf(place);
    slab.bytes.writeUInt32LE((slab.bytes.readUInt32LE(head) | DEAD) >>> 0, head);
    slab.live -= lengthAt(slab.bytes, head);
    this.#tidy(Math.floor(place / PLACES));
  }

  /** Moves the records of a slab that is mostly dead and gives the slab back. Not the one that is being filled. */
  #tidy(number: number): void {
    const slab = this.#slabs[number];
    if (slab === undefined || number === this.#open || slab.live * 2 > slab.used) return;
    this.#slabs[number] = undefined;
    for (let head = 0; head < slab.used; head += lengthAt(slab.bytes, head)) {
      if ((slab.bytes.readUInt32LE(head) & DEAD) !== 0) continue;
      const length = lengthAt(slab.bytes, head);
      const place = this.#reserve(length);
      slab.bytes.copy(this.#slabOf(place).bytes, offsetOf(place), head, head + length);
      this.#index.replace(slab.bytes.readUInt32LE(head + 8), number * PLACES + head / GRAIN, place);
    }
    this.#free.push(number);
  }

  #slabOf(place: number): Slab {
    return this.#slabs[Math.floor(place / PLACES)] as Slab; // places come from the index and from #reserve only
  }
}

function offsetOf(place: number): number {
  return (place % PLACES) * GRAIN;
}

function aligned(length: number): number {
  return Math.ceil(length / GRAIN) * GRAIN;
}

/** Of the whole record. */
function lengthAt(bytes: Buffer, head: number): number {
  return aligned(HEAD_BYTES + (bytes.readUInt32LE(head) & LENGTH) + bytes.readUInt32LE(head + 4));
}

function isWide(key: string): boolean {
  for (let at = 0; at < key.length; at++) if (key.charCodeAt(at) > 0xff) return true;
  return false;
}
