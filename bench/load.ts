/**
 * One measured burst of load against a server whose CPU time is read before and after: as fast as 64 connections go (wrk),
 * or at a given rate (open-loop.ts). The generator is pinned to core 1.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Usage, usageOf } from "./machine.ts";
import type { OpenLoopPlan, OpenLoopResult } from "./open-loop.ts";
import { LOAD_CORE } from "./servers.ts";

const run = promisify(execFile);

export interface Burst {
  readonly url: string;
  /** File of requests (request-lines.ts). */
  readonly requests: string;
  /** Begins after so many lines of it. */
  readonly skip: number;
  readonly method: string;
  readonly bodyBytes: number;
  readonly seconds: number;
  readonly connections: number;
  /** Root of the server's process tree. */
  readonly pid: number;
}

export interface Measured {
  readonly requests: number;
  readonly cpuMicrosPerRequest: number;
  /** Of it outside of the kernel. */
  readonly userMicrosPerRequest: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly rssMiB: number;
  /** Answers of 400 and above. */
  readonly statusErrors: number;
  readonly socketErrors: number;
  /** With a rate only: how late the generator itself was at the 99th percentile. It is part of the latencies. */
  readonly lateMs?: number;
}

type Used = Pick<Measured, "requests" | "cpuMicrosPerRequest" | "userMicrosPerRequest" | "rssMiB">;

/** What so many requests used between two readings. */
export function measuredFrom(before: Usage, after: Usage, requests: number): Used {
  return {
    requests,
    cpuMicrosPerRequest: (after.cpuMicros - before.cpuMicros) / requests,
    userMicrosPerRequest: (after.userMicros - before.userMicros) / requests,
    rssMiB: after.rssBytes / 2 ** 20,
  };
}

/** Throws when the load generator printed no result: a crash until explained, never a zero. */
export async function measure(burst: Burst): Promise<Measured> {
  const before = usageOf(burst.pid);
  const args = ["-c", LOAD_CORE, "wrk", "-t", "1", "-c", String(burst.connections), "-d", `${burst.seconds}s`];
  args.push("--timeout", "5s", "-s", join(import.meta.dirname, "wrk/requests.lua"), burst.url, "--");
  args.push(burst.requests, burst.method, String(burst.bodyBytes), String(burst.skip));
  const done = await run("taskset", args, { encoding: "utf8" });
  const after = usageOf(burst.pid);
  const result = /^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$/m.exec(done.stdout);
  if (!result) throw new Error(`wrk gave no result for ${burst.url}: ${done.stdout}${done.stderr}`);
  const number = (group: number): number => Number(result[group]);
  const requests = number(1);
  if (requests === 0) throw new Error(`no request was answered at ${burst.url}`);
  return {
    ...measuredFrom(before, after, requests),
    requestsPerSecond: requests / (number(2) / 1e6),
    p50Ms: number(3) / 1_000,
    p99Ms: number(4) / 1_000,
    p999Ms: number(5) / 1_000,
    statusErrors: number(6),
    socketErrors: number(7),
  };
}

/** @param rate requests a second, whatever the answers take */
export async function measureAtRate(burst: Burst, rate: number, status: number): Promise<Measured> {
  const { url, requests, method, bodyBytes, seconds, connections } = burst;
  const plan: OpenLoopPlan = { url, requests, method, bodyBytes, seconds, connections, rate, status };
  const before = usageOf(burst.pid);
  const script = join(import.meta.dirname, "open-loop.ts");
  const args = ["-c", LOAD_CORE, process.execPath, "--import", "tsx", script, JSON.stringify(plan)];
  const done = await run("taskset", args, { encoding: "utf8", cwd: import.meta.dirname });
  const after = usageOf(burst.pid);
  // True: the script prints exactly this.
  const result = JSON.parse(done.stdout) as OpenLoopResult;
  return {
    ...measuredFrom(before, after, result.requests),
    requestsPerSecond: result.requestsPerSecond,
    p50Ms: result.p50Ms,
    p99Ms: result.p99Ms,
    p999Ms: result.p999Ms,
    statusErrors: status < 400 ? result.wrongStatus : result.requests - result.wrongStatus,
    socketErrors: result.socketErrors,
    lateMs: result.lateP99Ms,
  };
}
