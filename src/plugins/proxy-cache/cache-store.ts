/**
 * Responses by their key, and by what they vary on: one index for each key, which names the request headers, and a response for
 * each combination of their values.
 * Promise: what was purged, or has become of another Vary, is never found again, though it is still there.
 */
import { createHash, randomBytes } from "node:crypto";
import type { HeaderList } from "../../plugin/headers.ts";
import { varyOf } from "./cache-rules.ts";
import type { CachedResponse } from "./cached-response.ts";

/** What all responses of one key have in common. */
export interface VaryIndex {
  readonly vary: readonly string[];
  /** Part of the names of its responses: another index never finds them. */
  readonly generation: string;
}

/** Where things are kept under names of 64 hexadecimal digits. Nothing here throws or rejects. */
export interface CacheStore {
  index(name: string): VaryIndex | undefined | Promise<VaryIndex | undefined>;
  putIndex(name: string, index: VaryIndex): void;
  response(name: string): CachedResponse | undefined | Promise<CachedResponse | undefined>;
  putResponse(name: string, response: CachedResponse): void;
  /** @returns whether there was one */
  removeIndex(name: string): boolean | Promise<boolean>;
}

/** Of parts that clients may choose: no two lists of parts have the same name. */
export function nameOf(parts: readonly string[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part);
  return hash.digest("hex");
}

function responseName(key: string, { generation, vary }: VaryIndex, variant: string, request: HeaderList): string {
  return nameOf([key, generation, variant, ...vary.map((name) => request.getAll(name).join(", "))]);
}

/** @param variant what else than headers tells responses of one key apart */
export function findCached(
  store: CacheStore,
  key: string,
  variant: string,
  request: HeaderList,
): CachedResponse | undefined | Promise<CachedResponse | undefined> {
  const name = nameOf([key]);
  const found = (index: VaryIndex | undefined) => index && store.response(responseName(name, index, variant, request));
  const index = store.index(name);
  return index instanceof Promise ? index.then(found) : found(index);
}

export async function keepCached(
  store: CacheStore,
  key: string,
  variant: string,
  request: HeaderList,
  response: CachedResponse,
  headers: HeaderList,
): Promise<void> {
  const vary = varyOf(headers) ?? [];
  const name = nameOf([key]);
  const read = store.index(name);
  const before = read instanceof Promise ? await read : read;
  const isSame = before !== undefined && before.vary.join() === vary.join();
  const index = isSame ? before : { vary, generation: randomBytes(12).toString("hex") };
  if (!isSame) store.putIndex(name, index);
  store.putResponse(responseName(name, index, variant, request), response);
}

export function purgeCached(store: CacheStore, key: string): boolean | Promise<boolean> {
  return store.removeIndex(nameOf([key]));
}
