/**
 * Refuses, before Fastify, what Node's parser accepts but a proxy must not: two readers could disagree about it.
 * Host, framing and repeated headers are looked at by scanHeaders and readRequest, which both lanes share.
 * Source: RFC 9112 sections 2.2, 3.2 and 6.1; limits are settings.
 */
import type { IncomingMessage } from "node:http";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { GatewaySettings } from "../gateway-settings.ts";
import { refusal } from "../http/request-head.ts";

export function refusedBeforeFastify(request: IncomingMessage, settings: GatewaySettings): Answer | undefined {
  const target = request.url ?? "";
  const lines = request.rawHeaders;
  if (target.length > settings.targetBytes) return refusal(414, "target_too_long");
  if (lines.length > settings.headerLines * 2) return refusal(431, "too_many_header_lines");
  if (headerBytes(lines) > settings.headBytes) return refusal(431, "head_too_large");
  if (request.httpVersionMajor !== 1 || request.httpVersionMinor > 1) return refusal(400, "http_version");
  if (request.method === "TRACE" || request.method === "CONNECT") return refusal(405, "method");
  if (target === "*" && request.method !== "OPTIONS") return refusal(400, "request_target");
  return undefined;
}

function headerBytes(lines: readonly string[]): number {
  let bytes = 0;
  for (const text of lines) bytes += text.length + 2;
  return bytes;
}
