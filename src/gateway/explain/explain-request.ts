/**
 * What this process would do with a request: the exchange that serves requests runs it, with a reply that nobody receives,
 * pipelines that leave out what has effects, and an upstream that is named instead of called.
 * Promise: no upstream is called, nothing is counted, kept or logged; it ends within `LIMIT_MS`.
 * Source: docs/spec/tokens.md section 12.
 */
import type { Socket } from "node:net";
import { silentLog } from "../../base/log.ts";
import { openMetrics } from "../../base/metrics.ts";
import type { ExplainQuery } from "../../model/explain-query.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { NO_USES } from "../../plugin/uses.ts";
import type { Tried } from "../../runtime/routes/path-table.ts";
import type { Route } from "../../runtime/routes/route-unit.ts";
import { ClientConnection, type HostGuard } from "../client-connection.ts";
import { Exchange } from "../exchange.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { GatewayMetrics } from "../gateway-metrics.ts";
import { IncomingBody } from "../http/request-body.ts";
import { headFault, lineBytes, type ReadRequest, readRequest, refusal } from "../http/request-head.ts";
import { scanHeaders } from "../http/request-headers.ts";
import { ErrorLog } from "../log/error-log.ts";
import { RecentRefusals } from "../log/refusals.ts";
import type { Reply } from "../reply.ts";
import { ExplainedRouting, type Forwarded } from "./explained-routing.ts";
import { Trace } from "./trace.ts";

const LIMIT_MS = 4_000;
const NEAR_MAX = 10;
type Asked = NonNullable<ExplainQuery["request"]>;

/** @param guard of plain connections @returns what is shown, without the node's own facts; text: what is wrong with the question */
export async function explain(
  real: GatewayContext,
  query: ExplainQuery,
  guard: HostGuard | undefined,
): Promise<Readonly<Record<string, unknown>> | string> {
  const forced = query.route === undefined ? undefined : real.routing.route?.(query.route);
  if (query.route !== undefined && !forced) return `there is no route ${query.route} on this node`;
  const asked = query.request ?? requestOf(forced);
  const nowMs = query.at === undefined ? real.clock.nowMs() : query.at * 1_000;
  const trace = new Trace(query.token, nowMs);
  let forwarded: Forwarded | undefined;
  const context = dryContext(real, trace, forced, (to) => {
    forwarded = to;
    exchange?.clientGone();
  });
  const body = new IncomingBody(0, undefined, real.settings.bodyBytes);
  const read = readHead(asked, context, body, guard);
  if (!("view" in read)) return { verdict: "refused", ...facts(read), answer: answerOf(read), plugins: [], steps: [] };
  const { view } = read;
  const tried = forced ? [] : [...nearOf(real, view, read.matchPath)];
  const reply = new DryReply();
  const exchange: Exchange | undefined = new Exchange(context, view, read.matchPath, body, reply);
  exchange.run();
  if (!exchange.over) await untilOver(exchange, real);
  if (!exchange.over) {
    exchange.clientGone();
    return { verdict: "unknown", detail: `a plugin waits for longer than ${LIMIT_MS} ms`, plugins: trace.list };
  }
  const { routing } = context;
  if (!forwarded) trace.rest(...[routing.global, routing.pipeline].filter((one) => one !== undefined));
  const shown = forwarded ? { verdict: "forwarded", ...upstreamOf(forwarded, view) } : refusedBy(view, reply, trace);
  return {
    ...shown,
    ...identityOf(view),
    ...(forced ? {} : { near: near(tried, view.route?.id) }),
    plugins: trace.list,
    steps: trace.steps,
    hints: hintsOf(trace, forwarded !== undefined, query),
  };
}

/** A request that the route would be met by, as far as its record says. */
function requestOf(route: Route | undefined): Asked {
  const { matchedHost = "", matchedUri = "/" } = route?.facts ?? {};
  const host = matchedHost.startsWith("*") ? `x${matchedHost.slice(1)}` : matchedHost;
  return {
    method: "GET",
    scheme: "http",
    uri: matchedUri.replaceAll("*", "") || "/",
    host: host || "localhost",
    headers: [],
  };
}

function dryContext(
  real: GatewayContext,
  trace: Trace,
  forced: Route | undefined,
  onForward: (to: Forwarded) => void,
): GatewayContext & { readonly routing: ExplainedRouting } {
  return {
    ...real,
    routing: new ExplainedRouting(real.routing, trace, forced, onForward),
    metrics: new GatewayMetrics(openMetrics()),
    errors: new ErrorLog(silentLog, real.clock),
    accessLog: undefined,
    refusals: new RecentRefusals(openMetrics(), 1),
    uses: NO_USES,
  };
}

function readHead(
  asked: Asked,
  context: GatewayContext,
  body: IncomingBody,
  guard: HostGuard | undefined,
): ReadRequest | Answer {
  const { settings, clock } = context;
  const { method, scheme, uri: target } = asked;
  const isPlain = scheme === "http";
  const isNamed = asked.headers.some((name, at) => at % 2 === 0 && name.toLowerCase() === "host");
  const raw = isNamed ? asked.headers : ["Host", asked.host ?? "localhost", ...asked.headers];
  const fault = headFault({ method, target, fields: raw.length / 2, bytes: lineBytes(raw) }, settings);
  if (fault) return fault;
  // True: of a socket only the addresses are read.
  const socket = { remoteAddress: asked.client ?? "127.0.0.1", remotePort: 0, localAddress: "127.0.0.1" } as Socket;
  const connection = new ClientConnection(socket, scheme, settings, undefined, undefined, isPlain ? guard : undefined);
  const scan = scanHeaders(raw, connection);
  if (typeof scan === "string") return refusal(scan);
  return readRequest(
    { method, target, httpVersion: "1.1", scan, connection, body, startedMs: clock.monotonicMs() },
    settings,
  );
}

