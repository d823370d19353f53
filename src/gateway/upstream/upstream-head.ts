/**
 * Writes the head of the request that goes upstream: our Host, what is left of the client's headers, our X-Forwarded-*.
 * Promise: whatever plugins put into the view, the head is one well-formed request; a value that cannot stand in a
 * header is left out and counted, framing headers come from here alone. Source: docs/spec/proxy.md section 1.
 */
import { escapeIllegal } from "../../base/net/path.ts";
import type { ReceivedLines } from "../../plugin/headers.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import type { Target, UpstreamUnit } from "../../runtime/upstream/upstream-unit.ts";
import { type ClientConnection, forwardedHost } from "../client-connection.ts";
import {
  AUTHORIZATION,
  CLIENT_CERT,
  classifyHeader,
  FORWARDED,
  IDENTITY,
  PLAIN,
  X_FORWARDED_FOR,
  X_FORWARDED_HOST,
  X_FORWARDED_PORT,
  X_FORWARDED_PROTO,
} from "../http/header-class.ts";
import { type Framing, isFieldValue, isToken } from "../http/message.ts";
import { flatText } from "../http/response-text.ts";

/** Counts what was left out. */
export interface DropCounter {
  inc(by?: number): void;
}

/** Host header for this target. */
export function upstreamHost(view: RequestView, unit: UpstreamUnit, target: Target): string {
  if (view.upstreamHost !== undefined) return view.upstreamHost;
  switch (unit.passHost) {
    case "pass":
      return view.head.hostHeader === "" ? target.hostHeader : view.head.hostHeader;
    case "node":
      return target.hostHeader;
    default:
      return unit.upstreamHost;
  }
}

/**
 * Whether the configuration, and not the caller, says what name an upstream is asked for: a caller who makes names up
 * must not hold connections under them, and what a target says to such a name tells nothing about the target.
 * @param serverName of the host that is sent
 */
export function isConfiguredName(view: RequestView, unit: UpstreamUnit, target: Target, serverName: string): boolean {
  if (view.upstreamHost !== undefined || unit.passHost !== "pass" || view.head.hostHeader === "") return true;
  const name = serverName.toLowerCase();
  if (name === view.route?.matchedHost || name === target.host) return true;
  // True: gateway views are always made with a ClientConnection.
  return (view.connection as ClientConnection).tls?.isNamed(name) === true;
}

/** Host without port, as a TLS server name. */
export function serverNameOf(host: string): string {
  if (host.startsWith("[")) return host.slice(1, host.indexOf("]"));
  const colon = host.indexOf(":");
  return colon < 0 ? host : host.slice(0, colon);
}

/**
 * @param framing length of the body, "none" or "unknown"
 * @param upgrade   protocol asked for, undefined for plain HTTP
 * @returns the head as latin1 text, or undefined when method or host cannot be sent at all
 */
export function writeUpstreamHead(
  view: RequestView,
  host: string,
  framing: Framing,
  upgrade: string | undefined,
  dropped: DropCounter,
): string | undefined {
  if (!isSendable(view, host)) return undefined;
  let head = `${view.method} ${safeTarget(view)} HTTP/1.1\r\nHost: ${host}\r\n${endToEndText(view, dropped)}`;
  if (upgrade !== undefined) head += `Connection: Upgrade\r\nUpgrade: ${upgrade}\r\n`;
  if (typeof framing === "number") return `${head}Content-Length: ${framing}\r\n\r\n`;
  return framing === "unknown" ? `${head}Transfer-Encoding: chunked\r\n\r\n` : `${head}\r\n`;
}

/** Whether method and host, which plugins may have set, can be sent at all. */
export function isSendable(view: RequestView, host: string): boolean {
  const { hostHeader, method } = view.head;
  return (view.method === method || isToken(view.method)) && (host === hostHeader || isFieldValue(host));
}

/** The lines of the head that are neither Host nor framing, each with its CRLF; the same for every protocol. */
export function endToEndText(view: RequestView, dropped: DropCounter): string {
  let head = "";
  const { lines, received: again } = view.headers;
  let forwardedFor: string | undefined;
  let seen = 0;
  let first = 0;
  if (again?.begin(lines)) {
    again.sentText ??= linesText(again.lines);
    if (again.sentText !== "") {
      first = again.lines.length;
      const caller = callerText(view, first);
      if (caller !== undefined) return blockText(again, caller, forwardedLines(view, undefined, 0));
    }
    head += again.sentText;
  }
  for (let i = first; i < lines.length; i += 2) {
    const name = lines[i] as string;
    const value = lines[i + 1] as string;
    const kind = classifyHeader(name);
    if (kind !== PLAIN && !AS_IT_IS.has(kind)) {
      if (kind === X_FORWARDED_FOR) forwardedFor = forwardedFor === undefined ? value : `${forwardedFor}, ${value}`;
      const bit = forwardedBit(kind);
      if (bit === 0) continue;
      seen |= bit;
      if (value === "") continue;
    }
    if (!isFieldValue(value) || !isToken(name)) {
      dropped.inc();
      continue;
    }
    head += `${name}: ${value}\r\n`;
  }
  return head + forwardedLines(view, forwardedFor, seen);
}

