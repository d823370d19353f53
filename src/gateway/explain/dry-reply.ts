/**
 * The client's side of an exchange that has no client: keeps what would have been sent, up to a bound.
 */
import type { Reply } from "../reply.ts";

const BODY_MAX = 4_096;

interface DryAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The beginning, where it is longer than 4 KiB. */
  readonly body: string;
}

export class DryReply implements Reply {
  headSent = false;
  readonly statusMax = 999;
  readonly sentBytes = 0;
  #status = 0;
  #lines: readonly string[] = [];
  #body = "";

  answer(): DryAnswer | undefined {
    if (!this.headSent) return undefined;
    const headers: Record<string, string> = {};
    for (let at = 0; at < this.#lines.length; at += 2) {
      const name = (this.#lines[at] ?? "").toLowerCase();
      const value = this.#lines[at + 1] ?? "";
      headers[name] = Object.hasOwn(headers, name) ? `${headers[name]}, ${value}` : value;
    }
    return { status: this.#status, headers, body: this.#body };
  }

  head(status: number, lines: string[]): void {
    this.headSent = true;
    this.#status = status;
    this.#lines = lines;
  }

  data(chunk: Buffer): boolean {
    if (this.#body.length < BODY_MAX) this.#body += chunk.toString("utf8", 0, BODY_MAX);
    return true;
  }

  end(): void {}
  release(): void {}
  flush(): void {}
  destroy(): void {}
  interim(): void {}
  endAfterThis(): void {}
  tunnel(): void {}
  resumeTunnel(): void {}
}
