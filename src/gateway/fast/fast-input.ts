/**
 * What a client of the fast lane sends: heads of requests, and their bodies when somebody wants them.
 * Promise: bytes outside the grammar are kept as they came; bytes of a body are never taken for a request.
 */
import type { ClientConnection } from "../client-connection.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { type BodySource, IncomingBody } from "../http/request-body.ts";
import { type ReadRequest, readRequest } from "../http/request-head.ts";
import { isHopeless } from "./fast-head.ts";
import type { FastSocket } from "./fast-socket.ts";
import { HeadReader } from "./head-reader.ts";

/** Is told when a body is waited for, and when not. */
export interface InputOwner {
  /** A piece of the body is due, or has come and the next one is. */
  onReading(): void;
  /** No more of the body is due. */
  onReadingEnd(): void;
}

const AHEAD_BYTES = 65_536; // of pipelined requests: read so far ahead

const EMPTY = Buffer.alloc(0);

export class FastInput implements BodySource {
  readonly #owner: InputOwner;
  readonly #flow: FastSocket;
  readonly #connection: ClientConnection;
  readonly #context: GatewayContext;
  readonly #heads: HeadReader;
  /** Read and not yet used. */
  #bytes: Buffer = EMPTY;
  /** Of the request that runs. */
  body: IncomingBody | undefined;
  /** Bytes of the body still to come, those that are here included. */
  bodyLeft = 0;
  /** Whoever wants the body can take more. */
  isReading = false;

  constructor(owner: InputOwner, flow: FastSocket, connection: ClientConnection, context: GatewayContext) {
    this.#owner = owner;
    this.#flow = flow;
    this.#connection = connection;
    this.#context = context;
    this.#heads = new HeadReader(connection, context.settings, context.heads);
  }

  get isEmpty(): boolean {
    return this.#bytes.length === 0;
  }

  /** The client wants the connection closed after the request that was read last. */
  get isLast(): boolean {
    return this.#heads.scan.close;
  }

  add(chunk: Buffer): void {
    this.#bytes = this.isEmpty ? chunk : Buffer.concat([this.#bytes, chunk]);
  }

  /** The same while a request runs: its body, or what is pipelined behind it. */
  addWhileRunning(chunk: Buffer): void {
    this.add(chunk);
    if (this.bodyLeft > 0 && this.isReading) this.resume();
    else if (this.bodyLeft > 0 || this.#bytes.length > AHEAD_BYTES) this.#flow.pause();
  }

  /** Nothing more is read here. @returns what is left */
  end(): Buffer {
    this.#heads.forget();
    return this.take();
  }

  /** Gives away what is here. */
  take(): Buffer {
    const bytes = this.#bytes;
    this.#bytes = EMPTY;
    return bytes;
  }

  /** Reads the next head. @returns "foreign" for what the fast lane does not read; the bytes are still here then */
  readRequest(): ReadRequest | "incomplete" | "foreign" {
    const { bodies, clock, errors, settings } = this.#context;
    const bytes = this.#bytes;
    const heads = this.#heads;
    const end = heads.read(bytes);
    if (end < 0) {
      if (bytes.indexOf("\r\n\r\n", 0, "latin1") >= 0) return "foreign";
      const isForeign = bytes.length > settings.headBytes || isHopeless(bytes.toString("latin1"));
      return isForeign ? "foreign" : "incomplete";
    }
    const { method, received, scan, target: known } = heads;
    if (!known) return "foreign";
    const startedMs = clock.monotonicMs();
    const connection = this.#connection;
    const length = Math.max(0, scan.length);
    const body = new IncomingBody(length, length > 0 ? this : undefined, settings.bodyBytes, bodies);
    const { target } = known;
    const head = {
      method,
      target,
      httpVersion: "1.1",
      scan,
      connection,
      body,
      startedMs,
      read: known,
      received,
    } as const;
    const read = readRequest(head, settings, errors);
    if (!("view" in read)) return "foreign";
    read.view.receivedBytes = end;
    this.#bytes = end === bytes.length ? EMPTY : bytes.subarray(end);
    this.body = body;
    this.bodyLeft = length;
    this.isReading = false;
    return read;
  }

  start(): void {
    this.resume();
  }

  pause(): void {
    this.isReading = false;
    this.#owner.onReadingEnd();
    this.#flow.pause();
  }

  resume(): void {
    this.isReading = true;
    this.#owner.onReading();
    this.#feed();
  }

  /** Throws away what is here of a body that nobody wants. @returns whether that was all of it */
  skip(): boolean {
    const piece = Math.min(this.#bytes.length, this.bodyLeft);
    this.bodyLeft -= piece;
    this.#bytes = piece === this.#bytes.length ? EMPTY : this.#bytes.subarray(piece);
    return this.bodyLeft === 0;
  }

  /** Gives the body what is here. */
  #feed(): void {
    const body = this.body as IncomingBody; // true: the body asked
    const bytes = this.#bytes;
    if (bytes.length > 0 && this.bodyLeft > 0) {
      const piece = bytes.length > this.bodyLeft ? bytes.subarray(0, this.bodyLeft) : bytes;
      this.#bytes = piece.length === bytes.length ? EMPTY : bytes.subarray(piece.length);
      this.bodyLeft -= piece.length;
      if (this.bodyLeft === 0) this.#end();
      body.push(piece);
      if (this.bodyLeft === 0) body.finish();
    }
    if (this.bodyLeft > 0 && this.isReading) this.#flow.resume();
  }

  #end(): void {
    this.isReading = false;
    this.#owner.onReadingEnd();
    this.#flow.resume();
  }
}
