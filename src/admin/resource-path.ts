/**
 * What a path of the Admin API names: a kind, perhaps one record of it, perhaps a place inside that record.
 * Source: docs/spec/admin-api.md section 5.
 */
import { credentialId } from "../model/keys.ts";
import type { Kind } from "../model/kinds.ts";

export interface ResourceTarget {
  readonly kind: Kind;
  /** The id as the path has it, without the owner or manager in front. */
  readonly localId: string | undefined;
  /** Credentials: whose. */
  readonly consumer?: string;
  /** Secrets: the manager. */
  readonly manager?: string;
  /** What follows the id, without a slash in front; "" for the record itself. */
  readonly subPath: string;
}

/** The id as keys and `RecordKey.id` have it. */
export function recordId(target: ResourceTarget, localId: string): string {
  if (target.consumer !== undefined) return credentialId(target.consumer, localId);
  return target.manager === undefined ? localId : `${target.manager}/${localId}`;
}
