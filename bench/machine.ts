/**
 * What a process tree used: CPU time from /proc (in all by the scheduler's clock, the user part in ticks of 10 ms), resident
 * memory, and facts of the machine.
 */
import { readdirSync, readFileSync } from "node:fs";
import { cpus, totalmem } from "node:os";

export interface Usage {
  readonly cpuMicros: number;
  /** Of it outside of the kernel. */
  readonly userMicros: number;
  readonly rssBytes: number;
}

/** The process and all its descendants. */
export function treeOf(root: number): number[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const fields = statOf(Number(name));
      const parent = Number(fields[1]);
      children.set(parent, [...(children.get(parent) ?? []), Number(name)]);
    } catch {
      // The process ended between the listing and the reading.
    }
  }
  const found = [root];
  for (let i = 0; i < found.length; i++) found.push(...(children.get(found[i] ?? -1) ?? []));
  return found;
}

/** Fields of /proc/PID/stat after the command name, which may hold blanks. */
function statOf(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** Time that all threads of a process ran. */
function runNanosOf(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  const ran = threads.map((id) => readFileSync(`/proc/${pid}/task/${id}/schedstat`, "utf8").split(" ")[0]);
  return ran.reduce((sum, nanos) => sum + Number(nanos), 0);
}

export function usageOf(root: number): Usage {
  let nanos = 0;
  let user = 0;
  let pages = 0;
  for (const pid of treeOf(root)) {
    try {
      const fields = statOf(pid);
      user += Number(fields[11]);
      nanos += runNanosOf(pid);
      pages += Number(fields[21]);
    } catch {
      // Ended meanwhile; its time is lost to this reading, as it is to its parent's until it is reaped.
    }
  }
  return { cpuMicros: nanos / 1_000, userMicros: user * 10_000, rssBytes: pages * 4096 };
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly node: string;
  readonly kernel: string;
}

export function machine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    kernel: readFileSync("/proc/sys/kernel/osrelease", "utf8").trim(),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}
