/**
 * Keeps the keys of one issuer, in the process that fetches: on a schedule, and when tokens ask for a key it does not have.
 * Promise: one fetch at a time; what tokens ask for costs one fetch per cooldown at most, counted from the last attempt,
 * whatever came of it; a failure leaves the last good set and is tried again after 1, 2, 4 … 60 s.
 * Source: docs/spec/tokens.md section 3 numbers 2 and 6 to 8.
 */
import { LRUCache } from "lru-cache";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { JwkSet } from "../base/jose/jwk.ts";
import type { TokenIssuer } from "../model/token-issuer.ts";
import { type HeldKeys, intervalSeconds, sourceOf } from "./key-feed.ts";
import type { FetchedKeys, KnownKeys } from "./key-fetch.ts";

export interface KeeperOptions {
  readonly record: TokenIssuer;
  readonly clock: Clock;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly fetch: (record: TokenIssuer, known: KnownKeys | undefined) => Promise<FetchedKeys | "not modified">;
  /** Reads the text of a set that was held before. */
  readonly read: (held: HeldKeys, record: TokenIssuer) => JwkSet | undefined;
  readonly saved: HeldKeys | undefined;
  /** After each fetch. */
  readonly onFetched: (result: "ok" | "not_modified" | "failed", seconds: number) => void;
  /** After each time that a token asked. */
  readonly onForced: (result: "fetched" | "cooldown" | "refused") => void;
  /** After each good set. */
  readonly onHeld: () => void;
}

export const WAIT_MS = 2_000;
export const WAITERS_MAX = 1_024;
export const REFUSED_MAX = 1_024;
const LEAST_INTERVAL_SECONDS = 60;
const BACK_OFF_MAX_SECONDS = 60;
/** After a fetch during which it became due anew. */
const AGAIN_MS = 1_000;
/** Stands for tokens without kid. */
export const NO_KID = "\0";

interface Flight {
  /** Ends with the fetch, and after 2 s at the latest. */
  readonly waited: Promise<void>;
  readonly kids: Set<string>;
  waiters: number;
  isOver: boolean;
}

