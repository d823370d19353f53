/**
 * Entries of a logger on their way to its target, in batches and in order.
 * Promise: traffic never waits; memory is bounded by entries and, over all loggers of the process, by bytes, beyond which entries
 * are dropped and counted; a target that is away is tried again with growing pauses; what waits at the end is sent, for two
 * seconds at most. Source: APISIX 3.18 batch-processor.
 */
import type { Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import { openLimitedWarn, type Warn } from "../../base/log.ts";
import type { Counter } from "../../base/metrics.ts";
import type { NodeEnv } from "../../plugin/plugin.ts";

export interface BatchRules {
  readonly batch_max_size: number;
  /** Seconds. */
  readonly inactive_timeout: number;
  /** Seconds. */
  readonly buffer_duration: number;
  readonly max_retry_count: number;
  /** Seconds before the first retry. */
  readonly retry_delay: number;
}

export interface LogEntry {
  /** What is sent of it. */
  readonly text: string;
}

interface BatchOptions<Entry> {
  readonly plugin: string;
  readonly rules: BatchRules;
  /** Entries that may wait, those on their way included. */
  readonly pendingMax: number;
  /** Rejects when they did not arrive. Aborted when the node ends. */
  readonly send: (entries: readonly Entry[], signal: AbortSignal) => Promise<void>;
}

/** Of all loggers of a process together. */
const BYTES_MAX = 67_108_864;
const CLOSE_MS = 2_000;
const RETRY_MS_MAX = 60_000;

export class LogBatches<Entry extends LogEntry> {
  readonly #options: BatchOptions<Entry>;
  readonly #env: NodeEnv;
  readonly #warn: Warn;
  readonly #memory: { readonly state: { bytes: number }; release(): void };
  readonly #results: Readonly<Record<"sent" | "failed" | "dropped", Counter>>;
  readonly #abort = new AbortController();
  /** Complete batches; the first may be on its way. */
  readonly #ready: Entry[][] = [];
  #buffer: Entry[] = [];
  #pending = 0;
  #firstMs = 0;
  #lastMs = 0;
  #timer: Timer | undefined;
  #sending = false;
  #closed: (() => void) | undefined;

  constructor(options: BatchOptions<Entry>, env: NodeEnv) {
    this.#options = options;
    this.#env = env;
    this.#warn = openLimitedWarn(env.log, env.clock);
    this.#memory = env.states.hold("loggers", () => ({ bytes: 0 }));
    const family = env.metrics.counter(
      "jotgate_logger_entries_total",
      "Entries of logger plugins, by what became of them.",
      ["plugin", "result"],
    );
    const result = (word: string): Counter => family.child(options.plugin, word);
    this.#results = { sent: result("sent"), failed: result("failed"), dropped: result("dropped") };
  }

  push(entry: Entry): void {
    const { pendingMax, rules } = this.#options;
    const memory = this.#memory.state;
    if (this.#closed || this.#pending >= pendingMax || memory.bytes + entry.text.length > BYTES_MAX) {
      this.#results.dropped.inc();
      this.#warn({ plugin: this.#options.plugin, pending: this.#pending }, "log entries are dropped");
      return;
    }
    this.#pending++;
    memory.bytes += entry.text.length;
    const nowMs = this.#env.clock.monotonicMs();
    if (this.#buffer.length === 0) this.#firstMs = nowMs;
    this.#lastMs = nowMs;
    this.#buffer.push(entry);
    if (this.#buffer.length >= rules.batch_max_size) this.#flush();
    else this.#timer ??= this.#env.clock.after(rules.inactive_timeout * 1_000, this.#tick);
  }

  /** Sends what waits, then nothing more. */
  async close(): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => {
      this.#closed = resolve;
      this.#env.clock.after(CLOSE_MS, resolve);
      this.#flush();
      if (!this.#sending) resolve();
    });
    this.#abort.abort();
    this.#timer?.cancel();
    this.#results.dropped.inc(this.#pending);
    for (const batch of this.#ready.splice(0)) this.#forget(batch);
    this.#memory.release();
  }

  readonly #tick = (): void => {
    this.#timer = undefined;
    const { buffer_duration, inactive_timeout } = this.#options.rules;
    const nowMs = this.#env.clock.monotonicMs();
    const isOld = nowMs - this.#firstMs >= buffer_duration * 1_000;
    if (isOld || nowMs - this.#lastMs >= inactive_timeout * 1_000) this.#flush();
    else this.#timer = this.#env.clock.after(inactive_timeout * 1_000, this.#tick);
  };

  #flush(): void {
    if (this.#buffer.length > 0) {
      this.#ready.push(this.#buffer);
      this.#buffer = [];
    }
    this.#timer?.cancel();
    this.#timer = undefined;
    if (!this.#sending) void this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    this.#sending = true;
    for (let batch = this.#ready[0]; batch !== undefined; batch = this.#ready[0]) {
      const arrived = await this.#sendOne(batch);
      if (this.#abort.signal.aborted) return; // close has counted it
      this.#results[arrived ? "sent" : "failed"].inc(batch.length);
      this.#ready.shift();
      this.#forget(batch);
    }
    this.#sending = false;
    this.#closed?.();
  }

  async #sendOne(batch: readonly Entry[]): Promise<boolean> {
    const { plugin, rules, send } = this.#options;
    for (let tried = 0; ; tried++) {
      try {
        await send(batch, this.#abort.signal);
        return true;
      } catch (error) {
        const isLast = tried >= rules.max_retry_count || this.#closed !== undefined;
        const text = isLast ? "log entries are given up" : "log entries could not be sent";
        this.#warn({ plugin, entries: batch.length, error: messageOf(error) }, text);
        if (isLast) return false;
        const delayMs = Math.min(RETRY_MS_MAX, rules.retry_delay * 1_000 * 2 ** Math.min(tried, 10));
        await new Promise<void>((resolve) => {
          this.#env.clock.after(delayMs * (0.5 + Math.random() / 2), resolve);
        });
      }
    }
  }

  #forget(batch: readonly Entry[]): void {
    this.#pending -= batch.length;
    for (const { text } of batch) this.#memory.state.bytes -= text.length;
  }
}
