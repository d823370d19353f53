/**
 * One worker as its primary sees it: how far it is, what it said last, and how it is told to end.
 * Promise: `gone` always resolves; a worker that does not end when told is killed.
 */
import type { Serializable } from "node:child_process";
import cluster, { type Worker } from "node:cluster";
import { Channel } from "../../base/channel.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { CodedError, messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { SeriesPage } from "../../base/metric-pages.ts";
import type { RecordRefusal } from "../../cluster/acknowledge.ts";
import type { RecentRefusal, RefusalQuery } from "../../gateway/log/refusals.ts";
import type { ExplainQuery } from "../../model/explain-query.ts";
import type { Address } from "../../settings/setting-kinds.ts";
import type { HealthReport } from "../../status/control-server.ts";
import type { ConfigStatus, WorkerInfo } from "../../status/status-facts.ts";
import { readFacts } from "./config-wire.ts";
import { readPages } from "./merged-metrics.ts";
import {
  APPLIED,
  CERTIFICATES,
  DRAIN,
  EXPLAIN,
  FACTS,
  FAILED,
  HEALTH,
  LISTENING,
  METRICS,
  REFUSALS,
  STOP,
  STOP_ACCEPTING,
} from "./protocol.ts";
import { RECALL } from "./shared-messages.ts";

/** How a process ended. */
export interface WorkerEnd {
  readonly code: number | null;
  readonly signal: string | null;
}

export interface Listening {
  readonly plain: Address | undefined;
  readonly tls: Address | undefined;
}

interface WorkerOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Something of what is known about it changed. */
  readonly onNews: (worker: WorkerProcess) => void;
  /** The last metrics of a worker that ended in order. */
  readonly onLastMetrics: (worker: WorkerProcess, metrics: readonly SeriesPage[]) => void;
}

/** How long a worker may take to say something. */
const ANSWER_MS = 2_000;
/** It judges for four seconds at most. */
const EXPLAIN_MS = 5_000;
/** More than a worker takes for it. */
const CERTIFICATES_MS = 3_000;
/** A request waits for it. */
const RECALL_MS = 500;
/** How much longer than its drain time a worker may take to end. */
const GRACE_MS = 2_000;

export class WorkerProcess {
  readonly id: number;
  readonly pid: number;
  readonly channel: Channel;
  /** Wall and monotonic time of its begin. */
  startedAtMs = 0;
  startedMonoMs = 0;
  /** Resolves when it is to do its work. Until then it stands by, with its program loaded. */
  readonly begun: Promise<void>;
  readonly gone: Promise<WorkerEnd>;
  /** Resolves when it accepts connections; rejects when it said that it cannot, or ended before. */
  readonly listening: Promise<Listening>;
  state: WorkerInfo["state"] = "starting";
  /** It may answer requests, so the node has applied only what this worker has. */
  isAdmitted = false;
  applied = 0n;
  facts: ConfigStatus | undefined;
  /** Monotonic times of the last facts, and of the last message of any kind. */
  factsMs = 0;
  lastSignMs = 0;
  readonly #worker: Worker;
  readonly #options: WorkerOptions;
  #begin: () => void = () => undefined;
  #killer: Timer | undefined;
  #isGone = false;

  /** Starts a process that stands by; `cluster.setupPrimary` says which. */
  constructor(options: WorkerOptions) {
    const { clock, log } = options;
    this.#options = options;
    this.#worker = cluster.fork();
    this.id = this.#worker.id;
    this.pid = this.#worker.process.pid ?? -1;
    const worker = this.#worker;
    this.channel = new Channel({
      clock,
      log: log.child({ worker: this.id }),
      pipe: {
        // The callback takes the error of a channel that is gone; `exit` says the same.
        send: (message) => void worker.process.send(message as Serializable, undefined, undefined, () => undefined),
        receive: (listener) => void worker.on("message", listener),
      },
    });
    this.begun = new Promise((resolve) => {
      this.#begin = resolve;
    });
    this.gone = new Promise((resolve) => {
      const end = (code: number | null, signal: string | null): void => {
        this.#isGone = true;
        this.#killer?.cancel();
        this.channel.close();
        resolve({ code, signal });
      };
      worker.once("exit", end);
      // A process that could not even be made has no exit.
      worker.on("error", (error) => {
        log.warn({ worker: this.id, error: messageOf(error) }, "a worker process has a problem");
        if (worker.process.pid === undefined) end(null, null);
      });
    });
    this.listening = this.#untilListening();
    this.listening.catch(() => undefined); // whoever waits for it sees it as well
    this.channel.onTell(APPLIED, ({ revision, hash }) => {
      if (this.facts && hash !== "") this.facts = { ...this.facts, hash }; // revision and hash are shown together
      this.#hears(BigInt(revision));
    });
    this.channel.onTell(FACTS, (given) => {
      this.facts = readFacts(given, this.facts);
      this.factsMs = clock.monotonicMs();
      this.#hears(this.facts.appliedRevision);
    });
  }

