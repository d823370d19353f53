/**
 * What comes out of asking for a secret, and what the adapters of secret managers have in common.
 * Promise: `why` is for operators and never holds a token, a key or a value.
 */
import type { Clock } from "../../base/clock.ts";
import { isMembers } from "../../base/json/members.ts";
import type { GuardedExchange } from "../../base/net/guarded-exchange.ts";

/** A resolved value: nearly always text; members of JSON documents are used as they are. */
export type SecretValue = string | number | boolean | readonly unknown[] | Readonly<Record<string, unknown>>;

/**
 * `absent` is an answer: it is not there (any more). `unavailable` is none: it may be there, so a value that was known
 * before stays in use.
 */
export type Reading =
  | { readonly kind: "found"; readonly value: SecretValue }
  | { readonly kind: "absent"; readonly why: string }
  | { readonly kind: "unavailable"; readonly why: string };

/** One configured secret manager, e.g. the record `secrets/vault/1`. */
export interface SecretManager {
  /** @param key what stands behind manager and id in the reference; never throws or rejects */
  read(key: string): Promise<Reading>;
}

export interface ManagerTools {
  readonly exchange: GuardedExchange;
  readonly clock: Clock;
  /** A text of the configuration that may be a `$ENV://` reference; throws SECRET_UNRESOLVED. */
  resolveEnv(text: string): string;
}

/** A value found in a document; null and undefined are as good as nothing. */
export function foundIn(document: unknown, field: string): Reading {
  const value = isMembers(document) && Object.hasOwn(document, field) ? document[field] : undefined;
  if (value === undefined || value === null) return { kind: "absent", why: `no such field: ${field}` };
  // True: a document is JSON, so what is neither null nor absent is one of these.
  return { kind: "found", value: value as SecretValue };
}

/** The JSON of an answer; undefined when it is none. */
export function parseDocument(body: Buffer | string): unknown {
  try {
    return JSON.parse(body.toString()) as unknown;
  } catch {
    return undefined;
  }
}
