/**
 * Issuers for tests of plugins: the contract of `env.tokens` without records, fetches or time.
 * Promise: what a test sets is there at once; a key that is taken away, or whose issuer is set anew, is no longer current.
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import { KEY_PAIR_ALGORITHMS, type KeyPairAlgorithm, keyPairVerifier } from "../../base/jose/algorithms.ts";
import type { Claims } from "../../base/jose/token.ts";
import {
  type IssuerIds,
  type KeysMissing,
  NO_TOKENS,
  type TokenIssuer,
  type TokenIssuers,
  type Tokens,
  type VerifyKey,
} from "../tokens.ts";

/** A key as a test writes it; of a private key its public half is taken. */
interface FakeKey {
  readonly kid?: string | undefined;
  readonly algorithm: KeyPairAlgorithm;
  readonly key: KeyObject;
}

/** An issuer with the defaults of a `token_issuer`, but for what a test says. */
export interface FakeIssuerInput
  extends Partial<Omit<TokenIssuer, "id" | "keys" | "wanted" | "doubted" | "algorithms" | "types">> {
  readonly id: string;
  readonly issuer: string;
  /** Further `iss`; default: `issuer` alone. */
  readonly validIssuers?: readonly string[];
  readonly algorithms?: readonly KeyPairAlgorithm[];
  readonly types?: readonly string[];
  readonly keys?: readonly FakeKey[];
}

export interface FakeIssuer extends TokenIssuer {
  /** Every `kid` that was asked for, and that was doubted. */
  readonly wantedKids: readonly (string | undefined)[];
  readonly doubtedKids: readonly (string | undefined)[];
  /** The next good set. Keys of the former one that are not the same objects fall. */
  setKeys(keys: readonly FakeKey[]): void;
  /** What `keys` answers instead; undefined: the set again. Keys given out are no longer current. */
  setMissing(why: "keys_unavailable" | "keys_too_old" | undefined): void;
  /** What `wanted` answers from now on: a fetch under way, which calls this and then settles. Undefined: none is allowed. */
  setFetch(fetch: (() => void | Promise<void>) | undefined): void;
}

export interface FakeTokens extends Tokens {
  /** Adds or replaces an issuer; one without a record has its discovery address as id. */
  set(input: FakeIssuerInput): FakeIssuer;
  remove(id: string): void;
}

export function makeTokens(...inputs: readonly FakeIssuerInput[]): FakeTokens {
  const issuers = new Map<string, { readonly names: readonly string[]; readonly made: MadeIssuer }>();
  const remove = (id: string): void => {
    issuers.get(id)?.made.setKeys([]);
    issuers.delete(id);
  };
  const tokens: FakeTokens = {
    issuers: ({ issuers: ids = [] }: IssuerIds): TokenIssuers => ({
      find: ({ iss }: Claims) =>
        ids.map((id) => issuers.get(id)).find((one) => typeof iss === "string" && one?.names.includes(iss))?.made,
      names: () => ids.flatMap((id) => issuers.get(id)?.made.issuer ?? []),
    }),
    unnamed({ discovery, validIssuers }) {
      const find = ({ iss }: Claims): MadeIssuer | undefined => {
        const found = issuers.get(discovery);
        return found && typeof iss === "string" && (validIssuers ?? found.names).includes(iss) ? found.made : undefined;
      };
      return { issuers: { find, names: () => [] }, release: () => undefined };
    },
    set(input) {
      remove(input.id);
      const made = new MadeIssuer(input);
      issuers.set(input.id, { names: input.validIssuers ?? [input.issuer], made });
      return made;
    },
    keysAt: NO_TOKENS.keysAt,
    remove,
  };
  for (const input of inputs) tokens.set(input);
  return tokens;
}

interface MadeKey extends VerifyKey {
  readonly from: FakeKey;
  current: boolean;
}

class MadeIssuer implements FakeIssuer {
  readonly kind: TokenIssuer["kind"];
  readonly id: string;
  readonly issuer: string;
  readonly algorithms: ReadonlySet<string>;
  readonly types: ReadonlySet<string>;
  readonly audienceClaim: string;
  readonly scopeClaims: readonly string[];
  readonly consumerClaim: string;
  readonly clockSkewSeconds: number;
  readonly maxLifetimeSeconds: number | undefined;
  readonly wantedKids: (string | undefined)[] = [];
  readonly doubtedKids: (string | undefined)[] = [];
  #keys: readonly MadeKey[] = [];
  #missing: KeysMissing | undefined;
  #fetch: (() => void | Promise<void>) | undefined;

  constructor(input: FakeIssuerInput) {
    this.kind = input.kind ?? "token_issuer";
    this.id = input.id;
    this.issuer = input.issuer;
    this.algorithms = new Set(input.algorithms ?? KEY_PAIR_ALGORITHMS);
    this.types = new Set(input.types ?? ["at+jwt", "jwt", ""]);
    this.audienceClaim = input.audienceClaim ?? "aud";
    this.scopeClaims = input.scopeClaims ?? ["scope", "scp"];
    this.consumerClaim = input.consumerClaim ?? "sub";
    this.clockSkewSeconds = input.clockSkewSeconds ?? 30;
    this.maxLifetimeSeconds = input.maxLifetimeSeconds;
    this.setKeys(input.keys ?? []);
  }

  keys(algorithm: string, kid: string | undefined): readonly VerifyKey[] | KeysMissing {
    if (this.#missing !== undefined) return this.#missing;
    const fitting = this.#keys.filter((key) => key.algorithm === algorithm && (kid === undefined || key.kid === kid));
    return fitting.length > 0 && fitting.length <= 4 ? fitting : "unknown_kid";
  }

  wanted(kid: string | undefined): Promise<void> | undefined {
    this.wantedKids.push(kid);
    const fetch = this.#fetch;
    return fetch && Promise.resolve().then(fetch);
  }

  doubted(kid: string | undefined): void {
    this.doubtedKids.push(kid);
  }

  setKeys(keys: readonly FakeKey[]): void {
    const before = this.#keys;
    this.#keys = keys.map((from) => before.find((key) => key.from === from && key.current) ?? madeKey(from));
    for (const key of before) key.current = this.#keys.includes(key);
  }

  setMissing(why: "keys_unavailable" | "keys_too_old" | undefined): void {
    const from = this.#keys.map((key) => key.from);
    this.setKeys([]);
    this.setKeys(from);
    this.#missing = why;
  }

  setFetch(fetch: (() => void | Promise<void>) | undefined): void {
    this.#fetch = fetch;
  }
}

function madeKey(from: FakeKey): MadeKey {
  const key = from.key.type === "private" ? createPublicKey(from.key) : from.key;
  const { verify, signatureBytes } = keyPairVerifier(from.algorithm, key);
  return { from, kid: from.kid, algorithm: from.algorithm, current: true, usedIn: 0, verify, signatureBytes };
}
