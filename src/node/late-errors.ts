/**
 * Errors that nobody caught, and the warnings of Node itself, as lines of the log.
 * Promise: what own plugins throw when no request waits any more (from a timer, an event, a promise that nobody holds)
 * is logged and counted and the process goes on; an error of this program ends it, since nobody knows what state it
 * left. Neither waits for whoever reads stderr.
 */
import { dirname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { LogSink } from "../base/log-sink.ts";
import type { Metrics } from "../base/metrics.ts";

const LINE_EVERY_MS = 1_000;
const PROGRAM = new URL("../", import.meta.url).href;

interface LateErrorOptions {
  /** The modules of own plugins. */
  readonly modules: readonly string[];
  readonly log: Log;
  readonly sink: LogSink;
  readonly metrics: Metrics;
  readonly clock: Clock;
  /** Ends the process. */
  readonly exit: (code: number) => void;
}

/** @returns stops it */
export function containLateErrors(options: LateErrorOptions): () => void {
  const { modules, log, sink, clock } = options;
  const folders = modules.map((path) => pathToFileURL(`${dirname(resolve(path))}/`).href);
  const count = options.metrics
    .counter("jotgate_plugin_late_errors_total", "Errors that own plugins threw outside of any request")
    .child();
  let nextMs = 0;
  let leftOut = 0;

  const onError = (error: unknown): void => {
    const stack = error instanceof Error ? (error.stack ?? "") : "";
    if (folders.length === 0 || isProgramError(stack, folders)) {
      log.error({ error: messageOf(error), stack }, "this program failed and ends");
      sink.flush();
      options.exit(1);
      return;
    }
    count.inc();
    const nowMs = clock.monotonicMs();
    if (nowMs < nextMs) {
      leftOut++;
      return;
    }
    log.error({ error: messageOf(error), stack, leftOut }, "a plugin failed outside of any request");
    nextMs = nowMs + LINE_EVERY_MS;
    leftOut = 0;
  };
  const onWarning = ({ name, message }: Error): void => log.warn({ warning: name, error: message }, "Node.js warns");
  const flush = (): void => sink.flush();
  const printers = process.listeners("warning");
  for (const printer of printers) process.off("warning", printer);
  process.on("warning", onWarning);
  process.on("exit", flush);
  process.on("uncaughtException", onError);
  process.on("unhandledRejection", onError);
  return () => {
    process.off("uncaughtException", onError);
    process.off("unhandledRejection", onError);
    process.off("exit", flush);
    process.off("warning", onWarning);
    for (const printer of printers) process.on("warning", printer);
  };
}

/**
 * True when this program is on the stack and no own plugin is.
 * @param folders of own plugins, as URLs
 */
function isProgramError(stack: string, folders: readonly string[], program: string = PROGRAM): boolean {
  let isOurs = false;
  for (const line of stack.split("\n")) {
    if (!/^\s+at /.test(line)) continue;
    if (line.includes(program)) isOurs = true;
    else if (folders.some((folder) => line.includes(folder))) return false;
    else if (line.includes("file://") && !line.includes("/node_modules/")) return false;
  }
  return isOurs;
}
