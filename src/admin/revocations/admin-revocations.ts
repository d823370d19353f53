/**
 * What the Admin API keeps for revocations: the writer, the count, and the bounds.
 */
import { openRevocationLedger, type RevocationLedger } from "./revocation-ledger.ts";
import { openRevocationWriter, type RevocationWriter } from "./revocation-writer.ts";

export interface RevocationLimits {
  /** Most tokens that may be revoked by themselves. */
  readonly maxTokens: number;
  /** How long after its end a revoked token is remembered. */
  readonly keepMs: number;
}

export interface AdminRevocations extends RevocationLimits {
  readonly writer: RevocationWriter;
  readonly ledger: RevocationLedger;
}

export function openAdminRevocations(limits: Partial<RevocationLimits> = {}): AdminRevocations {
  const ledger = openRevocationLedger();
  return { maxTokens: 1_000_000, keepMs: 600_000, ...limits, ledger, writer: openRevocationWriter(ledger) };
}
