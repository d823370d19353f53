/**
 * What a plugin tells beside its answer: the steps of "what would you do with this request?" without doing it, and what it
 * knows about a call that it refuses, for the access log and the list of refusals.
 * Promise of whoever tells: nothing is counted, remembered, sent or logged by an explanation; of a token only ids, lengths and
 * numbers are shown, and text of its own only once its signature was good. Source: docs/spec/tokens.md section 12.
 */
import type { PhaseResult } from "./plugin.ts";
import type { RequestView } from "./request-view.ts";

/** One step of a verdict; further members are its facts. Every step is judged, also behind the first failure. */
export interface Step {
  readonly step: string;
  readonly ok: boolean;
  readonly [fact: string]: unknown;
}

export interface Explaining {
  /** Judge this one, wherever the plugin looks for its token; undefined: what the request carries. */
  readonly token: string | undefined;
  /** The time to judge by. */
  readonly nowMs: number;
  /** Steps are added here. */
  readonly steps: Step[];
}

/** Stands in for the rewrite phase: the same verdict, without its effects. */
export type ExplainHandler = (view: RequestView, explaining: Explaining) => PhaseResult;

/**
 * Whether an explanation may run a plugin's phases: "run" says that they read and edit the request's view and nothing
 * else; a text says what they would do beside. A plugin that says nothing is named and not run.
 */
export type ExplainRule = "run" | { readonly not: string };

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
