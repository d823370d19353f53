/**
 * The records of one kind in the order of their creation, with no more of each than filters look at. Pure.
 */
import type { Members } from "../../base/json/members.ts";
import { parseKey } from "../../model/keys.ts";
import type { Kind } from "../../model/kinds.ts";
import type { Change, KeyValue } from "../../store/store.ts";
import { listedMembers } from "./list-query.ts";
import { toStored } from "./stored-record.ts";

export interface ListedRecord {
  readonly key: string;
  readonly id: string;
  readonly created: number;
  /** What filters look at; undefined when the stored bytes are no JSON object. */
  readonly value: Members | undefined;
  readonly bytes: number;
}

/** Of an entry without its texts, about: the entry, its members, its places in the map and the order. */
const ENTRY_BYTES = 250;
/** Of more changes at once the order is made anew. */
const SPLICED_MAX = 100;

export class ListIndex {
  readonly #kind: Kind;
  readonly #prefix: string;
  readonly #byKey = new Map<string, ListedRecord>();
  #order: ListedRecord[] = [];
  #bytes = 0;

  constructor(kind: Kind, prefix: string) {
    this.#kind = kind;
    this.#prefix = prefix;
  }

  /** In memory, about. */
  get bytes(): number {
    return this.#bytes;
  }

  /** By creation; valid until the next change. */
  get order(): readonly ListedRecord[] {
    return this.#order;
  }

  /** Adds records of a listing, which `sort` puts in order. */
  load(kvs: readonly KeyValue[]): void {
    for (const kv of kvs) {
      const record = this.#read(kv);
      if (!record) continue;
      this.#byKey.set(record.key, record);
      this.#order.push(record);
      this.#bytes += record.bytes;
    }
  }

  sort(): void {
    this.#order.sort(byCreation);
  }

  /** Changes of one revision. */
  apply(changes: readonly Change[]): void {
    if (changes.length > SPLICED_MAX) {
      for (const change of changes) this.#keep(change);
      this.#order = [...this.#byKey.values()];
      this.sort();
      return;
    }
    for (const change of changes) {
      const { before, after } = this.#keep(change);
      const isSamePlace = before !== undefined && before.created === after?.created;
      if (before) this.#order.splice(this.#placeOf(before), 1, ...(isSamePlace ? [after] : []));
      if (after && !isSamePlace) this.#order.splice(this.#placeOf(after), 0, after);
    }
  }

  #keep({ key, kv }: Change): { readonly before: ListedRecord | undefined; readonly after: ListedRecord | undefined } {
    const before = this.#byKey.get(key);
    const after = kv && this.#read(kv);
    this.#bytes += (after?.bytes ?? 0) - (before?.bytes ?? 0);
    if (after) this.#byKey.set(key, after);
    else this.#byKey.delete(key);
    return { before, after };
  }

  #read(kv: KeyValue): ListedRecord | undefined {
    const parsed = parseKey(this.#prefix, kv.key);
    if (parsed?.kind !== this.#kind.name) return undefined; // placeholders, and credentials among the consumers
    const { value } = toStored(kv);
    const listed = value && listedMembers(this.#kind, value);
    const bytes = ENTRY_BYTES + 2 * kv.key.length + (listed ? lengthOf(listed) : 0);
    return { key: kv.key, id: parsed.id, created: Number(kv.createRevision), value: listed, bytes };
  }

  /** Where it is, or where it belongs. */
  #placeOf(record: ListedRecord): number {
    let low = 0;
    let high = this.#order.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const there = this.#order[middle];
      if (there && byCreation(there, record) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** Of one revision: as the store orders keys. */
function byCreation(a: ListedRecord, b: ListedRecord): number {
  if (a.created !== b.created) return a.created - b.created;
  return a.key === b.key ? 0 : Buffer.compare(Buffer.from(a.key, "utf8"), Buffer.from(b.key, "utf8"));
}

function lengthOf(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null) return 8;
  return Object.entries(value).reduce((sum, [name, member]) => sum + name.length + 16 + lengthOf(member), 32);
}
