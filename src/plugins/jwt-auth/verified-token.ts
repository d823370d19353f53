/**
 * A token of a consumer, verified: each consumer is its own issuer, so the text identifies the token, and only rules of
 * consumers revoke it.
 */
import type { Claims, Fingerprint } from "../../base/jose/token.ts";
import type { Credential, CredentialTable } from "../../plugin/plugin-consumer.ts";
import type { RevocableToken } from "../../plugin/revocations.ts";
import type { Remembered } from "../shared/token-cache.ts";
import type { JwtCredential } from "./credential.ts";

export class VerifiedToken implements RevocableToken, Remembered {
  readonly credential: Credential<JwtCredential>;
  readonly payload: Claims;
  /** NumericDate from which on the key that signed it counts no more. */
  readonly keyUntil: number;
  checked = 0;
  fingerprint: Fingerprint | undefined = undefined;
  readonly #table: CredentialTable<JwtCredential>;

  constructor(
    table: CredentialTable<JwtCredential>,
    credential: Credential<JwtCredential>,
    payload: Claims,
    keyUntil = Number.POSITIVE_INFINITY,
  ) {
    this.#table = table;
    this.credential = credential;
    this.payload = payload;
    this.keyUntil = keyUntil;
  }

  holds(): boolean {
    return this.credential.current && this.#table.get(this.credential.key) === this.credential;
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
