/**
 * What plugins ask about issuers of tokens: those of others with the keys that verify, and those that are us, with what their
 * records say, the key that signs now and the keys that are published. Nothing of the second part awaits.
 * Source: docs/spec/tokens.md section 5.
 */
import type { KeyPairAlgorithm, KeyPairVerifier, Signer } from "../base/jose/algorithms.ts";
import type { Claims } from "../base/jose/token.ts";
import type { ServerTerms } from "../model/authorization-server-record.ts";
import type { Used } from "./uses.ts";

/** Ids of records that a configuration trusts. */
export interface IssuerIds {
  readonly issuers?: readonly string[] | undefined;
  /** Ids of our own issuers. */
  readonly authorizationServers?: readonly string[] | undefined;
}

/** All issuers that this process knows. The object lives as long as the node. */
export interface Tokens {
  /**
   * The issuers under these ids, followed as their records come, change and go: made once when a configuration is
   * compiled, and never given back. Ids without a record match nothing.
   */
  issuers(ids: IssuerIds): TokenIssuers;
  /**
   * An issuer without a record: one for all configurations that say the same of it. Its keys go some time after the last
   * has given it back. Its id, made of its settings, is that of no record. Until its metadata was fetched for the first
   * time `find` gives it for every `iss`, without keys.
   * @throws CodedError CONFIG_INVALID beyond UNNAMED_MAX of them
   */
  unnamed(settings: UnnamedIssuer): { readonly issuers: TokenIssuers; release(): void };
  /**
   * The JWK Set at an address that no issuer's record names (`jwks_uri` of a client), fetched from the first time it is
   * asked for, as those of issuers are. Cost: one Map look-up.
   */
  keysAt(uri: string): TokenKeys;
}

/** Of one process. */
export const UNNAMED_MAX = 1_000;

/** What a configuration says of an issuer itself. */
export interface UnnamedIssuer {
  /** Address of its metadata, which says who it is and where its keys are. */
  readonly discovery: string;
  /** PEM of the only key; then of the metadata only the name counts. */
  readonly publicKey: string | undefined;
  /** Every `iss` that is accepted, instead of the name in the metadata. */
  readonly validIssuers: readonly string[] | undefined;
  readonly algorithms: readonly KeyPairAlgorithm[] | undefined;
  readonly clockSkewSeconds: number;
  /** Greatest age of a set while fetching works; 60 at least. */
  readonly refreshSeconds: number;
  readonly timeoutSeconds: number;
  readonly verifyTls: boolean;
}

/** Keys as of now, and the way to newer ones; see `TokenIssuer`. */
export type TokenKeys = Pick<TokenIssuer, "keys" | "wanted" | "doubted">;

/** Some issuers, as of now. */
export interface TokenIssuers {
  /**
   * The issuer whose token this claims to be: the claim `iss` byte for byte, `{tid}` by the claim `tid` and the
   * record's tenants. Undefined when it is none of these, or `iss` is no string. Cost: one Map look-up, and for
   * issuers with `{tid}` one more. Never throws.
   */
  find(claims: Claims): TokenIssuer | undefined;
  /** What they call themselves (`issuer` of their records, our own first); the same array until one changes. */
  names(): readonly string[];
}

/** Why `keys` gives none. The words are outcomes of access-token. */
export type KeysMissing =
  /** The set has no such key; `wanted` may bring one. 401. */
  | "unknown_kid"
  /** There has never been a good set; `wanted` may bring one. 503. */
  | "keys_unavailable"
  /** The last good set is older than `stale_for` allows; `wanted` may bring another. 503. */
  | "keys_too_old";

/** A public key bound to one algorithm. */
export interface VerifyKey extends KeyPairVerifier, Used {
  /** undefined: the issuer gives it no name. */
  readonly kid: string | undefined;
  readonly algorithm: KeyPairAlgorithm;
  /**
   * False for ever as soon as the key has left its issuer's set, the set is too old, or the issuer's record has changed
   * in any way or was deleted. A remembered token is good while its key is current: nothing else about the issuer needs
   * to be looked at again. A key that stays in the set stays this object through all refreshes.
   */
  readonly current: boolean;
}

