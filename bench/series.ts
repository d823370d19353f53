/**
 * The words of a benchmark: a series is a group of runs that take turns; a run is one case on one server.
 */
import type { Expected } from "./judge.ts";
import type { Server, ServerKind } from "./servers.ts";
import type { TableFacts } from "./table-facts.ts";

export interface Run {
  readonly case: string;
  readonly kind: ServerKind;
  /** Default: that of its kind. */
  readonly server?: string;
  readonly expect: Expected;
  /** Of the body of each answer, where the case is about it. */
  readonly answerBytes?: number;
  readonly method?: string;
  readonly bodyBytes?: number;
  /** Part of --quick. */
  readonly quick?: boolean;
  /** Configures the server; @returns the file of requests to send */
  prepare(server: Server, upstream: string, folder: string): Promise<string>;
  /** Runs beside the load; @returns how to stop it */
  during?(server: Server, upstream: string): () => Promise<void>;
}

/** Runs that were set up together, and what to undo. */
export interface Opened {
  readonly runs: readonly Run[];
  readonly tables?: readonly TableFacts[];
  stop(): Promise<void>;
}

export interface Series {
  readonly name: string;
  /** Names of its cases, known before it is set up. */
  readonly cases: readonly string[];
  readonly quick: boolean;
  /**
   * The load comes at a fixed rate: half of what 64 connections get out of the run of this case and server. Otherwise
   * it is as fast as 64 connections go.
   */
  readonly halfOf?: { readonly case: string; readonly server: string };
  /** Why it cannot run here, or undefined. */
  missing?(): string | undefined;
  open(setting: {
    folder: string;
    upstream: string;
    wanted(name: string): boolean;
    say(text: string): void;
  }): Promise<Opened>;
}

/** A series whose runs need nothing but their servers. */
export function series(name: string, runs: readonly Run[], halfOf?: Series["halfOf"]): Series {
  return {
    name,
    cases: [...new Set(runs.map((run) => run.case))],
    quick: runs.some((run) => run.quick),
    ...(halfOf && { halfOf }),
    open: async () => ({ runs, stop: async () => {} }),
  };
}
