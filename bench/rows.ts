/**
 * Rows of results: one case on one server, with its rounds. What a table shows of them are medians. Pure.
 */
import type { Measured } from "./load.ts";
import { median } from "./machine.ts";
import type { Counted } from "./own-metrics.ts";

export interface Round extends Measured {
  /** Ours only. */
  readonly counted?: Counted;
}

export interface Row {
  readonly case: string;
  readonly server: string;
  /** Requests a second, where the load came at a fixed rate. */
  readonly rate?: number;
  readonly rounds: readonly Round[];
}

export const medianOf = (row: Row, pick: (round: Round) => number): number => median(row.rounds.map(pick));
export const cpuOf = (row: Row): number => medianOf(row, (round) => round.cpuMicrosPerRequest);
export const p99Of = (row: Row): number => medianOf(row, (round) => round.p99Ms);
