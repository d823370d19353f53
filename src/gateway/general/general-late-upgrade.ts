/**
 * A protocol upgrade that was pipelined behind requests whose answers are not out yet: it waits for its turn.
 * Promise: the answers before it leave in order; bytes that follow it are kept for it, up to a bound.
 * Node takes its own listeners off a socket that upgrades, so what the answers need of it is done here.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";

/** A client waits for the answer to its handshake before it says more. */
const EARLY_BYTES = 65_536;

export class LateUpgrade {
  readonly request: IncomingMessage;
  readonly #socket: Socket;
  readonly #early: Buffer[];
  readonly #onData: (chunk: Buffer) => void;
  readonly #onEnd: () => void;
  readonly #onDrain: () => void;
  readonly #onError: () => void;
  #bytes: number;

  /** @param sending the response that is on its way at the moment it is asked for */
  constructor(request: IncomingMessage, socket: Socket, head: Buffer, sending: () => ServerResponse | undefined) {
    this.request = request;
    this.#socket = socket;
    this.#early = [head];
    this.#bytes = head.length;
    this.#onData = (chunk) => this.#keep(chunk);
    // As everywhere: a client that closes its side while it waits has gone.
    this.#onEnd = () => void socket.destroy();
    this.#onDrain = () => void sending()?.emit("drain");
    this.#onError = () => void socket.destroy();
    socket.on("data", this.#onData);
    socket.on("end", this.#onEnd);
    socket.on("drain", this.#onDrain);
    socket.on("error", this.#onError);
  }

  /** Its turn has come; the socket is paused. @returns what followed its head; undefined when the client has left */
  release(): Buffer | undefined {
    const socket = this.#socket;
    socket.pause();
    socket.off("data", this.#onData);
    socket.off("end", this.#onEnd);
    socket.off("drain", this.#onDrain);
    if (socket.destroyed) return undefined;
    socket.off("error", this.#onError);
    return Buffer.concat(this.#early);
  }

  #keep(chunk: Buffer): void {
    this.#early.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes > EARLY_BYTES) this.#socket.destroy();
  }
}
