/**
 * One measured burst of load: wrk pinned to core 1 against a server whose CPU time is read before and after.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { usageOf } from "./machine.ts";

export interface Burst {
  readonly url: string;
  /** File of requests, see wrk/requests.lua. */
  readonly requests: string;
  readonly method?: string;
  readonly bodyBytes?: number;
  readonly seconds: number;
  readonly connections?: number;
  /** Root of the server's process tree. */
  readonly pid: number;
}

export interface Measured {
  readonly requests: number;
  readonly cpuMicrosPerRequest: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly rssMiB: number;
  /** Answers of 400 and above; expected for the 401 and 404 cases. */
  readonly statusErrors: number;
  readonly socketErrors: number;
}

/** Throws when the load generator printed no result: a crash until explained, never a zero. */
export async function measure(burst: Burst): Promise<Measured> {
  const before = usageOf(burst.pid);
  const args = ["-c", "1", "wrk", "-t", "1", "-c", String(burst.connections ?? 64), "-d", `${burst.seconds}s`];
  args.push("--timeout", "5s", "-s", join(import.meta.dirname, "wrk/requests.lua"), burst.url, "--");
  args.push(burst.requests, burst.method ?? "GET", String(burst.bodyBytes ?? 0));
  const done = await promisify(execFile)("taskset", args, { encoding: "utf8" });
  const after = usageOf(burst.pid);
  const result = /^RESULT (\d+) (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$/m.exec(done.stdout);
  if (!result) throw new Error(`wrk gave no result for ${burst.url}: ${done.stdout}${done.stderr}`);
  const [requests, micros, p50, p99, p999, statusErrors, socketErrors] = result.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  if (requests === 0) throw new Error(`no request was answered at ${burst.url}`);
  return {
    requests,
    cpuMicrosPerRequest: (after.cpuMicros - before.cpuMicros) / requests,
    requestsPerSecond: requests / (micros / 1e6),
    p50Ms: p50 / 1000,
    p99Ms: p99 / 1000,
    p999Ms: p999 / 1000,
    rssMiB: after.rssBytes / 2 ** 20,
    statusErrors,
    socketErrors,
  };
}
