/**
 * References → values: `$ENV://…` from the process environment, `$secret://manager/id/key` from a secret manager.
 * Promise: a value lives 300 s and a failure 60 s; one request at a time per reference; memory and requests under way
 * are bounded; held references are read again in the background and listeners hear of each change.
 * Fails closed: what cannot be read is an error, never the reference's text. Only a manager that does not answer leaves
 * a value that was known before in use. Source: docs/spec/secrets.md; TTLs as recommended there.
 */
import type { Clock } from "../base/clock.ts";
import { CodedError, messageOf } from "../base/errors.ts";
import { Limiter } from "../base/limiter.ts";
import type { Log } from "../base/log.ts";
import { openLimitedWarn, type Warn } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import { type GuardedExchange, openExchange } from "../base/net/guarded-exchange.ts";
import { METADATA_ADDRESSES } from "../base/net/ip.ts";
import { isReference, parseReference } from "../base/reference.ts";
import { type Environment, openEnvironment, type ReadEnvironment } from "./managers/environment.ts";
import type { Reading, SecretManager, SecretValue } from "./managers/reading.ts";
import { openManager } from "./managers/secret-manager.ts";
import { Refresher } from "./refresher.ts";
import { EntryTable, type SecretEntry } from "./secret-entry.ts";

export interface SecretLimits {
  readonly ttlMs: number;
  readonly failureTtlMs: number;
  /** References remembered beside those that are held. */
  readonly entries: number;
  /** Requests to secret managers at the same time. */
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly answerBytes: number;
  /** Addresses and ranges that no secret manager may have. */
  readonly denied: readonly string[];
  /** Who is asked for names of secret managers; default: the system. */
  readonly nameServers?: readonly string[];
}

export const SECRET_LIMITS: SecretLimits = {
  ttlMs: 300_000,
  failureTtlMs: 60_000,
  entries: 4096,
  concurrency: 8,
  timeoutMs: 5000,
  answerBytes: 1024 * 1024,
  denied: METADATA_ADDRESSES,
};

export interface SecretOptions {
  /** As the process was started with; holds secrets. */
  readonly environment: Environment;
  /** Variables that may be referenced, `TEAM_*` for a family; default: all but JOTGATE_*, which never may. */
  readonly allowEnv?: readonly string[] | undefined;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  /** How HTTP requests are made; default: node:http and node:https within the limits. */
  readonly fetch?: GuardedExchange;
  readonly limits?: Partial<SecretLimits>;
}

export interface SecretResolver {
  /**
   * The value behind a whole reference; nearly always text, members of JSON documents as they are.
   * Throws CodedError SECRET_UNRESOLVED, whose text names reference and cause but no token and no value.
   */
  resolve(reference: string): Promise<SecretValue>;
  /** The value of a `$ENV://` reference, at once. Throws SECRET_UNRESOLVED, for other references as well. */
  resolveEnv(reference: string): SecretValue;
  /** The value if it is known now, however old; never asks anybody. */
  peek(reference: string): SecretValue | undefined;
  /**
   * Keeps these references read: they are not forgotten, and read again when their time is over. Does not read them
   * the first time: `resolve` does. @returns lets go of them
   */
  hold(references: readonly string[]): () => void;
  /** The record `secrets/{manager}/{id}` as it is now; undefined when it is gone. Everything below it is read again. */
  setConf(manager: string, id: string, record: unknown): void;
  /**
   * Called after a reference that had been read has another value, has none any more, or has one at last.
   * @returns stops it
   */
  onChange(listener: (reference: string) => void): () => void;
  close(): void;
}

export function openSecrets(options: SecretOptions): SecretResolver {
  return new Resolver(options);
}

class Resolver implements SecretResolver {
  readonly #options: SecretOptions;
  readonly #limits: SecretLimits;
  readonly #abort = new AbortController();
  readonly #fetch: GuardedExchange;
  readonly #readEnv: ReadEnvironment;
  readonly #entries: EntryTable;
  readonly #managers = new Map<string, SecretManager>();
  readonly #records = new Map<string, string>();
  readonly #listeners = new Set<(reference: string) => void>();
  readonly #limiter: Limiter;
  readonly #refresher: Refresher;
  readonly #warn: Warn;

