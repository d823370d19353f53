/**
 * Opens the gateway's listener: accepts connections, bounds their number, gives each to a lane, drains and closes.
 * Promise: `close` ends within its drain time; requests under way are finished, idle connections are let go.
 */
import { createServer, type Server, type Socket } from "node:net";
import { type Clock, sleep } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import { ClientConnection } from "./client-connection.ts";
import { ErrorLog } from "./error-log.ts";
import { type FastLane, openFastLane } from "./fast-lane.ts";
import type { GatewayContext, Routing } from "./gateway-context.ts";
import { GatewayMetrics } from "./gateway-metrics.ts";
import { DEFAULT_GATEWAY_SETTINGS, type GatewaySettings } from "./gateway-settings.ts";
import { type GeneralLane, openGeneralLane } from "./general-lane.ts";
import { TimerWheel } from "./timer-wheel.ts";
import { UpstreamClient } from "./upstream-client.ts";

export interface GatewayOptions {
  readonly routing: Routing;
  readonly listen: { readonly host: string; readonly port: number };
  /** What differs from the defaults. */
  readonly settings?: Partial<GatewaySettings>;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly log: Log;
}

export interface GatewayServer {
  readonly address: { readonly host: string; readonly port: number };
  readonly metrics: GatewayMetrics;
  /** From now on every response asks its client to connect anew; new connections are still served. */
  beginDrain(): void;
  /**
   * Stops accepting, lets requests under way finish, closes what is left after `drainMs`.
   * Resolves when every connection is gone. Calling it again closes at once.
   */
  close(drainMs: number): Promise<void>;
}

/** A connection that has been quiet for so long while draining is closed. */
const QUIET_MS = 500;
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
  const client = new UpstreamClient(wheel, limits);
  const errors = new ErrorLog(log, clock);
  const context = { routing, settings, metrics, clock, errors, wheel, client, draining: false };
  const front = new Front(context);
  const lane = await openGeneralLane(context, (socket) => front.connectionOf(socket));
  front.general = lane;
  if (settings.fastLane) front.fast = openFastLane(context, (socket) => lane.accept(socket));
  wheel.start();
  const address = await front.listen(listen.host, listen.port);
  options.metrics.gaugeOf("jotgate_upstream_connections", "Connections to upstreams, by state.", ["state"], () => [
    { labels: ["idle"], value: client.idle },
    { labels: ["active"], value: client.open - client.idle },
  ]);
  return {
    address,
    metrics,
    beginDrain: () => {
      context.draining = true;
    },
    close: async (drainMs) => {
      context.draining = true;
      await front.close(drainMs);
      await lane.close();
      client.destroy();
      wheel.stop();
    },
  };
}

class Front {
  general: GeneralLane | undefined;
  /** undefined: everything goes through the general lane. */
  fast: FastLane | undefined;
  readonly #context: GatewayContext;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #facts = new WeakMap<Socket, ClientConnection>();
  readonly #perAddress = new Map<string, number>();
  #closing: Promise<void> | undefined;

  constructor(context: GatewayContext) {
    this.#context = context;
    this.#server = createServer(
      { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000 },
      (socket) => this.#accept(socket),
    );
  }

  connectionOf(socket: Socket): ClientConnection {
    const known = this.#facts.get(socket);
    if (known) return known;
    const made = new ClientConnection(socket, "http", this.#context.settings, undefined);
    this.#facts.set(socket, made);
    return made;
  }

  listen(host: string, port: number): Promise<{ host: string; port: number }> {
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

  close(drainMs: number): Promise<void> {
    if (this.#closing !== undefined) {
      for (const socket of this.#sockets) socket.destroy();
      return this.#closing;
    }
    this.#closing = this.#drain(drainMs);
    return this.#closing;
  }

  async #drain(drainMs: number): Promise<void> {
    const { clock } = this.#context;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const startMs = clock.monotonicMs();
    const quietMs = Math.min(QUIET_MS, drainMs / 4);
    while (this.#sockets.size > 0 && clock.monotonicMs() - startMs < drainMs) {
      // A request may be on its way on an idle connection: it is given a moment, and its answer says close.
      if (clock.monotonicMs() - startMs >= quietMs) this.#closeIdle();
      await sleep(clock, Math.min(POLL_MS, drainMs));
    }
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #closeIdle(): void {
    this.general?.server.closeIdleConnections();
    this.fast?.closeIdle();
    // Node does not count a connection as idle before its first request.
    for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy();
  }

  #accept(socket: Socket): void {
    const { metrics, settings } = this.#context;
    const connection = this.connectionOf(socket);
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
    socket.on("close", () => {
      this.#sockets.delete(socket);
      if (counted) this.#release(address);
      metrics.connections.add(-1);
    });
    if (this.fast) this.fast.accept(socket, connection);
    else this.general?.accept(socket);
  }

  #release(address: string): void {
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left <= 0) this.#perAddress.delete(address);
    else this.#perAddress.set(address, left);
  }
}
