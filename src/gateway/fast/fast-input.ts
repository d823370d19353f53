/**
 * What a client of the fast lane sends: heads of requests, and their bodies when somebody wants them.
 * Promise: bytes outside the grammar are kept as they came; bytes of a body are never taken for a request.
 */
import type { ClientConnection } from "../client-connection.ts";
import type { GatewayContext } from "../gateway-context.ts";
import { type BodySource, IncomingBody } from "../http/request-body.ts";
import { type ReadRequest, readRequest } from "../http/request-head.ts";
import { HeaderScan } from "../http/request-headers.ts";
import { isHopeless, methodOf, readFastHead, targetOf } from "./fast-head.ts";
import type { FastSocket } from "./fast-socket.ts";

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
  readonly #scan = new HeaderScan();
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
  }

  get isEmpty(): boolean {
    return this.#bytes.length === 0;
  }

  /** The client wants the connection closed after the request that was read last. */
  get isLast(): boolean {
    return this.#scan.close;
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

  /** Gives away what is here. */
  take(): Buffer {
    const bytes = this.#bytes;
    this.#bytes = EMPTY;
    return bytes;
  }

  /** Reads the next head. @returns "foreign" for what the fast lane does not read; the bytes are still here then */
  readRequest(): ReadRequest | "incomplete" | "foreign" {
    const { bodies, clock, settings } = this.#context;
    const bytes = this.#bytes;
    const end = bytes.indexOf("\r\n\r\n", 0, "latin1");
    if (end < 0) {
      const isForeign = bytes.length > settings.headBytes || isHopeless(bytes.toString("latin1"));
      return isForeign ? "foreign" : "incomplete";
    }
    const startedMs = clock.monotonicMs();
    const connection = this.#connection;
    const scan = this.#scan;
    scan.begin(connection);
    const text = bytes.toString("latin1", 0, end);
    const first = end > settings.headBytes ? -1 : readFastHead(text, settings.headerLines, scan);
    const fault = first < 0 || scan.finish() !== undefined;
    if (fault || scan.chunked || scan.expect !== undefined || scan.upgrade !== undefined) return "foreign";
    const length = Math.max(0, scan.length);
    const body = new IncomingBody(length, length > 0 ? this : undefined, settings.bodyBytes, bodies);
    const method = methodOf(text);
    const target = targetOf(text, first);
    const read = readRequest({ method, target, httpVersion: "1.1", scan, connection, body, startedMs }, settings);
    if (!("view" in read)) return "foreign";
    read.view.receivedBytes = end + 4;
    this.#bytes = end + 4 === bytes.length ? EMPTY : bytes.subarray(end + 4);
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
