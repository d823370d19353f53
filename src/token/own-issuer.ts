/**
 * One authorization server of ours as an issuer whose tokens are accepted: its keys as of this second, without a fetch.
 * Promise: a key that was revoked, is over or is not published yet verifies nothing, remembered tokens included.
 * Source: docs/spec/tokens.md sections 4 and 5.2.
 */
import { KEY_PAIR_ALGORITHMS, type KeyPairAlgorithm, type KeyPairVerifier } from "../base/jose/algorithms.ts";
import type { KeysMissing, TokenIssuer, VerifyKey } from "../plugin/tokens.ts";

/** A key of ours, as whoever holds it tells. */
export interface OwnKey {
  readonly kid: string;
  readonly algorithm: KeyPairAlgorithm;
  readonly verifier: KeyPairVerifier;
}

const TYPES: ReadonlySet<string> = new Set(["at+jwt"]);
const SCOPES = ["scope"] as const;
const ALGORITHMS: ReadonlySet<string> = new Set(KEY_PAIR_ALGORITHMS);
const CLOCK_SKEW_SECONDS = 30;

export class OwnIssuer implements TokenIssuer {
  readonly kind = "authorization_server";
  readonly id: string;
  readonly issuer: string;
  /** Those of keys that have retired too. */
  readonly algorithms = ALGORITHMS;
  readonly types = TYPES;
  readonly audienceClaim = "aud";
  readonly scopeClaims = SCOPES;
  readonly consumerClaim = "client_id";
  readonly clockSkewSeconds = CLOCK_SKEW_SECONDS;
  readonly maxLifetimeSeconds = undefined;
  readonly #verifying: () => ReadonlySet<OwnKey>;
  readonly #made = new WeakMap<OwnKey, readonly VerifyKey[]>();
  #isRetired = false;

  /** @param verifying the keys that verify at this second */
  constructor(id: string, issuer: string, verifying: () => ReadonlySet<OwnKey>) {
    this.id = id;
    this.issuer = issuer;
    this.#verifying = verifying;
  }

  keys(algorithm: string, kid: string | undefined): readonly VerifyKey[] | KeysMissing {
    for (const key of this.#verifying()) if (key.kid === kid && key.algorithm === algorithm) return this.#keyOf(key);
    return "unknown_kid"; // our own tokens all name their key
  }

  wanted(): undefined {
    return undefined;
  }

  doubted(): void {}

  /** The record has changed or is gone. */
  retire(): void {
    this.#isRetired = true;
  }

  #keyOf(key: OwnKey): readonly VerifyKey[] {
    const known = this.#made.get(key);
    if (known) return known;
    const isCurrent = (): boolean => !this.#isRetired && this.#verifying().has(key);
    const made: VerifyKey = {
      kid: key.kid,
      algorithm: key.algorithm,
      ...key.verifier,
      usedIn: 0,
      get current() {
        return isCurrent();
      },
    };
    const keys = [made];
    this.#made.set(key, keys);
    return keys;
  }
}
