/**
 * The file that says which process a node is, for whoever is to signal it.
 * Promise: a process id is only trusted when the process behind it says that it is a node: the file may be old, or anybody's,
 * and the signal ends most other programs.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const NAME = "pid";
/** What a node calls itself (main.ts), in the memory of its arguments, which may be longer. */
const TITLE = /^jotgate (?:start|admin|gateway)\0*$/;

/** @returns what removes the file. A folder that cannot be written costs only `jotgate reload`. */
export function writePidFile(folder: string): () => void {
  const file = join(folder, NAME);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(file, `${process.pid}\n`, { mode: 0o600 });
  } catch {
    return () => {}; // read-only data folder: signals can still be sent by hand
  }
  return () => {
    if (readPid(file) === process.pid) rmSync(file, { force: true });
  };
}

interface Instance {
  readonly name: string;
  readonly folder: string;
  readonly pid: number;
}

/** The running instances of a data folder. */
export function runningInstances(dataDir: string): readonly Instance[] {
  let names: readonly string[];
  try {
    names = readdirSync(dataDir);
  } catch {
    return []; // nothing was ever started here
  }
  return names
    .map((name) => ({ name, folder: join(dataDir, name), pid: readPid(join(dataDir, name, NAME)) }))
    .filter((instance): instance is Instance => instance.pid !== undefined && isOurs(instance.pid));
}

function readPid(file: string): number | undefined {
  try {
    const pid = Number(readFileSync(file, "utf8"));
    return Number.isSafeInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined; // not an instance's folder, or it has stopped
  }
}

/** Whether a node runs behind this id. */
export function isOurs(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false; // no such process, or another user's
  }
  try {
    return TITLE.test(readFileSync(`/proc/${pid}/cmdline`, "utf8"));
  } catch {
    return true; // no /proc on this system
  }
}
