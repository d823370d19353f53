/**
 * Reads the body of an admin request: bounded, uncompressed, strict JSON. The content type is ignored.
 * Source: docs/spec/admin-api.md section 3.
 */
import type { IncomingMessage } from "node:http";
import { type JsonResult, parseJson, repeatedMember } from "../base/json/json.ts";
import { type AdminAnswer, refuse } from "./admin-response.ts";
import type { Body } from "./write/write.ts";

export const BODY_BYTES_MAX = 1_572_864; // 1.5 MiB, the limit of APISIX and of etcd's requests

/** A client that is refused may still be sending, and would not read the answer over a reset connection. */
const DISCARDED_BYTES_MAX = 16 * BODY_BYTES_MAX;

type BodyRead = { readonly ok: true; readonly bytes: Buffer } | { readonly ok: false; readonly refusal: AdminAnswer };

/** @param maxBytes default: what one record may have */
export async function readBody(request: IncomingMessage, maxBytes = BODY_BYTES_MAX): Promise<BodyRead> {
  const encoding = request.headers["content-encoding"];
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    return refused(
      request,
      refuse(415, `invalid request body: content encoding ${encoding.slice(0, 64)} is not supported`),
    );
  }
  const announced = Number(request.headers["content-length"] ?? 0);
  if (announced > maxBytes) return refused(request, tooLarge(announced, maxBytes));
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    const bytes = chunk as Buffer; // no encoding is set on the request
    size += bytes.length;
    if (size <= maxBytes) chunks.push(bytes);
    else if (size > DISCARDED_BYTES_MAX) break;
  }
  return size > maxBytes
    ? { ok: false, refusal: closing(tooLarge(size, maxBytes)) }
    : { ok: true, bytes: Buffer.concat(chunks) };
}

async function refused(request: IncomingMessage, answer: AdminAnswer): Promise<BodyRead> {
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length; // no encoding is set on the request
    if (size > DISCARDED_BYTES_MAX) break;
  }
  return { ok: false, refusal: closing(answer) };
}

/** There may be more of the body, so the connection is of no further use. */
function closing(answer: AdminAnswer): AdminAnswer {
  return { ...answer, headers: { ...answer.headers, Connection: "close" } };
}

function tooLarge(size: number, maxBytes: number): AdminAnswer {
  return refuse(400, `invalid request body: request size ${size} is greater than the maximum size ${maxBytes} allowed`);
}

/** JSON; with `strict`, without members that an object names twice. */
export function readJson(bytes: Buffer, strict: boolean): JsonResult {
  const result = parseJson(bytes);
  const repeated = result.ok && strict ? repeatedMember(bytes.toString("utf8")) : undefined;
  return repeated === undefined ? result : { ok: false, error: `Found a repeated object key: ${repeated}` };
}

/** An empty body is no body. */
export function parseBody(bytes: Buffer, strict: boolean): { readonly body: Body } | { readonly refusal: AdminAnswer } {
  if (bytes.length === 0) return { body: undefined };
  const result = readJson(bytes, strict);
  if (result.ok) return { body: { value: result.value } };
  return { refusal: refuse(400, `invalid request body: ${result.error}`, { req_body: bytes.toString("utf8") }) };
}
