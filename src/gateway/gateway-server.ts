/**
 * Opens the gateway's listeners, plain and TLS: accepts connections, bounds their number, gives each to a lane, drains
 * and closes.
 * Promise: `close` ends within its drain time; requests under way are finished, idle connections are let go.
 */
import { createServer, type Server, type Socket } from "node:net";
import { type Clock, sleep } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import { ClientConnection, type HostGuard } from "./client-connection.ts";
import { openFastLane } from "./fast/fast-lane.ts";
import type { Freshness, GatewayContext, Routing } from "./gateway-context.ts";
import { GatewayMetrics } from "./gateway-metrics.ts";
import { DEFAULT_GATEWAY_SETTINGS, type GatewaySettings } from "./gateway-settings.ts";
import { openGeneralLane } from "./general/general-lane.ts";
import { BodyMemory } from "./http/body-memory.ts";
import { openHttp2Lane } from "./http2/http2-lane.ts";
import type { AccessLog } from "./log/access-log.ts";
import { ErrorLog } from "./log/error-log.ts";
import { Refusals } from "./log/refusals.ts";
import { TimerWheel } from "./timer-wheel.ts";
import type { TlsCertificates } from "./tls/tls-certificates.ts";
import { TlsFront } from "./tls/tls-front.ts";
import { UpstreamClient } from "./upstream/upstream-client.ts";
import { WriteScheduler } from "./write-scheduler.ts";

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

export interface TlsListenOptions {
  readonly listen: ListenAddress;
  readonly certificates: TlsCertificates;
  /** Server name assumed for clients that send none; without it their handshake fails. */
  readonly fallbackSni?: string | undefined;
}

export interface GatewayOptions {
  readonly routing: Routing;
  /** Default: never too old. */
  readonly freshness?: Freshness;
  /** Absent: no plain listener. */
  readonly listen?: ListenAddress | undefined;
  /** Hosts that are not served over it. */
  readonly plainGuard?: HostGuard | undefined;
  /** Absent: no TLS listener. */
  readonly tls?: TlsListenOptions | undefined;
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
  readonly refusals: Refusals;
  /** From now on every response asks its client to connect anew; new connections are still served. */
  beginDrain(): void;
  /**
   * Stops accepting, lets requests under way finish, closes what is left after `drainMs`.
   * Resolves when every connection is gone. Calling it again closes at once.
   * @param quietMs how long idle connections stay, so that their next answer can tell their clients; a client may be
   *   about to use one that is closed. Default 500 ms
   */
  close(drainMs: number, quietMs?: number): Promise<void>;
}

const QUIET_MS = 500;
/** Turns of the event loop, each of which accepts what has come. */
const ACCEPT_TURNS = 3;
const POLL_MS = 50;

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
  const client = new UpstreamClient(wheel, writes, limits);
  const errors = new ErrorLog(log, clock);
  const { accessLog } = options;
  const freshness = options.freshness ?? { isTooOld: false, isLoaded: true };
  const refusals = new Refusals();
  const parts = { refusals, routing, settings, metrics, clock, errors, accessLog, wheel, writes, client, freshness };
  const context = { ...parts, bodies: new BodyMemory(settings.bodiesBytes), draining: false };
  const known = new Connections(settings, options.plainGuard);
  const general = openGeneralLane(context, (socket) => known.of(socket));
  const fast = settings.fastLane ? openFastLane(context, (socket) => general.accept(socket)) : undefined;
  const http2 = openHttp2Lane(context, options.metrics);
  const serve: Serve = (socket, connection) => {
    if (fast) fast.accept(socket, connection);
    else general.accept(socket);
  };
  const closeIdle = (): void => {
    general.server.closeIdleConnections();
    fast?.closeIdle();
    http2.drain();
  };
  const plain = listen && new Front(context, known, serve, closeIdle);
  const fronts = plain ? [plain] : [];
  if (options.tls) {
    const secure = new TlsFront({
      ...{ context, certificates: options.tls.certificates, fallbackSni: options.tls.fallbackSni },
      metrics: options.metrics,
      http1: (socket, connection) => serve(socket, known.add(socket, connection)),
      http2: (socket, connection) => http2.accept(socket, connection),
    });
    fronts.push(new Front(context, known, (socket) => secure.accept(socket), closeIdle));
  }
  wheel.start();
  const opened = await listenAll(
    fronts,
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
    beginDrain,
    close: async (drainMs, quietMs = Math.min(QUIET_MS, drainMs / 4)) => {
      beginDrain();
      await Promise.all(fronts.map((front) => front.close(drainMs, quietMs)));
      await general.close();
      client.destroy();
      wheel.stop();
    },
  };
}

/** Takes a connection that was counted. */
type Serve = (socket: Socket, connection: ClientConnection) => void;

