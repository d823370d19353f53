/**
 * Reads the form of a token request (RFC 6749 section 3.2): each parameter once, an empty one is none.
 * Promise: what two readers could understand differently is refused, with a text that holds nothing of what was sent.
 */
import { isUtf8 } from "node:buffer";

export const FORM_MAX_BYTES = 32 * 1_024;
const FORM_TYPE = "application/x-www-form-urlencoded";
const SEVERAL_MAX = 8;

export interface TokenForm {
  /** Undefined: absent or empty. */
  get(name: string): string | undefined;
  readonly resources: readonly string[];
  readonly audiences: readonly string[];
}

/** Whether a Content-Type says that the body is a form; parameters of it mean nothing here. */
export function isForm(contentType: string | undefined): boolean {
  return contentType?.split(";", 1)[0]?.trim().toLowerCase() === FORM_TYPE;
}

/** @returns text: what is wrong, as `error_description` may say it */
export function readForm(bytes: Buffer): TokenForm | string {
  if (!isUtf8(bytes)) return "The body is no UTF-8";
  const single = new Map<string, string>();
  const several = { resource: [] as string[], audience: [] as string[] };
  for (const part of bytes.toString("utf8").split("&")) {
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
