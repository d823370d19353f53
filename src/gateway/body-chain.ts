/**
 * One response body on its way through filters, transforms and a content coding to the client.
 * Promise: the client's slowness reaches the source through every stage; what fails before the head was sent is an error, after
 * it a connection that breaks off, never a shortened success; every stage is closed once.
 */
import type { BodyFlow, BodyOut } from "../plugin/body-stages.ts";
import { bytesOf } from "../plugin/request-view.ts";
import type { BodyFilter, ResponseView } from "../plugin/response-view.ts";
import { RESPONSE_TOO_LARGE } from "./gateway-pages.ts";
import type { Framing } from "./http/message.ts";
import type { Life } from "./reply.ts";

/** Where the body comes from. */
export interface BodyOrigin {
  /** More is wanted, after `write` of the chain gave false. */
  resume(): void;
}

export class BodyChain {
  readonly #life: Life;
  readonly #response: ResponseView;
  readonly #length: Framing;
  readonly #hasDate: boolean;
  readonly #origin: BodyOrigin | undefined;
  readonly #flows: BodyFlow[] = [];
  #headSent = false;
  #over = false;

  /** @param length of the body that comes */
  constructor(life: Life, response: ResponseView, length: Framing, hasDate: boolean, origin?: BodyOrigin) {
    this.#life = life;
    this.#response = response;
    this.#length = length;
    this.#hasDate = hasDate;
    this.#origin = origin;
  }

  /** Opens the stages; the head goes out unless a filter wants to see the whole body first. */
  open(): void {
    const { stages } = this.#response;
    let known = typeof this.#length === "number" ? this.#length : undefined;
    let waits = false;
    try {
      for (const [at, stage] of stages.entries()) {
        const out = new StageOut(this, at);
        const isFilter = "apply" in stage;
        this.#flows.push(isFilter ? new Collecting(stage, out, this) : stage.open(out, known));
        waits ||= isFilter;
        if (isFilter || !stage.keepsBody) known = undefined;
      }
    } catch (error) {
      this.fail(error);
    }
    if (!waits && !this.#over) this.#head();
  }

  /** @param piece the chain's own @returns false: no more before `origin.resume` */
  write(piece: Buffer): boolean {
    return this.put(0, piece);
  }

  /** The head goes on too, whatever the stages hold back. */
  flush(): void {
    this.flushAt(0);
    if (this.#headSent && !this.#over) this.#life.reply.flush();
  }

  end(): void {
    this.endAt(0);
  }

  /** The client can take more. */
  clientDrained(): void {
    this.readyBefore(this.#flows.length);
  }

  close(): void {
    if (this.#over) return;
    this.#over = true;
    for (const flow of this.#flows) {
      try {
        flow.close?.();
      } catch (error) {
        this.#life.noteCrash(error);
      }
    }
  }

  fail(error: unknown): void {
    if (this.#over) return;
    this.close();
    this.#life.crash(error, this.#response);
  }

  /** A filter takes no body of this size. @returns whether the body goes on without it */
  tooLarge(): boolean {
    if (this.#response.source === "gateway") return true;
    this.close();
    this.#life.answerSelf(RESPONSE_TOO_LARGE);
    return false;
  }

  put(at: number, piece: Buffer): boolean {
    if (this.#over || piece.length === 0) return true;
    const flow = this.#flows[at];
    try {
      if (flow) return flow.write(piece) !== false;
    } catch (error) {
      this.fail(error);
      return true;
    }
    this.#head();
    return this.#life.reply.data(piece, 0, piece.length, "kept");
  }

  flushAt(at: number): void {
    if (this.#over) return;
    const flow = this.#flows[at];
    if (!flow) {
      if (this.#headSent) this.#life.reply.flush();
      return;
    }
    try {
      if (flow.flush) flow.flush();
      else this.flushAt(at + 1);
    } catch (error) {
      this.fail(error);
    }
  }

  endAt(at: number): void {
    if (this.#over) return;
    const flow = this.#flows[at];
    try {
      if (flow) flow.end();
      else {
        this.#head();
        this.#life.close();
      }
    } catch (error) {
      this.fail(error);
    }
  }

  /** The stage at this place, or the client, takes more. */
  readyBefore(at: number): void {
    if (this.#over) return;
    const flow = this.#flows[at - 1];
    try {
      if (!flow) this.#origin?.resume();
      else if (flow.ready) flow.ready();
      else this.readyBefore(at - 1);
    } catch (error) {
      this.fail(error);
    }
  }

  #head(): void {
    if (this.#headSent) return;
    this.#headSent = true;
    const { headers, isChanged, replacement, status } = this.#response;
    const isMade = isChanged || replacement !== undefined;
    this.#life.reply.head(status, headers.lines, isMade ? "unknown" : this.#length, this.#hasDate);
  }
}

class StageOut implements BodyOut {
  readonly #chain: BodyChain;
  readonly #at: number;
  #ended = false;

  constructor(chain: BodyChain, at: number) {
    this.#chain = chain;
    this.#at = at;
  }

  write(piece: Buffer): boolean {
    return this.#ended || this.#chain.put(this.#at + 1, piece);
  }

  flush(): void {
    if (!this.#ended) this.#chain.flushAt(this.#at + 1);
  }

  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#chain.endAt(this.#at + 1);
  }

  ready(): void {
    this.#chain.readyBefore(this.#at);
  }

  fail(error: unknown): void {
    this.#chain.fail(error);
  }
}

/** Holds the body back for a filter. */
class Collecting implements BodyFlow {
  readonly #filter: BodyFilter;
  readonly #out: BodyOut;
  readonly #chain: BodyChain;
  #held: Buffer[] = [];
  #bytes = 0;
  #passes = false;

  constructor(filter: BodyFilter, out: BodyOut, chain: BodyChain) {
    this.#filter = filter;
    this.#out = out;
    this.#chain = chain;
  }

  write(piece: Buffer): boolean {
    if (this.#passes) return this.#out.write(piece);
    this.#held.push(piece);
    this.#bytes += piece.length;
    if (this.#bytes <= this.#filter.limitBytes || !this.#chain.tooLarge()) return true;
    this.#passes = true;
    return this.#out.write(this.#take());
  }

  flush(): void {
    if (this.#passes) this.#out.flush();
  }

  end(): void {
    if (!this.#passes) this.#out.write(bytesOf(this.#filter.apply(this.#take())));
    this.#out.end();
  }

  close(): void {
    this.#held = [];
  }

  #take(): Buffer {
    const [first = Buffer.alloc(0)] = this.#held;
    const whole = this.#held.length > 1 ? Buffer.concat(this.#held, this.#bytes) : first;
    this.#held = [];
    return whole;
  }
}
