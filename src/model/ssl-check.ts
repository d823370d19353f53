/**
 * Certificates and private keys: that they parse, and that they belong together.
 * Pure: no I/O. A private key that is not PEM is taken as encrypted and handed to `DecryptKey` first.
 * Source: docs/spec/admin-api.md sections 5.8 and 5.14.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { withCure } from "../base/pem.ts";
import { isReference } from "../base/reference.ts";
import { compileSchema } from "../base/schema/schema.ts";
import { Ssl } from "./secret.ts";

/** Plain text of an encrypted private key, or undefined when no key of the ring opens it. */
export type DecryptKey = (text: string) => string | undefined;

const SCHEMA = compileSchema(Ssl, { references: true });

/** @returns the first error as the Admin API words it, schema errors with their prefix included. */
export function checkSsl(value: unknown, decryptKey: DecryptKey): string | undefined {
  const error = SCHEMA.check(value);
  if (error !== undefined) return `invalid configuration: ${error}`;
  const ssl = value as Ssl;
  const first = pairError(ssl.cert ?? "", ssl.key, decryptKey);
  if (first !== undefined || ssl.type === "client") return first;
  const certs = ssl.certs ?? [];
  const keys = ssl.keys ?? [];
  if (certs.length !== keys.length) return "mismatched number of certs and keys";
  for (const [at, cert] of certs.entries()) {
    const wrong = pairError(cert, keys[at], decryptKey);
    if (wrong !== undefined) return `failed to handle cert-key pair[${at + 1}]: ${wrong}`;
  }
  if (ssl.client?.ca === undefined || isReference(ssl.client.ca)) return undefined;
  const wrong = certificateError(ssl.client.ca);
  return wrong === undefined ? undefined : `failed to validate client_cert: ${wrong}`;
}

/** Why a certificate and its key cannot be used; nothing is said about those that are references. */
export function pairError(cert: string, key: string | undefined, decryptKey: DecryptKey): string | undefined {
  if (isReference(cert)) return undefined;
  const wrong = certificateError(cert);
  if (wrong !== undefined || key === undefined || isReference(key)) return wrong;
  const pem = key.startsWith("---") ? key : decryptKey(key);
  if (pem === undefined) return "failed to decrypt previous encrypted key";
  let parsed: KeyObject;
  try {
    parsed = createPrivateKey(pem);
  } catch {
    // The words are those that lua-resty-core gives; OpenSSL's own would say no more, and might quote what was parsed.
    return withCure("failed to parse key: PEM_read_bio_PrivateKey() failed", pem);
  }
  return pairMismatch(new X509Certificate(cert), parsed);
}

/**
 * Why a private key is not that of a certificate. Asked of the two themselves: a TLS context is made of an EC certificate
 * and an RSA key without an error, and then fails every handshake. Names kinds of keys, never their content.
 */
export function pairMismatch(cert: X509Certificate, key: KeyObject): string | undefined {
  if (cert.checkPrivateKey(key)) return undefined;
  const kinds = `the certificate has ${nameOf(cert.publicKey)}, the private key is ${nameOf(key)}`;
  return `the private key does not belong to the certificate (${kinds}): write certificate and key in one request`;
}

function nameOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  const size = asymmetricKeyDetails?.namedCurve ?? asymmetricKeyDetails?.modulusLength;
  return `${(asymmetricKeyType ?? "another kind").toUpperCase()}${size === undefined ? "" : ` ${size}`}`;
}

/** Of a chain or a bundle every certificate is read. */
function certificateError(cert: string): string | undefined {
  try {
    for (const one of cert.match(CERTIFICATES) ?? [cert]) new X509Certificate(one);
    return undefined;
  } catch {
    return withCure("failed to parse cert: PEM_read_bio_X509_AUX() failed", cert);
  }
}

const CERTIFICATES = /-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----[^-]*-----END (?:X509 |TRUSTED )?CERTIFICATE-----/g;

/** Why a private key that stands alone cannot be used. */
export function privateKeyError(member: string, pem: string): string | undefined {
  try {
    createPrivateKey(pem);
    return undefined;
  } catch {
    return withCure(`${member} cannot be read as a PEM key`, pem);
  }
}
