/**
 * Brings the client's request to the upstream, on whichever connection a try has: its head, then its body as it comes.
 * Promise: a body of unknown length goes to an HTTP/2 upstream at once, and is kept so long as another try could want it.
 */
import type { CodedError } from "../base/errors.ts";
import { failureAnswer } from "./gateway-pages.ts";
import { isGrpc } from "./http/grpc.ts";
import type { Framing } from "./http/message.ts";
import type { BodySink } from "./http/request-body.ts";
import type { Life } from "./reply.ts";
import type { ResponseRelay } from "./response-relay.ts";
import { announcedLength } from "./retry-rules.ts";
import type { StreamLink, UpstreamLink } from "./upstream/upstream-call.ts";
import { upstreamFields } from "./upstream/upstream-fields.ts";
import { writeUpstreamHead } from "./upstream/upstream-head.ts";

/** Bodies up to this size go out in one piece with the head. */
const JOINED_BYTES = 8192;

export class RequestRelay implements BodySink {
  readonly #life: Life;
  readonly #response: ResponseRelay;
  #link: UpstreamLink | undefined;
  #streamed = false;
  #chunked = false;

  constructor(life: Life, response: ResponseRelay) {
    this.#life = life;
    this.#response = response;
  }

  /** Whether all that was sent is still here. */
  get isRepeatable(): boolean {
    return !this.#streamed || this.#life.body.isKept;
  }

  /** @throws what is wrong with a head that plugins have changed */
  send(link: UpstreamLink, host: string, upgrade: string | undefined): void {
    const { body, context, view } = this.#life;
    this.#link = link;
    const { bytes } = body;
    const length = this.#length(bytes);
    const head = writeUpstreamHead(view, host, length, upgrade, context.metrics.droppedHeaders);
    if (head === undefined) throw unsendable();
    if (!bytes) {
      this.#chunked = length === "unknown";
      link.write(head);
      this.#stream(0);
    } else {
      if (bytes.length === 0) link.write(head);
      else if (bytes.length <= JOINED_BYTES) link.write(head + bytes.toString("latin1"));
      else {
        link.cork();
        link.write(head);
        link.write(bytes);
        link.uncork();
      }
      link.finish();
    }
  }

  /** @throws the same */
  open(link: StreamLink, host: string, scheme: "http" | "https"): void {
    const { body, context, view } = this.#life;
    this.#link = link;
    const { bytes } = body;
    const length = this.#length(bytes);
    const isCall = isGrpc(view.header("content-type"));
    // gRPC's messages say their own length; a header that says it again would be metadata to its servers.
    const fields = upstreamFields(view, host, scheme, isCall ? "unknown" : length, context.metrics.droppedHeaders);
    if (!fields) throw unsendable();
    const isOpenEnded = length === "unknown" && isCall;
    link.open({ fields, body: bytes, isOpenEnded, hasTrailers: bytes === undefined && body.expectsTrailers });
    if (bytes) return;
    if (isOpenEnded) body.isUnhurried = true;
    this.#stream(context.settings.bufferedBodyBytes);
  }

  /** The upstream can take more. */
  resume(): void {
    if (this.#streamed) this.#life.body.resume();
  }

  onBody(chunk: Buffer): boolean {
    const link = this.#link;
    if (!link || chunk.length === 0) return true;
    if (!this.#chunked) return link.write(chunk);
    link.cork();
    link.write(`${chunk.length.toString(16)}\r\n`);
    link.write(chunk);
    const flowing = link.write("\r\n");
    link.uncork();
    return flowing;
  }

  onBodyEnd(): void {
    const link = this.#link;
    if (!link) return;
    if (this.#chunked) link.write("0\r\n\r\n");
    link.finish(this.#life.body.trailers);
  }

  onBodyTooLarge(error: CodedError): void {
    this.#life.reply.endAfterThis();
    this.#response.broken(failureAnswer(error));
  }

  /** There is nobody to send to. */
  stop(): void {
    this.#link = undefined;
    this.#life.body.holdOn();
  }

  #length(bytes: Buffer | undefined): Framing {
    const { body, view } = this.#life;
    return bytes ? announcedLength(bytes.length, view.method) : (body.length ?? "unknown");
  }

  #stream(keepBytes: number): void {
    this.#streamed = true;
    this.#life.body.stream(this, keepBytes);
  }
}

function unsendable(): TypeError {
  return new TypeError("a plugin set a method or host that cannot be sent");
}
