/**
 * The access log: one line per request, as JSON or from a template, compiled when the log is opened. Absent when it is off.
 * Promise: a line is one line, whatever a client sent; tokens, keys, cookies and Authorization are never in it; the
 * query is there only where a template asks for it, with its secret values hidden.
 */
import type { Clock } from "../../base/clock.ts";
import { LineSink } from "../../base/line-sink.ts";
import type { Log } from "../../base/log.ts";
import type { Metrics } from "../../base/metrics.ts";
import type { Connection, RequestView } from "../../plugin/request-view.ts";
import { compileTemplate } from "../../plugin/variables/template.ts";
import { hideTokens, shownVariable, type TokenPlaces } from "../../plugin/variables/token-places.ts";
import { compileVariable, requestIdOf, type Variable } from "../../plugin/variables/variables.ts";
import type { OwnReason } from "../gateway-reasons.ts";

/** A request that was refused before it had a route. */
interface RefusedRequest {
  readonly connection: Connection;
  /** "" when it was not even read so far. */
  readonly method: string;
  readonly status: number;
  readonly reason: OwnReason;
}

/** Why a caller was not let in. */
interface AuthRefusal {
  readonly plugin?: string | undefined;
  readonly reason: string;
  readonly issuer?: string | undefined;
  readonly kid?: string | undefined;
  readonly detail?: string | undefined;
}

interface AccessLogOptions {
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
  const family = options.metrics.counter(
    "jotgate_access_log_lines_total",
    "Lines of the access log, by what became of them.",
    ["result"],
  );
  const sink = new LineSink({ ...options, name: "access log", lines: family });
  return {
    request: (view, status, auth) => sink.write(lines.request(view, status, auth)),
    refused: (request) => sink.write(lines.refused(request)),
    close: () => sink.close(),
  };
}

/** Lines without their line break. */
interface LineFormat {
  /** @param status what the client got; 499 when it left */
  request(view: RequestView, status: number, auth?: AuthRefusal): string;
  refused(request: RefusedRequest): string;
}

const LINE_LENGTH_MAX = 32_768;

function jsonFormat(clock: Clock): LineFormat {
  return {
    request: (view, status, auth) => jsonLine(view, status, clock, auth),
    refused({ connection, method, status, reason }) {
      const start = `{"time":"${isoTime(clock)}","client":${quote(connection.peerAddress)}`;
      const named = method === "" ? "" : `,"method":${quote(method)}`;
      return `${start}${named},"scheme":"${connection.scheme}","status":${status},"reason":${quote(reason)}}`;
    },
  };
}

function jsonLine(view: RequestView, status: number, clock: Clock, auth: AuthRefusal | undefined): string {
  const { connection, consumer, head, route, upstream } = view;
  let line = `{"time":"${isoTime(clock)}","request_id":${quote(requestIdOf(view))},"client":${quote(view.clientAddress)}`;
  if (view.trace) line += `,"trace_id":"${view.trace.traceId}","span_id":"${view.trace.spanId}"`;
  line += `,"method":${quote(head.method)},"scheme":"${connection.scheme}","host":${quote(view.host)}`;
  line += `,"path":${quote(hideTokens(view.path))},"protocol":"HTTP/${head.httpVersion}","status":${status}`;
  if (view.reason !== "") line += `,"reason":${quote(view.reason)}`;
  if (auth) line += `,"auth":${authOf(auth)}`;
  if (route) {
    line += `,"route":${quote(route.id)}`;
    if (route.serviceId !== "") line += `,"service":${quote(route.serviceId)}`;
  }
  if (consumer) line += `,"consumer":${quote(consumer.username)}`;
  line += `,"received_bytes":${view.receivedBytes},"sent_bytes":${view.sentBytes}`;
  const totalMs = upstream.endMs - view.startedMs;
  const upstreamMs = upstream.sentMs > 0 ? upstream.connectMs + upstream.endMs - upstream.sentMs : 0;
  line += `,"latency_ms":{"total":${millis(totalMs)},"gateway":${millis(Math.max(0, totalMs - upstreamMs))}`;
  if (upstream.sentMs > 0) {
    line += `,"upstream_connect":${millis(upstream.connectMs)}`;
    if (upstream.headMs > 0) line += `,"upstream_header":${millis(upstream.headMs - upstream.sentMs)}`;
    line += `,"upstream_response":${millis(upstream.endMs - upstream.sentMs)}`;
  }
  line += "}";
  if (upstream.node !== "") {
    line += `,"upstream":{"node":${quote(upstream.node)},"address":${quote(upstream.address)}`;
    line += `,"statuses":[${upstream.statuses.join(",")}]}`;
  }
  return `${line}}`;
}

