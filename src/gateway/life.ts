/**
 * The life of a request, as those who bring it upstream and its response back see it.
 */
import type { RequestView } from "../plugin/request-view.ts";
import type { ResponseView } from "../plugin/response-view.ts";
import type { Pipeline, RouteUnit } from "../runtime/routes/compiled-route.ts";
import type { GatewayContext } from "./gateway-context.ts";
import type { OwnAnswer } from "./gateway-pages.ts";
import type { OwnReason } from "./gateway-reasons.ts";
import type { IncomingBody } from "./http/request-body.ts";
import type { Reply } from "./reply.ts";

export interface Life {
  readonly context: GatewayContext;
  readonly view: RequestView;
  readonly body: IncomingBody;
  readonly reply: Reply;
  readonly route: RouteUnit | undefined;
  readonly global: Pipeline;
  /** The route's, merged with the consumer's; empty where no route matched. */
  readonly pipeline: Pipeline;
  /** True once the log phase ran. */
  readonly over: boolean;
  /** Adds what every response carries and runs the header filters. Throws what they throw: default closed. */
  filterHead(response: ResponseView): void;
  /** Sends head and body in one go, and ends it. */
  sendWhole(response: ResponseView, bytes: Buffer, hasDate: boolean): void;
  /** Ends it with an error that the gateway answers. */
  answerSelf(answer: OwnAnswer): void;
  /** The response is complete. */
  close(): void;
  /** The response cannot be completed. */
  breakOff(reason: OwnReason): void;
  /** A phase or this program threw. */
  crash(error: unknown): void;
}

export function hasHeaderFilters({ global, pipeline }: Life): boolean {
  return global.headerFilter.length > 0 || pipeline.headerFilter.length > 0;
}
