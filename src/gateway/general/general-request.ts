/**
 * Makes an exchange of what Node's parser has read, or says why the request is refused.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ClientConnection } from "../client-connection.ts";
import { Exchange } from "../exchange.ts";
import type { GatewayContext } from "../gateway-context.ts";
import type { OwnAnswer } from "../gateway-pages.ts";
import type { GatewaySettings } from "../gateway-settings.ts";
import { IncomingBody } from "../http/request-body.ts";
import { headFault, lineBytes, readRequest, refusal } from "../http/request-head.ts";
import { scanHeaders } from "../http/request-headers.ts";
import { GeneralReply } from "./general-reply.ts";

/** What the request expects before it sends its body. */
export type Expectation = "none" | "continue" | "unknown";

interface GeneralRequest {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly expectation: Expectation;
}

/** @returns the reply of an exchange that was not run yet, a refusal, or undefined when it was answered on the spot */
export function openGeneralExchange(
  context: GatewayContext,
  connection: ClientConnection,
  received: GeneralRequest,
): GeneralReply | OwnAnswer | undefined {
  const { request, response, expectation } = received;
  const { settings } = context;
  const startedMs = context.clock.monotonicMs();
  const refused = generalHeadFault(request, settings);
  if (refused) return refused;
  if (expectation === "unknown") return refusal("expectation");
  const scan = scanHeaders(request.rawHeaders, connection);
  if (typeof scan === "string") return refusal(scan);
  if (scan.chunked && request.httpVersion === "1.0") return refusal("transfer_encoding");
  const reply = new GeneralReply(request, response, context, expectation === "continue");
  const hasBody = scan.chunked || scan.length > 0;
  const announced = scan.chunked ? undefined : Math.max(0, scan.length);
  const body = new IncomingBody(announced, hasBody ? reply : undefined, settings.bodyBytes, context.bodies);
  const httpVersion = request.httpVersion === "1.0" ? "1.0" : "1.1";
  const { method = "", url: target = "" } = request;
  // About the server as a whole (RFC 9110 section 9.3.7): read as "/" for its Host, then answered here.
  const asterisk = target === "*";
  const read = readRequest(
    { method, target: asterisk ? "/" : target, httpVersion, scan, connection, body, startedMs },
    settings,
    context.errors,
  );
  if (!("view" in read)) return read;
  if (asterisk) {
    context.metrics.unmatched.count(200);
    response.writeHead(200, [...settings.ownHeaders, "Content-Length", "0"]);
    response.end();
    return undefined;
  }
  read.view.receivedBytes = method.length + target.length + 14 + lineBytes(request.rawHeaders);
  reply.attach(new Exchange(context, read.view, read.matchPath, body, reply), body);
  return reply;
}

/** What Node's parser accepts but a proxy must not: two readers could disagree about it. */
export function generalHeadFault(request: IncomingMessage, settings: GatewaySettings): OwnAnswer | undefined {
  const { method = "", url: target = "", rawHeaders } = request;
  if (request.httpVersionMajor !== 1 || request.httpVersionMinor > 1) return refusal("http_version");
  return headFault({ method, target, fields: rawHeaders.length / 2, bytes: lineBytes(rawHeaders) }, settings);
}
