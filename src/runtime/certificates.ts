/**
 * Certificates as their records have them, for whoever opens TLS listeners and for upstreams that present one.
 */
import type { StoredValue } from "../model/record.ts";

/**
 * What is left of a record that was refused while nothing older serves and that verifies clients: its names, so that nobody
 * is served under them by another record. A record that was taken has a certificate.
 */
export function remnantOf(bytes: Buffer): StoredValue | undefined {
  try {
    const whole: unknown = JSON.parse(bytes.toString("utf8"));
    if (typeof whole !== "object" || whole === null) return undefined;
    const { client, type, status, sni, snis } = whole as StoredValue;
    const names = [sni, snis].flat().filter((name) => typeof name === "string" && name !== "");
    const demands = client !== undefined && client !== null && type !== "client" && status !== 0;
    return demands && names.length > 0 ? { snis: names, client: {} } : undefined;
  } catch {
    return undefined; // no JSON: nobody knows whose names they were
  }
}

export function isRemnant(value: StoredValue): boolean {
  return value["cert"] === undefined;
}

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

export class Listeners<Arguments extends readonly unknown[]> {
  readonly #all = new Set<(...told: Arguments) => void>();

  /** @returns the way to end it; ending twice is fine */
  add(listener: (...told: Arguments) => void): () => void {
    this.#all.add(listener);
    return () => void this.#all.delete(listener);
  }

  tell(...told: Arguments): void {
    for (const listener of this.#all) listener(...told);
  }
}
