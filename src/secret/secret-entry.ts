/**
 * What is known about each `$secret://` reference. Those that are held stay; of the others the least used is forgotten.
 */
import { LRUCache } from "lru-cache";
import type { Reference } from "../base/reference.ts";
import type { Reading } from "./managers/reading.ts";

type ManagedReference = Extract<Reference, { kind: "secret" }>;

export interface SecretEntry {
  readonly text: string;
  readonly reference: ManagedReference;
  /** The last reading that counts; undefined before the first. */
  reading: Reading | undefined;
  /** Monotonic milliseconds from which it is to be read again. */
  dueMs: number;
  /** The reading under way. */
  flight: Promise<void> | undefined;
  /** Grows with each change of the record it rests on. */
  generation: number;
  holders: number;
}

export class EntryTable {
  readonly #held = new Map<string, SecretEntry>();
  readonly #free: LRUCache<string, SecretEntry>;
  /** "manager/id" → its entries, held or not. */
  readonly #byRecord = new Map<string, Set<SecretEntry>>();

  constructor(freeEntries: number) {
    this.#free = new LRUCache({
      max: freeEntries,
      dispose: (entry, _text, reason) => {
        if (reason === "evict") this.#forget(entry);
      },
    });
  }

  /** The entry, made when there is none. */
  get(text: string, reference: ManagedReference): SecretEntry {
    const known = this.#held.get(text) ?? this.#free.get(text);
    if (known) return known;
    const made = this.#make(text, reference);
    this.#free.set(text, made);
    return made;
  }

  peek(text: string): SecretEntry | undefined {
    return this.#held.get(text) ?? this.#free.peek(text);
  }

  hold(text: string, reference: ManagedReference): SecretEntry {
    const entry = this.#held.get(text) ?? this.#free.peek(text) ?? this.#make(text, reference);
    if (entry.holders++ === 0) {
      this.#free.delete(text);
      this.#held.set(text, entry);
    }
    return entry;
  }

  release(entry: SecretEntry): void {
    if (--entry.holders > 0) return;
    this.#held.delete(entry.text);
    this.#free.set(entry.text, entry);
  }

  /** All entries that rest on the record "manager/id". */
  below(record: string): Iterable<SecretEntry> {
    return this.#byRecord.get(record) ?? [];
  }

  countStates(): Record<"found" | "absent" | "unavailable" | "unread", number> {
    const counts = { found: 0, absent: 0, unavailable: 0, unread: 0 };
    for (const entries of this.#byRecord.values())
      for (const { reading } of entries) counts[reading?.kind ?? "unread"]++;
    return counts;
  }

  #make(text: string, reference: ManagedReference): SecretEntry {
    const entry: SecretEntry = {
      text,
      reference,
      reading: undefined,
      dueMs: 0,
      flight: undefined,
      generation: 0,
      holders: 0,
    };
    const record = recordOf(entry);
    const siblings = this.#byRecord.get(record) ?? new Set();
    siblings.add(entry);
    this.#byRecord.set(record, siblings);
    return entry;
  }

  #forget(entry: SecretEntry): void {
    const record = recordOf(entry);
    const siblings = this.#byRecord.get(record);
    siblings?.delete(entry);
    if (siblings?.size === 0) this.#byRecord.delete(record);
  }
}

function recordOf(entry: SecretEntry): string {
  return `${entry.reference.manager}/${entry.reference.id}`;
}
