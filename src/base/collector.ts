/**
 * How V8 collects garbage in a process that has one processor to itself. By default helper threads mark memory beside the
 * thread that serves; on the same processor they only take turns with it, which then waits for tens of milliseconds.
 */
import { availableParallelism } from "node:os";
import { setFlagsFromString } from "node:v8";

const ALONE = "--single-threaded-gc";
/** What of `ALONE` may change in a running process: each is asked anew by every collection. */
const ALONE_FROM_NOW = ["--no-concurrent-marking", "--no-parallel-scavenge", "--no-concurrent-sweeping"];

/** Arguments of Node for the worker processes of a node. */
export function workerArguments(workers: number, processors = availableParallelism()): string[] {
  return workers < processors ? process.execArgv : [...process.execArgv, ALONE];
}

/** For a process that was not started by us; call it before memory is used. */
export function collectAlone(processors = availableParallelism()): void {
  if (processors > 1 || process.execArgv.includes(ALONE)) return;
  for (const flag of ALONE_FROM_NOW) setFlagsFromString(flag);
}
