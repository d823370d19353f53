/**
 * What plugins ask about issuers that are us: what their records say, the key that signs now, the keys that are published.
 * Nothing here awaits. Source: docs/spec/tokens.md section 5.
 */
import type { KeyPairAlgorithm, Signer } from "../base/jose/algorithms.ts";
import type { ServerTerms } from "../model/authorization-server-record.ts";

/** All authorization servers that this process knows. The object lives as long as the node. */
export interface AuthorizationServers {
  /** As of now; undefined: there is no such record. Cost: one Map look-up. */
  get(id: string): AuthorizationServer | undefined;
}

/** One record, compiled: a changed record is another object. */
export interface AuthorizationServer {
  readonly id: string;
  readonly terms: ServerTerms;
  /** `aud` of tokens whose client names none. */
  readonly defaultAudience: string | undefined;
  /** undefined: any. */
  readonly scopesSupported: readonly string[] | undefined;
  /** The key that signs at this second; undefined: there is none that could. */
  signer(algorithm: KeyPairAlgorithm): SigningNow | undefined;
  /** The JWK Set of this second: keys that will sign, sign, or have signed. The same object until it changes. */
  published(): PublishedKeys;
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
