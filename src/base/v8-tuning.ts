/**
 * How V8 collects garbage in processes that serve.
 *
 * Not before its time: V8 watches which objects outlive a collection and then makes all of their kind among the old ones.
 * What is made for a request looks like that while the process warms up; from then on every request lives until the next
 * full collection, and whatever it points to does too. Collections of young objects took 17 ms instead of 0.7.
 *
 * Not beside: helper threads mark memory next to the thread that serves. Where a process has one processor to itself they
 * only take turns with it, which then waits for tens of milliseconds.
 */
import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";

const TIMELY = "--no-allocation-site-pretenuring";
const ALONE = "--single-threaded-gc";
/** What of `ALONE` may change in a running process: each is asked anew by every collection. */
const ALONE_FROM_NOW = ["--no-concurrent-marking", "--no-parallel-scavenge", "--no-concurrent-sweeping"];

/** Arguments of Node for the worker processes of a node. */
export function workerArguments(workers: number, processors = availableParallelism()): string[] {
  return [...process.execArgv, TIMELY, ...(workers < processors ? [] : [ALONE])];
}

/** For a process that was not started by us; call it before anything else is loaded. */
export function tuneCollector(processors = availableParallelism()): void {
  const isAlone = processors === 1 && !process.execArgv.includes(ALONE);
  for (const flag of [TIMELY, ...(isAlone ? ALONE_FROM_NOW : [])]) setFlagsFromString(flag);
}

const READS = 200; // by then the reading place has a cache, which is what triggers it

/** Call it when all modules are loaded; again when some came later. Changes nothing but speed. */
export function makeStringsFast(): void {
  const heir: { readonly trim?: unknown } = Object.create(String.prototype);
  for (let i = 0; i < READS; i++) readThrough(heir);
}

function readThrough(heir: { readonly trim?: unknown }): unknown {
  return heir.trim;
}
