/**
 * What templates see of a body, by its format. Source: APISIX 3.18 body-transformer.
 */
import { CodedError } from "../../base/errors.ts";
import { isMembers } from "../../base/json/members.ts";
import { parseXml } from "./xml-tree.ts";

export const FORMATS = ["xml", "json", "encoded", "args", "plain", "multipart"] as const;
export type BodyFormat = (typeof FORMATS)[number];

type Data = Readonly<Record<string, unknown>>;

const PARTS_MAX = 1_000;
const ARGUMENTS_MAX = 200_000;
const NOTHING: Data = Object.freeze({});

/** The format that a Content-Type means; undefined: the template sees the bytes only. */
export function formatOf(contentType: string | undefined): BodyFormat | undefined {
  const type = contentType?.toLowerCase() ?? "";
  if (type.includes("text/xml")) return "xml";
  if (type.includes("application/json")) return "json";
  if (type.includes("application/x-www-form-urlencoded")) return "encoded";
  return type.includes("multipart/") ? "multipart" : undefined;
}

interface Encoded {
  readonly body: string;
  readonly contentType: string | undefined;
  /** Of the request, without "?". */
  readonly query: string | undefined;
}

/** @throws CodedError REQUEST_INVALID */
export function decodeBody(format: BodyFormat | undefined, { body, contentType, query }: Encoded): Data {
  switch (format) {
    case "xml":
      return parseXml(body);
    case "json":
      return jsonOf(body);
    case "encoded":
      return argumentsOf(body);
    case "args":
      return argumentsOf(query ?? "");
    case "multipart":
      return partsOf(body, contentType);
    default:
      return NOTHING;
  }
}

function jsonOf(body: string): Data {
  try {
    const value: unknown = JSON.parse(body);
    if (isMembers(value) || Array.isArray(value)) return value as Data; // a list has members 1, 2, … no name could mean
  } catch (error) {
    throw invalid((error as Error).message);
  }
  throw invalid("neither an object nor a list");
}

function argumentsOf(text: string): Data {
  if (countUpTo(text, "&", ARGUMENTS_MAX) >= ARGUMENTS_MAX) throw invalid(`more than ${ARGUMENTS_MAX} arguments`);
  return collected(new URLSearchParams(text));
}

function countUpTo(text: string, sign: string, limit: number): number {
  let count = 0;
  for (let at = text.indexOf(sign); at >= 0 && count < limit; at = text.indexOf(sign, at + 1)) count++;
  return count;
}

/** Several values of one name are a list. */
function collected(pairs: Iterable<readonly [string, string]>): Data {
  const data: Record<string, string | string[]> = Object.create(null);
  for (const [name, value] of pairs) {
    const before = data[name];
    if (before === undefined) data[name] = value;
    else if (typeof before === "string") data[name] = [before, value];
    else before.push(value);
  }
  return data;
}

/** Parts by their names (RFC 7578). */
function partsOf(body: string, contentType: string | undefined): Data {
  const [, quoted, token] = /boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))/i.exec(contentType ?? "") ?? [];
  const boundary = quoted ?? token;
  if (boundary === undefined) throw invalid("no boundary");
  const pieces = `\r\n${body}`.split(`\r\n--${boundary}`, PARTS_MAX + 2);
  if (pieces.length > PARTS_MAX + 1) throw invalid(`more than ${PARTS_MAX} parts`);
  if (pieces.length < 3 || !pieces.at(-1)?.startsWith("--")) throw invalid("its last part has no end");
  const pairs: [string, string][] = [];
  for (const piece of pieces.slice(1, -1)) {
    const end = piece.indexOf("\r\n\r\n");
    if (!/^[ \t]*\r\n/.test(piece) || end < 0) throw invalid("a part has no head");
    const [, inQuotes, plain] =
      /^content-disposition:[^\r\n]*?;[ \t]*name=(?:"([^"]*)"|([^\s;"]+))/im.exec(piece.slice(0, end)) ?? [];
    const name = inQuotes ?? plain;
    if (name !== undefined) pairs.push([name, piece.slice(end + 4)]);
  }
  return collected(pairs);
}

function invalid(message: string): CodedError {
  return new CodedError("REQUEST_INVALID", { message });
}
