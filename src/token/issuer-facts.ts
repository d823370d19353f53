/**
 * The keys of an issuer as a node tells of them: which count, which do not and why. All of it is public.
 */
import type { JwkSet, SkippedJwk } from "../base/jose/jwk.ts";

interface ShownKeys {
  readonly kids: readonly {
    readonly kid: string | null;
    readonly kty: string;
    readonly algorithms: readonly string[];
  }[];
  readonly skipped: readonly SkippedJwk[];
}

export interface IssuerStatus extends ShownKeys {
  readonly id: string;
  /** Seconds since 1970; null: there are no keys yet. */
  readonly fetched_at: number | null;
  /** The address they came from. */
  readonly source: string | null;
  /** Why the last fetch failed; null: it did not. */
  readonly problem: string | null;
}

/** At most this many of each are shown. */
const SHOWN_MAX = 100;

export function shownKeys(set: JwkSet | undefined): ShownKeys {
  const keys = set?.keys.slice(0, SHOWN_MAX) ?? [];
  return {
    kids: keys.map(({ kid, kty, algorithms }) => ({ kid: kid ?? null, kty, algorithms })),
    skipped: set?.skipped.slice(0, SHOWN_MAX) ?? [],
  };
}
