/**
 * Makes the request view from what a lane has read, or says why the request is refused.
 * Promise: both lanes come through here, so both refuse the same requests; host and path are read in one way only.
 * Sources: RFC 9112 section 3.2, docs/spec/proxy.md section 1, docs/compatibility.md.
 */

import type { Fields } from "../../base/log.ts";
import { forwardedAddress } from "../../base/net/ip.ts";
import { type NormalPath, normalisePath, splitTarget } from "../../base/net/path.ts";
import { HeaderList, type ReceivedLines } from "../../plugin/headers.ts";
import { RequestView } from "../../plugin/request-view.ts";
import type { ClientConnection } from "../client-connection.ts";
import { type OwnAnswer, pageAnswer } from "../gateway-pages.ts";
import type { Reason } from "../gateway-reasons.ts";
import type { GatewaySettings } from "../gateway-settings.ts";
import type { ErrorLog } from "../log/error-log.ts";
import type { IncomingBody } from "./request-body.ts";
import type { HeaderScan } from "./request-headers.ts";

interface RawHead {
  readonly method: string;
  readonly target: string;
  readonly httpVersion: "1.0" | "1.1" | "2.0";
  /** Finished; its lines become the request's. */
  readonly scan: HeaderScan;
  readonly connection: ClientConnection;
  readonly body: IncomingBody;
  readonly startedMs: number;
  /** What was read of the target before; default: it is read now. */
  readonly read?: ReadTarget | undefined;
  /** The same lines, unchanged, where they come again and again. */
  readonly received?: ReceivedLines | undefined;
}

/** An origin-form target, read. It follows from the text and from settings alone. */
export interface ReadTarget {
  readonly target: string;
  readonly query: string | undefined;
  readonly normal: NormalPath;
}

/** @returns undefined for a target that must be refused */
export function readTarget(target: string, settings: GatewaySettings): ReadTarget | undefined {
  const split = splitTarget(target);
  const normal = split && normalisePath(split.rawPath, settings.paths);
  return normal && { target, query: split.query, normal };
}

/** A view and the path the router compares. */
export interface ReadRequest {
  readonly view: RequestView;
  readonly matchPath: string;
}

const refusals = new Map<Reason, OwnAnswer>();

/** The page for a refused request; made once per reason. */
export function refusal(reason: Reason): OwnAnswer {
  let answer = refusals.get(reason);
  if (!answer) {
    answer = pageAnswer(reason);
    refusals.set(reason, answer);
  }
  return answer;
}

/** @param errors told of what is believed in doubt; absent: nobody is */
export function readRequest(raw: RawHead, settings: GatewaySettings, errors?: ErrorLog): ReadRequest | OwnAnswer {
  const { connection, scan } = raw;
  const { lines } = scan;
  let hostHeader = scan.host;
  let target = raw.target;
  if (target.charCodeAt(0) !== 0x2f) {
    const absolute = readAbsolute(target, connection.scheme);
    if (!absolute) return refusal("request_target");
    // RFC 9112 section 3.2.2: the target's authority replaces whatever Host said, for routing and forwarding.
    hostHeader = absolute.authority;
    target = absolute.target;
    replaceHost(lines, hostHeader);
  }
  if (hostHeader === undefined && raw.httpVersion !== "1.0") return refusal("no_host");
  const host = hostHeader === undefined ? undefined : connection.readHost(hostHeader);
  if (hostHeader !== undefined && !host) return refusal("bad_host");
  const read = raw.read ?? readTarget(target, settings);
  if (!read) return refusal("request_target");
  const { normal } = read;
  const refused = connection.guard?.refusal(host?.host ?? "", normal.path, normal.otherPaths);
  if (refused) return refused;
  const view = new RequestView({
    method: raw.method,
    target,
    path: normal.path,
    otherPaths: normal.otherPaths,
    escapedPath: normal.escapedPath,
    query: read.query,
    hostHeader: hostHeader ?? "",
    host: host?.host ?? "",
    httpVersion: raw.httpVersion,
    headers: new HeaderList(lines, raw.received),
    connection,
    body: raw.body,
    upgrade: scan.upgradeAsked && scan.upgrade !== undefined ? scan.upgrade.toLowerCase() : undefined,
    strict: settings.paths.strict === true,
    startedMs: raw.startedMs,
  });
  if (connection.realIpTrusted) applyRealIp(view, settings, errors);
  return { view, matchPath: normal.matchPath };
}

