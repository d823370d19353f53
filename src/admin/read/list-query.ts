/**
 * Filters and paging of lists, as the query string gives them.
 * Source: docs/spec/admin-api.md section 4 "Paging" and "Filters".
 */
import { type Members, own, ownMembers } from "../../base/json/members.ts";
import { compilePattern, patternError } from "../../base/regex.ts";
import type { Kind } from "../../model/kinds.ts";

export type RecordFilter = (value: Members, id: string) => boolean;

export interface ListQuery {
  /** All filters together; undefined when there is none. */
  readonly matches: RecordFilter | undefined;
  /** Counted from 1, ordered by creation. */
  readonly page: { readonly number: number; readonly size: number } | undefined;
}

/** Members that `search` looks into, beside the id. */
const SEARCHED = ["name", "desc", "uri", "uris", "host", "hosts", "snis", "sni", "username", "issuer"] as const;
/** All that filters of any kind look at; what else one kind has is in its `filters`. */
const LISTED = [...new Set([...SEARCHED, "labels"])];
const PAGE_SIZE_MIN = 10;
const PAGE_SIZE_MAX = 500;

/** @returns the text of a refusal (bare, not JSON) when the page size is out of bounds */
export function listQueryOf(kind: Kind, args: ReadonlyMap<string, string>): ListQuery | string {
  const number = numberIn(args.get("page"));
  const size = numberIn(args.get("page_size"));
  const paged = number !== undefined && size !== undefined;
  if (paged && (size < PAGE_SIZE_MIN || size > PAGE_SIZE_MAX)) return "page_size must be between 10 and 500";
  return {
    matches: filterOf(kind, args),
    page: paged ? { number: Math.max(1, Math.floor(number)), size: Math.floor(size) } : undefined,
  };
}

/** As much of a record as filters tell from the whole of it. */
export function listedMembers(kind: Kind, value: Members): Members {
  const listed: Record<string, unknown> = {};
  for (const name of [...LISTED, ...kind.filters]) if (Object.hasOwn(value, name)) listed[name] = value[name];
  return listed;
}

function numberIn(text: string | undefined): number | undefined {
  const number = text === undefined || text.trim() === "" ? Number.NaN : Number(text);
  return Number.isFinite(number) ? number : undefined;
}

function filterOf(kind: Kind, args: ReadonlyMap<string, string>): RecordFilter | undefined {
  const filters: RecordFilter[] = [];
  const name = args.get("name");
  if (name !== undefined) {
    const found = searcher(name);
    filters.push((value) => found(own(value, "name")));
  }
  const label = args.get("label");
  if (label !== undefined) filters.push((value) => label !== "" && Object.hasOwn(ownMembers(value, "labels"), label));
  const uri = args.get("uri");
  if (uri !== undefined) {
    const found = searcher(uri);
    filters.push((value) => found(own(value, "uri")) || listIn(own(value, "uris")).some(found));
  }
  const search = args.get("search")?.toLowerCase();
  if (search !== undefined && search !== "") {
    const found = (text: unknown): boolean => typeof text === "string" && text.toLowerCase().includes(search);
    const holds = (member: unknown): boolean => (Array.isArray(member) ? member.some(found) : found(member));
    filters.push((value, id) => found(id) || SEARCHED.some((name) => holds(own(value, name))));
  }
  const wanted = new URLSearchParams(args.get("filter") ?? "");
  for (const member of kind.filters) {
    const last = wanted.getAll(member).at(-1); // of a repeated member the last value counts
    if (last !== undefined) filters.push((value) => own(value, member) === last);
  }
  return filters.length === 0 ? undefined : (value, id) => filters.every((filter) => filter(value, id));
}

function searcher(source: string): (value: unknown) => boolean {
  if (patternError(source) !== undefined) return () => false; // APISIX finds nothing by a broken pattern
  const pattern = compilePattern(source);
  return (value) => typeof value === "string" && pattern.test(value);
}

function listIn(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
