/**
 * The certificates of this node, followed from the `ssls` records: compiled when a record or a secret it refers to
 * changes, found by server name in a handshake.
 * Promise: a change counts from the next handshake on and touches no connection; a record that cannot be used is listed
 * as a problem and its predecessor keeps serving, or its names are closed if it verifies clients and none does; an unresolved
 * reference never stands for its value.
 */
import { type Clock, sleep } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Metrics, Sample } from "../../base/metrics.ts";
import { keyOf } from "../../model/keys.ts";
import type { StoredValue } from "../../model/record.ts";
import type { Ssl } from "../../model/secret.ts";
import { isRemnant, type SslListener } from "../../runtime/certificates.ts";
import { referencesIn, type SecretSource, SecretUsers, withSecrets } from "../../runtime/plugins/secret-source.ts";
import { openProblems, type Problem, type Problems } from "../../runtime/problems.ts";
import {
  closedServerCertificate,
  compileServerCertificate,
  type ServerCertificate,
  type ServerCertificateOptions,
} from "./server-certificate.ts";
import { TlsNames } from "./tls-names.ts";

/** The part of the live configuration that has the records, private keys already decrypted. */
export interface SslSource {
  /** Of the batch applied last. */
  readonly revision: bigint;
  ssls(): IterableIterator<[string, StoredValue]>;
  onSslChange(listener: SslListener): () => void;
}

interface TlsCertificatesOptions extends ServerCertificateOptions {
  readonly source: SslSource;
  readonly secrets: SecretSource;
  /** Of the store, for the keys of problems. */
  readonly prefix: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface TlsCertificates {
  /** @param name a server name or host in lower case, without a dot at its end */
  find(name: string): ServerCertificate | undefined;
  /** Whether any record asks clients for certificates. */
  readonly verifiesClients: boolean;
  /** What is wrong with records, beyond what the live configuration lists. */
  problems(): readonly Problem[];
  /** The newest of them by which a record was not taken. */
  refusals(): readonly Problem[];
  /** Resolves when no value of a changed record is under way, after `withinMs` at the latest; then `refusals` names what is wrong with it. */
  settled(withinMs: number): Promise<void>;
  close(): void;
}

export function openTlsCertificates(options: TlsCertificatesOptions): TlsCertificates {
  return new Certificates(options);
}

/** Names in the metric of expiry; when there are more, those that end first are shown. */
const EXPIRY_NAMES_MAX = 1_000;

/** One record and what is served of it. */
interface NamedCertificate {
  readonly id: string;
  value: Ssl;
  /** Of the record. */
  revision: bigint;
  /** Compiled from the newest value that could be; closed while there is none and the record verifies clients. */
  certificate: ServerCertificate | undefined;
  references: readonly string[];
  release: () => void;
  /** Counts what makes values under way worthless. */
  turn: number;
}

class Certificates implements TlsCertificates {
  readonly #options: TlsCertificatesOptions;
  readonly #secrets: SecretUsers;
  readonly #problems: Problems;
  readonly #entries = new Map<string, NamedCertificate>();
  readonly #names: TlsNames;
  readonly #stop: () => void;
  readonly #underWay = new Set<Promise<void>>();
  #verifying = 0;

  constructor(options: TlsCertificatesOptions) {
    const { clock, log, metrics, source } = options;
    this.#options = options;
    this.#secrets = new SecretUsers(options.secrets);
    this.#problems = openProblems(log, clock);
    this.#names = new TlsNames((name, claimants) => this.#noteClaims(name, claimants));
    metrics.gaugeOf(
      "jotgate_tls_certificate_expiry_seconds",
      "When the certificate served for a name ends, in seconds since 1970; the 1,000 names that end first.",
      ["sni"],
      () => this.#expiries(),
      "min",
    );
    this.#stop = source.onSslChange((id, value) => this.#change(id, value));
    for (const [id, value] of source.ssls()) this.#change(id, value);
  }

  get verifiesClients(): boolean {
    return this.#verifying > 0;
  }

  find(name: string): ServerCertificate | undefined {
    return this.#names.find(name);
  }

  problems(): readonly Problem[] {
    return this.#problems.list();
  }

  refusals(): readonly Problem[] {
    return this.#problems.refusals();
  }

