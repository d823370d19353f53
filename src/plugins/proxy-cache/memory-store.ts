/**
 * A zone in the memory of one process: what was not used for the longest time goes first.
 */
import { LRUCache } from "lru-cache";
import type { CacheStore, VaryIndex } from "./cache-store.ts";
import { bytesOfCached, type CachedResponse } from "./cached-response.ts";

const INDEX_BYTES = 512;

export class MemoryStore implements CacheStore {
  readonly #kept: LRUCache<string, VaryIndex | CachedResponse>;

  constructor(bytes: number) {
    this.#kept = new LRUCache({ maxSize: bytes, sizeCalculation: sizeOf });
  }

  index(name: string): VaryIndex | undefined {
    return this.#kept.get(name) as VaryIndex | undefined; // true: names of indexes and responses are hashes of other texts
  }

  putIndex(name: string, index: VaryIndex): void {
    this.#kept.set(name, index);
  }

  response(name: string): CachedResponse | undefined {
    return this.#kept.get(name) as CachedResponse | undefined; // as above
  }

  putResponse(name: string, response: CachedResponse): void {
    this.#kept.set(name, response);
  }

  removeIndex(name: string): boolean {
    return this.#kept.delete(name);
  }
}

function sizeOf(kept: VaryIndex | CachedResponse): number {
  return "body" in kept ? bytesOfCached(kept) : INDEX_BYTES;
}
