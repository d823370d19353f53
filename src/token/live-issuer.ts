/**
 * One issuer as plugins see it: what its record demands, and its keys as of now.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { KEY_PAIR_ALGORITHMS } from "../base/jose/algorithms.ts";
import { readJwkSet } from "../base/jose/jwk.ts";
import type { TokenIssuer as IssuerRecord } from "../model/token-issuer.ts";
import { fixedKeysOf } from "../model/token-issuer-check.ts";
import type { KeysMissing, TokenIssuer, VerifyKey } from "../plugin/tokens.ts";
import { type HeldKeys, type KeyFeed, learnsIssuer, sourceOf, tooOldAtMs } from "./key-feed.ts";
import { KeySet } from "./key-set.ts";

const DEFAULT_TYPES = ["at+jwt", "JWT", ""] as const;
const DEFAULT_SCOPES = ["scope", "scp"] as const;
/** A timer of Node.js holds 24 days at most, and wall clocks are set. */
const LOOK_AGAIN_MS = 3_600_000;

export class LiveIssuer implements TokenIssuer {
  readonly kind = "token_issuer";
  readonly id: string;
  readonly record: IssuerRecord;
  readonly issuer: string;
  readonly algorithms: ReadonlySet<string>;
  readonly types: ReadonlySet<string>;
  readonly audienceClaim: string;
  readonly scopeClaims: readonly string[];
  readonly consumerClaim: string;
  readonly clockSkewSeconds: number;
  readonly maxLifetimeSeconds: number | undefined;
  readonly #feed: KeyFeed;
  readonly #clock: Clock;
  readonly #source: string;
  #learned: string | undefined;
  #set: KeySet | undefined;
  #jwks: string | undefined;
  #missing: Exclude<KeysMissing, "unknown_kid"> = "keys_unavailable";
  #timer: Timer | undefined;

  constructor(id: string, record: IssuerRecord, feed: KeyFeed, clock: Clock) {
    this.id = id;
    this.record = record;
    this.issuer = record.issuer;
    this.algorithms = new Set<string>(record.algorithms ?? KEY_PAIR_ALGORITHMS);
    this.types = new Set((record.typ ?? DEFAULT_TYPES).map(typeName));
    this.audienceClaim = record.audience_claim ?? "aud";
    this.scopeClaims = record.scope_claims ?? DEFAULT_SCOPES;
    this.consumerClaim = record.consumer_claim ?? "sub";
    this.clockSkewSeconds = record.clock_skew ?? 30;
    this.maxLifetimeSeconds = record.max_lifetime;
    this.#feed = feed;
    this.#clock = clock;
    this.#source = sourceOf(record);
    // Whose key it is says the metadata, unless the record does.
    const fixed = learnsIssuer(record) && record.valid_issuers === undefined ? undefined : fixedKeysOf(record);
    if (typeof fixed === "object") this.#set = new KeySet(fixed.keys, undefined, record.public_key !== undefined);
  }

  /** Who it is by its metadata, where its record does not say; undefined: not known yet. */
  get learned(): string | undefined {
    return this.#learned;
  }

  keys(algorithm: string, kid: string | undefined): readonly VerifyKey[] | KeysMissing {
    if (this.#set === undefined) return this.#missing;
    return this.#set.choose(algorithm, kid) ?? "unknown_kid";
  }

  wanted(kid: string | undefined): Promise<void> | undefined {
    return this.#feed.wanted(this.id, kid);
  }

  doubted(kid: string | undefined): void {
    this.#feed.doubted(this.id, kid);
  }

  /** The newest good set. One of another record, or too old, is none. */
  take(held: HeldKeys | undefined): void {
    if (held === undefined || held.source !== this.#source) return;
    const leftMs = tooOldAtMs(this.record, held.fetchedAtMs) - this.#clock.nowMs();
    this.#timer?.cancel();
    if (leftMs <= 0) {
      this.#drop("keys_too_old");
      return;
    }
    this.#timer = this.#clock.after(Math.min(leftMs, LOOK_AGAIN_MS), () => this.take(this.#feed.held(this.id)));
    const isSameIssuer = this.#learned === held.issuer;
    if (this.#set !== undefined && this.#jwks === held.jwks && isSameIssuer) return;
    const read = readJwkSet(Buffer.from(held.jwks, "utf8"), this.algorithms);
    if (typeof read === "string") return; // who fetched it found it good; the old one stays
    if (!isSameIssuer) this.#drop("keys_unavailable");
    this.#learned = held.issuer;
    this.#set = new KeySet(read.keys, this.#set, this.record.public_key !== undefined);
    this.#jwks = held.jwks;
  }

  /** The record has changed or is gone. */
  retire(): void {
    this.#timer?.cancel();
    this.#drop("keys_unavailable");
  }

  #drop(why: Exclude<KeysMissing, "unknown_kid">): void {
    this.#set?.retire();
    this.#set = undefined;
    this.#jwks = undefined;
    this.#missing = why;
  }
}

function typeName(typ: string): string {
  return typ.toLowerCase().replace(/^application\//, "");
}
