/**
 * A group of child processes: started one by one, watched, ended by their ids in the reverse order.
 * Promise: after `stop` none of them is left, and none is ended by name.
 */
import { spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";

const STOP_MS = 35_000; // longer than a node's drain time

export class Processes {
  #folder;
  #said;
  #children = [];
  #stopping = false;

  /** @param folder where each process's output is written to, as NAME.log */
  constructor(folder, say) {
    this.#folder = folder;
    this.#said = say;
  }

  /** Starts a process in a group of its own, so that Ctrl-C reaches it only through us, in order. */
  start(name, command, args, env = {}) {
    const log = join(this.#folder, `${name}.log`);
    const output = openSync(log, "a", 0o600);
    const child = spawn(command, args, {
      cwd: this.#folder,
      env: { ...process.env, ...env },
      stdio: ["ignore", output, output],
      detached: true,
    });
    closeSync(output); // the child has its own
    const ended = new Promise((resolve) => {
      child.on("error", (error) => {
        this.#said(`${name} could not be started: ${error.message}`);
        resolve();
      });
      child.on("exit", (code, signal) => {
        if (!this.#stopping) this.#said(`${name} ended (${signal ?? `exit code ${code}`}); its output: ${log}`);
        resolve();
      });
    });
    this.#children.push({ name, child, ended });
    const isAlive = () => child.exitCode === null && child.signalCode === null && child.pid !== undefined;
    return { name, log, pid: child.pid, isAlive };
  }

  /** Ends all, the last started first; what does not end in time is killed. */
  async stop() {
    this.#stopping = true;
    for (const { name, child, ended } of [...this.#children].reverse()) {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) continue;
      child.kill("SIGTERM");
      const hard = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
      await ended;
      clearTimeout(hard);
      this.#said(`${name} stopped`);
    }
  }

  /** Ends all at once, without asking. */
  kill() {
    this.#stopping = true;
    for (const { child } of this.#children) child.kill("SIGKILL");
  }
}

/** A failure to start, with the last lines the process wrote. */
function notStarted(process, how) {
  const output = readFileSync(process.log, "utf8").trimEnd().split("\n").slice(-20).join("\n");
  return Object.assign(new Error(`${process.name} ${how}`), { output });
}

/** Waits until `url` answers with a status below 500 (or exactly `status`). Rejects when the process is gone or after `limitMs`. */
export async function untilAnswers(process, url, status, limitMs = 30_000) {
  const end = Date.now() + limitMs;
  for (;;) {
    if (!process.isAlive()) throw notStarted(process, "ended before it was ready");
    const answer = await fetch(url, { signal: AbortSignal.timeout(2_000) }).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer && (status === undefined ? answer.status < 500 : answer.status === status)) return;
    if (Date.now() > end) throw notStarted(process, `was not ready within ${limitMs / 1_000} s`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A port on loopback that nobody listens on; `wanted` itself, or an error that names it, unless it is 0. */
export function claimPort(wanted) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", () => reject(new Error(`port ${wanted} is taken; free it, or use --free-ports`)));
    server.listen(wanted, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}
