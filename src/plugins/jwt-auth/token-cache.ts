/**
 * Tokens that were verified, by their text: what a second look at the same token would find out again.
 * Promise: an entry counts only while its credential is the one the table gives for its key; failures are never
 * remembered; memory is bounded by entries and by bytes. Time and revocation are not looked at here.
 */
import { LRUCache } from "lru-cache";
import type { Fingerprint } from "../../base/jose/fingerprint.ts";
import { type Claims, ownCopy } from "../../base/jose/token.ts";
import type { Counter, Metrics } from "../../base/metrics.ts";
import type { Credential, CredentialTable } from "../../plugin/plugin-consumer.ts";
import type { RevocableToken } from "../../plugin/revocations.ts";
import type { JwtCredential } from "./credential.ts";

/** A token of a consumer: each consumer is its own issuer, so its text identifies it, and only rules of consumers match. */
export class VerifiedToken implements RevocableToken {
  readonly credential: Credential<JwtCredential>;
  readonly payload: Claims;
  /** NumericDate from which on the key that signed it counts no more. */
  readonly keyUntil: number;
  checked = 0;
  fingerprint: Fingerprint | undefined = undefined;

  constructor(credential: Credential<JwtCredential>, payload: Claims, keyUntil = Number.POSITIVE_INFINITY) {
    this.credential = credential;
    this.payload = payload;
    this.keyUntil = keyUntil;
  }

  get consumer(): string {
    return this.credential.consumer.username;
  }
  get issuedAt(): number | undefined {
    const { iat } = this.payload;
    return typeof iat === "number" ? iat : undefined;
  }
  get expires(): unknown {
    return this.payload["exp"];
  }
  get client(): undefined {
    return undefined;
  }
  get issuer(): undefined {
    return undefined;
  }
  get subject(): undefined {
    return undefined;
  }
  get keyId(): undefined {
    return undefined;
  }
  get id(): undefined {
    return undefined;
  }
}

interface Entry {
  readonly claim: string;
  readonly verified: VerifiedToken;
}

export interface TokenCacheLimits {
  readonly entries: number;
  readonly bytes: number;
}

/** What an entry costs beside its texts, as measured: map slot, list links, the pair, the fingerprint, the payload object. */
const ENTRY_BYTES = 420;

export class TokenCache {
  readonly #table: CredentialTable<JwtCredential>;
  readonly #entries: LRUCache<string, Entry>;
  readonly #hits: Counter;
  readonly #misses: Counter;

  constructor(table: CredentialTable<JwtCredential>, metrics: Metrics, limits: TokenCacheLimits) {
    this.#table = table;
    this.#entries = new LRUCache({ max: limits.entries, maxSize: limits.bytes });
    const asked = metrics.counter("jotgate_token_cache_total", "Look-ups of verified tokens", ["result"]);
    this.#hits = asked.child("hit");
    this.#misses = asked.child("miss");
    metrics.gaugeOf("jotgate_token_cache_entries", "Verified tokens remembered", [], () => [
      { labels: [], value: this.#entries.size },
    ]);
    metrics.gaugeOf("jotgate_token_cache_bytes", "Estimated size of the verified tokens remembered", [], () => [
      { labels: [], value: this.#entries.calculatedSize },
    ]);
  }

  get size(): number {
    return this.#entries.size;
  }

  /** @param claim the claim that names the credential's key: under another one the same text means another caller */
  get(token: string, claim: string): VerifiedToken | undefined {
    const slot = slotOf(token, claim);
    const found = this.#entries.get(slot);
    // The text was not parsed yet: "sub <token>" has the slot of <token> under the claim "sub".
    if (found && found.claim === claim) {
      const { credential } = found.verified;
      if (credential.current && this.#table.get(credential.key) === credential) {
        this.#hits.inc();
        return found.verified;
      }
      this.#entries.delete(slot);
    }
    this.#misses.inc();
    return undefined;
  }

  remember(token: string, claim: string, verified: VerifiedToken): void {
    // The payload's texts are parts of the token, so its length covers them about three times over.
    this.#entries.set(slotOf(ownCopy(token), claim), { claim, verified }, { size: ENTRY_BYTES + 4 * token.length });
  }

  clear(): void {
    this.#entries.clear();
  }
}

function slotOf(token: string, claim: string): string {
  // A verified token has no blank, so two that are remembered never share a slot.
  return claim === "key" ? token : `${claim} ${token}`;
}
