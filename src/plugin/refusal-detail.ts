/**
 * What an authentication plugin knows about a call that it refuses, for the access log and the list of refusals.
 * Promise of whoever notes it: ids of records, lengths and numbers only, and text of a token only once its signature was
 * good. Source: docs/spec/tokens.md section 12.
 */
import type { RequestView } from "./request-view.ts";

export interface RefusalDetail {
  /** Whose credential or token it claims to be; known ids only. */
  readonly consumer?: string | undefined;
  readonly credential?: string | undefined;
  /** Id of the issuer's record. */
  readonly issuer?: string | undefined;
  /** One of the issuer's own. */
  readonly kid?: string | undefined;
  /** One short sentence. */
  readonly detail?: string | undefined;
}

const NOTE = "refusal detail";

/** Called for refusals only: what is accepted pays nothing. */
export function noteRefusal(view: RequestView, detail: RefusalDetail): void {
  view.setNote(NOTE, detail);
}

export function refusalDetailOf(view: RequestView): RefusalDetail | undefined {
  return view.note(NOTE) as RefusalDetail | undefined; // true: nothing else is noted under this name
}
