/**
 * An open-loop HTTP client: sends at a fixed rate whatever the answers do, on kept and on new connections, and knows of
 * every request how it ended. Promise: nothing is retried, so that what a caller would have seen is what is counted.
 * On a machine that cannot keep up, callers must not be what breaks: so many requests are open at a time and no more, and
 * a hang is counted in time that this process was running.
 */
import { Agent, type ClientRequest, type OutgoingHttpHeaders, request } from "node:http";
import { bounded } from "./long-run.ts";

export interface LoadTarget {
  readonly name: string;
  /** `http://127.0.0.1:port` */
  readonly origin: string;
}

export interface LoadRequest {
  readonly method?: string;
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string;
  /** On a connection of its own. */
  readonly alone?: boolean;
}

export interface LoadOptions {
  readonly targets: readonly LoadTarget[];
  /** Requests per second to each target. */
  readonly rate: number;
  /** @param n counts the requests of all targets */
  readonly request: (n: number, target: LoadTarget) => LoadRequest;
  /** What is wrong with an answer; default: every status but 200. */
  readonly judge?: (answer: LoadAnswer) => string | undefined;
  /** One of so many requests comes on a connection of its own; default 10. */
  readonly newEvery?: number;
  /** An answer that takes longer is a hang; default 15 s, of time in which this process could have read it. */
  readonly hangMs?: number;
  /** Requests to one target that may be open at a time; those that are due beyond are not sent. */
  readonly open?: number;
  /** Whether a failure is one that was announced; those are counted apart. */
  readonly excuse?: (record: LoadRecord) => boolean;
  /** How many requests are remembered one by one; the counts are of all. Default: all. */
  readonly keep?: number;
}

export interface LoadAnswer {
  readonly n: number;
  readonly target: LoadTarget;
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export interface LoadRecord {
  readonly n: number;
  readonly target: string;
  /** When it was due, by performance.now(). */
  readonly dueMs: number;
  readonly tookMs: number;
  /** From its sending to its end, in time that this process was running; exact to a tick. */
  readonly runMs: number;
  /** 0 when there was no answer. */
  readonly status: number;
  readonly fresh: boolean;
  /** Undefined: as it should be. */
  readonly wrong: string | undefined;
}

export interface LoadMark {
  readonly sent: number;
  readonly failed: number;
}

export interface Load {
  readonly sent: number;
  readonly answered: number;
  readonly failed: number;
  /** Failures that were announced. */
  readonly excused: number;
  /** Those that were remembered. */
  readonly records: readonly LoadRecord[];
  /** The first 100 that went wrong. */
  readonly failures: readonly LoadRecord[];
  /** No more requests to this target; those on their way go on. */
  leave(name: string): void;
  /** Resolves when everything sent has ended. */
  stop(): Promise<void>;
}

const TICK_MS = 10;
/** A tick that comes later than this tells of our own waiting for a processor, not of the gateway's. */
const LEAP_MAX_MS = 5 * TICK_MS;
const SWEEP_MS = 250;
const FAILURES_KEPT = 100;

/** One that is under way. */
interface Open {
  readonly outgoing: ClientRequest;
  /** When it was sent, in time that this process was running. */
  readonly sentRunMs: number;
  readonly finish: (status: number, wrong: string | undefined) => void;
}

export function startLoad(options: LoadOptions): Load {
  const { judge = statusIs200, newEvery = 10, hangMs = 15_000, keep = Number.POSITIVE_INFINITY } = options;
  const { open: openMax = bounded(64, 200) } = options;
  // First in, first out: no connection stays idle until its server closes it.
  const agents = new Map(
    options.targets.map(({ name }) => [name, new Agent({ keepAlive: true, scheduling: "fifo", maxFreeSockets: 64 })]),
  );
  const records: LoadRecord[] = [];
  const failures: LoadRecord[] = [];
  const left = new Set<string>();
  const open = new Map(options.targets.map(({ name }) => [name, new Set<Open>()]));
  const startMs = performance.now();
  let lastMs = startMs;
  let runMs = 0;
  let sweepMs = SWEEP_MS;
  let turns = 0;
  let sent = 0;
  let answered = 0;
  let failed = 0;
  let excused = 0;
  let idle: () => void = () => {};

  const end = (record: LoadRecord): void => {
    answered++;
    if (records.length < keep) records.push(record);
    if (record.wrong !== undefined && options.excuse?.(record)) excused++;
    else if (record.wrong !== undefined) {
      failed++;
      if (failures.length < FAILURES_KEPT) failures.push(record);
    }
    if (answered === sent) idle();
  };

  const send = (target: LoadTarget, dueMs: number): void => {
    const underWay = open.get(target.name);
    if (!underWay || underWay.size >= openMax) return;
    const n = sent++;
    const { method = "GET", path, headers = {}, body, alone = false } = options.request(n, target);
    const fresh = alone || n % newEvery === 0;
    let ended = false;
    const finish = (status: number, wrong: string | undefined): void => {
      if (ended) return;
      ended = true;
      underWay.delete(entry);
      const record = { n, target: target.name, dueMs, status, fresh, wrong };
      end({ ...record, tookMs: performance.now() - dueMs, runMs: runMs - entry.sentRunMs });
    };
    const outgoing = request(`${target.origin}${path}`, {
      method,
      headers: {
        ...headers,
        ...(body === undefined || "Transfer-Encoding" in headers ? {} : { "Content-Length": Buffer.byteLength(body) }),
      },
      agent: fresh ? false : agents.get(target.name),
    });
    const entry: Open = { outgoing, sentRunMs: runMs, finish };
    underWay.add(entry);
    outgoing.on("error", (error) => finish(0, error.message || error.name));
    outgoing.on("response", (incoming) => {
      const chunks: Buffer[] = [];
      const status = incoming.statusCode ?? 0;
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("error", (error) => finish(status, `broken answer: ${error.message}`));
      incoming.on("close", () => finish(status, incoming.complete ? undefined : "broken answer"));
      incoming.on("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        finish(status, judge({ n, target, status, headers: incoming.headers, body: text }));
      });
    });
    outgoing.end(body);
  };

