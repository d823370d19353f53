/**
 * The frozen facts of an upstream: timeouts, retries, keep-alive pool, TLS identity; seconds become milliseconds here.
 */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import { CodedError } from "../../base/errors.ts";
import { pairMismatch } from "../../model/ssl-check.ts";
import type { RetryRules } from "./attempts.ts";
import type { Scheme } from "./target-list.ts";
import type { TlsRecord, UpstreamRecord } from "./upstream-record.ts";
import type { PoolSettings, Timeouts, UpstreamTls } from "./upstream-unit.ts";

/** PEM texts of a certificate and its key. */
export interface CertificatePair {
  readonly cert: string;
  readonly key: string;
}

const DEFAULT_TIMEOUT_SECONDS = 60;

export function readTimeouts(timeout: UpstreamRecord["timeout"]): Timeouts {
  return Object.freeze({
    connectMs: (timeout?.connect ?? DEFAULT_TIMEOUT_SECONDS) * 1000,
    sendMs: (timeout?.send ?? DEFAULT_TIMEOUT_SECONDS) * 1000,
    readMs: (timeout?.read ?? DEFAULT_TIMEOUT_SECONDS) * 1000,
  });
}

/** @param nodeCount all configured nodes, whatever their weight */
export function readRetryRules(record: UpstreamRecord, nodeCount: number): RetryRules {
  const retries = record.retries === undefined || record.retries < 0 ? nodeCount - 1 : record.retries;
  const lookUpMs = readTimeouts(record.timeout).connectMs;
  return Object.freeze({ tries: 1 + Math.max(0, retries), timeoutMs: (record.retry_timeout ?? 0) * 1000, lookUpMs });
}

/**
 * @param find the certificate of an ssl record, or why there is none
 * @returns undefined for plain schemes
 * @throws CodedError CONFIG_INVALID when a pair cannot be used, CERTIFICATE_MISSING when a record has none
 */
export function readTls(
  tls: TlsRecord | undefined,
  scheme: Scheme,
  find: (id: string) => CertificatePair | string,
): UpstreamTls | undefined {
  if (scheme !== "https" && scheme !== "grpcs") return undefined;
  const pair = readPair(tls, find);
  return Object.freeze({ verify: tls?.verify ?? false, cert: pair?.cert, key: pair?.key });
}

/** @param wanted member `http2` of the record */
export function speaksHttp2(scheme: Scheme, wanted: boolean | undefined): boolean {
  return scheme === "grpc" || scheme === "grpcs" || wanted === true;
}

/** Connections are shared between upstreams that agree on everything that shapes a connection. */
export function readPool(
  keepalive: UpstreamRecord["keepalive_pool"],
  scheme: Scheme,
  http2: boolean,
  tls: UpstreamTls | undefined,
): PoolSettings {
  const size = keepalive?.size ?? 320;
  const idleMs = (keepalive?.idle_timeout ?? 60) * 1000;
  const requests = keepalive?.requests ?? 1000;
  const identity = tls ? `${tls.verify ? "verified" : "open"}:${identityOf(tls)}` : "";
  return Object.freeze({
    key: `${scheme}|${http2 ? "2" : "1"}|${identity}|${size}|${idleMs}|${requests}`,
    size,
    idleMs,
    requests,
  });
}

/** Names a client certificate without telling its key. */
export function identityOf(tls: UpstreamTls | undefined): string {
  return tls?.cert === undefined ? "" : digest(`${tls.cert}\0${tls.key ?? ""}`);
}

/** A short name for a text that is too long, or too secret, to be a key itself. */
export function digest(text: string): string {
  return createHash("sha256").update(text).digest("base64url").slice(0, 22);
}

function readPair(
  tls: TlsRecord | undefined,
  find: (id: string) => CertificatePair | string,
): CertificatePair | undefined {
  if (tls?.client_cert_id !== undefined) {
    const id = String(tls.client_cert_id);
    const pair = find(id);
    if (typeof pair === "object") return pair;
    throw new CodedError("CERTIFICATE_MISSING", {
      message: `upstream tls: client_cert_id "${id}": ${pair}`,
    });
  }
  if (tls?.client_cert === undefined && tls?.client_key === undefined) return undefined;
  if (tls.client_cert === undefined || tls.client_key === undefined) {
    throw invalid("upstream tls: client_cert and client_key need each other");
  }
  const pair = { cert: tls.client_cert, key: tls.client_key };
  const unusable = clientPairError(pair);
  if (unusable !== undefined) throw invalid(`upstream tls: ${unusable}`);
  return pair;
}

/** Why a pair cannot be shown to an upstream: asked when the configuration changes, and not by each request. */
export function clientPairError({ cert, key }: CertificatePair): string | undefined {
  try {
    const mismatch = pairMismatch(new X509Certificate(cert), createPrivateKey(key)); // OpenSSL's words name no cure
    if (mismatch === undefined) createSecureContext({ cert, key });
    return mismatch;
  } catch {
    // The cause stays here: OpenSSL's texts are about key material.
    return "the client certificate and its key cannot be used";
  }
}

function invalid(message: string): CodedError {
  return new CodedError("CONFIG_INVALID", { message });
}
