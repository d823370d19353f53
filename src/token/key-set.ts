/**
 * The keys of one good set, ready to choose from: by kid and algorithm, or by algorithm alone.
 * Promise: a key that stays in the set stays the same object; one that leaves is no longer current, for ever.
 * Source: docs/spec/tokens.md section 3 numbers 5 and 9.
 */
import { type KeyPairAlgorithm, keyPairVerifier } from "../base/jose/algorithms.ts";
import type { PublicJwk } from "../base/jose/jwk.ts";
import type { VerifyKey } from "../plugin/tokens.ts";

interface LiveKey extends VerifyKey {
  readonly identity: string;
  current: boolean;
}

/** Most keys that are tried for a token without kid. */
const TRIED_MAX = 4;

export class KeySet {
  readonly #all: readonly LiveKey[];
  /** kid → algorithm → the key, alone in a list so that choosing makes none. */
  readonly #named = new Map<string, Map<string, readonly LiveKey[]>>();
  readonly #byAlgorithm = new Map<string, readonly LiveKey[]>();
  readonly #anyKid: boolean;

  /**
   * @param before the set that this one follows; its keys that are not in this one fall
   * @param anyKid the keys have no names, so that a token's kid says nothing
   */
  constructor(keys: readonly PublicJwk[], before?: KeySet, anyKid = false) {
    this.#anyKid = anyKid;
    const known = new Map((before ? before.#all : []).map((key) => [key.identity, key]));
    this.#all = keys.flatMap((jwk) => jwk.algorithms.map((algorithm) => liveKey(jwk, algorithm, known)));
    const kept = new Set(this.#all);
    for (const key of known.values()) if (!kept.has(key)) key.current = false;
    for (const key of this.#all) {
      const { kid, algorithm } = key;
      this.#byAlgorithm.set(algorithm, [...(this.#byAlgorithm.get(algorithm) ?? []), key]);
      if (kid === undefined) continue;
      const named = this.#named.get(kid) ?? new Map<string, readonly LiveKey[]>();
      this.#named.set(kid, named.set(algorithm, [key]));
    }
    for (const [algorithm, fitting] of this.#byAlgorithm)
      if (fitting.length > TRIED_MAX) this.#byAlgorithm.delete(algorithm);
  }

  /** undefined: none fits, or more than four would have to be tried. */
  choose(algorithm: string, kid: string | undefined): readonly VerifyKey[] | undefined {
    if (kid === undefined || this.#anyKid) return this.#byAlgorithm.get(algorithm);
    return this.#named.get(kid)?.get(algorithm);
  }

  /** None of its keys counts any more. */
  retire(): void {
    for (const key of this.#all) key.current = false;
  }
}

function liveKey(jwk: PublicJwk, algorithm: KeyPairAlgorithm, known: ReadonlyMap<string, LiveKey>): LiveKey {
  const identity = `${algorithm} ${jwk.identity}`;
  const before = known.get(identity);
  if (before?.current) return before;
  const { verify, signatureBytes } = keyPairVerifier(algorithm, jwk.key);
  return { identity, kid: jwk.kid, algorithm, verify, signatureBytes, current: true, usedIn: 0 };
}
