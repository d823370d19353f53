/**
 * The keys of all issuers, in the process of a node that fetches them; kept in a file, so that the node starts with the
 * issuers away.
 * Promise: issuers do not wait for each other; a file that cannot be read or written is said and harms nobody.
 * Source: docs/spec/tokens.md section 3.
 */
import { createHash } from "node:crypto";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { KEY_PAIR_ALGORITHMS } from "../base/jose/algorithms.ts";
import { type JwkSet, readJwkSet } from "../base/jose/jwk.ts";
import type { Log } from "../base/log.ts";
import { openLimitedWarn, type Warn } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import { openExchange } from "../base/net/guarded-exchange.ts";
import type { TokenIssuer } from "../model/token-issuer.ts";
import { type HeldKeys, type KeyFeed, sourceOf, tooOldAtMs } from "./key-feed.ts";
import { fetchKeys } from "./key-fetch.ts";
import { KeyKeeper } from "./key-keeper.ts";
import { countFetches, countForced } from "./key-metrics.ts";

/** Where sets are kept over a restart. */
export interface KeyFile {
  /** undefined: there is none. */
  read(): Promise<Buffer | undefined>;
  write(bytes: Buffer): Promise<void>;
}

interface KeepersOptions {
  /** Of this node: spreads the first fetches. */
  readonly nodeId: string;
  readonly file: KeyFile;
  /** Addresses and ranges that are not called. */
  readonly denied: readonly string[];
  /** Who is asked for names; default: the system. */
  readonly nameServers?: readonly string[];
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly random?: () => number;
}

/** What is wrong with the keys of an issuer. */
interface KeyProblem {
  readonly id: string;
  readonly reason: string;
  /** Tokens of this issuer are answered 503. */
  readonly blocks: boolean;
}

export interface KeyKeepers extends KeyFeed {
  /** By id. */
  all(): Iterable<readonly [string, Pick<KeyKeeper, "held" | "set" | "failure">]>;
  problems(): readonly KeyProblem[];
  isRefused(id: string, kid: string | undefined): boolean;
  cooldownLeftMs(id: string): number;
  /** Writes what is not written yet and ends what runs. */
  close(): Promise<void>;
}

const ANSWER_BYTES = 1_048_576;
const DEFAULT_TIMEOUT_MS = 5_000;
const SPREAD_MS = 2_000;
/** After the start: what was kept and nobody asked for by then belongs to a record that went while the node was away. */
const UNFOLLOWED_MS = 3_600_000;
const WRITE_AFTER_MS = 500;
/** What is kept of an unchanged set is only when it was last good. */
const WRITE_SAME_AFTER_MS = 60_000;

/** Resolves when the file was read. */
export async function openKeepers(options: KeepersOptions): Promise<KeyKeepers> {
  const warn = openLimitedWarn(options.log, options.clock);
  const saved = await readFile(options.file, warn);
  return new Keepers(options, saved, warn);
}

type Saved = ReadonlyMap<string, HeldKeys>;

