/**
 * What a request variable can be, and how the raw text of a query or a form gives one.
 * Promise: nothing here throws, whatever was sent.
 */
import type { RequestView } from "../request-view.ts";

/** Absent is undefined; `true` is an argument without "=". */
export type VariableValue = Scalar | readonly Scalar[] | undefined;
type Scalar = string | boolean | number;
export type Variable = (view: RequestView) => VariableValue;

/**
 * The first value of a query argument: decoded text, `true` when it stands there without "=", else undefined.
 * @param query raw, without "?"
 */
export function firstArg(query: string | undefined, name: string): string | true | undefined {
  if (query === undefined) return undefined;
  for (let start = 0; start <= query.length; ) {
    const ampersand = query.indexOf("&", start);
    const end = ampersand < 0 ? query.length : ampersand;
    const equals = query.indexOf("=", start);
    const keyEnd = equals < 0 || equals > end ? end : equals;
    if (keyEnd > start && decodeFormText(query.slice(start, keyEnd)) === name)
      return keyEnd === end ? true : decodeFormText(query.slice(keyEnd + 1, end));
    start = end + 1;
  }
  return undefined;
}

/** Decodes "+" and percent escapes; escapes that are none stay as they are, bytes that are no UTF-8 are read as latin1. */
export function decodeFormText(raw: string): string {
  if (!raw.includes("%") && !raw.includes("+")) return raw;
  const spaced = raw.replaceAll("+", " ");
  try {
    return decodeURIComponent(spaced);
  } catch {
    return spaced.replace(/%([0-9a-fA-F]{2})/g, (_all, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
  }
}