/** absolute-form; other schemes than http and https have no business here. */
function readAbsolute(target: string, scheme: string): { authority: string; target: string } | undefined {
  const match = /^(https?):\/\/([^/?#]+)([/?].*)?$/i.exec(target);
  if (!match || (match[1] as string).toLowerCase() !== scheme) return undefined;
  const rest = match[3] ?? "/";
  return { authority: match[2] as string, target: rest.startsWith("/") ? rest : `/${rest}` };
}

function replaceHost(lines: string[], value: string): void {
  for (let i = 0; i < lines.length; i += 2) {
    if ((lines[i] as string).toLowerCase() !== "host") continue;
    lines[i + 1] = value;
    return;
  }
  lines.unshift("Host", value);
}

/** Source: nginx realip module with its defaults; docs/spec/proxy.md section 1. */
function applyRealIp(view: RequestView, settings: GatewaySettings, errors: ErrorLog | undefined): void {
  const { realIpHeader } = settings;
  if (!view.headers.has(realIpHeader)) return;
  const trusted = settings.realIpRecursive ? settings.realIpTrusted : undefined;
  const found = forwardedAddress(realIpHeader, view.headers.getAll(realIpHeader), trusted);
  if (!found) return;
  if (settings.realIpAssumed && errors) doubt(view, realIpHeader, found.address, errors);
  view.clientAddress = found.address;
  view.clientPort = found.port ?? 0;
}

/** A balancer continues X-Forwarded-For; one that means another address by its last entry has passed its caller's header on. */
function doubt(view: RequestView, header: string, believed: string, errors: ErrorLog): void {
  if (header === FORWARDED_FOR || !view.headers.has(FORWARDED_FOR)) return;
  const tell = (): Fields | undefined => {
    const address = forwardedAddress(FORWARDED_FOR, view.headers.getAll(FORWARDED_FOR), undefined)?.address;
    return address === undefined || address === believed ? undefined : { header, believed, forwardedFor: address };
  };
  errors.warnOnce("real_ip_doubtful", tell, DOUBT);
}

const FORWARDED_FOR = "x-forwarded-for";
const DOUBT =
  "a peer on loopback names two addresses of its client, and the header is believed: a balancer that passes it on lets callers " +
  "choose their address. Have it delete the header, or set real_ip.header to X-Forwarded-For; setting real_ip.trusted ends this line";

/**
 * What a request head may be before anything reads it: the same limits and refusals on every lane.
 * Promise: the first fault in one order is named, so that lanes never disagree about why a request was refused.
 * Sources: RFC 9112 sections 2.2 and 3.2; limits are settings.
 */
interface HeadSize {
  readonly method: string;
  readonly target: string;
  /** Number of header lines. */
  readonly fields: number;
  /** Of the header lines, with their separators. */
  readonly bytes: number;
}

/** @returns why the head is refused: 414, 431, 405 or 400 */
export function headFault(head: HeadSize, settings: GatewaySettings): OwnAnswer | undefined {
  if (head.target.length > settings.targetBytes) return refusal("target_too_long");
  if (head.fields > settings.headerLines) return refusal("too_many_header_lines");
  if (head.bytes > settings.headBytes) return refusal("head_too_large");
  if (head.method === "TRACE" || head.method === "CONNECT") return refusal("method");
  if (head.target === "*" && head.method !== "OPTIONS") return refusal("request_target");
  return undefined;
}

/** Bytes of a flat list [name, value, …] as HTTP/1.1 lines, give or take blanks. */
export function lineBytes(lines: readonly string[]): number {
  let bytes = 0;
  for (const text of lines) bytes += text.length + 2;
  return bytes;
}
