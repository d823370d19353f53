/**
 * An access token whose signature was good: what every later use of it is judged from.
 * Promise: its claims are frozen; it holds only while the key that verified it is current.
 */
import type { Claims, Fingerprint } from "../../base/jose/token.ts";
import type { RevocableToken } from "../revocations.ts";
import type { TokenIssuer, VerifyKey } from "../tokens.ts";

/** Who a token speaks for. */
export interface Caller {
  readonly consumer: { readonly username: string };
}

/** What a token is bound to (RFC 7800); a member that is not text is "", which nothing fits. */
interface Binding {
  /** `jkt`: thumbprint of a DPoP key. */
  readonly key: string | undefined;
  /** `x5t#S256`: SHA-256 of a client certificate. */
  readonly certificate: string | undefined;
}

export class AccessToken implements RevocableToken {
  readonly from: TokenIssuer;
  readonly key: VerifyKey;
  readonly claims: Claims;
  /** NumericDate; the claims `exp` and `nbf`, which were numbers. */
  readonly exp: number;
  readonly nbf: number | undefined;
  /** undefined: whoever has it may use it. */
  readonly binding: Binding | undefined;
  /** The configuration that accepted it last: what depends on configuration and claims alone needs no second look. */
  policy: object | undefined = undefined;
  /** What that configuration looks its caller up by; see `TokenPolicy.identityOf`. */
  identity: string | null | undefined = undefined;
  /** What that configuration remembers of it. */
  kept: unknown = undefined;
  /** Of the last use. */
  consumer: string | undefined = undefined;
  checked = 0;
  fingerprint: Fingerprint | undefined = undefined;

  constructor(from: TokenIssuer, key: VerifyKey, claims: Claims) {
    this.from = from;
    this.key = key;
    this.claims = claims;
    this.exp = claims["exp"] as number; // as is said above
    this.nbf = claims["nbf"] as number | undefined;
    this.binding = bindingIn(claims);
  }

  holds(): boolean {
    return this.key.current;
  }

  /** What revoked it not as another's token may revoke it as this one's. */
  usedBy(username: string | undefined): void {
    if (this.consumer === username) return;
    this.consumer = username;
    this.checked = 0;
  }

  /** As the token has it: a record may accept several. */
  get issuer(): string | undefined {
    return textIn(this.claims, "iss");
  }
  get subject(): string | undefined {
    return textIn(this.claims, "sub");
  }
  /** Of our own issuers only: whoever else says `client_id` may mean another's. */
  get client(): string | undefined {
    return this.from.kind === "authorization_server" ? textIn(this.claims, "client_id") : undefined;
  }
  get keyId(): string | undefined {
    return this.key.kid;
  }
  get id(): string | undefined {
    return textIn(this.claims, "jti");
  }
  get issuedAt(): number | undefined {
    const { iat } = this.claims;
    return typeof iat === "number" ? iat : undefined;
  }
  get expires(): number {
    return this.exp;
  }
}

function bindingIn(claims: Claims): Binding | undefined {
  const cnf = Object.hasOwn(claims, "cnf") ? claims["cnf"] : undefined;
  if (cnf === undefined) return undefined;
  const own = (name: string): string | undefined => {
    if (typeof cnf !== "object" || cnf === null || !Object.hasOwn(cnf, name)) return undefined;
    const value = (cnf as Claims)[name];
    return typeof value === "string" ? value : "";
  };
  return { key: own("jkt"), certificate: own("x5t#S256") };
}

function textIn(claims: Claims, name: string): string | undefined {
  const value = Object.hasOwn(claims, name) ? claims[name] : undefined;
  return typeof value === "string" ? value : undefined;
}
