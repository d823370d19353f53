/**
 * Credentials in the query: finds an argument strictly, and takes it out leaving every other byte as it was sent.
 * Promise: nothing here throws, and an argument that one reader could see otherwise is told apart (`repeated`, `valueless`).
 */
import type { RequestView } from "../request-view.ts";

export interface Argument {
  /** Decoded value of the first occurrence; "" when it has none. */
  readonly value: string;
  /** The name occurs more than once. */
  readonly repeated: boolean;
  /** An occurrence stands without "=". */
  readonly valueless: boolean;
}

/**
 * The argument of that decoded name.
 * @param query raw, without "?"
 */
export function findArgument(query: string | undefined, name: string): Argument | undefined {
  if (query === undefined) return undefined;
  let found: Argument | undefined;
  for (let start = 0; start <= query.length; ) {
    const end = endOfPair(query, start);
    const nameEnd = endOfName(query, start, end);
    if (isNamed(query, start, nameEnd, name)) {
      const valueless = nameEnd === end;
      found = found
        ? { value: found.value, repeated: true, valueless: found.valueless || valueless }
        : { value: valueless ? "" : decodeFormText(query.slice(nameEnd + 1, end)), repeated: false, valueless };
    }
    start = end + 1;
  }
  return found;
}

/**
 * The query without any argument of that name; the others stay byte-identical and in order.
 * @returns undefined when nothing is left, so that no bare "?" is sent
 */
export function removeArgument(query: string | undefined, name: string): string | undefined {
  if (query === undefined) return undefined;
  const kept: string[] = [];
  for (let start = 0; start <= query.length; ) {
    const end = endOfPair(query, start);
    if (!isNamed(query, start, endOfName(query, start, end), name)) kept.push(query.slice(start, end));
    start = end + 1;
  }
  const left = kept.join("&");
  return left === "" ? undefined : left;
}

function endOfPair(query: string, start: number): number {
  const ampersand = query.indexOf("&", start);
  return ampersand < 0 ? query.length : ampersand;
}

function endOfName(query: string, start: number, end: number): number {
  const equals = query.indexOf("=", start);
  return equals < 0 || equals > end ? end : equals;
}

function isNamed(query: string, start: number, end: number, name: string): boolean {
  if (end === start) return false;
  return decodeFormText(query.slice(start, end)) === name;
}

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
