/**
 * Whether what a store shows may replace what a node holds. Pure.
 */

import type { Revision } from "../store/store.ts";
import type { StoreIdentity } from "../store/store-identity.ts";

/** What a node holds. */
export interface Held {
  readonly identity: StoreIdentity | undefined;
  readonly applied: Revision;
  /** The identity of the store that is being refused. */
  readonly refused?: StoreIdentity | undefined;
}

/** What a store says of itself. */
export interface Claim {
  readonly identity: StoreIdentity | undefined;
  readonly head: Revision;
}

type Verdict =
  | { readonly kind: "same" }
  /** Ours by the operator's word, or ours as far as one can tell; everything has to be compared. */
  | { readonly kind: "raised" }
  | { readonly kind: "foreign"; readonly reason: string };

/** @param held of a node that holds records; a node that holds none takes any store */
export function judge(held: Held, claim: Claim): Verdict {
  const ours = held.identity;
  const theirs = claim.identity;
  if (ours !== undefined && theirs === undefined) return foreign("its identity record is gone");
  if (ours !== undefined && theirs !== undefined) {
    if (ours.id !== theirs.id && theirs.replaces?.includes(ours.id) === true) return { kind: "raised" };
    if (ours.id !== theirs.id) return foreign(`it is store ${theirs.id}, not ${ours.id}`);
    if (theirs.epoch > ours.epoch) return { kind: "raised" };
    if (theirs.epoch < ours.epoch) return foreign(`its epoch went back from ${ours.epoch} to ${theirs.epoch}`);
  }
  // Without an identity of our own: the operator's word is heard when it is spoken while we refuse that very store.
  if (ours === undefined && isRaised(held.refused, theirs)) return { kind: "raised" };
  if (claim.head < held.applied) return foreign(`its revision went back from ${held.applied} to ${claim.head}`);
  // An identity nobody saw come: the first admin started meanwhile, or another store grew past what is held.
  return ours === undefined && theirs !== undefined ? { kind: "raised" } : { kind: "same" };
}

function isRaised(before: StoreIdentity | undefined, now: StoreIdentity | undefined): boolean {
  return before !== undefined && now !== undefined && before.id === now.id && now.epoch > before.epoch;
}

function foreign(reason: string): Verdict {
  return { kind: "foreign", reason };
}
