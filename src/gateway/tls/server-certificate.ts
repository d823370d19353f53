/**
 * One `ssls` record, compiled: everything a handshake for its names needs, made once, never changed.
 * Promise: a pair that does not fit, a protocol list that leaves nothing and a pattern that cannot be compiled are
 * errors here, not in a handshake; errors name the member and OpenSSL's reason, never a value.
 * Source: docs/spec/resources.md "SSL".
 */
import { constants, createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { createServer, type Server } from "node:tls";
import { CodedError, messageOf } from "../../base/errors.ts";
import { compilePattern } from "../../base/regex.ts";
import type { StoredValue } from "../../model/record.ts";
import type { Ssl } from "../../model/secret.ts";
import { pairMismatch } from "../../model/ssl-check.ts";
import { referencesIn } from "../../runtime/plugins/secret-source.ts";
import { normaliseServerName } from "./tls-client-hello.ts";

export type TlsVersion = "TLSv1.2" | "TLSv1.3";

export interface ServerCertificateOptions {
  /** Oldest version accepted; records can only narrow it. */
  readonly minVersion: TlsVersion;
  /** Whether HTTP/2 is offered. */
  readonly http2: boolean;
}

/** What clients of these names must prove. */
export interface ClientRules {
  /** Asked for, not demanded: whoever sends none, or one of his own making, is served all the same. */
  readonly isOptional: boolean;
  /** Intermediate certificates allowed between the client's and the authority's. */
  readonly depth: number;
  /** SHA-256 fingerprints of the authorities. */
  readonly authorities: ReadonlySet<string>;
  /** Whether requests for this path are served without a certificate. */
  skips(path: string): boolean;
}

export interface ServerCertificate {
  /** Id of the record. */
  readonly id: string;
  /** Normalised, each once. */
  readonly names: readonly string[];
  readonly client: ClientRules | undefined;
  /** When the first of its certificates ends, in milliseconds since 1970. */
  readonly expiresMs: number;
  /** Never listens: connections are given to it. It does the handshake and holds the keys. undefined: a closed host. */
  readonly server: Server | undefined;
}

interface OpenServerCertificate extends ServerCertificate {
  readonly server: Server;
}

/** Holds the names of a record that verifies clients and cannot be used, so that no other record serves them without. */
export function closedServerCertificate(id: string, ssl: Ssl): ServerCertificate {
  const client: ClientRules = {
    ...{ isOptional: false, depth: 0, authorities: new Set<string>(), skips: () => false },
  };
  return Object.freeze({ id, names: namesOf(ssl), client, expiresMs: 0, server: undefined });
}

function namesOf(ssl: Ssl): readonly string[] {
  return Object.freeze([...new Set([ssl.sni ?? [], ssl.snis ?? []].flat().map(normaliseServerName))]);
}

/** Node's own time-out of a handshake; ours is shorter and covers the hello as well. */
const HANDSHAKE_TIMEOUT_MS = 120_000;

/**
 * @param ssl of type server, its references resolved
 * @throws CodedError RECORD_INVALID that says which member is wrong
 */
export function compileServerCertificate(
  id: string,
  ssl: Ssl,
  options: ServerCertificateOptions,
): OpenServerCertificate {
  const pairs = readPairs(ssl);
  const names = namesOf(ssl);
  if (names.length === 0) throw invalid("it has no sni");
  const client = ssl.client && readClientRules(ssl.client);
  const versions = readVersions(ssl.ssl_protocols, options.minVersion);
  const server = attempt("cert and key", () =>
    createServer({
      ...versions,
      cert: pairs.map(({ cert }) => cert),
      key: pairs.map(({ key }) => key),
      // Verification fails the requests, not the handshake: some paths may be open, and the answer says what is missing.
      ...(ssl.client && {
        // Without authorities none are named to clients, which then offer any; who is verified is told by `authorities`.
        ...(ssl.client.ca !== undefined && { ca: ssl.client.ca }),
        ...{ requestCert: true, rejectUnauthorized: false },
      }),
      // A resumed TLS 1.3 session without a client certificate counts as verified in Node: none is resumed here.
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION | (ssl.client ? constants.SSL_OP_NO_TICKET : 0),
      sessionIdContext: createHash("sha256").update(id).digest("hex").slice(0, 32), // 32 is OpenSSL's limit
      ALPNProtocols: options.http2 ? ["h2", "http/1.1"] : ["http/1.1"],
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    }),
  );
  const expiresMs = Math.min(...pairs.map((pair) => pair.expiresMs));
  return Object.freeze({ id, names, client, expiresMs, server });
}

/**
 * Why a record of type server could not be compiled, found without making what serves it. Nothing is said of what stands
 * in references, nor of pairs where the record comes without its `cert`.
 */
export function tlsHostError(value: StoredValue, { minVersion }: ServerCertificateOptions): string | undefined {
  const ssl = value as Ssl; // true: it passed the schema
  if (ssl.type === "client" || ssl.status === 0) return undefined;
  try {
    if (namesOf(ssl).length === 0) throw invalid("it has no sni");
    if (ssl.client && referencesIn(ssl.client).length === 0) readClientRules(ssl.client);
    readVersions(ssl.ssl_protocols, minVersion);
    const { cert, key, certs, keys } = ssl;
    if (cert !== undefined && referencesIn({ cert, key, certs, keys }).length === 0) readPairs(ssl);
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

interface Pair {
  readonly cert: string;
  readonly key: string;
  readonly expiresMs: number;
}

/** The pairs that OpenSSL can hold together: one per type of key; the last one of a type counts, as in APISIX. */
function readPairs(ssl: Ssl): readonly Pair[] {
  const certs = [ssl.cert ?? "", ...(ssl.certs ?? [])];
  const keys = [ssl.key ?? "", ...(ssl.keys ?? [])];
  if (certs.length !== keys.length) throw invalid("mismatched number of certs and keys");
  const byType = new Map<string | undefined, Pair>();
  for (const [at, cert] of certs.entries()) {
    const what = at === 0 ? "cert" : `certs[${at}]`;
    const leaf = attempt(what, () => new X509Certificate(cert));
    const key = keys[at] as string; // true: there are as many
    const parsed = attempt(at === 0 ? "key" : `keys[${at}]`, () => createPrivateKey(key));
    const mismatch = pairMismatch(leaf, parsed);
    if (mismatch !== undefined) throw invalid(`${what}: ${mismatch}`);
    const type = leaf.publicKey.asymmetricKeyType;
    byType.set(type, { cert, key, expiresMs: Date.parse(leaf.validTo) });
  }
  return [...byType.values()];
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function readClientRules(client: NonNullable<Ssl["client"]>): ClientRules {
  const { ca, optional: isOptional = false } = client;
  const authorities = (ca?.match(CERTIFICATE) ?? []).map(
    (pem) => attempt("client.ca", () => new X509Certificate(pem)).fingerprint256,
  );
  if (authorities.length === 0 && !(isOptional && ca === undefined)) throw invalid("client.ca: not PEM");
  const patterns = (client.skip_mtls_uri_regex ?? []).map((source) =>
    attempt("client.skip_mtls_uri_regex", () => compilePattern(source)),
  );
  return Object.freeze({
    isOptional,
    depth: client.depth ?? 1,
    authorities: new Set(authorities),
    skips: (path: string) => patterns.some((pattern) => pattern.test(path)),
  });
}

const VERSIONS: readonly TlsVersion[] = ["TLSv1.2", "TLSv1.3"];

function readVersions(
  listed: Ssl["ssl_protocols"],
  oldest: TlsVersion,
): { minVersion: TlsVersion; maxVersion: TlsVersion } {
  const allowed = VERSIONS.slice(VERSIONS.indexOf(oldest));
  const kept = listed === undefined || listed.length === 0 ? allowed : allowed.filter((one) => listed.includes(one));
  const minVersion = kept[0];
  const maxVersion = kept.at(-1);
  if (minVersion && maxVersion) return { minVersion, maxVersion };
  throw invalid(`ssl_protocols: none of ${listed?.join(", ")} is allowed, the oldest accepted is ${oldest}`);
}

/** Says which member failed and OpenSSL's reason; its messages never quote a value, but nothing else is passed on. */
function attempt<T>(what: string, make: () => T): T {
  try {
    return make();
  } catch (error) {
    const { reason } = error as { readonly reason?: unknown };
    const isOurs = error instanceof CodedError;
    throw invalid(`${what}: ${typeof reason === "string" ? reason : isOurs ? messageOf(error) : "not usable"}`);
  }
}

function invalid(message: string): CodedError {
  return new CodedError("RECORD_INVALID", { message });
}
