/**
 * The log that all floors write to: a narrow face of pino, so that nothing depends on its options.
 * Promise: callers pass facts, never tokens, keys, credentials or whole configurations.
 */
import { pino } from "pino";

export type Fields = Readonly<Record<string, unknown>>;

export interface Log {
  debug(fields: Fields, message: string): void;
  info(fields: Fields, message: string): void;
  warn(fields: Fields, message: string): void;
  error(fields: Fields, message: string): void;
  child(fields: Fields): Log;
}

export type LogLevel = "debug" | "info" | "warn" | "error" | "silent";

/** One JSON line per entry on stderr; stdout stays free for what a user asked to see. */
export function openLog(level: LogLevel): Log {
  return pino({ level, base: null, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination({ fd: 2, sync: true }));
}

const nothing = (): void => {};
export const silentLog: Log = { debug: nothing, info: nothing, warn: nothing, error: nothing, child: () => silentLog };
