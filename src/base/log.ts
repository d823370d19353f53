/**
 * The log that all floors write to: a narrow face of pino, so that nothing depends on its options.
 * Promise: every line is one JSON object with `time`, `level` by name, `node` and `msg`; callers pass facts, never
 * tokens, keys, credentials or whole configurations.
 */
import { pino } from "pino";
import type { Clock } from "./clock.ts";
import type { LogSink } from "./log-sink.ts";

/** What is said of each line stands in it once. */
export type Fields = Readonly<Record<string, unknown>> & {
  readonly node?: never;
  readonly level?: never;
  readonly time?: never;
  readonly msg?: never;
};

export interface Log {
  debug(fields: Fields, message: string): void;
  info(fields: Fields, message: string): void;
  warn(fields: Fields, message: string): void;
  error(fields: Fields, message: string): void;
  child(fields: Fields): Log;
}

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

/** The log of a process, and all its children. */
interface RootLog extends Log {
  /** From now on less important lines are not written. */
  setLevel(level: LogLevel): void;
}

interface LogOptions {
  readonly level: LogLevel;
  /** The id of the node; its workers say the same. */
  readonly node: string;
  readonly sink: LogSink;
}

/** One JSON line per entry on stderr; stdout stays free for what a user asked to see. */
export function openLog({ level, node, sink }: LogOptions): RootLog {
  const log = pino(
    {
      level: "debug", // ours can be changed for all children at once, pino's cannot
      base: { node },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink,
  );
  const threshold = { rank: RANKS[level] };
  const root = new LeveledLog(log, threshold);
  sink.onLost = (lines) => root.warn({ lines }, "lines of the log were dropped: nobody took them");
  return Object.assign(root, {
    setLevel(next: LogLevel): void {
      threshold.rank = RANKS[next];
    },
  });
}

const RANKS: Readonly<Record<LogLevel, number>> = { debug: 0, info: 1, warn: 2, error: 3, silent: 4 };

class LeveledLog implements Log {
  readonly #log: Log;
  /** Shared by all children. */
  readonly #threshold: { readonly rank: number };

  constructor(log: Log, threshold: { readonly rank: number }) {
    this.#log = log;
    this.#threshold = threshold;
  }

  debug(fields: Fields, message: string): void {
    if (this.#threshold.rank <= RANKS.debug) this.#log.debug(fields, message);
  }

  info(fields: Fields, message: string): void {
    if (this.#threshold.rank <= RANKS.info) this.#log.info(fields, message);
  }

  warn(fields: Fields, message: string): void {
    if (this.#threshold.rank <= RANKS.warn) this.#log.warn(fields, message);
  }

  error(fields: Fields, message: string): void {
    if (this.#threshold.rank <= RANKS.error) this.#log.error(fields, message);
  }

  child(fields: Fields): Log {
    return new LeveledLog(this.#log.child(fields), this.#threshold);
  }
}

const nothing = (): void => {};
export const silentLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => silentLog };

/** For what must not depend on a log call: a line that cannot be logged is lost. */
export function unfailing(log: Log): Log {
  const safe =
    (level: "debug" | "info" | "warn" | "error") =>
    (fields: Fields, message: string): void => {
      try {
        log[level](fields, message);
      } catch {
        // There is nowhere to say it.
      }
    };
  return {
    debug: safe("debug"),
    info: safe("info"),
    warn: safe("warn"),
    error: safe("error"),
    child: (fields) => unfailing(log.child(fields)),
  };
}

export type Warn = (fields: Fields, message: string) => void;

const MINUTE_MS = 60_000;

export function openLimitedWarn(log: Log, clock: Clock, perMinute = 10): Warn {
  let sinceMs = Number.NEGATIVE_INFINITY;
  let count = 0;
  return (fields, message) => {
    const nowMs = clock.monotonicMs();
    if (nowMs - sinceMs >= MINUTE_MS) {
      if (count > perMinute) log.warn({ left: count - perMinute }, "more warnings were left out");
      sinceMs = nowMs;
      count = 0;
    }
    count++;
    if (count <= perMinute) log.warn(fields, message);
  };
}