  /** Lets it do its work. Call once. */
  begin(): void {
    this.startedAtMs = this.#options.clock.nowMs();
    this.startedMonoMs = this.#options.clock.monotonicMs();
    this.factsMs = this.startedMonoMs;
    this.lastSignMs = this.startedMonoMs;
    this.#begin();
  }

  shown(): WorkerInfo {
    const { id, pid, state, startedAtMs, applied } = this;
    return { id, pid, state, startedAtMs, appliedRevision: applied };
  }

  /** From now on it may answer requests. @param applied how far it is */
  admit(applied: bigint): void {
    this.isAdmitted = true;
    this.#hears(applied);
  }

  /** Its answers ask clients to connect anew; it still accepts. */
  beginDrain(): void {
    this.channel.tell(DRAIN, null);
  }

  /** Resolves when it accepts no connection any more, or does not answer. @param isLast nobody else does */
  async stopAccepting(isLast: boolean): Promise<void> {
    if (this.state !== "serving") return;
    try {
      await this.channel.call(STOP_ACCEPTING, { isLast }, ANSWER_MS);
    } catch (error) {
      this.#options.log.warn({ worker: this.id, error: messageOf(error) }, "a worker does not stop accepting");
    }
  }

  /**
   * Ends it: what runs is finished within `drainMs`, what is left then is killed. Resolves when it is gone.
   * @param quietMs how long idle connections stay
   */
  async stop(drainMs: number, quietMs?: number): Promise<void> {
    if (this.state === "starting") {
      this.kill();
    } else if (this.state === "serving") {
      this.state = "draining";
      this.#options.onNews(this);
      this.#killer = this.#options.clock.after(drainMs + GRACE_MS, () => this.kill());
      try {
        const order = { drainMs, ...(quietMs === undefined ? {} : { quietMs }) };
        await this.channel.call(STOP, order, drainMs + 2 * GRACE_MS);
        this.#options.onLastMetrics(this, await this.metrics());
      } catch (error) {
        this.#options.log.warn({ worker: this.id, error: messageOf(error) }, "a worker did not end in order");
      }
      // The end of the channel ends the process.
      if (!this.#isGone) this.#worker.process.disconnect();
    }
    await this.gone;
  }

  async recall(scope: string, key: string): Promise<number> {
    try {
      return (await this.channel.call(RECALL, { scope, key }, RECALL_MS)).left;
    } catch {
      return 0; // what it has in advance is lost with it
    }
  }

  metrics(): Promise<SeriesPage[]> {
    return readPages((body) => this.channel.call(METRICS, body, ANSWER_MS));
  }

  health(): Promise<readonly HealthReport[]> {
    return this.channel.call(HEALTH, null, ANSWER_MS);
  }

  refusals(query: RefusalQuery): Promise<readonly RecentRefusal[]> {
    return this.channel.call(REFUSALS, query, ANSWER_MS);
  }

  async certificateRefusals(): Promise<readonly RecordRefusal[]> {
    const refused = await this.channel.call(CERTIFICATES, null, CERTIFICATES_MS);
    return refused.map(({ revision, ...same }) => ({ ...same, revision: BigInt(revision) }));
  }

  explain(query: ExplainQuery): Promise<Readonly<Record<string, unknown>> | string> {
    return this.channel.call(EXPLAIN, query, EXPLAIN_MS);
  }

  kill(): void {
    if (!this.#isGone) this.#worker.process.kill("SIGKILL");
  }

  #untilListening(): Promise<Listening> {
    return new Promise((resolve, reject) => {
      this.channel.onTell(LISTENING, ({ plain, tls }) => {
        this.state = "serving";
        this.#options.onNews(this);
        resolve({ plain: plain ?? undefined, tls: tls ?? undefined });
      });
      this.channel.onTell(FAILED, ({ message, ...facts }) => {
        this.#options.log.error({ worker: this.id, error: message }, "a worker cannot start");
        reject(Object.assign(new Error(message), facts));
        this.kill();
      });
      void this.gone.then(({ code, signal }) =>
        reject(
          new CodedError("WORKER_UNAVAILABLE", { message: `a worker ended before it served (${signal ?? code})` }),
        ),
      );
    });
  }

  #hears(revision: bigint): void {
    this.lastSignMs = this.#options.clock.monotonicMs();
    if (revision > this.applied) this.applied = revision;
    this.#options.onNews(this);
  }
}
