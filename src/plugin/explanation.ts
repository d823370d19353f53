/**
 * How a plugin answers "what would you do with this request?" without doing it.
 * Promise of whoever explains: nothing is counted, remembered, sent or logged; of a token only ids, lengths and numbers are
 * told, and text of its own only once its signature was good. Source: docs/spec/tokens.md section 12.
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
