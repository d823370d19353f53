/**
 * A listener: accepts connections, bounds their number, gives each to a lane, drains and closes.
 * Promise: `close` ends within its drain time; requests under way are finished, idle connections are let go.
 */
import { createServer, type Server, type Socket } from "node:net";
import { sleep } from "../base/clock.ts";
import { ClientConnection, type HostGuard } from "./client-connection.ts";
import type { GatewayContext } from "./gateway-context.ts";
import type { GatewaySettings } from "./gateway-settings.ts";
import { plugQueue } from "./listener-end.ts";

export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Turns of the event loop, each of which accepts what has come. */
const ACCEPT_TURNS = 3;
const POLL_MS = 50;
/** Who has just connected is about to ask. */
const UNUSED_MS = 2_000;

/** Takes a connection that was counted. */
export type HandOff = (socket: Socket, connection: ClientConnection) => void;

/** Facts of open connections, whichever lane asks. */
export class KnownConnections {
  readonly #settings: GatewaySettings;
  readonly #plainGuard: HostGuard | undefined;
  readonly #facts = new WeakMap<Socket, ClientConnection>();

  constructor(settings: GatewaySettings, plainGuard: HostGuard | undefined) {
    this.#settings = settings;
    this.#plainGuard = plainGuard;
  }

  factsOf(socket: Socket): ClientConnection {
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
export async function listenAll(
  listeners: readonly GatewayListener[],
  addresses: readonly ListenAddress[],
): Promise<readonly ListenAddress[]> {
  const opened: ListenAddress[] = [];
  try {
    for (const [at, listener] of listeners.entries())
      opened.push(await listener.listen(addresses[at] as ListenAddress));
  } catch (error) {
    await Promise.all(listeners.map((listener) => listener.close(0, 0)));
    throw error;
  }
  return opened;
}

export class GatewayListener {
  readonly #context: GatewayContext;
  readonly #known: KnownConnections;
  readonly #handOff: HandOff;
  readonly #closeIdle: (alsoUnused: boolean) => void;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #perAddress = new Map<string, number>();
  #closing: Promise<void> | undefined;
  #shutting: Promise<void> | undefined;
  /** Its last connection is gone, and it accepts no other. */
  readonly #ended: Promise<void>;
  #end: () => void = () => undefined;

  /** @param closeIdle ends connections on which nothing runs, and where it is told so those that have never been used */
  constructor(
    context: GatewayContext,
    known: KnownConnections,
    handOff: HandOff,
    closeIdle: (alsoUnused: boolean) => void,
  ) {
    this.#ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.#context = context;
    this.#known = known;
    this.#handOff = handOff;
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

  /**
   * Resolves when no connection is accepted any more; those that the kernel has completed are.
   * @param isLast no other process accepts on this address, so that these are not left to it
   */
  stopAccepting(isLast: boolean): Promise<void> {
    this.#shutting ??= this.#shut(isLast);
    return this.#shutting;
  }

  close(drainMs: number, quietMs: number): Promise<void> {
    if (this.#closing !== undefined) {
      for (const socket of this.#sockets) socket.destroy();
      return this.#closing;
    }
    this.#closing = this.#drain(drainMs, quietMs);
    return this.#closing;
  }

  async #shut(isLast: boolean): Promise<void> {
    for (let turn = 0; turn < ACCEPT_TURNS; turn++) await new Promise((resolve) => void setImmediate(resolve));
    if (isLast) await plugQueue(this.#server);
    this.#server.close(() => this.#end());
  }

  async #drain(drainMs: number, quiet: number): Promise<void> {
    const { clock } = this.#context;
    await this.stopAccepting(false);
    const startMs = clock.monotonicMs();
    const quietMs = Math.min(quiet, drainMs * 0.9);
    const unusedMs = Math.min(Math.max(quiet, UNUSED_MS), drainMs * 0.9);
    while (this.#sockets.size > 0 && clock.monotonicMs() - startMs < drainMs) {
      // A request may be on its way on an idle connection: it is given a moment, and its answer says close.
      const passedMs = clock.monotonicMs() - startMs;
      if (passedMs >= quietMs) this.#closeQuiet(passedMs >= unusedMs);
      await sleep(clock, Math.min(POLL_MS, drainMs));
    }
    for (const socket of this.#sockets) socket.destroy();
    await this.#ended;
  }

  #closeQuiet(alsoUnused: boolean): void {
    this.#closeIdle(alsoUnused);
    if (!alsoUnused) return;
    // Node does not count a connection as idle before its first request.
    for (const socket of this.#sockets) if (socket.bytesRead === 0) socket.destroy();
  }

  #accept(socket: Socket): void {
    const { metrics, settings } = this.#context;
    const connection = this.#known.factsOf(socket);
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
    this.#handOff(socket, connection);
  }

  #release(address: string): void {
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left <= 0) this.#perAddress.delete(address);
    else this.#perAddress.set(address, left);
  }
}
