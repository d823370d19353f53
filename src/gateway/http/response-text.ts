/**
 * Response heads as text, for lanes that write to sockets themselves. The date is made once per second.
 */
import { STATUS_CODES } from "node:http";
import type { Clock } from "../../base/clock.ts";
import type { Framing } from "./message.ts";

const statusLines = new Array<string | undefined>(1000).fill(undefined);

/** "HTTP/1.1 200 OK\r\n"; a status without a known phrase has an empty one (RFC 9112 section 4). */
function statusLine(status: number): string {
  let line = statusLines[status];
  if (line === undefined) {
    line = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
    statusLines[status] = line;
  }
  return line;
}

/** The Date line, made anew when the second changed. */
export class DateLine {
  readonly #clock: Clock;
  #untilMs = 0;
  #fromMs = 0;
  #line = "";

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get line(): string {
    const nowMs = this.#clock.nowMs();
    if (nowMs >= this.#untilMs || nowMs < this.#fromMs) {
      this.#fromMs = nowMs - (nowMs % 1000);
      this.#untilMs = this.#fromMs + 1000;
      this.#line = `Date: ${new Date(nowMs).toUTCString()}\r\n`;
    }
    return this.#line;
  }
}

/**
 * A whole response head.
 * @param framing    body length, "unknown" (chunked) or "none"
 * @param dateLine   "" when the lines have a date
 * @param connection "keep-alive" or "close"
 */
export function responseHeadText(
  status: number,
  lines: readonly string[],
  framing: Framing,
  dateLine: string,
  connection: "keep-alive" | "close",
): string {
  let text = statusLine(status) + dateLine;
  for (let i = 0; i < lines.length; i += 2) text += `${lines[i]}: ${lines[i + 1]}\r\n`;
  if (typeof framing === "number") text += `Content-Length: ${framing}\r\n`;
  else if (framing === "unknown") text += "Transfer-Encoding: chunked\r\n";
  return `${text}Connection: ${connection}\r\n\r\n`;
}

/**
 * The same text in one piece. One that was put together stays a tree of its parts, which is walked whenever it is written.
 * @param text latin1
 */
export function flatText(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}

/** A status line and header lines, without what ends the head. */
export function headLines(status: number, lines: readonly string[]): string {
  let text = statusLine(status);
  for (let i = 0; i < lines.length; i += 2) text += `${lines[i]}: ${lines[i + 1]}\r\n`;
  return text;
}
