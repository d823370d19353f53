/**
 * Resident memory of a process and its children, as the system sees it; where there is no /proc it is not known.
 */
import { readFileSync } from "node:fs";

const MIB = 1_048_576;
const SAMPLE_MS = 50;

/** @returns undefined where the system does not tell */
export function residentMib(pid: number): number | undefined {
  const own = readProc(`/proc/${pid}/status`);
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(own ?? "")?.[1];
  if (kib === undefined) return undefined;
  const children = readProc(`/proc/${pid}/task/${pid}/children`)?.trim() ?? "";
  let mib = Number(kib) / 1024;
  for (const child of children === "" ? [] : children.split(" ")) mib += residentMib(Number(child)) ?? 0;
  return mib;
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // another system, or the process is gone
  }
}

export interface MemoryWatch {
  /** @returns MiB at the start, at most and at the end; undefined where it is not known */
  stop(): { readonly start: number; readonly peak: number; readonly end: number } | undefined;
}

export function watchMemory(pid: number): MemoryWatch {
  const start = residentMib(pid);
  let peak = start ?? 0;
  const look = (): number => {
    const now = residentMib(pid) ?? 0;
    peak = Math.max(peak, now);
    return now;
  };
  const timer = setInterval(look, SAMPLE_MS);
  return {
    stop() {
      clearInterval(timer);
      const end = look();
      return start === undefined ? undefined : { start, peak, end };
    },
  };
}

export function mib(count: number): number {
  return count * MIB;
}
