/**
 * When a credential, or a key of an issuer, was last used: each carries the hour in which a use of it was noted, so that
 * all further uses of that hour cost one comparison of numbers.
 */
import type { Consumer, Credential } from "./plugin-consumer.ts";
import type { TokenIssuer, VerifyKey } from "./tokens.ts";

/** What a use is noted of. */
export interface Used {
  /** The hour of the last use that was noted; 0: none. Written by `Uses`. */
  usedIn: number;
}

/** What of this process was used. The object lives as long as the node. */
export interface Uses {
  /** Hours since 1970; a use of what carries another hour is to be noted. 0: nothing is noted here. */
  readonly hour: number;
  /**
   * Somebody was let in as this consumer.
   * @param used the credential; the consumer where nobody says which it was
   */
  caller(used: Credential | Consumer, consumer: Consumer, credentialId: string | undefined): void;
  /** A token that this key verified was accepted. */
  key(issuer: TokenIssuer, key: VerifyKey): void;
}

export const NO_USES: Uses = Object.freeze({ hour: 0, caller: () => undefined, key: () => undefined });
