/**
 * Reads answers of one connection, one after the other, as far as a load generator needs to: status and where they end.
 * Only Content-Length frames are read; anything else is an error, for a guess would be a wrong measurement.
 */
const HEAD_END = Buffer.from("\r\n\r\n");

export class AnswerReader {
  #held: Buffer = Buffer.alloc(0);
  /** Bytes of the body still to come; -1 while a head is read. */
  #left = -1;
  #status = 0;

  /**
   * @returns the status when these bytes complete the answer under way, else 0
   * @throws Error when the answer is not framed by Content-Length, or more bytes come than it has
   */
  read(bytes: Buffer): number {
    let rest = bytes;
    if (this.#left < 0) {
      const all = this.#held.length > 0 ? Buffer.concat([this.#held, bytes]) : bytes;
      const end = all.indexOf(HEAD_END);
      if (end < 0) {
        this.#held = all;
        return 0;
      }
      this.#readHead(all.toString("latin1", 0, end + 2));
      this.#held = Buffer.alloc(0);
      rest = all.subarray(end + 4);
    }
    this.#left -= rest.length;
    if (this.#left > 0) return 0;
    if (this.#left < 0) throw new Error("more bytes than the answer has");
    this.#left = -1;
    return this.#status;
  }

  #readHead(head: string): void {
    const status = /^HTTP\/1\.1 (\d{3})/.exec(head)?.[1];
    const length = /\r\ncontent-length: *(\d+)\r\n/i.exec(head)?.[1];
    if (status === undefined) throw new Error(`no answer: ${head}`);
    if (length === undefined && status !== "204") throw new Error(`an answer without Content-Length: ${head}`);
    this.#status = Number(status);
    this.#left = Number(length ?? 0);
  }
}