const authOf = ({ plugin, reason, issuer, kid, detail }: AuthRefusal): string =>
  JSON.stringify({ plugin, reason, issuer, kid, detail });
const quote = (text: string): string =>
  JSON.stringify(text.length > LINE_LENGTH_MAX ? text.slice(0, LINE_LENGTH_MAX) : text);
const millis = (ms: number): number => Math.round(ms * 1000) / 1000;
const isoTime = (clock: Clock): string => new Date(clock.nowMs()).toISOString();

/** @param text with $variables; a value that is missing is "-", as nginx shows it */
function templateFormat(text: string, places: TokenPlaces, clock: Clock): LineFormat {
  let status = 0;
  let refused: RefusedRequest | undefined;
  const own: Readonly<Record<string, Variable>> = {
    status: () => status,
    reason: (view) => view.reason || undefined,
    time_local: () => localTime(clock),
    request_line: compileVariable("request", clock),
  };
  const local = (name: string): Variable => {
    const read = Object.hasOwn(own, name) ? (own[name] as Variable) : compileVariable(name, clock);
    return shownVariable(name, read, places);
  };
  const template = compileTemplate(text, { clock, local, escape: escapeValue });
  const known = refusedVariables(clock);
  const readRefused = (name: string): Variable => {
    const read = known[name];
    return () => refused && read?.(refused);
  };
  const refusedTemplate = compileTemplate(text, { clock, local: readRefused, escape: escapeValue });
  return {
    request(view, sent) {
      status = sent;
      return template(view).slice(0, LINE_LENGTH_MAX);
    },
    refused(request) {
      refused = request;
      // True: none of its readers looks at a request.
      return refusedTemplate(undefined as unknown as RequestView).slice(0, LINE_LENGTH_MAX);
    },
  };
}

/** What can be said of a request that was not read. */
function refusedVariables(clock: Clock): Readonly<Record<string, (request: RefusedRequest) => string>> {
  return {
    remote_addr: ({ connection }) => connection.peerAddress,
    remote_port: ({ connection }) => String(connection.peerPort),
    server_addr: ({ connection }) => connection.localAddress,
    server_port: ({ connection }) => String(connection.localPort),
    scheme: ({ connection }) => connection.scheme,
    request_method: ({ method }) => method,
    status: ({ status }) => String(status),
    reason: ({ reason }) => reason,
    time_local: () => localTime(clock),
    time_iso8601: () => isoTime(clock),
  };
}

/** As nginx escapes: quotes, backslashes and what is not printable ASCII become \xHH. */
function escapeValue(value: string): string {
  if (value === "") return "-";
  return UNSAFE.test(value) ? Buffer.from(value, "utf8").toString("latin1").replace(EACH_UNSAFE, escapeByte) : value;
}

const UNSAFE = /[^\x20\x21\x23-\x5b\x5d-\x7e]/;
const EACH_UNSAFE = new RegExp(UNSAFE, "g");

function escapeByte(byte: string): string {
  return `\\x${byte.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** nginx's common log format: 23/Nov/2026:19:56:45 +0000, in UTC. */
function localTime(clock: Clock): string {
  const [date = "", time = ""] = isoTime(clock).split("T");
  const [year = "", month = "", day = ""] = date.split("-");
  return `${day}/${MONTHS[Number(month) - 1]}/${year}:${time.slice(0, 8)} +0000`;
}
