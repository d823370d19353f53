/**
 * Reads the body of an admin request: bounded, uncompressed, strict JSON. The content type is ignored.
 * Source: spec/admin-api.md section 3.
 */
import type { IncomingMessage } from "node:http";
import { type JsonResult, parseJson } from "../base/json.ts";
import { repeatedMember } from "../base/json-repeated.ts";
import { type AdminAnswer, refuse } from "./answer.ts";
import type { Body } from "./write.ts";

export const BODY_BYTES_MAX = 1_572_864; // 1.5 MiB, the limit of APISIX and of etcd's requests

export type BodyRead =
  | { readonly ok: true; readonly bytes: Buffer }
  | { readonly ok: false; readonly refusal: AdminAnswer };

export async function readBody(request: IncomingMessage): Promise<BodyRead> {
  const encoding = request.headers["content-encoding"];
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    return refused(refuse(415, `invalid request body: content encoding ${encoding.slice(0, 64)} is not supported`));
  }
  const announced = Number(request.headers["content-length"] ?? 0);
  if (announced > BODY_BYTES_MAX) return refused(tooLarge(announced));
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    const bytes = chunk as Buffer; // no encoding is set on the request
    size += bytes.length;
    if (size > BODY_BYTES_MAX) return refused(tooLarge(size));
    chunks.push(bytes);
  }
  return { ok: true, bytes: Buffer.concat(chunks) };
}

function refused(answer: AdminAnswer): BodyRead {
  // The rest of the body is not read, so the connection is of no further use.
  return { ok: false, refusal: { ...answer, headers: { ...answer.headers, Connection: "close" } } };
}

function tooLarge(size: number): AdminAnswer {
  return refuse(
    400,
    `invalid request body: request size ${size} is greater than the maximum size ${BODY_BYTES_MAX} allowed`,
  );
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
