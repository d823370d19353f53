/**
 * Heads of HTTP/2 upstreams: a request's as fields, made of the same lines as over HTTP/1.1, and a response's as read.
 * Promise: strict as for HTTP/1.1; a field that speaks about a connection makes a response none.
 */
import type { OutgoingHttpHeaders } from "node:http2";
import type { RequestView } from "../../plugin/request-view.ts";
import { ALIAS, CONTENT_LENGTH, classifyHeader, EXPECT, HOP, TE } from "../http/header-class.ts";
import { CONNECTION_FIELDS, FIELD_NAME, FIELD_VALUE, foldLines } from "../http/http2-fields.ts";
import type { Framing } from "../http/message.ts";
import { ResponseHead, readLength } from "../http/response-head.ts";
import { type DropCounter, endToEndText, isSendable, safeTarget } from "./upstream-head.ts";

const BLANKS_AROUND = /^[\t ]+|[\t ]+$/g;

/** @returns undefined when method or host cannot be sent at all */
export function upstreamFields(
  view: RequestView,
  host: string,
  scheme: "http" | "https",
  framing: Framing,
  dropped: DropCounter,
): OutgoingHttpHeaders | undefined {
  if (!isSendable(view, host)) return undefined;
  const lines: string[] = [];
  for (const line of endToEndText(view, dropped).split("\r\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) lines.push(line.slice(0, colon), line.slice(colon + 1).replace(BLANKS_AROUND, ""));
  }
  if (typeof framing === "number") lines.push("content-length", String(framing));
  lines.push("te", "trailers");
  const fields = foldLines(lines);
  fields[":method"] = view.method;
  fields[":scheme"] = scheme;
  fields[":authority"] = host;
  fields[":path"] = safeTarget(view);
  return fields;
}

/**
 * @param raw      flat [name, value, …] in the order of arrival
 * @param ends     nothing follows it
 * @param linesMax more header lines than this are refused
 * @returns what is wrong, as a text for the log, when this is no acceptable response head
 */
export function readStreamHead(raw: readonly string[], ends: boolean, linesMax: number): ResponseHead | string {
  if (raw[0] !== ":status" || !/^[1-9]\d\d$/.test(raw[1] ?? "")) return "malformed response head";
  if (raw.length / 2 - 1 > linesMax) return "too many response header lines";
  const lines: string[] = [];
  let length = -1;
  let hasDate = false;
  for (let i = 2; i < raw.length; i += 2) {
    const name = raw[i] as string;
    const value = raw[i + 1] as string;
    if (!FIELD_NAME.test(name) || !FIELD_VALUE.test(value)) return "malformed response head";
    if (CONNECTION_FIELDS.has(name)) return `${name} in a response over HTTP/2`;
    const kind = classifyHeader(name);
    if (kind === CONTENT_LENGTH) {
      if (length >= 0 && readLength(value) !== length) return "two Content-Length values in response";
      length = readLength(value);
      if (length < 0) return "bad Content-Length in response";
    } else if (kind !== HOP && kind !== TE && kind !== EXPECT && kind !== ALIAS && name !== "server") {
      if (name === "date") hasDate = true;
      lines.push(name, value);
    }
  }
  const head = new ResponseHead(Number(raw[1]), lines, length, false, true, hasDate, undefined, undefined);
  head.ends = ends;
  return head;
}
