/**
 * What a request head may be before anything reads it: the same limits and refusals on every lane.
 * Promise: the first fault in one order is named, so that lanes never disagree about why a request was refused.
 * Sources: RFC 9112 sections 2.2 and 3.2; limits are settings.
 */
import type { OwnAnswer } from "../gateway-pages.ts";
import type { GatewaySettings } from "../gateway-settings.ts";
import { refusal } from "./request-head.ts";

interface HeadSize {
  readonly method: string;
  readonly target: string;
  /** Number of header lines. */
  readonly fields: number;
  /** Of the header lines, with their separators. */
  readonly bytes: number;
}

/** @returns why the head is refused: 414, 431, 405 or 400 */
export function headFault(head: HeadSize, settings: GatewaySettings): OwnAnswer | undefined {
  if (head.target.length > settings.targetBytes) return refusal("target_too_long");
  if (head.fields > settings.headerLines) return refusal("too_many_header_lines");
  if (head.bytes > settings.headBytes) return refusal("head_too_large");
  if (head.method === "TRACE" || head.method === "CONNECT") return refusal("method");
  if (head.target === "*" && head.method !== "OPTIONS") return refusal("request_target");
  return undefined;
}

/** Bytes of a flat list [name, value, …] as HTTP/1.1 lines, give or take blanks. */
export function lineBytes(lines: readonly string[]): number {
  let bytes = 0;
  for (const text of lines) bytes += text.length + 2;
  return bytes;
}
