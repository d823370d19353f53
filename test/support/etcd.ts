/**
 * Real etcd members as child processes on free ports with data in a temporary folder.
 * Promise: each is ended by its own pid, at the latest when this process exits.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePorts } from "./ports.ts";

const BINARY = "etcd";
const START_MS = 120_000;

export interface EtcdOptions {
  readonly members?: 1 | 3;
  readonly extraArgs?: readonly string[];
  /** Runs in this network namespace and listens on this address of it. */
  readonly netns?: { readonly name: string; readonly address: string };
  /** Files; clients then need a certificate of the same authority. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string };
}

export interface EtcdCluster {
  /** `http://127.0.0.1:port` (https with `tls`) of each member. */
  readonly endpoints: readonly string[];
  readonly folder: string;
  /** SIGKILL; resolves when the process is gone. */
  kill(member: number): Promise<void>;
  /** SIGSTOP: sockets stay open, nothing is answered. */
  pause(member: number): void;
  resume(member: number): void;
  /**
   * Starts a killed member on the same ports; `wipe` deletes its data before, `joins` lets it enter a cluster that knows it
   * and takes what it holds from there. Resolves when it is healthy.
   */
  restart(member: number, options?: { readonly wipe?: boolean; readonly joins?: boolean }): Promise<void>;
  /** The process of a member. */
  pid(member: number): number;
  /** The member that leads now. */
  leader(): Promise<number>;
  /** Ends all members and removes their data. */
  stop(): Promise<void>;
}

let answer: boolean | undefined;
/** Whether etcd can be started here; says once, plainly, when it cannot. */
export function etcdAvailable(): boolean {
  if (answer === undefined) {
    answer = spawnSync(BINARY, ["--version"]).status === 0;
    if (!answer)
      console.warn("SKIPPED: tests on etcd do not run, because no etcd is installed (apt-get install etcd-server)");
  }
  return answer;
}

export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdCluster> {
  const count = options.members ?? 1;
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnPorts(await freePorts(count * 3), options);
    } catch (error) {
      if (attempt >= 3) throw error; // another process may have taken a port in between
    }
  }
}

async function startOnPorts(ports: readonly number[], options: EtcdOptions): Promise<EtcdCluster> {
  const folder = mkdtempSync(join(tmpdir(), "jotgate-etcd-"));
  const count = ports.length / 3;
  const { tls } = options;
  const address = options.netns?.address ?? "127.0.0.1";
  const scheme = tls === undefined ? "http" : "https";
  const clients = ports.slice(0, count).map((port) => `${scheme}://${address}:${port}`);
  const peers = ports.slice(count, 2 * count).map((port) => `http://${address}:${port}`);
  /** Health and metrics, always in plain text. */
  const facts = ports.slice(2 * count).map((port) => `http://${address}:${port}`);
  const secured =
    tls === undefined
      ? []
      : ["--cert-file", tls.cert, "--key-file", tls.key, "--trusted-ca-file", tls.ca, "--client-cert-auth"];
  const initial = peers.map((peer, i) => `m${i}=${peer}`).join(",");
  const members: (ChildProcess | undefined)[] = [];
  const clientOf = (i: number): string => clients[i] ?? "";
  const factsOf = (i: number): string => facts[i] ?? "";

  const spawnMember = (i: number, joins = false): void => {
    const args = [
      ["--name", `m${i}`],
      ["--data-dir", join(folder, `m${i}`)],
      ["--listen-client-urls", clientOf(i)],
      ["--advertise-client-urls", clientOf(i)],
      ["--listen-peer-urls", peers[i] ?? ""],
      ["--initial-advertise-peer-urls", peers[i] ?? ""],
      ["--initial-cluster", initial],
      ["--initial-cluster-token", folder],
      ["--initial-cluster-state", joins ? "existing" : "new"],
      ["--listen-metrics-urls", factsOf(i)],
      ["--log-level", "error"],
    ].flat();
    const inside = options.netns ? ["ip", "netns", "exec", options.netns.name] : []; // which becomes etcd
    const [command = BINARY, ...all] = [...inside, BINARY, ...args, ...secured, ...(options.extraArgs ?? [])];
    const child = spawn(command, all, { stdio: "ignore" });
    child.on("error", () => {}); // seen as "not healthy" below
    members[i] = child;
    living.add(child);
    child.once("exit", () => living.delete(child));
  };
  const kill = async (i: number): Promise<void> => {
    const child = members[i];
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, "exit");
    child.kill("SIGKILL"); // also ends a stopped process
    await gone;
  };
  const cluster: EtcdCluster = {
    endpoints: clients,
    folder,
    kill,
    pause: (i) => void members[i]?.kill("SIGSTOP"),
    resume: (i) => void members[i]?.kill("SIGCONT"),
    async restart(i, how = {}) {
      await kill(i);
      if (how.wipe === true) rmSync(join(folder, `m${i}`), { recursive: true, force: true });
      spawnMember(i, how.joins);
      await untilHealthy(factsOf(i), members[i]);
    },
    pid: (i) => members[i]?.pid ?? -1,
    async leader() {
      for (const end = performance.now() + START_MS; performance.now() < end; ) {
        for (let i = 0; i < count; i++) if (await isLeader(factsOf(i))) return i;
        await new Promise((resolve) => setTimeout(resolve, 50)); // an election is under way
      }
      throw new Error("no leader");
    },
    async stop() {
      await Promise.all(members.map((_, i) => kill(i)));
      rmSync(folder, { recursive: true, force: true });
    },
  };
  for (let i = 0; i < count; i++) spawnMember(i);
  try {
    await Promise.all(members.map((child, i) => untilHealthy(factsOf(i), child)));
  } catch (error) {
    await cluster.stop();
    throw error;
  }
  return cluster;
}

const living = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of living) child.kill("SIGKILL");
});

async function untilHealthy(endpoint: string, child: ChildProcess | undefined): Promise<void> {
  const end = performance.now() + START_MS;
  while (performance.now() < end) {
    if (child?.exitCode !== null) throw new Error(`etcd at ${endpoint} ended with ${child?.exitCode}`);
    try {
      const response = await fetch(`${endpoint}/health`, { signal: AbortSignal.timeout(2_000) });
      if (response.ok && (await response.text()).includes("true")) return;
    } catch {
      // not listening yet
    }
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
  throw new Error(`etcd at ${endpoint} is not healthy after ${START_MS} ms`);
}

async function isLeader(endpoint: string): Promise<boolean> {
  try {
    const response = await fetch(`${endpoint}/metrics`, { signal: AbortSignal.timeout(2_000) });
    return /^etcd_server_is_leader 1$/m.test(await response.text());
  } catch {
    return false;
  }
}
