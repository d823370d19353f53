/**
 * Reads the heads of one client connection, each only as far as it differs from the one before.
 * Promise: what is remembered follows from the bytes that are compared, and from what never changes while the connection
 * lasts (its peer, settings), and from nothing else: no route, credential, time or revocation. A list of lines is copied for
 * each request. What is off the grammar is not remembered.
 */
import { ReceivedLines } from "../../plugin/headers.ts";
import type { ClientConnection } from "../client-connection.ts";
import type { GatewaySettings } from "../gateway-settings.ts";
import { type HeadMemory, Recurrence, RememberedBytes } from "../http/remembered-bytes.ts";
import { type ReadTarget, readTarget } from "../http/request-head.ts";
import { HeaderScan } from "../http/request-headers.ts";
import { type RequestLine, readHeaderBlock, readRequestLine } from "./fast-head.ts";

/** What a request line says. */
interface KnownLine {
  readonly method: string;
  readonly target: ReadTarget | undefined;
}

/** What a header block says: its lines, what frames it, and whether the connection ends behind it. */
interface HeaderBlock {
  readonly received: ReceivedLines;
  readonly host: string | undefined;
  readonly length: number;
  readonly close: boolean;
}

export class HeadReader {
  /** Of the head that was read last. */
  readonly scan = new HeaderScan();
  method = "";
  /** undefined: a target that must be refused. */
  target: ReadTarget | undefined;
  /** The lines as they were before anybody changed them; undefined when they are not remembered. */
  received: ReceivedLines | undefined;
  readonly #connection: ClientConnection;
  readonly #settings: GatewaySettings;
  /** The whole head, whose header block begins at `#blockAt`. */
  readonly #head: RememberedBytes;
  #blockAt = 0;
  #block: HeaderBlock | undefined;
  /** undefined: the request line is not looked at. */
  #line: KnownLine | undefined;
  readonly #place: RequestLine = { method: "", targetAt: 0, targetEnd: 0 };
  readonly #blocks = new Recurrence();
  readonly #lines = new Recurrence();

  constructor(connection: ClientConnection, settings: GatewaySettings, memory: HeadMemory) {
    this.#connection = connection;
    this.#settings = settings;
    this.#head = new RememberedBytes(memory);
  }

  /** @returns where the head ends, its CRLF CRLF included; -1 when it is not complete, or not ours to read */
  read(bytes: Buffer): number {
    const head = this.#head;
    const { headBytes } = this.#settings;
    if (this.#line !== undefined && head.standsIn(bytes, 0)) {
      this.#lines.hit();
      this.#blocks.hit();
      this.method = this.#line.method;
      this.target = this.#line.target;
      this.#restore(this.#block as HeaderBlock); // true: bytes are remembered with what they say
      return head.length;
    }
    const blockAt = readRequestLine(bytes, this.#place);
    if (blockAt < 0) return -1;
    const { method, targetAt, targetEnd } = this.#place;
    this.method = method;
    this.target = readTarget(bytes.toString("latin1", targetAt, targetEnd), this.#settings);
    const block = this.#block;
    if (block !== undefined && head.standsIn(bytes, blockAt, this.#blockAt)) {
      const end = blockAt + head.length - this.#blockAt;
      if (end - 4 > headBytes) return -1;
      this.#blocks.hit();
      this.#restore(block);
      this.#line = undefined;
      if (this.#lines.miss()) this.#keep(bytes, blockAt, end, block, true);
      return end;
    }
    return this.#readBlock(bytes, blockAt);
  }

  /** Gives back what is held. */
  forget(): void {
    this.#head.forget();
    this.#block = undefined;
    this.#line = undefined;
  }

  #readBlock(bytes: Buffer, blockAt: number): number {
    const { headBytes, headerLines } = this.#settings;
    const { scan } = this;
    scan.begin(this.#connection);
    const end = readHeaderBlock(bytes, blockAt, headerLines, scan);
    if (end < 0 || end - 4 > headBytes || scan.finish() !== undefined) return -1;
    if (scan.chunked || scan.takesTrailers || scan.expect !== undefined || scan.upgrade !== undefined) return -1;
    this.received = undefined;
    if (this.#blocks.miss()) {
      const received = new ReceivedLines(scan.lines.slice());
      const block = { received, host: scan.host, length: scan.length, close: scan.close };
      if (this.#keep(bytes, blockAt, end, block, this.#lines.miss())) this.received = received;
    } else this.forget();
    return end;
  }

  #restore({ received, host, length, close }: HeaderBlock): void {
    this.scan.restore(received.lines.slice(), host, length, close);
    this.received = received;
  }

  #keep(bytes: Buffer, blockAt: number, end: number, block: HeaderBlock, withLine: boolean): boolean {
    const isKept = this.#head.keep(bytes, 0, end);
    this.#block = isKept ? block : undefined;
    this.#blockAt = blockAt;
    this.#line = isKept && withLine ? { method: this.method, target: this.target } : undefined;
    return isKept;
  }
}
