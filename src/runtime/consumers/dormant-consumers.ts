/**
 * Finds records of consumers and credentials that no request has asked for yet: an index by key and by consumer, beside
 * the JavaScript heap, over bytes that are held elsewhere. Most of a million consumers never call a given node, and
 * what is made for a request costs many times their bytes. Promise: whoever looks a key up finds its record here, and so
 * does the record's next version.
 */
import { HashIndex, hashOf } from "../../base/packed/hash-index.ts";
import type { PackedRecord, PackedRecords } from "../../base/packed/packed-map.ts";
import type { StoredValue } from "../../model/record.ts";

/** Which plugin finds a record by which key. */
export type PluginKey = readonly [plugin: string, key: string];

interface DormantRecord {
  readonly storeKey: string;
  /** `jack` or `jack/credentials/c1`. */
  readonly id: string;
  readonly value: StoredValue;
  readonly modRevision: bigint;
  readonly createRevision: bigint;
}

/**
 * Under one hash an index is searched one by one, so the credentials of a consumer lie under several: a power of two,
 * as whoever asks for a consumer looks under all of them.
 */
const PARTS = 64;

interface DormantHost {
  /** Where the bytes are, by store key. */
  readonly records: PackedRecords;
  /** The directory of consumers, with its closing slash. */
  readonly dir: string;
  /** Reads a record again that was taken before. */
  read(storeKey: string, bytes: Buffer): StoredValue;
  keysIn(value: StoredValue): readonly PluginKey[];
}

export class DormantConsumers {
  readonly #host: DormantHost;
  /** By plugin: hash of a key → hash of the store key of a record that has it. */
  readonly #keys = new Map<string, HashIndex>();
  /** Records without any key: hash of the store key, twice. */
  readonly #keyless = new HashIndex();
  /** `partOf` a consumer's name → hash of the store key of a credential of its. */
  readonly #credentials = new HashIndex();
  #consumerCount = 0;

  constructor(host: DormantHost) {
    this.#host = host;
  }

  get consumerCount(): number {
    return this.#consumerCount;
  }

  get credentialCount(): number {
    return this.#credentials.size;
  }

  countOf(plugin: string): number {
    return this.#keys.get(plugin)?.size ?? 0;
  }

  /** @param keys as `keysIn` reads them; in no other record that is here */
  add(id: string, keys: readonly PluginKey[]): void {
    const hash = hashOf(this.#host.dir + id);
    const owner = ownerOf(id);
    if (owner === id) this.#consumerCount++;
    else this.#credentials.add(partOf(hashOf(owner), hash), hash);
    for (const [plugin, key] of keys) {
      const index = this.#keys.get(plugin) ?? new HashIndex();
      this.#keys.set(plugin, index);
      index.add(hashOf(key), hash);
    }
    if (keys.length === 0) this.#keyless.add(hash, hash);
  }

  /** Takes one record out, while the bytes of that very version are held. @returns undefined where it is not here */
  take(id: string): DormantRecord | undefined {
    const storeKey = this.#host.dir + id;
    const found = this.#read(storeKey);
    if (found === undefined || !this.#remove(id, found.keys)) return undefined;
    const { modRevision, createRevision } = found.record;
    return { storeKey, id, value: found.value, modRevision, createRevision };
  }

  /** The bytes of a deleted record go. Until then nobody finds it, since it is not held any more. */
  forget(id: string, bytes: Buffer): void {
    const { dir, read, keysIn } = this.#host;
    this.#remove(id, keysIn(read(dir + id, bytes)));
  }

  /** Takes a consumer and its credentials out, as far as they are here; the consumer first. */
  takeAllOf(username: string): readonly DormantRecord[] {
    return [username, ...this.#credentialsOf(username)].flatMap((id) => this.take(id) ?? []);
  }

  /** The consumer whose record, or whose credential's, has this key. */
  ownerByKey(plugin: string, key: string): string | undefined {
    const index = this.#keys.get(plugin);
    if (index === undefined) return undefined;
    const hash = hashOf(key);
    for (let at = index.first(hash); at >= 0; at = index.next(hash, at)) {
      for (const storeKey of this.#storeKeysOf(index.numberAt(hash, at))) {
        const keys = this.#read(storeKey)?.keys ?? [];
        if (keys.some(([name, other]) => name === plugin && other === key)) return ownerOf(this.#idOf(storeKey));
      }
    }
    return undefined;
  }

  /** @returns whether it was here */
  #remove(id: string, keys: readonly PluginKey[]): boolean {
    const hash = hashOf(this.#host.dir + id);
    const removed = keys.map(([plugin, key]) => this.#keys.get(plugin)?.remove(hashOf(key), hash) === true);
    if (keys.length === 0) removed.push(this.#keyless.remove(hash, hash));
    if (!removed.includes(true)) return false;
    const owner = ownerOf(id);
    if (owner === id) this.#consumerCount--;
    else this.#credentials.remove(partOf(hashOf(owner), hash), hash);
    return true;
  }

  #credentialsOf(username: string): readonly string[] {
    const ids = new Set<string>();
    const owner = hashOf(username);
    for (let part = 0; part < PARTS; part++) {
      const hash = partOf(owner, part);
      for (let at = this.#credentials.first(hash); at >= 0; at = this.#credentials.next(hash, at)) {
        for (const storeKey of this.#storeKeysOf(this.#credentials.numberAt(hash, at))) {
          const id = this.#idOf(storeKey);
          if (id !== username && ownerOf(id) === username) ids.add(id);
        }
      }
    }
    return [...ids];
  }

  /** Records of other kinds may share the hash. */
  #storeKeysOf(hash: number): readonly string[] {
    return this.#host.records.keysOf(hash).filter((storeKey) => storeKey.startsWith(this.#host.dir));
  }

  #idOf(storeKey: string): string {
    return storeKey.slice(this.#host.dir.length);
  }

  #read(storeKey: string): { record: PackedRecord; value: StoredValue; keys: readonly PluginKey[] } | undefined {
    const { records, read, keysIn } = this.#host;
    const record = records.get(storeKey);
    if (record === undefined) return undefined;
    const value = read(storeKey, record.value);
    return { record, value, keys: keysIn(value) };
  }
}

/** @param spread hash of a store key, or the number of a part @returns where the index has that part of an owner's */
function partOf(owner: number, spread: number): number {
  return Math.imul(owner ^ (spread & (PARTS - 1)), 0x9e3779b1) >>> 0;
}

/** The name of a consumer has no slash. */
function ownerOf(id: string): string {
  const slash = id.indexOf("/");
  return slash < 0 ? id : id.slice(0, slash);
}
