/**
 * Tokens that were verified, by their text: what a second look at the same token would find out again. One for a
 * process, whichever plugin and configuration verified them.
 * Promise: an entry counts only while it says so itself; failures are never remembered; memory is bounded by entries and
 * by bytes. Time and revocation are not looked at here.
 */
import { LRUCache } from "lru-cache";
import { openTokenParser, ownCopy, type ParseToken } from "../../base/jose/token.ts";
import type { Counter, Metrics } from "../../base/metrics.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";

export interface Remembered {
  /** Whether what verified it is what would verify it now: key and credential are the current ones. */
  holds(): boolean;
}

interface CachedToken {
  readonly use: string;
  readonly verified: Remembered;
}

interface TokenCacheLimits {
  readonly entries: number;
  readonly bytes: number;
}

/** What an entry costs beside its texts, as measured: map slot, list links, the pair, the fingerprint, the payload object. */
const ENTRY_BYTES = 420;

export class TokenCache {
  readonly #entries: LRUCache<string, CachedToken>;
  readonly #hits: Counter;
  readonly #misses: Counter;

  constructor(metrics: Metrics, limits: TokenCacheLimits) {
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

  /** @param use what the text was verified as: under another use the same text means another caller */
  get<Verified extends Remembered>(token: string, use: string): Verified | undefined {
    const slot = slotOf(token, use);
    const found = this.#entries.get(slot);
    // The text was not parsed yet: "sub <token>" has the slot of <token> under the use "sub".
    if (found && found.use === use) {
      if (found.verified.holds()) {
        this.#hits.inc();
        // True: a use has one class of entries.
        return found.verified as Verified;
      }
      this.#entries.delete(slot);
    }
    this.#misses.inc();
    return undefined;
  }

  remember(token: string, use: string, verified: Remembered): void {
    // The payload's texts are parts of the token, so its length covers them about three times over.
    this.#entries.set(slotOf(ownCopy(token), use), { use, verified }, { size: ENTRY_BYTES + 4 * token.length });
  }

  clear(): void {
    this.#entries.clear();
  }
}

/** The use of access tokens; jwt-auth has the name of the claim that names the key, which is never empty. */
export const ACCESS_TOKEN = "";

function slotOf(token: string, use: string): string {
  // A verified token has no blank, so two that are remembered never share a slot but under these two uses.
  return use === "key" || use === ACCESS_TOKEN ? token : `${use} ${token}`;
}

interface HeldTokens {
  readonly parse: ParseToken;
  readonly cache: TokenCache;
}

/** What all configurations of all plugins that verify tokens share in this process. */
export function holdTokens(env: NodeEnv): { readonly state: HeldTokens; release(): void } {
  return env.states.hold(
    "tokens",
    () => ({ parse: openTokenParser(), cache: new TokenCache(env.metrics, env.settings.tokenCache) }),
    ({ cache }) => cache.clear(),
  );
}
