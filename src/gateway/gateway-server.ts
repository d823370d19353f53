/**
 * Opens the gateway: its lanes, its client for upstreams, its listeners, plain and TLS; and closes them again.
 */
import type { Socket } from "node:net";
import type { Clock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { ExplainQuery } from "../model/explain-query.ts";
import { NO_USES, type Uses } from "../plugin/uses.ts";
import type { HostGuard } from "./client-connection.ts";
import { explain } from "./explain/explain-request.ts";
import { openFastLane } from "./fast/fast-lane.ts";
import { FinishedAnswers } from "./finished-answers.ts";
import type { Freshness, GatewayContext, Routing } from "./gateway-context.ts";
import { GatewayListener, type HandOff, KnownConnections, type ListenAddress, listenAll } from "./gateway-listener.ts";
import { GatewayMetrics } from "./gateway-metrics.ts";
import { DEFAULT_GATEWAY_SETTINGS, type GatewaySettings } from "./gateway-settings.ts";
import { openGeneralLane } from "./general/general-lane.ts";
import { HeadMemory } from "./http/remembered-bytes.ts";
import { BodyMemory } from "./http/request-body.ts";
import { openHttp2Lane } from "./http2/http2-lane.ts";
import { isHttp2Preface, readPreface } from "./http2/http2-preface.ts";
import type { AccessLog } from "./log/access-log.ts";
import { ErrorLog } from "./log/error-log.ts";
import { RecentRefusals } from "./log/refusals.ts";
import { TimerWheel } from "./timer-wheel.ts";
import type { TlsCertificates } from "./tls/tls-certificates.ts";
import { TlsHandshakes } from "./tls/tls-handshakes.ts";
import { UpstreamClient } from "./upstream/upstream-client.ts";
import { WriteScheduler } from "./write-scheduler.ts";

interface TlsListenOptions {
  readonly listen: ListenAddress;
  readonly certificates: TlsCertificates;
  /** Server name assumed for clients that send none; without it their handshake fails. */
  readonly fallbackSni?: string | undefined;
}

interface GatewayOptions {
  readonly routing: Routing;
  /** Default: never too old. */
  readonly freshness?: Freshness;
  /** Absent: no plain listener. */
  readonly listen?: ListenAddress | undefined;
  /** Hosts that are not served over it. */
  readonly plainGuard?: HostGuard | undefined;
  /** Absent: no TLS listener. */
  readonly tls?: TlsListenOptions | undefined;
  /** Where uses of credentials are noted; default: nowhere. */
  readonly uses?: Uses;
  /** What differs from the defaults. */
  readonly settings?: Partial<GatewaySettings>;
  /** Absent: none is written. Whoever opened it closes it, after the server. */
  readonly accessLog?: AccessLog | undefined;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
}

export interface GatewayServer {
  /** Of the plain listener, if there is one. */
  readonly address: ListenAddress | undefined;
  /** Of the TLS listener, if there is one. */
  readonly tlsAddress: ListenAddress | undefined;
  readonly metrics: GatewayMetrics;
  /** The calls refused last. */
  readonly refusals: RecentRefusals;
  /** What it would do with a request; text: what is wrong with the question. */
  explain(query: ExplainQuery): Promise<Readonly<Record<string, unknown>> | string>;
  /**
   * From now on these settings count, and this log of requests; whoever opened the former log closes it. What was found of a
   * peer when its connection was accepted stays.
   * @param settings what differs from the defaults
   */
  configure(settings: Partial<GatewaySettings>, accessLog: AccessLog | undefined): void;
  /** From now on every response asks its client to connect anew; new connections are still served. */
  beginDrain(): void;
  /**
   * Resolves when its listeners are closed; what the kernel has completed by then is served.
   * @param isLast no other process accepts on the same addresses
   */
  stopAccepting(isLast: boolean): Promise<void>;
  /**
   * Stops accepting, lets requests under way finish, closes what is left after `drainMs`.
   * Resolves when every connection is gone. Calling it again closes at once.
   * @param quietMs how long idle connections stay, so that their next answer can tell their clients; a client may be
   *   about to use one that is closed. Default 500 ms
   */
  close(drainMs: number, quietMs?: number): Promise<void>;
}

const QUIET_MS = 500;
/** Of all remembered heads: those of 16,000 connections with 500 bytes each. */
const HEADS_BYTES = 33_554_432;

/** Resolves when the listener accepts connections; rejects when it cannot be opened. */
export async function openGatewayServer(options: GatewayOptions): Promise<GatewayServer> {
  const { clock, listen, log, routing } = options;
  const settings = { ...DEFAULT_GATEWAY_SETTINGS, ...options.settings };
  const wheel = new TimerWheel(clock);
  const metrics = new GatewayMetrics(options.metrics);
  const limits = {
    headBytes: settings.responseHeadBytes,
    headerLines: settings.responseHeaderLines,
    connections: settings.upstreamConnections,
  };
  const writes = new WriteScheduler();
  const heads = new HeadMemory(settings.fastLane ? HEADS_BYTES : 0);
  const client = new UpstreamClient(wheel, writes, limits, heads);
  const errors = new ErrorLog(log, clock);
  const { accessLog, uses = NO_USES } = options;
  const freshness = options.freshness ?? { isTooOld: false, isLoaded: true };
  const refusals = new RecentRefusals(options.metrics);
  const parts = {
    refusals,
    routing,
    settings,
    metrics,
    clock,
    errors,
    accessLog,
    wheel,
    writes,
    client,
    heads,
    answers: new FinishedAnswers(),
    freshness,
    uses,
  };
  const context: GatewayContext = { ...parts, bodies: new BodyMemory(settings.bodiesBytes), draining: false };
  const known = new KnownConnections(settings, options.plainGuard);
  const general = openGeneralLane(context, (socket) => known.factsOf(socket));
  const http2 = openHttp2Lane(context);
  const accept = (socket: Socket, isHttp2: boolean): void => {
    if (!isHttp2) {
      general.accept(socket);
      return;
    }
    socket.pause(); // else what was put back flows to nobody before the session takes it
    http2.accept(socket, known.factsOf(socket));
  };
  const fast = settings.fastLane
    ? openFastLane(context, (socket, unread) => {
        const isFirst = socket.bytesRead === unread.length && known.factsOf(socket).scheme === "http";
        accept(socket, isFirst && isHttp2Preface(unread));
      })
    : undefined;
  const handOff: HandOff = (socket, connection) => {
    if (fast) fast.accept(socket, connection);
    else if (connection.scheme === "http") readPreface(context, socket, accept);
    else general.accept(socket);
  };
  const closeIdle = (alsoUnused: boolean): void => {
    general.server.closeIdleConnections();
    fast?.closeIdle(alsoUnused);
    http2.drain(alsoUnused);
  };
  const plain = listen && new GatewayListener(context, known, handOff, closeIdle);
  const listeners = plain ? [plain] : [];
  if (options.tls) {
    const secure = new TlsHandshakes({
      ...{ context, certificates: options.tls.certificates, fallbackSni: options.tls.fallbackSni },
      metrics: options.metrics,
      http1: (socket, connection) => handOff(socket, known.add(socket, connection)),
      http2: (socket, connection) => http2.accept(socket, connection),
    });
    listeners.push(new GatewayListener(context, known, (socket) => secure.accept(socket), closeIdle));
  }
  wheel.start();
  const opened = await listenAll(
    listeners,
    [listen, options.tls?.listen].filter((one) => one !== undefined),
  );
  const address = plain && opened[0];
  const tlsAddress = opened[plain ? 1 : 0];
  options.metrics.gaugeOf("jotgate_upstream_connections", "Connections to upstreams, by state.", ["state"], () => [
    { labels: ["idle"], value: client.idle },
    { labels: ["active"], value: client.open - client.idle },
  ]);
  const beginDrain = (): void => {
    if (context.draining) return;
    context.draining = true;
    http2.announceEnd();
  };
  return {
    address,
    tlsAddress,
    metrics,
    refusals,
    explain: (query) => explain(context, query, options.plainGuard),
    configure(next, log) {
      Object.assign(settings, DEFAULT_GATEWAY_SETTINGS, next); // lanes and connections read this one object
      limits.connections = settings.upstreamConnections;
      context.bodies.limitBytes = settings.bodiesBytes;
      context.accessLog = log;
      general.configure();
    },
    beginDrain,
    async stopAccepting(isLast) {
      await Promise.all(listeners.map((listener) => listener.stopAccepting(isLast)));
    },
    close: async (drainMs, quietMs = Math.min(QUIET_MS, drainMs / 4)) => {
      beginDrain();
      await Promise.all(listeners.map((listener) => listener.close(drainMs, quietMs)));
      await general.close();
      client.destroy();
      wheel.stop();
    },
  };
}
