/**
 * Certificates as their records have them, for whoever opens TLS listeners and for upstreams that present one.
 */
import type { StoredValue } from "../model/record.ts";
import { referencesIn, type SecretUsers } from "./plugins/secret-source.ts";
import { type CertificatePair, clientPairError } from "./upstream/upstream-settings.ts";

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
  readonly #all = new Set<(...values: Arguments) => void>();

  /** @returns the way to end it; ending twice is fine */
  add(listener: (...values: Arguments) => void): () => void {
    this.#all.add(listener);
    return () => void this.#all.delete(listener);
  }

  tell(...values: Arguments): void {
    for (const listener of this.#all) listener(...values);
  }
}

/**
 * Client certificates that upstreams show (`client_cert_id`): ssl records of type client, their references resolved.
 * Promise: what is found can be used; a newer version of a record that cannot be used leaves the former in place and is a
 * problem, and of a record that is no client certificate (any more) there is only the reason.
 */
export interface ClientCertificates {
  /** @param value undefined when the record went */
  set(id: string, value: StoredValue | undefined): void;
  /** PEM texts, or why there are none. */
  find(id: string): CertificatePair | string;
  /** Resolves when no value that a record refers to is under way; what is wrong has been reported then. */
  settled(): Promise<unknown>;
}

interface ClientCertificatesOptions {
  readonly secrets: SecretUsers;
  /** What is found under this id is another now. */
  changed(id: string): void;
  /** The newest that is being applied. */
  revision(): bigint;
  /** What is wrong with a record that came with `revision`, and undefined when nothing is. */
  report(id: string, problem: string | undefined, revision: bigint): void;
}

interface CertificateEntry {
  readonly pair: CertificatePair | undefined;
  readonly problem: string;
  readonly release: () => void;
}

export function openClientCertificates(options: ClientCertificatesOptions): ClientCertificates {
  const { secrets, changed, report } = options;
  const entries = new Map<string, CertificateEntry>();
  const underWay = new Set<Promise<void>>();
  const refresh = (
    id: string,
    value: StoredValue,
    references: readonly string[],
    release: () => void,
    at: bigint,
  ): void => {
    const former = entries.get(id)?.pair;
    // References name places, not values, so they may be told.
    const unresolved = `unresolved: ${references.join(", ")}`;
    const take = (values: ReadonlyMap<string, unknown> | undefined): void => {
      const read = values ? readPair(value, values) : unresolved;
      const isGood = typeof read === "object";
      entries.set(id, { pair: isGood ? read : former, problem: isGood ? "" : read, release });
      report(id, isGood ? undefined : `client certificate: ${read}`, at);
    };
    const known = references.length === 0 ? new Map<string, unknown>() : secrets.peek(references);
    if (known) {
      take(known);
      return;
    }
    const waiting = { pair: former, problem: unresolved, release };
    entries.set(id, waiting);
    const reading = secrets.resolve(references).then((values) => {
      underWay.delete(reading);
      if (entries.get(id) !== waiting) return;
      take(values);
      changed(id);
    });
    underWay.add(reading);
  };
  return {
    set(id, value) {
      const at = options.revision();
      const before = entries.get(id);
      before?.release();
      if (value?.["type"] !== "client") {
        if (before) report(id, undefined, at);
        if (value) entries.set(id, { pair: undefined, problem: "it is not of type client", release: nothing });
        else entries.delete(id);
        return;
      }
      const references = referencesIn([value["cert"], value["key"]]);
      const release = references.length === 0 ? nothing : secrets.use(references, () => renew());
      const renew = (): void => {
        refresh(id, value, references, release, at);
        changed(id);
      };
      refresh(id, value, references, release, at);
    },
    find(id) {
      const entry = entries.get(id);
      return entry === undefined ? "there is no such ssl record" : (entry.pair ?? entry.problem);
    },
    settled: () => Promise.all(underWay),
  };
}

function readPair(value: StoredValue, values: ReadonlyMap<string, unknown>): CertificatePair | string {
  const [cert, key] = [value["cert"], value["key"]].map((one) =>
    typeof one === "string" && values.has(one) ? values.get(one) : one,
  );
  if (typeof cert !== "string" || typeof key !== "string") return "certificate and key must be texts";
  return clientPairError({ cert, key }) ?? { cert, key };
}

const nothing = (): void => {};
