/**
 * Brings the upstream's response to the client: as it comes, replaced, or through the stages that plugins gave it.
 * Promise: a response that broke off is never given a well-formed end; after a 101 bytes flow both ways untouched.
 */
import { HeaderList } from "../plugin/headers.ts";
import { ResponseView } from "../plugin/response-view.ts";
import type { BodyChain, BodyOrigin } from "./body-chain.ts";
import type { OwnAnswer } from "./gateway-pages.ts";
import { type Lifetime, ownPiece } from "./http/message.ts";
import { type ResponseHead, SentHead } from "./http/response-head.ts";
import { hasHeaderFilters, isBodiless, type Life, type TunnelSink } from "./reply.ts";
import type { ResponseSink, UpstreamLink } from "./upstream/upstream-call.ts";

/** A replaced body up to this size is read to its end, so that the connection can be used again. */
const DROPPED_BYTES = 65_536;

const STREAM = 0;
const DROP = 1;
const CHAIN = 2;
const TUNNEL = 3;

export class ResponseRelay implements ResponseSink, TunnelSink, BodyOrigin {
  readonly #life: Life;
  readonly #upstreamMethod: string;
  /** Whence the response comes. */
  #link: UpstreamLink | undefined;
  #mode = STREAM;
  #response: ResponseView | undefined;
  #hasDate = false;
  /** What the body passes through. */
  #chain: BodyChain | undefined;
  /** Of a body that is replaced. */
  #bytes = 0;

  /** @param upstreamMethod of the request that is sent */
  constructor(life: Life, upstreamMethod: string) {
    this.#life = life;
    this.#upstreamMethod = upstreamMethod;
  }

  /** A final head came: no other try may follow. */
  get hasBegun(): boolean {
    return this.#response !== undefined;
  }

  get isTunnel(): boolean {
    return this.#mode === TUNNEL;
  }

  onInterim(head: ResponseHead): void {
    try {
      this.#life.reply.interim(head.status, head.lines);
    } catch (error) {
      this.#life.noteCrash(error); // a hint may be lost, the response not
    }
  }

  onHead(head: ResponseHead, link: UpstreamLink): void {
    const life = this.#life;
    const { body, context, reply, view } = life;
    this.#link = link;
    body.letGo();
    view.upstream.headMs = context.clock.monotonicMs();
    view.upstream.statuses.push(head.status);
    // An early reply: the rest of the body goes nowhere, so the client's connection must not be used again.
    if (!body.complete && head.status !== 101) reply.endAfterThis();
    try {
      this.#begin(head);
    } catch (error) {
      life.crash(error);
    }
  }

  onData(chunk: Buffer, start: number, end: number, lifetime: Lifetime): void {
    switch (this.#mode) {
      case STREAM:
      case TUNNEL:
        if (!this.#life.reply.data(chunk, start, end, lifetime)) this.#link?.pause();
        return;
      case CHAIN:
        if (this.#chain?.write(ownPiece(chunk, start, end, lifetime)) === false) this.#link?.pause();
        return;
      default:
        this.#bytes += end - start;
        if (this.#bytes > DROPPED_BYTES) this.#finish();
    }
  }

  onEnd(trailers: readonly string[]): void {
    try {
      if (trailers.length > 0 && this.#response && !this.#response.replacement) {
        this.#response.trailers = trailers;
        this.#life.reply.trailers(trailers);
      }
      this.#finish();
    } catch (error) {
      this.#life.crash(error);
    }
  }

  onFlush(): void {
    if (this.#chain) this.#chain.flush();
    else this.#life.reply.flush();
  }

  /** More of the response is wanted; where it is here wholly, its connection is another's. */
  resume(): void {
    this.#link?.resume();
  }

  /** The upstream broke off. @param answer what to say while nothing was said yet */
  broken(answer: OwnAnswer): void {
    const life = this.#life;
    if (this.#mode === TUNNEL) life.close();
    else if (life.reply.headSent) life.breakOff(answer.reason);
    else life.answerSelf(answer);
  }

  onTunnelData(chunk: Buffer): boolean {
    return this.#link?.write(chunk) ?? true;
  }

  onTunnelEnd(): void {
    this.#link?.endTunnel(this.#life.view.head.upgrade === "websocket");
  }

  #begin(head: ResponseHead): void {
    const life = this.#life;
    const { context, view } = life;
    // Nothing but the head itself and settings says what the client gets.
    const isPlain = head.status < 500 && !context.settings.showUpstreamStatus && !hasHeaderFilters(life);
    const sent = isPlain ? head.sent : undefined;
    const headers = new HeaderList((sent ?? head).lines.slice());
    const response = new ResponseView(head.status, headers, "upstream", head.lines);
    this.#response = response;
    this.#hasDate = head.hasDate;
    if (head.status === 101) {
      this.#mode = TUNNEL;
      life.filterHead(response, undefined);
      life.reply.tunnel(response.headers.lines, head.upgrade ?? "", this);
      return;
    }
    if (sent) view.response = response;
    else {
      // Filters may want to see it; the lane makes it anew.
      if (head.length >= 0 && hasHeaderFilters(life)) response.headers.append("Content-Length", String(head.length));
      life.filterHead(response, head.length >= 0 ? head.length : undefined);
      if (isPlain && head.recurs) head.sent = new SentHead(response.headers.lines.slice());
    }
    const bodiless = this.#upstreamMethod === "HEAD" || head.ends || head.status === 204 || head.status === 304;
    if (response.replacement) this.#mode = DROP;
    else if (response.stages.length > 0 && !bodiless && !isBodiless(view.head.method, response.status)) {
      this.#mode = CHAIN;
      this.#chain = life.openChain(response, head.length >= 0 ? head.length : "unknown", this.#hasDate, this);
    } else this.#startStream(response, head, bodiless, isPlain ? head.sent : undefined);
  }

  #startStream(response: ResponseView, head: ResponseHead, bodiless: boolean, sent: SentHead | undefined): void {
    const { reply, view } = this.#life;
    const { lines } = response.headers;
    if (isBodiless(view.head.method, response.status)) {
      // A 204 has no length; a HEAD or 304 shows the one a GET would have (RFC 9110 section 8.6), which filters change.
      if (head.length >= 0 && response.status !== 204 && !response.isChanged)
        lines.push("Content-Length", String(head.length));
      if (!bodiless) this.#mode = DROP;
      reply.head(response.status, lines, "none", this.#hasDate);
    } else if (bodiless) reply.head(response.status, lines, 0, this.#hasDate);
    else reply.head(response.status, lines, head.length >= 0 ? head.length : "unknown", this.#hasDate, sent);
  }

  /** Ends the life of the request, with the response that is here by now. */
  #finish(): void {
    const life = this.#life;
    const response = this.#response;
    if (life.over || !response) return;
    if (this.#chain) {
      this.#link = undefined;
      this.#chain.end();
    } else if (response.replacement) {
      life.sendWhole(response, response.replacement, this.#hasDate);
    } else life.close();
  }
}
