/**
 * What the gateway itself says to gRPC callers: a status of theirs in place of a page, HTTP 200, no message.
 * Promise: logs and metrics have the HTTP status that the answer stands for. Source: gRPC's PROTOCOL-HTTP2.md, "Responses".
 */
import type { RequestView } from "../plugin/request-view.ts";
import type { ResponseView } from "../plugin/response-view.ts";
import { DEADLINE_EXCEEDED, grpcMessage, grpcStatusOf, isGrpc } from "./http/grpc.ts";
import type { Reply } from "./reply.ts";

/** @returns whether the request was one of gRPC, and its caller has the answer */
export function answerGrpc(
  reply: Reply,
  view: RequestView,
  response: ResponseView,
  bytes: Buffer,
  hasDate: boolean,
): boolean {
  if (response.status < 400 || !isGrpc(view.header("content-type"))) return false;
  const { headers } = response;
  // That of gRPC-Web stays: its callers read status and message out of the head, too.
  if (headers.get("content-type")?.startsWith("application/grpc-web") !== true)
    headers.set("Content-Type", "application/grpc");
  headers.lines.push(...statusLines(response.status, view.reason, bytes.toString("utf8")));
  reply.head(200, headers.lines, 0, hasDate);
  return true;
}

/** The same for a response that has begun and cannot be completed. @returns whether its caller can be told */
export function failGrpc(reply: Reply, view: RequestView, status: number): boolean {
  if (view.head.httpVersion !== "2.0" || !isGrpc(view.header("content-type"))) return false;
  // Browsers read no trailers: for them only a stream that breaks off is told from a whole one.
  if (view.response?.headers.get("content-type")?.startsWith("application/grpc-web") === true) return false;
  return reply.trailers(statusLines(status, view.reason, view.reason.replaceAll("_", " ")));
}

/** Trailers, or the head of an answer without messages. @param text of the page, or for people */
export function statusLines(status: number, reason: string, text: string): string[] {
  const code = reason === "grpc_deadline" ? DEADLINE_EXCEEDED : grpcStatusOf(status);
  return ["grpc-status", String(code), "grpc-message", grpcMessage(messageIn(text))];
}

/** The message of a JSON page; another text as it stands. */
function messageIn(text: string): string {
  if (!text.startsWith("{")) return text.trim();
  try {
    const page: unknown = JSON.parse(text);
    if (typeof page !== "object" || page === null) return text;
    for (const [name, value] of Object.entries(page))
      if ((name === "message" || name === "error_msg") && typeof value === "string") return value;
  } catch {
    // A text after all.
  }
  return text.trim();
}
