/**
 * Writes responses to a client socket: head and small bodies leave as one text, large bodies as they come.
 * Promise: bytes handed in for one call only are copied; nothing follows a response that has ended.
 */
import type { Socket } from "node:net";
import type { FinishedAnswer } from "../finished-answers.ts";
import { type Framing, type Lifetime, ownPiece } from "../http/message.ts";
import type { SentHead } from "../http/response-head.ts";
import { type DateLine, flatText, responseHeadText } from "../http/response-text.ts";

/** Up to this size bytes are joined to the text that waits; Node writes such a text without allocating. */
const JOINED_BYTES = 16_000;

export class FastWriter {
  /** Bytes of the present response, head included. */
  sentBytes = 0;
  headSent = false;
  readonly #socket: Socket;
  readonly #date: DateLine;
  #text = "";
  #chunked = false;
  #bodiless = false;

  constructor(socket: Socket, date: DateLine) {
    this.#socket = socket;
    this.#date = date;
  }

  /** Makes ready for the next response. */
  reset(): void {
    this.sentBytes = 0;
    this.headSent = false;
  }

  /** @param sent keeps the text of a head that comes again */
  head(
    status: number,
    lines: readonly string[],
    framing: Framing,
    hasDate: boolean,
    close: boolean,
    sent?: SentHead,
  ): void {
    this.headSent = true;
    this.#chunked = framing === "unknown";
    this.#bodiless = framing === "none";
    const dateLine = hasDate ? "" : this.#date.line;
    const keeps = sent !== undefined && !close;
    let text = keeps && sent.dateLine === dateLine ? sent.text : "";
    if (text === "") {
      text = responseHeadText(status, lines, framing, dateLine, close ? "close" : "keep-alive");
      if (keeps) {
        text = flatText(text);
        sent.text = text;
        sent.dateLine = dateLine;
      }
    }
    this.sentBytes += text.length;
    this.#text += text;
  }

  finished(answer: FinishedAnswer, close: boolean): void {
    this.headSent = true;
    this.#chunked = false;
    const text = answer.text(answer.hasDate ? "" : this.#date.line, close ? "close" : "keep-alive");
    this.sentBytes += text.length;
    this.#text += text;
  }

  /** Sends chunk[start, end). @returns false when the client is slow */
  data(chunk: Buffer, start: number, end: number, lifetime: Lifetime): boolean {
    if (this.#bodiless) return true;
    const length = end - start;
    this.sentBytes += length;
    const joins = length + this.#text.length <= JOINED_BYTES;
    if (this.#chunked) this.#text += `${length.toString(16)}\r\n`;
    if (joins) {
      this.#text += chunk.toString("latin1", start, end);
      if (this.#chunked) this.#text += "\r\n";
      return !this.#socket.writableNeedDrain;
    }
    const socket = this.#socket;
    socket.cork();
    this.flush();
    const flowing = socket.write(ownPiece(chunk, start, end, lifetime));
    if (this.#chunked) this.#text = "\r\n";
    socket.uncork();
    return flowing;
  }

  /** The end of the present response; leaves with the next flush. */
  end(): void {
    if (this.#chunked && !this.#bodiless) this.#text += "0\r\n\r\n";
  }

  /** A text that is no part of a response with a head of its own. */
  raw(text: string): void {
    this.sentBytes += text.length;
    this.#text += text;
  }

  get holds(): boolean {
    return this.#text !== "";
  }

  /** Nobody is there to write to. */
  forget(): void {
    this.#text = "";
  }

  /** Writes what waits. @returns false when the client is slow */
  flush(): boolean {
    const text = this.#text;
    if (text === "") return true;
    this.#text = "";
    return this.#socket.write(text, "latin1");
  }
}
