/**
 * A group of child processes: started one by one, watched, ended by their ids in the reverse order.
 * Promise: after `stop` none of them is left, and none is ended by name.
 */
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
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

const LOWEST = 10_240;
/** Where the kernel's own begin, unless it says otherwise. */
const USUAL_CEILING = 32_768;
const TRIES = 500;

/** Numbers that other programs of this kind leave alone while this process lives. */
const reserved = [];

/**
 * A port on loopback that nobody listens on: `wanted`, or where that is taken (or 0) one below the range from which the kernel
 * takes ports for connections. A UDP socket on the same number keeps it from other clusters until this process ends.
 */
export async function claimPort(wanted) {
  if (wanted > 0 && (await claim(wanted))) return wanted;
  const ceiling = portCeiling();
  for (let tries = 0; tries < TRIES; tries++) {
    const port = LOWEST + Math.floor(Math.random() * (ceiling - LOWEST));
    if (await claim(port)) return port;
  }
  throw new Error(`no port between ${LOWEST} and ${ceiling} is free`);
}

function portCeiling() {
  try {
    const low = Number.parseInt(readFileSync("/proc/sys/net/ipv4/ip_local_port_range", "utf8"), 10);
    return low > LOWEST + 2_000 ? Math.min(low, 65_536) : 65_536; // where the kernel takes nearly all, there is no better place
  } catch {
    return USUAL_CEILING;
  }
}

async function claim(port) {
  const socket = createSocket("udp4").unref();
  const isMine = await new Promise((resolve) => {
    socket.on("error", () => resolve(false));
    socket.bind({ port, address: "127.0.0.1", exclusive: true }, () => resolve(true));
  });
  if (isMine && (await isFree(port))) reserved.push(socket);
  else socket.close();
  return reserved.includes(socket);
}

function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.on("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
