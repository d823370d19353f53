/**
 * What a path of the Admin API names: a kind, perhaps one record of it, perhaps a place inside that record.
 * Source: docs/spec/admin-api.md section 5.
 */
import { credentialId } from "../model/keys.ts";
import { KINDS, type Kind, kindByDir } from "../model/kinds.ts";

export interface Target {
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

/** @param segments of the path after `/apisix/admin`, decoded, without empty ones at the end */
export function targetOf(segments: readonly string[]): Target | undefined {
  const [dir, first, second, third] = segments;
  const kind = dir === undefined ? undefined : kindByDir(dir);
  if (!kind || kind.name === "credential") return undefined;
  if (kind.name === "consumer" && first !== undefined && second === "credentials") {
    return { kind: KINDS.credential, consumer: first, localId: third, subPath: rest(segments, 4) };
  }
  if (kind.name === "secret" && first !== undefined) {
    return { kind, manager: first, localId: second, subPath: rest(segments, 3) };
  }
  return { kind, localId: first, subPath: rest(segments, 2) };
}

/** The id as keys and `RecordKey.id` have it. */
export function recordId(target: Target, localId: string): string {
  if (target.consumer !== undefined) return credentialId(target.consumer, localId);
  return target.manager === undefined ? localId : `${target.manager}/${localId}`;
}

function rest(segments: readonly string[], from: number): string {
  return segments.slice(from).join("/");
}