/** One record, compiled: a changed record is another object. Its claim names are as written: see spec, section 1. */
export interface TokenIssuer {
  readonly kind: "token_issuer" | "authorization_server";
  /** Of the record. */
  readonly id: string;
  /** The record's `issuer`, whichever of its `valid_issuers` the token had. */
  readonly issuer: string;
  /** The only ones accepted; `keys` gives nothing for others. */
  readonly algorithms: ReadonlySet<string>;
  /** Accepted `typ` of the header: lower case, without `application/`; "": absent. */
  readonly types: ReadonlySet<string>;
  /** Default `aud`. */
  readonly audienceClaim: string;
  /** Default `scope`, `scp`. */
  readonly scopeClaims: readonly string[];
  /** Default `sub`. */
  readonly consumerClaim: string;
  /** For `exp`, `nbf`, `iat`. */
  readonly clockSkewSeconds: number;
  /** Greatest `exp - iat`; then `iat` is required. */
  readonly maxLifetimeSeconds: number | undefined;
  /**
   * The keys to try for a token: one under a `kid`, up to four without. Never empty. Cost: two Map look-ups.
   * @param algorithm the header's `alg`
   * @param kid the header's `kid`; undefined where it has none, as only a string is one
   */
  keys(algorithm: string, kid: string | undefined): readonly VerifyKey[] | KeysMissing;
  /**
   * Asks for newer keys after `keys` gave none. To be called when `iss`, `typ`, `alg`, times and audience were accepted
   * and before anything else costs: what it starts is bounded (one fetch at a time, none within `cooldown` of the last
   * attempt, at most 1,024 waiters), so it may be called for each such token.
   * @returns undefined: there is nothing to wait for, the miss is the answer. A promise: resolves, never rejects, when
   * the fetch has ended and after 2 s at the latest; ask `keys` once more then, and take that answer.
   */
  wanted(kid: string | undefined): Promise<void> | undefined;
  /** A signature under a known kid was wrong: the key may be another by now. Fetches in the background, at most once a cooldown. */
  doubted(kid: string | undefined): void;
}

const NO_KEYS_THERE: TokenKeys = Object.freeze({
  keys: () => "keys_unavailable",
  wanted: () => undefined,
  doubted: () => undefined,
});
const NONE: TokenIssuers = Object.freeze({ find: () => undefined, names: () => [] });
/** A node without issuers. */
export const NO_TOKENS: Tokens = Object.freeze({
  issuers: () => NONE,
  keysAt: () => NO_KEYS_THERE,
  unnamed: () => ({ issuers: NONE, release: () => undefined }),
});

/** All authorization servers that this process knows. The object lives as long as the node. */
export interface AuthorizationServers {
  /** As of now; undefined: there is no such record. Cost: one Map look-up. */
  get(id: string): AuthorizationServer | undefined;
}

/** Which tokens are exchanged (RFC 8693); ids of token issuers. */
export interface ExchangeTerms {
  readonly issuers: readonly string[];
  readonly federated: readonly string[];
  readonly audiences: ReadonlySet<string>;
  /** Whether the token of another may say who acts. */
  readonly delegates: boolean;
}

/** One record, compiled: a changed record is another object. */
export interface AuthorizationServer {
  readonly id: string;
  readonly terms: ServerTerms;
  /** `aud` of tokens whose client names none. */
  readonly defaultAudience: string | undefined;
  /** undefined: any. */
  readonly scopesSupported: readonly string[] | undefined;
  /** undefined: tokens are not exchanged. */
  readonly exchange: ExchangeTerms | undefined;
  /** What assertions of clients name; undefined: as the compatibility mode says. */
  readonly assertionAudience: "issuer" | "issuer_or_token_endpoint" | undefined;
  /** Whether assertions of clients count once in the cluster, not only in a node. */
  readonly isAssertionOnce: boolean;
  /** Wanted in DPoP proofs at its endpoints; undefined: none are. */
  readonly dpopNonces: DpopNonces | undefined;
  /** The key that signs at this second; undefined: there is none that could. */
  signer(algorithm: KeyPairAlgorithm): SigningNow | undefined;
  /** The JWK Set of this second: keys that will sign, sign, or have signed. The same object until it changes. */
  published(): PublishedKeys;
}

export interface DpopNonces {
  /** undefined: no key signs. */
  current(): string | undefined;
  /** @param nonce claim of a proof, whatever it is */
  accepts(nonce: unknown): boolean;
}

export interface SigningNow extends Signer {
  readonly kid: string;
  readonly algorithm: KeyPairAlgorithm;
  /** `{"alg","typ":"at+jwt","kid"}` in base64url. */
  readonly header: string;
}

export interface PublishedKeys {
  /** JSON, without private members. */
  readonly body: Buffer;
  /** With its quotation marks. */
  readonly etag: string;
}

export const NO_SERVERS: AuthorizationServers = Object.freeze({ get: () => undefined });
