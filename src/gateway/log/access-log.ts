/**
 * The access log: one line per request, in the chosen form, to the chosen place. Absent when it is off.
 */
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { Metrics } from "../../base/metrics.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { TokenPlaces } from "../../plugin/variables/token-places.ts";
import { type AuthRefusal, jsonFormat, type RefusedRequest, templateFormat } from "./access-log-line.ts";
import { LineSink } from "./access-log-sink.ts";

export interface AccessLogOptions {
  readonly format: "off" | "json" | "template";
  readonly template: string;
  /** `stdout`, or the path of a file that is appended to. */
  readonly target: string;
  readonly places: TokenPlaces;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: Metrics;
}

export interface AccessLog {
  /** A request that is over. @param status what the client got; 499 when it left before @param auth when it was refused for who calls */
  request(view: RequestView, status: number, auth?: AuthRefusal): void;
  /** A request that was refused before it was one. */
  refused(request: RefusedRequest): void;
  /** Writes what waits; takes two seconds at most. */
  close(): Promise<void>;
}

/** @returns undefined when it is off. @throws the system's error when the file cannot be opened */
export function openAccessLog(options: AccessLogOptions): AccessLog | undefined {
  const { clock, format, places, template } = options;
  if (format === "off") return undefined;
  const lines = format === "json" ? jsonFormat(clock) : templateFormat(template, places, clock);
  const sink = new LineSink(options);
  return {
    request: (view, status, auth) => sink.write(lines.request(view, status, auth)),
    refused: (request) => sink.write(lines.refused(request)),
    close: () => sink.close(),
  };
}
