/**
 * A client's socket while the fast lane holds it: its events, its flow, and how it is let go untouched.
 */
import type { Socket } from "node:net";

export interface SocketOwner {
  onBytes(chunk: Buffer): void;
  /** The client closed its side. */
  onEnded(): void;
  onDrained(): void;
  onGone(): void;
}

export class FastSocket {
  readonly raw: Socket;
  #paused = false;
  readonly #onData: (chunk: Buffer) => void;
  readonly #onEnd: () => void;
  readonly #onDrain: () => void;
  readonly #onClose: () => void;
  readonly #onError: () => void;

  constructor(raw: Socket, owner: SocketOwner) {
    this.raw = raw;
    this.#onData = (chunk) => owner.onBytes(chunk);
    this.#onEnd = () => owner.onEnded();
    this.#onDrain = () => owner.onDrained();
    this.#onClose = () => owner.onGone();
    this.#onError = () => void raw.destroy();
    raw.on("data", this.#onData);
    raw.on("end", this.#onEnd);
    raw.on("drain", this.#onDrain);
    raw.on("close", this.#onClose);
    raw.on("error", this.#onError);
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.raw.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.raw.resume();
  }

  /** Takes the listeners away and puts the bytes back in front of what was not read yet. */
  release(unread: Buffer): void {
    const { raw } = this;
    raw.off("data", this.#onData);
    raw.off("end", this.#onEnd);
    raw.off("drain", this.#onDrain);
    raw.off("close", this.#onClose);
    raw.off("error", this.#onError);
    if (this.#paused) raw.resume();
    if (unread.length > 0) raw.unshift(unread);
  }
}
