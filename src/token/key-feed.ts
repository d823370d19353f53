/**
 * Where the keys of issuers come from, as one process sees it: it fetches them itself, or its primary does.
 */
import { createHash } from "node:crypto";
import type { TokenIssuer } from "../model/token-issuer.ts";

/** A good set, as it was fetched. */
export interface HeldKeys {
  /** What of the record led to it: see `sourceOf`. */
  readonly source: string;
  /** The document's text. */
  readonly jwks: string;
  /** Wall time when it was last seen to be good. */
  readonly fetchedAtMs: number;
  /** The address it came from. */
  readonly from: string;
  /** What the metadata says of whose keys they are; where the record does not say it. */
  readonly issuer?: string | undefined;
}

export interface KeyFeed {
  /**
   * The record is used from now on; undefined: no longer. The same record again makes its keys due.
   * @param record one whose keys are fetched
   */
  follow(id: string, record: TokenIssuer | undefined): void;
  held(id: string): HeldKeys | undefined;
  /** As `TokenIssuer.wanted` of src/plugin/tokens.ts. */
  wanted(id: string, kid: string | undefined): Promise<void> | undefined;
  doubted(id: string, kid: string | undefined): void;
  /** Called after each good set. One listener. */
  onHeld(listener: (id: string) => void): void;
}

/** Nothing is ever fetched. */
export const NO_KEYS: KeyFeed = Object.freeze({
  follow: () => undefined,
  held: () => undefined,
  wanted: () => undefined,
  doubted: () => undefined,
  onHeld: () => undefined,
});

/** A record of a configuration, not of the store: its metadata says who the issuer is. The schema of stored ones forbids it. */
export function learnsIssuer(record: TokenIssuer): boolean {
  return record.issuer === "";
}

/** Keys are those of a record only while all of this stays: what says whose they are, and who may say so. */
export function sourceOf(record: TokenIssuer): string {
  const { issuer, discovery, jwks_uri: uri, algorithms, ca, ssl_verify: verify, allow_http: http } = record;
  const parts = [issuer, discovery, uri, algorithms, ca, verify !== false, http === true];
  return createHash("sha256").update(JSON.stringify(parts)).digest("base64url");
}

const GRACE = 1.1;

/** Wall time from which on a set is too old to serve. @param fetchedAtMs when it was last good */
export function tooOldAtMs(record: TokenIssuer, fetchedAtMs: number): number {
  // Fetching has not failed before it is due, so what a set may be old by then comes on top.
  const dueSeconds = intervalSeconds(record) * GRACE + 2 * timeoutSeconds(record);
  return fetchedAtMs + (dueSeconds + (record.stale_for ?? 86_400)) * 1_000;
}

export function intervalSeconds(record: TokenIssuer): number {
  return record.refresh_interval ?? 300;
}

export function timeoutSeconds(record: TokenIssuer): number {
  return record.timeout ?? 5;
}