/** Lines from `first` on as text where they say who calls, and nothing else; undefined: they are to be looked at. */
function callerText({ callerLines, headers: { lines } }: RequestView, first: number): string | undefined {
  if (lines.length === first) return "";
  if (!callerLines || callerLines.lines.length !== lines.length - first) return undefined;
  const own = callerLines.lines;
  for (let i = 0; i < own.length; i++) if (lines[first + i] !== own[i]) return undefined;
  return callerLines.text;
}

/** All of it in one piece; that of the last request where it is the same. */
function blockText(again: ReceivedLines, caller: string, forwarded: string): string {
  const { sent } = again;
  if (sent && sent.caller === caller && sent.forwarded === forwarded) return sent.text;
  const text = flatText(`${again.sentText}${caller}${forwarded}`);
  again.sent = { caller, forwarded, text };
  return text;
}

/** Kinds beside PLAIN that go upstream as they stand, as far as they were let in. */
const AS_IT_IS: ReadonlySet<number> = new Set([AUTHORIZATION, IDENTITY, FORWARDED, CLIENT_CERT]);

/** Lines of which each stands for itself, as they go upstream; "" where one depends on others or on the request. */
function linesText(lines: readonly string[]): string {
  let text = "";
  for (let i = 0; i < lines.length; i += 2) {
    const name = lines[i] as string;
    const value = lines[i + 1] as string;
    const kind = classifyHeader(name);
    if (kind === X_FORWARDED_FOR || forwardedBit(kind) !== 0 || !isFieldValue(value) || !isToken(name)) return "";
    if (kind === PLAIN || AS_IT_IS.has(kind)) text += `${name}: ${value}\r\n`;
  }
  return text;
}

const PROTO_SEEN = 1;
const HOST_SEEN = 2;
const PORT_SEEN = 4;

/**
 * Headers of these kinds are sent as they are, because a trusted peer or a plugin put them there; others are made anew.
 * An empty one is a plugin's word that there shall be none.
 */
function forwardedBit(kind: number): number {
  switch (kind) {
    case X_FORWARDED_PROTO:
      return PROTO_SEEN;
    case X_FORWARDED_HOST:
      return HOST_SEEN;
    case X_FORWARDED_PORT:
      return PORT_SEEN;
    default:
      return 0;
  }
}

function forwardedLines(view: RequestView, forwardedFor: string | undefined, seen: number): string {
  // True: gateway views are always made with a ClientConnection.
  const connection = view.connection as ClientConnection;
  const { hostHeader } = view.head;
  const address = view.clientAddress;
  if (forwardedFor === undefined && seen === 0) return connection.forwardedTail(address, hostHeader);
  const before = forwardedFor === undefined || !isFieldValue(forwardedFor) ? "" : `${forwardedFor}, `;
  let lines = `X-Real-IP: ${address}\r\nX-Forwarded-For: ${before}${address}\r\n`;
  if ((seen & PROTO_SEEN) === 0) lines += `X-Forwarded-Proto: ${connection.scheme}\r\n`;
  if ((seen & HOST_SEEN) === 0) lines += forwardedHost(hostHeader);
  if ((seen & PORT_SEEN) === 0) lines += `X-Forwarded-Port: ${connection.forwardedPort(hostHeader)}\r\n`;
  return lines;
}

/** Path and query; what RFC 3986 allows in neither is escaped, whoever put it there. */
export function safeTarget(view: RequestView): string {
  const { head, query, upstreamPath } = view;
  // As the client sent it, parsed and escaped: nothing left to look for.
  const isChecked = upstreamPath === head.escapedPath;
  if (isChecked && query === undefined) return upstreamPath;
  const path = isChecked || upstreamPath.charCodeAt(0) === 0x2f ? upstreamPath : `/${upstreamPath}`;
  const safePath = isChecked ? path : escapeIllegal(path);
  return query === undefined ? safePath : `${safePath}?${escapeIllegal(query)}`;
}
