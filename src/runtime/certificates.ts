/**
 * Certificates as their records have them, for whoever opens TLS listeners and for upstreams that present one.
 */
import type { StoredValue } from "../model/record.ts";
import { Listeners } from "./listeners.ts";

/** @param value undefined when the record went */
export type SslListener = (id: string, value: StoredValue | undefined) => void;

export interface Ssls {
  readonly count: number;
  get(id: string): StoredValue | undefined;
  entries(): IterableIterator<[string, StoredValue]>;
  set(id: string, value: StoredValue | undefined): void;
  /** Called in the turn of the change. @returns the way to end it */
  onChange(listener: SslListener): () => void;
}

export function openSsls(): Ssls {
  const values = new Map<string, StoredValue>();
  const listeners = new Listeners<[string, StoredValue | undefined]>();
  return {
    get count() {
      return values.size;
    },
    get: (id) => values.get(id),
    entries: () => values.entries(),
    set(id, value) {
      if (value) values.set(id, value);
      else if (!values.delete(id)) return;
      listeners.tell(id, value);
    },
    onChange: (listener) => listeners.add(listener),
  };
}
