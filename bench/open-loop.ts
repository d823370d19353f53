/**
 * The load generator with a rate: a process of its own, pinned by whoever starts it. Requests are due at fixed times; one
 * that finds all connections busy waits, and its latency counts from when it was due (schedule.ts).
 *
 *   node --import tsx open-loop.ts '{"url": …}'     prints an OpenLoopResult
 *
 * Between events it sleeps for at most a tenth of a millisecond: the timers of the event loop would send in bursts once
 * per millisecond, and spinning would take the core from the upstream.
 */
import { connect, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { AnswerReader } from "./answer-reader.ts";
import { readRequests } from "./request-lines.ts";
import { dueAfterMs, dueBy, percentile } from "./schedule.ts";

export interface OpenLoopPlan {
  readonly url: string;
  /** File of requests (request-lines.ts). */
  readonly requests: string;
  readonly method: string;
  readonly bodyBytes: number;
  readonly seconds: number;
  readonly connections: number;
  /** Requests a second. */
  readonly rate: number;
  /** Expected of every answer. */
  readonly status: number;
}

export interface OpenLoopResult {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  readonly wrongStatus: number;
  readonly socketErrors: number;
  /** From when a request was due until it was sent, where a connection was free: the generator's own lateness. */
  readonly lateP99Ms: number;
}

/** Sent before anything is recorded, so that connections and code are warm. */
const UNRECORDED_MS = 500;
const NAP_MS = 0.1;
/** After the last request was due, answers are waited for so long. */
const GRACE_MS = 5_000;

interface Line {
  readonly socket: Socket;
  readonly reader: AnswerReader;
  /** Index of the request under way; -1 when idle. */
  index: number;
}

function requestsOf(plan: OpenLoopPlan): Buffer[] {
  const host = new URL(plan.url).host;
  const body = "x".repeat(plan.bodyBytes);
  const length = plan.bodyBytes > 0 ? `Content-Length: ${plan.bodyBytes}\r\n` : "";
  return readRequests(plan.requests).map(({ path, authorization, chunked, form, gzip }) => {
    if (chunked || form || gzip)
      throw new Error("an open loop sends no chunks and no forms, and reads nothing compressed");
    const auth = authorization === undefined ? "" : `Authorization: ${authorization}\r\n`;
    return Buffer.from(`${plan.method} ${path} HTTP/1.1\r\nHost: ${host}\r\n${auth}${length}\r\n${body}`, "latin1");
  });
}

/** Sends the plan's requests; resolves when all are answered or given up. */
export async function openLoop(plan: OpenLoopPlan): Promise<OpenLoopResult> {
  const texts = requestsOf(plan);
  const total = Math.ceil((plan.rate * (UNRECORDED_MS + plan.seconds * 1_000)) / 1_000);
  const unrecorded = Math.floor((plan.rate * UNRECORDED_MS) / 1_000);
  const latencies = new Float64Array(total);
  const lateness = new Float64Array(total);
  const idle: Line[] = [];
  let [sent, answered, wrongStatus, socketErrors, begin] = [0, 0, 0, 0, 0];
  const now = (): number => performance.now() - begin;

  const send = (line: Line, waited: boolean): void => {
    line.index = sent;
    lateness[sent] = waited ? 0 : now() - dueAfterMs(sent, plan.rate);
    line.socket.write(texts[sent % texts.length] ?? "");
    sent++;
  };
  const done = (line: Line, status: number): void => {
    if (line.index < 0) throw new Error("an answer came without a request");
    latencies[line.index] = now() - dueAfterMs(line.index, plan.rate);
    if (status !== plan.status) wrongStatus++;
    answered++;
    line.index = -1;
    if (sent < dueBy(now(), plan.rate, total)) send(line, true);
    else idle.push(line);
  };
  const lines = await Promise.all(Array.from({ length: plan.connections }, () => dial(plan.url, done)));
  for (const line of lines) {
    line.socket.on("close", () => {
      const at = idle.indexOf(line);
      if (at >= 0) idle.splice(at, 1);
      if (line.index >= 0) answered++;
      socketErrors++;
    });
  }
  idle.push(...lines);
  begin = performance.now();
  const endMs = UNRECORDED_MS + plan.seconds * 1_000;
  const nap = new Int32Array(new SharedArrayBuffer(4));
  await new Promise<void>((finish) => {
    const turn = (): void => {
      for (let due = dueBy(now(), plan.rate, total); sent < due; ) {
        const line = idle.pop();
        if (!line) break;
        send(line, false);
      }
      if (answered === total || now() > endMs + GRACE_MS || socketErrors >= lines.length) {
        finish();
        return;
      }
      const untilDue = sent < total ? dueAfterMs(sent, plan.rate) - now() : NAP_MS;
      if (untilDue > 0) Atomics.wait(nap, 0, 0, Math.min(untilDue, NAP_MS));
      setImmediate(turn);
    };
    turn();
  });
  const tookMs = now();
  for (const line of lines) line.socket.removeAllListeners("close").destroy();
  const unanswered = total - answered;
  const sorted = latencies.subarray(unrecorded).sort();
  return {
    requests: answered,
    requestsPerSecond: (answered / tookMs) * 1_000,
    p50Ms: percentile(sorted, 50),
    p99Ms: percentile(sorted, 99),
    p999Ms: percentile(sorted, 99.9),
    maxMs: percentile(sorted, 100),
    wrongStatus,
    socketErrors: socketErrors + unanswered,
    lateP99Ms: percentile(lateness.subarray(unrecorded).sort(), 99),
  };
}

function dial(url: string, done: (line: Line, status: number) => void): Promise<Line> {
  const { hostname, port } = new URL(url);
  return new Promise((ok, fail) => {
    const socket = connect({ host: hostname, port: Number(port), noDelay: true });
    const line: Line = { socket, reader: new AnswerReader(), index: -1 };
    socket.on("error", fail); // After the connection is there, its closing is what counts.
    socket.on("connect", () => ok(line));
    socket.on("data", (bytes: Buffer) => {
      const status = line.reader.read(bytes);
      if (status > 0) done(line, status);
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // True: load.ts is the only caller.
  const plan = JSON.parse(process.argv[2] ?? "") as OpenLoopPlan;
  process.stdout.write(JSON.stringify(await openLoop(plan)));
}
