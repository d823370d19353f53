/**
 * Puts our upstream client under @fastify/reply-from: reply-from asks its "undici" for a request, and gets one that
 * Forwarding makes, so both lanes share connections, retries, time-outs and header rules.
 * The head that reply-from would build is not used; the exchange travels with it under a symbol.
 * Pitfalls seen in reply-from 12.6: it retries 503 by itself unless told not to, and calls destroy() on the body of an
 * aborted request, whatever that body is.
 */
import type { FastifyReplyFromOptions } from "@fastify/reply-from";
import type { FastifyReply } from "fastify";
import type { GeneralReply } from "./general-reply.ts";

const CARRIED = Symbol("general reply");

interface Carrier {
  [CARRIED]?: GeneralReply;
}

/** What reply-from believes to be the body: it only ever destroys it. */
interface Body {
  destroy(): void;
}

type Callback = (error: Error | null, response?: { statusCode: number; headers: object; body: Body }) => void;

/** The value of reply-from's `undici` option: any object with `request` is taken for a client. */
export const transport = {
  request(options: { readonly headers: Carrier }, callback: Callback): void {
    const reply = options.headers[CARRIED];
    if (!reply?.pending) {
      callback(new Error("request did not come through the general lane"));
      return;
    }
    const body = { destroy: () => reply.exchange?.clientGone() };
    reply.onHead = () => {
      reply.onHead = undefined;
      callback(null, { statusCode: 200, headers: {}, body });
    };
    reply.pending.run();
  },
  destroy(): void {},
};

/** Marks which reply a Fastify request belongs to. */
export function carry(request: object, reply: GeneralReply): void {
  (request as Carrier)[CARRIED] = reply;
}

export function carried(request: object): GeneralReply | undefined {
  return (request as Carrier)[CARRIED];
}

type FromOptions = NonNullable<Parameters<FastifyReply["from"]>[1]>;

const FROM: FromOptions = {
  rewriteRequestHeaders: (request) => {
    const headers: Carrier = {};
    const reply = carried(request.raw);
    if (reply) headers[CARRIED] = reply;
    // True: reply-from copies own members, symbols too, and hands them to `transport`, which knows what they are.
    return headers as Record<string, string>;
  },
  retryDelay: () => null,
  // From here on the general reply writes to Node's response itself.
  onResponse: (_request, reply) => void (reply as unknown as FastifyReply).hijack(),
};

/** Sends a reply's pending request through reply-from. */
export function forwardThrough(reply: GeneralReply): void {
  reply.fastify?.from("/", FROM);
}

export const REPLY_FROM: FastifyReplyFromOptions = {
  base: "http://upstream.invalid",
  // True: reply-from takes any object with `request` (isRequestable in its lib/request.js, 12.6.5).
  undici: transport as unknown as NonNullable<FastifyReplyFromOptions["undici"]>,
  disableRequestLogging: true,
  cacheURLs: 1,
};
