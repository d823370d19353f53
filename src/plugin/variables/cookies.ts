/**
 * Credentials in cookies: finds a cookie by name, and takes it out leaving every other cookie byte-identical.
 * Promise: nothing is decoded, re-ordered or re-spelled; names differ by case; all Cookie lines are looked at.
 */
import type { HeaderList } from "../headers.ts";

export interface Cookie {
  /** As sent, without blanks around it. */
  readonly value: string;
  /** The name occurs more than once, with another value. */
  readonly conflicting: boolean;
}

/** The first cookie of that name. */
export function findCookie(headers: HeaderList, name: string): Cookie | undefined {
  let value: string | undefined;
  let conflicting = false;
  for (const line of headers.getAll("cookie")) {
    for (let start = 0; start <= line.length; ) {
      const end = endOfCookie(line, start);
      const found = cookieAt(line, start, end, name);
      if (found !== undefined) {
        if (value === undefined) value = found;
        else if (value !== found) conflicting = true;
      }
      start = end + 1;
    }
  }
  return value === undefined ? undefined : { value, conflicting };
}

/** Removes every cookie of that name, and a Cookie line that holds nothing else. @returns whether there was one */
export function removeCookie(headers: HeaderList, name: string): boolean {
  const lines = headers.lines;
  let removed = false;
  let kept = 0;
  for (let i = 0; i < lines.length; i += 2) {
    const header = lines[i] as string;
    let value = lines[i + 1] as string;
    if (header.length === 6 && header.toLowerCase() === "cookie") {
      const left = withoutCookie(value, name);
      if (left !== value) {
        removed = true;
        if (left === "") continue;
        value = left;
      }
    }
    lines[kept] = header;
    lines[kept + 1] = value;
    kept += 2;
  }
  lines.length = kept;
  return removed;
}

function withoutCookie(line: string, name: string): string {
  const kept: string[] = [];
  let first = false;
  for (let start = 0; start <= line.length; ) {
    const end = endOfCookie(line, start);
    if (cookieAt(line, start, end, name) === undefined) kept.push(line.slice(start, end));
    else if (kept.length === 0) first = true;
    start = end + 1;
  }
  // The blank that stood between the removed first cookie and the next one goes with the removed one.
  return first ? kept.join(";").trimStart() : kept.join(";");
}

function endOfCookie(line: string, start: number): number {
  const semicolon = line.indexOf(";", start);
  return semicolon < 0 ? line.length : semicolon;
}

/** The value when the pair at [start, end) has that name. */
function cookieAt(line: string, start: number, end: number, name: string): string | undefined {
  const equals = line.indexOf("=", start);
  if (equals < 0 || equals >= end) return undefined;
  return line.slice(start, equals).trim() === name ? line.slice(equals + 1, end).trim() : undefined;
}
