/**
 * The certificate by which a caller has proved itself in a TLS handshake: our own, or that of a proxy that is trusted.
 * Promise: what a header says counts only from peers in `trusted_addresses`, as the gateway removes it elsewhere, and there
 * nothing else counts; a header that could be read in two ways is none. Sources: RFC 8705, RFC 9440, docs/spec/tokens.md section 8.
 */
import { hash, X509Certificate } from "node:crypto";
import type { RequestView } from "./request-view.ts";

export class ClientCertificate {
  /** Its holder's chain was verified; else it may be anybody's own. Judged now: a withdrawn authority counts at once. */
  readonly isVerified: () => boolean;
  readonly #der: Buffer;
  #thumbprint: string | undefined;

  constructor(der: Buffer, isVerified: () => boolean) {
    this.#der = der;
    this.isVerified = isVerified;
  }

  /** `x5t#S256`: SHA-256 of the DER, base64url. */
  get thumbprint(): string {
    this.#thumbprint ??= hash("sha256", this.#der, "base64url");
    return this.#thumbprint;
  }

  /** @returns undefined for what is no certificate */
  parsed(): X509Certificate | undefined {
    try {
      return new X509Certificate(this.#der);
    } catch {
      return undefined;
    }
  }
}

/** A proxy that verifies its clients sends no others. */
const BY_PROXY = (): boolean => true;
/** A byte sequence of RFC 8941. */
const BYTES = /^:([A-Za-z0-9+/]+={0,2}):$/;
const HEADER_MAX_CHARS = 16_384;

/** The caller's certificate, whether it was verified or not; undefined: none. */
export function clientCertificateOf({ connection, headers }: RequestView): ClientCertificate | undefined {
  if (!connection.isTrusted) return connection.clientCertificate;
  const [line, ...more] = headers.getAll("client-cert");
  if (line === undefined || more.length > 0 || line.length > HEADER_MAX_CHARS) return undefined;
  const encoded = BYTES.exec(line)?.[1];
  if (encoded === undefined) return undefined;
  const der = Buffer.from(encoded, "base64");
  return der.toString("base64") === encoded ? new ClientCertificate(der, BY_PROXY) : undefined;
}
