/**
 * What a change does to a record, as a list of operations in the words of JSON Patch (RFC 6902), with the old values.
 * Promise: values are compared as they are and shown masked: a changed secret shows that it changed, never what it is.
 * Times that the server keeps are left out. Pure.
 */
import { isMembers, type Members } from "../../base/json/members.ts";

export interface DiffEntry {
  /** `cut`: there was more than is kept. */
  readonly op: "add" | "remove" | "replace" | "cut";
  /** JSON Pointer. */
  readonly path: string;
  readonly from?: unknown;
  readonly to?: unknown;
}

/** A value and what may be seen of it: the same shape, other leaves. */
export interface Side {
  readonly plain: Members;
  readonly shown: Members;
}

const TIMES: ReadonlySet<string> = new Set(["/create_time", "/update_time"]);

/** @param before undefined: created @param after undefined: deleted */
export function diffOf(before: Side | undefined, after: Side | undefined): DiffEntry[] {
  const entries: DiffEntry[] = [];
  compare(entries, "", before?.plain ?? {}, after?.plain ?? {}, before?.shown ?? {}, after?.shown ?? {});
  return entries.filter((entry) => !TIMES.has(entry.path));
}

function compare(into: DiffEntry[], path: string, a: unknown, b: unknown, shownA: unknown, shownB: unknown): void {
  if (Array.isArray(a) && Array.isArray(b) && a.length === b.length) {
    for (const [at, item] of a.entries())
      compare(into, `${path}/${at}`, item, b[at], itemOf(shownA, at), itemOf(shownB, at));
    return;
  }
  if (!isMembers(a) || !isMembers(b)) {
    if (!isSame(a, b)) into.push({ op: "replace", path, from: shownA, to: shownB });
    return;
  }
  for (const name of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const here = `${path}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`;
    const from = memberOf(shownA, name);
    const to = memberOf(shownB, name);
    if (!Object.hasOwn(b, name)) into.push({ op: "remove", path: here, from });
    else if (!Object.hasOwn(a, name)) into.push({ op: "add", path: here, to });
    else compare(into, here, a[name], b[name], from, to);
  }
}

function isSame(a: unknown, b: unknown): boolean {
  return a === b || (typeof a === "object" && typeof b === "object" && JSON.stringify(a) === JSON.stringify(b));
}

const ENTRIES_MAX = 200;
const VALUE_LENGTH_MAX = 2_048;
const WHOLE_LENGTH_MAX = 32_768;

/**
 * The diff as far as it is worth keeping: long values are cut, and so is a long list.
 * @param share of how many diffs that are kept together it is one
 */
export function boundedDiff(entries: readonly DiffEntry[], share: number): DiffEntry[] {
  const kept: DiffEntry[] = [];
  let length = 0;
  for (const entry of entries) {
    const short: DiffEntry = {
      ...entry,
      ...(entry.from !== undefined && { from: boundedValue(entry.from) }),
      ...(entry.to !== undefined && { to: boundedValue(entry.to) }),
    };
    length += JSON.stringify(short).length;
    if (kept.length >= ENTRIES_MAX || length > WHOLE_LENGTH_MAX / share) {
      kept.push({ op: "cut", path: entry.path });
      break;
    }
    kept.push(short);
  }
  return kept;
}

function boundedValue(value: unknown): unknown {
  const { length } = JSON.stringify(value) ?? "";
  return length <= VALUE_LENGTH_MAX ? value : `(${length} characters)`;
}

function itemOf(value: unknown, at: number): unknown {
  return Array.isArray(value) ? value[at] : value;
}

function memberOf(value: unknown, name: string): unknown {
  if (!isMembers(value)) return value; // masked as a whole
  return Object.hasOwn(value, name) ? value[name] : undefined;
}