  constructor(options: SecretOptions) {
    const limits = { ...SECRET_LIMITS, ...options.limits };
    this.#options = options;
    this.#limits = limits;
    this.#fetch = options.fetch ?? openExchange({ ...limits, clock: options.clock, signal: this.#abort.signal });
    this.#readEnv = openEnvironment(options.environment, options.allowEnv);
    this.#entries = new EntryTable(limits.entries);
    this.#limiter = new Limiter(limits.concurrency);
    this.#refresher = new Refresher(options.clock, (entry) => void this.#refresh(entry));
    this.#warn = openLimitedWarn(options.log, options.clock);
    options.metrics.gaugeOf(
      "jotgate_secret_references",
      "Secret references by state",
      ["state"],
      () => Object.entries(this.#entries.countStates()).map(([state, value]) => ({ labels: [state], value })),
      "max", // every worker resolves the same ones
    );
  }

  async resolve(text: string): Promise<SecretValue> {
    const reference = parseReference(text);
    if (typeof reference === "string" || reference.kind === "env") {
      try {
        return this.resolveEnv(text);
      } catch (error) {
        this.#warn({ why: messageOf(error) }, "secret reference not resolved");
        throw error;
      }
    }
    const entry = this.#entries.get(text, reference);
    if (entry.reading === undefined || this.#options.clock.monotonicMs() >= entry.dueMs) await this.#refresh(entry);
    return openReading(text, entry.reading ?? CLOSED);
  }

  resolveEnv(text: string): SecretValue {
    const reference = parseReference(text);
    if (typeof reference === "string") throw unresolved(text, reference);
    if (reference.kind !== "env") throw unresolved(text, "not an environment reference");
    return openReading(text, this.#readEnv(reference.name, reference.sub));
  }

  peek(text: string): SecretValue | undefined {
    const reference = parseReference(text);
    if (typeof reference === "string") return undefined;
    const reading =
      reference.kind === "env" ? this.#readEnv(reference.name, reference.sub) : this.#entries.peek(text)?.reading;
    return reading?.kind === "found" && isOpen(reading) ? reading.value : undefined;
  }

  hold(references: readonly string[]): () => void {
    const held: SecretEntry[] = [];
    for (const text of references) {
      const reference = parseReference(text);
      if (typeof reference === "string" || reference.kind === "env") continue;
      const entry = this.#entries.hold(text, reference);
      held.push(entry);
      if (entry.holders === 1 && entry.reading !== undefined) this.#refresher.add(entry);
    }
    return () => {
      for (const entry of held.splice(0)) {
        this.#entries.release(entry);
        if (entry.holders === 0) this.#refresher.remove(entry);
      }
    };
  }

  setConf(manager: string, id: string, record: unknown): void {
    const name = `${manager}/${id}`;
    const text = record === undefined ? undefined : JSON.stringify(record);
    if (this.#records.get(name) === text) return;
    this.#managers.delete(name);
    if (text === undefined) this.#records.delete(name);
    else {
      this.#records.set(name, text);
      const opened = this.#open(manager, record);
      if (typeof opened === "string") this.#options.log.error({ secret: name, why: opened }, "secret manager unusable");
      else this.#managers.set(name, opened);
    }
    for (const entry of this.#entries.below(name)) {
      entry.generation++;
      entry.dueMs = 0;
      if (entry.holders === 0) entry.reading = undefined;
      else if (entry.reading !== undefined) void this.#refresh(entry);
    }
  }

  onChange(listener: (reference: string) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): void {
    this.#abort.abort();
    this.#refresher.stop();
    this.#listeners.clear();
  }

  #open(manager: string, record: unknown): SecretManager | string {
    return openManager(manager, record, {
      exchange: this.#fetch,
      clock: this.#options.clock,
      resolveEnv: (text) => {
        if (!isReference(text)) return text;
        const value = this.resolveEnv(text);
        if (typeof value === "string") return value;
        throw unresolved(text, "not a text");
      },
    });
  }

  /** Reads an entry anew; callers that come meanwhile wait for the same reading. Never rejects. */
  #refresh(entry: SecretEntry): Promise<void> {
    entry.flight ??= this.#readUntilSettled(entry).finally(() => {
      entry.flight = undefined;
      if (entry.holders > 0 && !this.#abort.signal.aborted) this.#refresher.add(entry);
    });
    return entry.flight;
  }

  async #readUntilSettled(entry: SecretEntry): Promise<void> {
    for (;;) {
      const { generation } = entry;
      const reading = await this.#limiter.run(() => this.#read(entry));
      if (this.#abort.signal.aborted) return;
      // The record changed while its predecessor was being asked: that answer is nobody's.
      if (entry.generation !== generation) continue;
      this.#settle(entry, reading);
      return;
    }
  }

  async #read(entry: SecretEntry): Promise<Reading> {
    const { manager, id, key } = entry.reference;
    const opened = this.#managers.get(`${manager}/${id}`);
    if (!opened) return { kind: "absent", why: `no secret conf, secret_uri: ${entry.text}` };
    const reading = await opened.read(key);
    const reads = this.#options.metrics.counter("jotgate_secret_reads_total", "Readings of secret managers", [
      "manager",
      "result",
    ]);
    reads.child(manager, reading.kind).inc();
    return reading;
  }

  #settle(entry: SecretEntry, reading: Reading): void {
    const before = entry.reading;
    const { log, clock } = this.#options;
    const ttlMs = reading.kind === "found" ? this.#limits.ttlMs : this.#limits.failureTtlMs;
    entry.dueMs = clock.monotonicMs() + ttlMs;
    if (reading.kind !== "found") this.#warn({ secret: entry.text, why: reading.why }, "secret reference not resolved");
    if (reading.kind === "unavailable" && before?.kind === "found") return;
    entry.reading = reading;
    if (before === undefined || isSame(before, reading)) return;
    for (const listener of this.#listeners) {
      try {
        listener(entry.text);
      } catch (error) {
        log.error({ secret: entry.text, why: messageOf(error) }, "a listener of secret changes failed");
      }
    }
  }
}

const CLOSED: Reading = { kind: "unavailable", why: "the resolver is closed" };

function openReading(text: string, reading: Reading): SecretValue {
  if (reading.kind !== "found") throw unresolved(text, reading.why);
  // Never followed, and never taken as a value: whoever guesses the reference would know the key.
  if (isOpen(reading)) return reading.value;
  throw unresolved(text, "the value is itself a reference");
}

function isOpen(reading: Reading): boolean {
  return reading.kind === "found" && !(typeof reading.value === "string" && isReference(reading.value));
}

function unresolved(text: string, why: string): CodedError {
  // Texts that are no reference may be values: not repeated.
  const name = isReference(text) ? text : "a text that is no reference";
  return new CodedError("SECRET_UNRESOLVED", { message: `${name}: ${why}` });
}

function isSame(one: Reading, other: Reading): boolean {
  if (one.kind !== "found" || other.kind !== "found") return one.kind !== "found" && other.kind !== "found";
  return one.value === other.value || JSON.stringify(one.value) === JSON.stringify(other.value);
}