/** Facts of open connections, whichever lane asks. */
class Connections {
  readonly #settings: GatewaySettings;
  readonly #plainGuard: HostGuard | undefined;
  readonly #facts = new WeakMap<Socket, ClientConnection>();

  constructor(settings: GatewaySettings, plainGuard: HostGuard | undefined) {
    this.#settings = settings;
    this.#plainGuard = plainGuard;
  }

  of(socket: Socket): ClientConnection {
    const known = this.#facts.get(socket);
    if (known) return known;
    return this.add(
      socket,
      new ClientConnection(socket, "http", this.#settings, undefined, undefined, this.#plainGuard),
    );
  }

  add(socket: Socket, connection: ClientConnection): ClientConnection {
    this.#facts.set(socket, connection);
    // For good: between two lanes nobody listens, and Node's HTTP server stops listening when it gives a socket away.
    socket.on("error", ignore);
    return connection;
  }
}

/** A broken connection is destroyed by Node, and "close" says all there is to say. */
function ignore(): void {}

/** Opens all or none. */
async function listenAll(
  fronts: readonly Front[],
  addresses: readonly ListenAddress[],
): Promise<readonly ListenAddress[]> {
  const opened: ListenAddress[] = [];
  try {
    for (const [at, front] of fronts.entries()) opened.push(await front.listen(addresses[at] as ListenAddress));
  } catch (error) {
    await Promise.all(fronts.map((front) => front.close(0, 0)));
    throw error;
  }
  return opened;
}

class Front {
  readonly #context: GatewayContext;
  readonly #known: Connections;
  readonly #serve: Serve;
  readonly #closeIdle: () => void;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #perAddress = new Map<string, number>();
  #closing: Promise<void> | undefined;

  constructor(context: GatewayContext, known: Connections, serve: Serve, closeIdle: () => void) {
    this.#context = context;
    this.#known = known;
    this.#serve = serve;
    this.#closeIdle = closeIdle;
    this.#server = createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 },
      (socket) => this.#accept(socket),
    );
  }

  listen({ host, port }: ListenAddress): Promise<ListenAddress> {
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port, backlog: 1024 }, () => {
        this.#server.off("error", reject);
        this.#server.on("error", (error) => this.#context.errors.error("listener", {}, error.message));
        const address = this.#server.address();
        resolve(
          typeof address === "object" && address ? { host: address.address, port: address.port } : { host, port },
        );
      });
    });
  }

  close(drainMs: number, quietMs: number): Promise<void> {
    if (this.#closing !== undefined) {
      for (const socket of this.#sockets) socket.destroy();
      return this.#closing;
    }
    this.#closing = this.#drain(drainMs, quietMs);
    return this.#closing;
  }

  async #drain(drainMs: number, quiet: number): Promise<void> {
    const { clock } = this.#context;
    // Connections that the kernel has completed and nobody has accepted are reset with the listener: those come first.
    for (let turn = 0; turn < ACCEPT_TURNS; turn++) await new Promise((resolve) => void setImmediate(resolve));
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const startMs = clock.monotonicMs();
    const quietMs = Math.min(quiet, drainMs * 0.9);
    while (this.#sockets.size > 0 && clock.monotonicMs() - startMs < drainMs) {
      // A request may be on its way on an idle connection: it is given a moment, and its answer says close.
      if (clock.monotonicMs() - startMs >= quietMs) this.#closeQuiet();
      await sleep(clock, Math.min(POLL_MS, drainMs));
    }
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #closeQuiet(): void {
    this.#closeIdle();
    // Node does not count a connection as idle before its first request.
    for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy();
  }

  #accept(socket: Socket): void {
    const { metrics, settings } = this.#context;
    const connection = this.#known.of(socket);
    const address = connection.peerAddress;
    const counted = settings.connectionsPerAddress > 0 && connection.forwardedTrust !== "yes";
    const fromAddress = this.#perAddress.get(address) ?? 0;
    if (this.#sockets.size >= settings.connections || (counted && fromAddress >= settings.connectionsPerAddress)) {
      metrics.error(counted && fromAddress >= settings.connectionsPerAddress ? "address_connections" : "connections");
      socket.destroy();
      return;
    }
    this.#sockets.add(socket);
    if (counted) this.#perAddress.set(address, fromAddress + 1);
    metrics.connections.add(1);
    metrics.accepted++;
    socket.on("close", () => {
      this.#sockets.delete(socket);
      if (counted) this.#release(address);
      metrics.connections.add(-1);
    });
    this.#serve(socket, connection);
  }

  #release(address: string): void {
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left <= 0) this.#perAddress.delete(address);
    else this.#perAddress.set(address, left);
  }
}