  async settled(withinMs: number): Promise<void> {
    if (this.#underWay.size === 0) return;
    const late = new AbortController();
    await Promise.race([Promise.all(this.#underWay), sleep(this.#options.clock, withinMs, late.signal)]);
    late.abort();
  }

  close(): void {
    this.#stop();
    for (const entry of this.#entries.values()) {
      entry.turn++;
      entry.release();
    }
    this.#secrets.close();
  }

  #change(id: string, value: StoredValue | undefined): void {
    const before = this.#entries.get(id);
    before?.release();
    // True: the record passed the schema, which says no less.
    const ssl = value as Ssl | undefined;
    if (!ssl || ssl.type === "client" || ssl.status === 0) {
      if (before) this.#drop(before);
      return;
    }
    const { cert, key, certs, keys, client } = ssl;
    const references = referencesIn({ cert, key, certs, keys, client });
    const { revision } = this.#options.source;
    const entry = before ?? { id, value: ssl, revision, certificate: undefined, references, release: nothing, turn: 0 };
    entry.value = ssl;
    entry.revision = revision;
    entry.references = references;
    entry.release = references.length === 0 ? nothing : this.#secrets.use(references, () => this.#refresh(entry));
    this.#entries.set(id, entry);
    this.#refresh(entry);
  }

  #drop(entry: NamedCertificate): void {
    entry.turn++;
    this.#entries.delete(entry.id);
    this.#serve(entry, undefined);
    this.#problems.clearAll(this.#keyOf(entry.id));
  }

  /** Compiles from the values of now, or as soon as they are known. */
  #refresh(entry: NamedCertificate): void {
    const turn = ++entry.turn;
    const { references } = entry;
    const known = references.length === 0 ? new Map<string, unknown>() : this.#secrets.peek(references);
    if (known) {
      this.#compile(entry, known);
      return;
    }
    this.#closeUnserved(entry);
    const reading = this.#secrets.resolve(references).then((values) => {
      this.#underWay.delete(reading);
      if (entry.turn !== turn) return;
      if (values) this.#compile(entry, values);
      // References name places, not values, so they may be told.
      else this.#report(entry, `unresolved: ${references.join(", ")}`);
    });
    this.#underWay.add(reading);
  }

  #compile(entry: NamedCertificate, values: ReadonlyMap<string, unknown>): void {
    if (isRemnant(entry.value)) {
      this.#closeUnserved(entry);
      return;
    }
    try {
      // True: a copy with texts in place of references has the same shape, unless a secret is no text.
      const ssl = (values.size === 0 ? entry.value : withSecrets(entry.value, values)) as Ssl;
      for (const value of values.values()) if (typeof value !== "string") throw new TypeError("a secret is no text");
      this.#serve(entry, compileServerCertificate(entry.id, ssl, this.#options));
      this.#problems.clear(this.#keyOf(entry.id), "record");
    } catch (error) {
      this.#report(entry, messageOf(error));
    }
  }

  #serve(entry: NamedCertificate, certificate: ServerCertificate | undefined): void {
    const before = entry.certificate;
    entry.certificate = certificate;
    // In this order, so that a name both have is never without a certificate.
    if (certificate) this.#names.add(certificate);
    if (before) this.#names.remove(before);
    this.#verifying += Number(certificate?.client !== undefined) - Number(before?.client !== undefined);
  }

  /** Nothing of the record serves: another record must not serve its names without what it demands. @returns whether it is so */
  #closeUnserved(entry: NamedCertificate): boolean {
    if (entry.certificate?.server !== undefined) return false;
    const closes = entry.value.client !== undefined;
    this.#serve(entry, closes ? closedServerCertificate(entry.id, entry.value) : undefined);
    return closes;
  }

  #report(entry: NamedCertificate, reason: string): void {
    const closes = this.#closeUnserved(entry);
    this.#problems.set(this.#keyOf(entry.id), "record", entry.revision, closes ? `${reason}${CLOSES}` : reason, closes);
  }

  #noteClaims(name: string, claimants: readonly ServerCertificate[]): void {
    const { revision } = this.#options.source;
    for (const certificate of claimants) {
      const key = this.#keyOf(certificate.id);
      const first = claimants[0]?.id;
      if (first === undefined || first === certificate.id) this.#problems.clear(key, `duplicate ${name}`);
      else this.#problems.set(key, `duplicate ${name}`, revision, `sni ${name}: ssl ${first} comes first`);
    }
  }

  #keyOf(id: string): string {
    return keyOf(this.#options.prefix, "ssl", id);
  }

  #expiries(): readonly Sample[] {
    const first = new Map<string, number>();
    for (const { certificate } of this.#entries.values()) {
      if (certificate?.server)
        for (const name of certificate.names)
          if (this.#names.first(name) === certificate) first.set(name, certificate.expiresMs);
    }
    const soonest = [...first].sort((one, other) => one[1] - other[1]).slice(0, EXPIRY_NAMES_MAX);
    return soonest.map(([name, expiresMs]) => ({ labels: [name], value: Math.floor(expiresMs / 1000) }));
  }
}

const CLOSES =
  "; nothing older serves and it verifies clients, so its names are closed until it is repaired or deleted";

const nothing = (): void => {};
