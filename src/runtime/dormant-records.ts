/**
 * Records of consumers and credentials that no request has asked for yet: kept as the bytes they came in, beside the
 * JavaScript heap. Most of a million consumers never call a given node, and what is made for a request costs many times
 * their bytes. Promise: whoever looks a key up finds its record here, and so does the record's next version.
 */
import { HashIndex, hashOf } from "../base/packed/hash-index.ts";
import { PackedMap, type PackedRecord } from "../base/packed/packed-map.ts";

/** Which plugin finds a record by which key. */
export type PluginKey = readonly [plugin: string, key: string];

export interface DormantRecord extends PackedRecord {
  /** `jack` or `jack/credentials/c1`. */
  readonly id: string;
}

export class DormantRecords {
  readonly #records = new PackedMap();
  /** By plugin: hash of a key → hash of the id of a record that has it. */
  readonly #keys = new Map<string, HashIndex>();
  /** Hash of a consumer's name → hash of the id of a credential of its. */
  readonly #credentials = new HashIndex();
  readonly #keysOf: (id: string, value: Buffer) => readonly PluginKey[];

  /** @param keysOf reads a record's keys from its bytes again */
  constructor(keysOf: (id: string, value: Buffer) => readonly PluginKey[]) {
    this.#keysOf = keysOf;
  }

  get consumerCount(): number {
    return this.#records.size - this.#credentials.size;
  }

  get credentialCount(): number {
    return this.#credentials.size;
  }

  countOf(plugin: string): number {
    return this.#keys.get(plugin)?.size ?? 0;
  }

  /** @param keys as `keysOf` reads them from `value`; in no other record that is here */
  put(record: DormantRecord, keys: readonly PluginKey[]): void {
    const { id, value, modRevision, createRevision } = record;
    const hash = hashOf(id);
    this.#records.set(id, value, modRevision, createRevision);
    const owner = ownerOf(id);
    if (owner !== id) this.#credentials.add(hashOf(owner), hash);
    for (const [plugin, key] of keys) {
      const index = this.#keys.get(plugin) ?? new HashIndex();
      this.#keys.set(plugin, index);
      index.add(hashOf(key), hash);
    }
  }

  /** Takes one record out. */
  take(id: string): DormantRecord | undefined {
    const record = this.#records.get(id);
    if (record === undefined) return undefined;
    const hash = hashOf(id);
    const owner = ownerOf(id);
    for (const [plugin, key] of this.#keysOf(id, record.value)) this.#keys.get(plugin)?.remove(hashOf(key), hash);
    if (owner !== id) this.#credentials.remove(hashOf(owner), hash);
    this.#records.delete(id);
    return { id, ...record };
  }

  /** Takes a consumer and its credentials out, as far as they are here; the consumer first. */
  takeAllOf(username: string): readonly DormantRecord[] {
    const taken: DormantRecord[] = [];
    for (const id of [username, ...this.#credentialsOf(username)]) {
      const record = this.take(id);
      if (record) taken.push(record);
    }
    return taken;
  }

  /** The consumer whose record, or whose credential's, has this key. */
  ownerByKey(plugin: string, key: string): string | undefined {
    const index = this.#keys.get(plugin);
    if (index === undefined) return undefined;
    const hash = hashOf(key);
    for (let at = index.first(hash); at >= 0; at = index.next(hash, at)) {
      for (const id of this.#records.keysOf(index.numberAt(hash, at))) {
        const record = this.#records.get(id);
        const keys = record === undefined ? [] : this.#keysOf(id, record.value);
        if (keys.some(([name, other]) => name === plugin && other === key)) return ownerOf(id);
      }
    }
    return undefined;
  }

  #credentialsOf(username: string): readonly string[] {
    const ids = new Set<string>();
    const hash = hashOf(username);
    for (let at = this.#credentials.first(hash); at >= 0; at = this.#credentials.next(hash, at)) {
      for (const id of this.#records.keysOf(this.#credentials.numberAt(hash, at))) {
        if (id !== username && ownerOf(id) === username) ids.add(id);
      }
    }
    return [...ids];
  }
}

/** The name of a consumer has no slash. */
function ownerOf(id: string): string {
  const slash = id.indexOf("/");
  return slash < 0 ? id : id.slice(0, slash);
}