  const endHanging = (): void => {
    for (const underWay of open.values())
      for (const { outgoing, sentRunMs, finish } of underWay) {
        if (runMs - sentRunMs < hangMs) break; // the others are younger
        finish(0, `no end within ${hangMs} ms`);
        outgoing.destroy();
      }
  };

  const sending = (): void => {
    const due = Math.floor(((performance.now() - startMs) / 1_000) * options.rate);
    for (; turns < due; turns++) {
      const dueMs = startMs + ((turns + 1) / options.rate) * 1_000;
      for (const target of options.targets) if (!left.has(target.name)) send(target, dueMs);
    }
  };

  let stopped = false;
  const timer = setInterval(() => {
    const nowMs = performance.now();
    runMs += Math.min(nowMs - lastMs, LEAP_MAX_MS);
    lastMs = nowMs;
    if (!stopped) sending();
    if (runMs < sweepMs) return;
    sweepMs = runMs + SWEEP_MS;
    endHanging();
  }, TICK_MS);

  return {
    get sent() {
      return sent;
    },
    get answered() {
      return answered;
    },
    get failed() {
      return failed;
    },
    get excused() {
      return excused;
    },
    records,
    failures,
    leave: (name) => void left.add(name),
    async stop() {
      stopped = true;
      await new Promise<void>((resolve) => {
        idle = resolve;
        if (answered === sent) resolve();
      });
      clearInterval(timer);
      for (const agent of agents.values()) agent.destroy();
    },
  };
}

function statusIs200({ status, body }: LoadAnswer): string | undefined {
  return status === 200 ? undefined : `status ${status}: ${body.slice(0, 200)}`;
}

/** Milliseconds at a share (0.5, 0.99, 1) of the numbers. */
export function percentile(numbers: readonly number[], share: number): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.floor((sorted.length - 1) * share)] ?? 0;
}