export class KeyKeeper {
  readonly #options: KeeperOptions;
  #record: TokenIssuer;
  #held: HeldKeys | undefined;
  #set: JwkSet | undefined;
  #known: KnownKeys | undefined;
  #flight: Flight | undefined;
  #timer: Timer | undefined;
  #attemptMs = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #why: string | undefined;
  #maxAgeSeconds: number | undefined;
  #isDueAgain = false;
  #closed = false;
  readonly #refused = new LRUCache<string, true>({ max: REFUSED_MAX });

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.#record = options.record;
    const { saved, record } = options;
    const set = saved?.source === sourceOf(record) ? options.read(saved, record) : undefined;
    if (!set) return;
    this.#held = saved;
    this.#set = set;
  }

  get held(): HeldKeys | undefined {
    return this.#held;
  }
  get set(): JwkSet | undefined {
    return this.#set;
  }
  get record(): TokenIssuer {
    return this.#record;
  }
  /** Why the last fetch failed; undefined when it did not. */
  get failure(): string | undefined {
    return this.#why;
  }
  get waiting(): number {
    return this.#flight?.isOver === false ? this.#flight.waiters : 0;
  }

  /** The record with the same source: other times, other tokens; its keys are due. */
  change(record: TokenIssuer): void {
    this.#record = record;
  }

  /** Fetches after `delayMs`, unless it is due before. */
  due(delayMs: number): void {
    this.#timer?.cancel();
    // What is under way may be older than what makes it due.
    this.#isDueAgain = this.#flight !== undefined;
    this.#timer = this.#options.clock.after(delayMs, () => this.#start());
  }

  wanted(kid: string | undefined): Promise<void> | undefined {
    const name = kid ?? NO_KID;
    if (this.#flight) return this.#join(this.#flight, name);
    if (!this.#mayForce(name)) return undefined;
    return this.#join(this.#start(), name);
  }

  doubted(): void {
    if (!this.#flight && this.#mayForce(undefined)) this.#start();
  }

  /** Milliseconds until a token may ask for a fetch again. */
  get cooldownLeftMs(): number {
    const passedMs = this.#options.clock.monotonicMs() - this.#attemptMs;
    return Math.max(0, (this.#record.cooldown ?? 10) * 1_000 - passedMs);
  }

  isRefused(kid: string | undefined): boolean {
    return this.#refused.has(kid ?? NO_KID);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
  }

  #mayForce(name: string | undefined): boolean {
    const refused = name !== undefined && this.#refused.has(name);
    const result = refused ? "refused" : this.cooldownLeftMs > 0 ? "cooldown" : "fetched";
    this.#options.onForced(result);
    return result === "fetched" && !this.#closed;
  }

  #join(flight: Flight, name: string): Promise<void> | undefined {
    if (flight.isOver || flight.waiters >= WAITERS_MAX) return undefined;
    flight.waiters++;
    flight.kids.add(name);
    return flight.waited;
  }

  #start(): Flight {
    const running = this.#flight;
    if (running) return running;
    this.#timer?.cancel();
    const { clock } = this.#options;
    const startedMs = clock.monotonicMs();
    this.#attemptMs = startedMs;
    let finish: () => void = () => undefined;
    const waited = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const flight: Flight = { waited, kids: new Set(), waiters: 0, isOver: false };
    const over = (): void => {
      flight.isOver = true;
      limit.cancel();
      finish();
    };
    const limit = clock.after(WAIT_MS, over);
    this.#flight = flight;
    const record = this.#record;
    const settle = (fetched: FetchedKeys | "not modified" | undefined, why: string): void => {
      this.#flight = undefined;
      if (!this.#closed) this.#settle(fetched, why, flight.kids, (clock.monotonicMs() - startedMs) / 1_000);
      over();
    };
    this.#options.fetch(record, this.#known).then(
      (fetched) => settle(fetched, ""),
      (error: unknown) => settle(undefined, messageOf(error)),
    );
    return flight;
  }

  #settle(
    fetched: FetchedKeys | "not modified" | undefined,
    why: string,
    kids: ReadonlySet<string>,
    seconds: number,
  ): void {
    const { clock, random, onFetched, onHeld } = this.#options;
    if (fetched === undefined || (fetched === "not modified" && !this.#held)) {
      this.#why = why || "the issuer says that a set it never gave is unchanged";
      this.#known = undefined;
      const pauseSeconds = Math.min(BACK_OFF_MAX_SECONDS, 2 ** this.#failures++);
      this.due(pauseSeconds * 1_000 * (0.5 + 0.5 * random()));
      onFetched("failed", seconds);
      return;
    }
    this.#failures = 0;
    this.#why = undefined;
    const fetchedAtMs = clock.nowMs();
    if (fetched === "not modified") {
      if (this.#held) this.#held = { ...this.#held, fetchedAtMs };
    } else {
      const { jwks, from, issuer, etag, set } = fetched;
      this.#held = { source: sourceOf(this.#record), jwks, from, fetchedAtMs, ...(issuer !== undefined && { issuer }) };
      this.#set = set;
      this.#known = etag === undefined ? undefined : { from, etag, issuer };
      this.#maxAgeSeconds = fetched.maxAgeSeconds;
    }
    this.#refused.clear();
    const names = new Set(this.#set?.keys.map((key) => key.kid ?? NO_KID));
    for (const kid of kids) if (!names.has(kid)) this.#refused.set(kid, true);
    const wanted = Math.min(intervalSeconds(this.#record), this.#maxAgeSeconds ?? Number.POSITIVE_INFINITY);
    const pauseMs = Math.max(LEAST_INTERVAL_SECONDS, wanted) * 1_000 * (0.9 + 0.2 * random());
    this.due(this.#isDueAgain ? AGAIN_MS : pauseMs);
    onFetched(fetched === "not modified" ? "not_modified" : "ok", seconds);
    onHeld();
  }
}