/** Resolves when the exchange is over, and at the latest after `LIMIT_MS`. */
function untilOver(exchange: Exchange, { clock }: GatewayContext): Promise<void> {
  return new Promise((resolve) => {
    const untilMs = clock.monotonicMs() + LIMIT_MS;
    const timer = clock.every(5, () => {
      if (!exchange.over && clock.monotonicMs() < untilMs) return;
      timer.cancel();
      resolve();
    });
  });
}

function facts({ status, reason }: Answer): object {
  return { status, reason };
}

function answerOf({ status, body }: Answer): object {
  return { status, ...(typeof body === "string" && { body }) };
}

function refusedBy(view: RequestView, reply: DryReply, { answered }: Trace): object {
  const answer = reply.answer();
  const status = view.response?.status ?? answer?.status ?? 0; // what it stands for, as in the log
  return {
    verdict: status >= 400 ? "refused" : "answered",
    ...{ status, reason: view.reason },
    ...(answered && { plugin: answered.plugin, from: answered.from }),
    answer,
  };
}

function upstreamOf({ unit, preview }: Forwarded, view: RequestView): object {
  const { id, name, scheme, passHost, upstreamHost } = unit;
  const next = preview?.next;
  const own = passHost === "rewrite" ? upstreamHost : passHost === "node" ? (next ?? "") : view.head.hostHeader;
  const query = view.query === undefined ? "" : `?${view.query}`;
  return {
    upstream: {
      ...(id !== "" && { id }),
      ...(name !== "" && { name }),
      ...{ scheme, node: next ?? null, nodes: preview?.nodes ?? [] },
      ...{ method: view.method, uri: `${view.upstreamPath}${query}`, host: view.upstreamHost ?? own },
    },
  };
}

function identityOf({ route, consumer, credentialId }: RequestView): object {
  return {
    ...(route && { route: route.id, matched: { uri: route.matchedUri, host: route.matchedHost } }),
    ...(route?.serviceId && { service: route.serviceId }),
    ...(consumer && { consumer: consumer.username }),
    ...(consumer?.groupId !== undefined && { consumer_group: consumer.groupId }),
    ...(credentialId !== undefined && { credential: credentialId }),
  };
}

/** The first that the router looks at, by id; looked for before plugins edit the request. */
function nearOf({ routing }: GatewayContext, view: RequestView, matchPath: string): readonly Tried[] {
  const near = new Map<string, Tried>();
  for (const one of routing.tried?.(view, matchPath) ?? []) {
    if (!near.has(one.id)) near.set(one.id, one);
    if (near.size > NEAR_MAX) break;
  }
  return [...near.values()];
}

/** Routes that the request nearly met, or would have met behind the one it did. */
function near(tried: readonly Tried[], matched: string | undefined): readonly object[] {
  return tried
    .filter(({ id }) => id !== matched)
    .map(({ id, uri, why }) => ({ route: id, uri, why: why ?? "another route goes before it" }));
}

function hintsOf(trace: Trace, isForwarded: boolean, query: ExplainQuery): readonly string[] {
  const hints: string[] = [];
  if (trace.steps.some(({ ok }) => !ok)) hints.push("every step is judged, also behind the first failure");
  if (isForwarded && trace.isPartly)
    hints.push("some plugins were not run, because they have effects: they may still refuse the request");
  if (query.route !== undefined)
    hints.push("a token on a route: conditions that a whole request would meet are judged by request");
  return hints;
}

/**
 * The client's side of an exchange that has no client: keeps what would have been sent, up to a bound.
 */

const BODY_MAX = 4_096;

interface DryAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The beginning, where it is longer than 4 KiB. */
  readonly body: string;
}

class DryReply implements Reply {
  headSent = false;
  readonly statusMax = 999;
  readonly sentBytes = 0;
  #status = 0;
  #lines: readonly string[] = [];
  #body = "";

  answer(): DryAnswer | undefined {
    if (!this.headSent) return undefined;
    const headers: Record<string, string> = {};
    for (let at = 0; at < this.#lines.length; at += 2) {
      const name = (this.#lines[at] ?? "").toLowerCase();
      const value = this.#lines[at + 1] ?? "";
      headers[name] = Object.hasOwn(headers, name) ? `${headers[name]}, ${value}` : value;
    }
    return { status: this.#status, headers, body: this.#body };
  }

  head(status: number, lines: string[]): void {
    this.headSent = true;
    this.#status = status;
    this.#lines = lines;
  }

  data(chunk: Buffer, start: number, end: number): boolean {
    if (this.#body.length < BODY_MAX) this.#body += chunk.toString("utf8", start, Math.min(end, start + BODY_MAX));
    return true;
  }

  trailers(): boolean {
    return false;
  }

  end(): void {}
  release(): void {}
  flush(): void {}
  destroy(): void {}
  interim(): void {}
  endAfterThis(): void {}
  tunnel(): void {}
  resumeTunnel(): void {}
}
