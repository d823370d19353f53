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

interface LogOptions {
  readonly level: LogLevel;
  /** The id of the node; its workers say the same. */
  readonly node: string;
  readonly sink: LogSink;
}

/** One JSON line per entry on stderr; stdout stays free for what a user asked to see. */
export function openLog({ level, node, sink }: LogOptions): Log {
  const log = pino(
    {
      level,
      base: { node },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    sink,
  );
  sink.onLost = (lines) => log.warn({ lines }, "lines of the log were dropped: nobody took them");
  return log;
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
