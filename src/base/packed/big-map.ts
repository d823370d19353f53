/**
 * A map by text for hundreds of thousands of entries. A plain Map that doubles moves all its entries in one go, which
 * at a million of them stops the process for a tenth of a second; here they are spread over many that each stay small.
 */
const SHARDS = 64;

export class BigMap<V> {
  readonly #shards: (Map<string, V> | undefined)[] = new Array<Map<string, V> | undefined>(SHARDS).fill(undefined);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(key: string): V | undefined {
    return this.#shards[shardOf(key)]?.get(key);
  }

  has(key: string): boolean {
    return this.#shards[shardOf(key)]?.has(key) === true;
  }

  set(key: string, value: V): void {
    const at = shardOf(key);
    let shard = this.#shards[at];
    if (shard === undefined) {
      shard = new Map();
      this.#shards[at] = shard;
    }
    const before = shard.size;
    shard.set(key, value);
    this.#size += shard.size - before;
  }

  delete(key: string): boolean {
    const was = this.#shards[shardOf(key)]?.delete(key) === true;
    if (was) this.#size--;
    return was;
  }

  /** Live, in no order that means anything. */
  *entries(): IterableIterator<[string, V]> {
    for (const shard of this.#shards) if (shard) yield* shard.entries();
  }

  /** In no order that means anything. */
  *values(): IterableIterator<V> {
    for (const shard of this.#shards) if (shard) yield* shard.values();
  }
}

/** Looks at five places of the key: names that count up, hex digits and addresses at one domain all spread. */
function shardOf(key: string): number {
  const { length } = key;
  // Outside the text charCodeAt is NaN, which the bitwise operators take for 0.
  let mixed = Math.imul(length, 31) + (key.charCodeAt(length - 1) | 0);
  mixed = Math.imul(mixed, 31) + (key.charCodeAt(length - 2) | 0);
  mixed = Math.imul(mixed, 31) + (key.charCodeAt(length - 4) | 0);
  mixed = Math.imul(mixed, 31) + (key.charCodeAt(length >> 1) | 0);
  mixed = Math.imul(mixed, 31) + (key.charCodeAt(length >> 2) | 0);
  return (mixed ^ (mixed >>> 6)) & (SHARDS - 1);
}
