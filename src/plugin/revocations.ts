/**
 * What plugins ask about tokens that were ended before their time. Revocation is checked on every use of a token,
 * remembered or new; between two changes of the revocations that is one comparison of numbers.
 */
import { CodedError } from "../base/errors.ts";
import { type Fingerprint, fingerprintOfId, fingerprintOfText } from "../base/jose/token.ts";
import type { RuleType } from "../model/revocation.ts";

/** What ended a token: itself, or the strictest rule that covers it. */
type Revocation =
  | { readonly type: "token" }
  | { readonly type: RuleType; readonly value: string; readonly issuedBefore?: number | undefined };

/** A verified token, as far as revocation asks. Members that a plugin leaves undefined are matched by no rule. */
export interface RevocableToken {
  readonly consumer: string | undefined;
  /** `client_id`; of our own issuers only. */
  readonly client: string | undefined;
  readonly issuer: string | undefined;
  readonly subject: string | undefined;
  /** `kid` of the header. */
  readonly keyId: string | undefined;
  /** The claim `iat`, if it is a number. */
  readonly issuedAt: number | undefined;
  /** The claim `exp` as it is: it says where to look. */
  readonly expires: unknown;
  /** The claim `jti` where, with `issuer`, it identifies the token; undefined: its text does. */
  readonly id: string | undefined;
  /** The generation that did not revoke it; 0 at first. Written by `revocationOf`. */
  checked: number;
  /** Made at the first need. Written by `revocationOf`. */
  fingerprint: Fingerprint | undefined;
}

/** All revocations that this process knows. The object lives as long as the node. */
export interface Revocations {
  /** Rises with every change that can end a token; 0: nothing was ever revoked. */
  readonly generation: number;
  /** Whether single tokens are revoked, so that a fingerprint is worth making. */
  readonly hasTokens: boolean;
  /** Whether a rule ends older tokens of that consumer, so that new ones need a date. */
  coversConsumer(username: string): boolean;
  /** @param fingerprint of the token; undefined when there are none to compare with */
  find(token: RevocableToken, fingerprint: Fingerprint | undefined): Revocation | undefined;
  /**
   * Ends one token for good, on all nodes: it is in the store, and refused by this process, when this resolves.
   * @throws CodedError STORE_*; STORE_FULL too where as many tokens are revoked as may be
   */
  end(token: Fingerprint, expires: number): Promise<void>;
}

export const NO_REVOCATIONS: Revocations = Object.freeze({
  ...{ generation: 0, hasTokens: false },
  find: () => undefined,
  coversConsumer: () => false,
  end: () => Promise.reject(new CodedError("STORE_UNAVAILABLE", { message: "this node has no store" })),
});

/**
 * Whether a token has been ended. Cost: nothing while nothing changes, else up to 2 µs.
 * @param text the compact token, whose signature was good
 */
export function revocationOf(token: RevocableToken, text: string, revocations: Revocations): Revocation | undefined {
  if (token.checked === revocations.generation) return undefined;
  if (revocations.hasTokens) token.fingerprint ??= fingerprintOfToken(token, text);
  const found = revocations.find(token, token.fingerprint);
  if (found === undefined) token.checked = revocations.generation;
  return found;
}

/** As its revocation names it. */
export function fingerprintOfToken({ issuer, id }: RevocableToken, text: string): Fingerprint {
  return issuer !== undefined && id !== undefined ? fingerprintOfId(issuer, id) : fingerprintOfText(text);
}
