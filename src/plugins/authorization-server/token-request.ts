/**
 * Reads the form of a request of a client (RFC 6749 section 3.2): each parameter once, an empty one is none.
 * Promise: what two readers could understand differently is refused, with a text that holds nothing of what was sent.
 */
import { isUtf8 } from "node:buffer";
import { isCodedError } from "../../base/errors.ts";
import type { Answer } from "../../plugin/plugin-answer.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { errorAnswer, invalidRequest } from "./oauth-answers.ts";

const FORM_MAX_BYTES = 32 * 1_024;
const TOO_LARGE = errorAnswer(413, "invalid_request", "The body is above 32 KiB", [], "request_too_large");
const NO_FORM = invalidRequest("Content-Type is not application/x-www-form-urlencoded");
/** Who looks at requests in front of us may read the body as what it unpacks to. */
const CODED = invalidRequest("The body has a Content-Encoding");
const FORM_TYPE = "application/x-www-form-urlencoded";
const SEVERAL_MAX = 8;

export interface TokenForm {
  /** Undefined: absent or empty. */
  get(name: string): string | undefined;
  readonly resources: readonly string[];
  readonly audiences: readonly string[];
}

/** @returns the answer that refuses it */
export async function formOf(view: RequestView): Promise<TokenForm | Answer> {
  if (!isForm(view.header("content-type"))) return NO_FORM;
  if ((view.header("content-encoding") ?? "identity").toLowerCase() !== "identity") return CODED;
  const body = await readBody(view);
  if (body === undefined) return TOO_LARGE;
  const form = readForm(body);
  return typeof form === "string" ? invalidRequest(form) : form;
}

/** @returns undefined when it is too large */
async function readBody(view: RequestView): Promise<Buffer | undefined> {
  if ((view.body.length ?? 0) > FORM_MAX_BYTES) return undefined;
  try {
    return await view.body.read(FORM_MAX_BYTES);
  } catch (error) {
    if (isCodedError(error, "REQUEST_TOO_LARGE")) return undefined;
    throw error;
  }
}

/** Whether a Content-Type says that the body is a form; parameters of it mean nothing here. */
function isForm(contentType: string | undefined): boolean {
  return contentType === FORM_TYPE || contentType?.split(";", 1)[0]?.trim().toLowerCase() === FORM_TYPE;
}

/** @returns text: what is wrong, as `error_description` may say it */
function readForm(bytes: Buffer): TokenForm | string {
  const text = bytes.toString("utf8");
  // Only what is no UTF-8 becomes this, unless it was sent.
  if (text.includes("\ufffd") && !isUtf8(bytes)) return "The body is no UTF-8";
  const single = new Map<string, string>();
  const several = { resource: [] as string[], audience: [] as string[] };
  for (const part of text.split("&")) {
    if (part === "") continue;
    const equals = part.indexOf("=");
    const name = decode(equals < 0 ? part : part.slice(0, equals));
    const value = decode(equals < 0 ? "" : part.slice(equals + 1));
    if (name === undefined || value === undefined) return "The body is no well-formed form";
    if (value === "") continue;
    if (name === "resource" || name === "audience") {
      if (several[name].length >= SEVERAL_MAX) return `More than ${SEVERAL_MAX} values of ${name}`;
      several[name].push(value);
    } else if (single.has(name)) return "A parameter is repeated";
    else single.set(name, value);
  }
  return { get: (name) => single.get(name), resources: several.resource, audiences: several.audience };
}

function decode(text: string): string | undefined {
  if (!text.includes("%") && !text.includes("+")) return text;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return undefined;
  }
}