class Keepers implements KeyKeepers {
  readonly #options: KeepersOptions;
  readonly #saved: Map<string, HeldKeys>;
  readonly #warn: Warn;
  readonly #keepers = new Map<string, KeyKeeper>();
  readonly #abort = new AbortController();
  readonly #fetches: ReturnType<typeof countFetches>;
  readonly #forced: ReturnType<typeof countForced>;
  #listener: (id: string) => void = () => undefined;
  readonly #cleaning: Timer;
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: KeepersOptions, saved: Saved, warn: Warn) {
    this.#options = options;
    this.#saved = new Map(saved);
    this.#warn = warn;
    this.#forced = countForced(options.metrics);
    this.#fetches = countFetches(options.metrics, options.clock, this.#keepers);
    this.#cleaning = options.clock.after(UNFOLLOWED_MS, () => {
      for (const id of [...this.#saved.keys()]) if (!this.#keepers.has(id)) this.#forget(id);
    });
  }

  follow(id: string, record: TokenIssuer | undefined): void {
    const known = this.#keepers.get(id);
    if (record === undefined) {
      known?.close();
      this.#keepers.delete(id);
      this.#forget(id);
      return;
    }
    const isSame = known !== undefined && sourceOf(known.record) === sourceOf(record);
    const keeper = isSame ? known : this.#open(id, record);
    keeper.change(record);
    if (!isSame) known?.close();
    this.#keepers.set(id, keeper);
    // A changed address is asked at once; what is merely seen first or again may wait its turn.
    keeper.due(known !== undefined && !isSame ? 0 : this.#turnOf(id));
    if (!isSame && keeper.held) this.#listener(id);
  }

  held(id: string): HeldKeys | undefined {
    return this.#keepers.get(id)?.held;
  }
  wanted(id: string, kid: string | undefined): Promise<void> | undefined {
    return this.#keepers.get(id)?.wanted(kid);
  }
  doubted(id: string): void {
    this.#keepers.get(id)?.doubted();
  }
  isRefused(id: string, kid: string | undefined): boolean {
    return this.#keepers.get(id)?.isRefused(kid) === true;
  }
  cooldownLeftMs(id: string): number {
    return this.#keepers.get(id)?.cooldownLeftMs ?? 0;
  }
  onHeld(listener: (id: string) => void): void {
    this.#listener = listener;
  }

  all(): Iterable<readonly [string, KeyKeeper]> {
    return this.#keepers;
  }

  problems(): readonly KeyProblem[] {
    const now = this.#options.clock.nowMs();
    return [...this.#keepers].flatMap(([id, { failure, held, record }]): KeyProblem[] => {
      if (failure === undefined) return [];
      if (!held) return [{ id, blocks: true, reason: `there are no keys yet: ${failure}` }];
      const blocks = now >= tooOldAtMs(record, held.fetchedAtMs);
      const age = `keys are ${ageText(now - held.fetchedAtMs)} old${blocks ? ", too old to serve (stale_for)" : ""}`;
      return [{ id, blocks, reason: `${age}: ${failure}` }];
    });
  }

  async close(): Promise<void> {
    this.#abort.abort();
    this.#cleaning.cancel();
    for (const keeper of this.#keepers.values()) keeper.close();
    const isDue = this.#timer !== undefined;
    this.#timer?.cancel();
    if (isDue) this.#write();
    await this.#writing;
  }

  #open(id: string, record: TokenIssuer): KeyKeeper {
    const { clock, log, denied, nameServers, random = Math.random } = this.#options;
    const { signal } = this.#abort;
    const exchange = openExchange({
      ...{ clock, denied, nameServers, signal, answerBytes: ANSWER_BYTES, timeoutMs: DEFAULT_TIMEOUT_MS },
      code: "ISSUER_UNAVAILABLE",
    });
    const fetched = this.#fetches(id);
    const forced = this.#forced(id);
    const keeper: KeyKeeper = new KeyKeeper({
      ...{ record, clock, random, read: readHeld, saved: this.#saved.get(id), onForced: forced },
      fetch: (now, known) => fetchKeys(now, exchange, known),
      onFetched: (result, seconds) => {
        fetched(result, seconds);
        if (result === "failed")
          this.#warn({ issuer: id, why: keeper.failure }, "the keys of an issuer cannot be fetched");
        else if (result === "ok") log.debug({ issuer: id, keys: keeper.set?.keys.length }, "keys of an issuer fetched");
      },
      onHeld: () => {
        this.#keep(id, keeper);
        this.#listener(id);
      },
    });
    return keeper;
  }

  /** Nodes that start together do not ask together. */
  #turnOf(id: string): number {
    const digest = createHash("sha256").update(`${this.#options.nodeId} ${id}`).digest();
    return (digest.readUInt32BE(0) / 2 ** 32) * SPREAD_MS;
  }

  #keep(id: string, { held }: KeyKeeper): void {
    const before = this.#saved.get(id);
    if (!held) return;
    this.#saved.set(id, held);
    const isSame = before?.jwks === held.jwks && before.source === held.source;
    this.#writeSoon(isSame ? WRITE_SAME_AFTER_MS : WRITE_AFTER_MS);
  }

  #forget(id: string): void {
    if (this.#saved.delete(id)) this.#writeSoon(WRITE_AFTER_MS);
  }

  #writeSoon(delayMs: number): void {
    if (this.#timer !== undefined && delayMs >= WRITE_SAME_AFTER_MS) return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(delayMs, () => this.#write());
  }

  #write(): void {
    this.#timer = undefined;
    const bytes = Buffer.from(JSON.stringify({ v: 1, sets: Object.fromEntries(this.#saved) }), "utf8");
    this.#writing = this.#writing
      .then(() => this.#options.file.write(bytes))
      .catch((error: unknown) => this.#warn({ why: messageOf(error) }, "the file of issuers' keys cannot be written"));
  }
}

function readHeld({ jwks }: HeldKeys, record: TokenIssuer): JwkSet | undefined {
  const set = readJwkSet(Buffer.from(jwks, "utf8"), new Set(record.algorithms ?? KEY_PAIR_ALGORITHMS));
  return typeof set === "string" ? undefined : set;
}

async function readFile(file: KeyFile, warn: Warn): Promise<Saved> {
  try {
    const bytes = await file.read();
    const document =
      bytes && (JSON.parse(bytes.toString("utf8")) as { readonly sets?: Readonly<Record<string, unknown>> });
    const sets = Object.entries(document?.sets ?? {});
    return new Map(sets.filter((entry): entry is [string, HeldKeys] => isHeld(entry[1])));
  } catch (error) {
    warn({ why: messageOf(error) }, "the file of issuers' keys is ignored");
    return new Map();
  }
}

function isHeld(value: unknown): value is HeldKeys {
  if (typeof value !== "object" || value === null) return false;
  const { source, jwks, fetchedAtMs, from } = value as Readonly<Record<string, unknown>>;
  return [source, jwks, from].every((one) => typeof one === "string") && typeof fetchedAtMs === "number";
}

function ageText(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1_000));
  if (seconds < 120) return `${seconds} seconds`;
  return seconds < 7_200 ? `${Math.round(seconds / 60)} minutes` : `${Math.round(seconds / 3_600)} hours`;
}
