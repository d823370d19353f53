/**
 * Issuers that configurations describe themselves, without a record: one for all that say the same of it.
 * Promise: `iss` is what the configuration or the metadata names, byte for byte; whoever is not used for a minute is
 * forgotten, so that a node that ends or reads its configuration anew keeps what it knows.
 */
import { createHash } from "node:crypto";
import type { Clock, Timer } from "../base/clock.ts";
import { CodedError } from "../base/errors.ts";
import type { Claims } from "../base/jose/token.ts";
import type { TokenIssuer as IssuerRecord } from "../model/token-issuer.ts";
import { type TokenIssuer, type TokenIssuers, UNNAMED_MAX, type UnnamedIssuer } from "../plugin/tokens.ts";
import type { KeyFeed } from "./key-feed.ts";
import { LiveIssuer } from "./live-issuer.ts";

export const UNUSED_MS = 60_000;
/** No id of a record has a colon. */
const PREFIX = "openid-connect:";

/** Whether an id is that of no record: the primary of a node learns of such keys from its workers. */
export function isUnnamed(id: string): boolean {
  return id.includes(":");
}

interface Described {
  readonly id: string;
  readonly issuer: LiveIssuer;
  readonly group: TokenIssuers;
  readonly isFetched: boolean;
  holders: number;
  forgetting: Timer | undefined;
}

export class UnnamedIssuers {
  readonly #feed: KeyFeed;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Described>();

  constructor(feed: KeyFeed, clock: Clock) {
    this.#feed = feed;
    this.#clock = clock;
  }

  get(id: string): LiveIssuer | undefined {
    return this.#entries.get(id)?.issuer;
  }

  hold(settings: UnnamedIssuer): { readonly issuers: TokenIssuers; release(): void } {
    const record = recordOf(settings);
    const id = `${PREFIX}${createHash("sha256").update(JSON.stringify(record)).digest("hex").slice(0, 16)}`;
    const entry = this.#entries.get(id) ?? this.#open(id, record);
    entry.holders++;
    entry.forgetting?.cancel();
    let isHeld = true;
    return {
      issuers: entry.group,
      release: () => {
        if (isHeld && --entry.holders === 0) entry.forgetting = this.#clock.after(UNUSED_MS, () => this.#forget(entry));
        isHeld = false;
      },
    };
  }

  close(): void {
    for (const { issuer, forgetting } of this.#entries.values()) {
      forgetting?.cancel();
      issuer.retire();
    }
    this.#entries.clear();
  }

  #open(id: string, record: IssuerRecord): Described {
    if (this.#entries.size >= UNNAMED_MAX) throw new CodedError("CONFIG_INVALID", { message: TOO_MANY });
    const issuer = new LiveIssuer(id, record, this.#feed, this.#clock);
    const isFetched = record.public_key === undefined || record.valid_issuers === undefined;
    const entry: Described = { id, issuer, group: groupOf(issuer), isFetched, holders: 0, forgetting: undefined };
    this.#entries.set(id, entry);
    if (isFetched) {
      this.#feed.follow(id, record);
      issuer.take(this.#feed.held(id));
    }
    return entry;
  }

  #forget({ id, issuer, isFetched }: Described): void {
    issuer.retire();
    this.#entries.delete(id);
    if (isFetched) this.#feed.follow(id, undefined);
  }
}

const TOO_MANY = `more than ${UNNAMED_MAX} issuers without a record: use token_issuers and access-token`;

function recordOf(settings: UnnamedIssuer): IssuerRecord {
  const { discovery, publicKey, validIssuers, algorithms, verifyTls } = settings;
  return {
    issuer: "", // see learnsIssuer
    discovery,
    ...(validIssuers !== undefined && { valid_issuers: [...validIssuers] }),
    ...(publicKey !== undefined && { public_key: publicKey }),
    ...(algorithms !== undefined && { algorithms: [...algorithms] }),
    clock_skew: settings.clockSkewSeconds,
    refresh_interval: settings.refreshSeconds,
    timeout: settings.timeoutSeconds,
    ssl_verify: verifyTls,
    allow_http: true,
  };
}

function groupOf(issuer: LiveIssuer): TokenIssuers {
  const named = issuer.record.valid_issuers;
  const known = named && new Set<unknown>(named);
  return {
    names: () => named ?? [],
    find({ iss }: Claims): TokenIssuer | undefined {
      if (typeof iss !== "string") return undefined;
      if (known !== undefined) return known.has(iss) ? issuer : undefined;
      // Not known yet: there are no keys either, and whoever waits for them is judged again.
      return issuer.learned === undefined || issuer.learned === iss ? issuer : undefined;
    },
  };
}
