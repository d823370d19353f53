/**
 * Where a request carries its token: header, then query, then cookie; the first that is present counts, even if empty.
 * Promise: a source that two readers could read differently (repeated header or argument) gives an invalid token.
 * Source: docs/spec/jwt-auth.md section 2; docs/plugins/jwt-auth.md lists what `strict` refuses beyond.
 */

import type { RequestView } from "../../plugin/request-view.ts";
import { findCookie, removeCookie } from "../../plugin/variables/cookies.ts";
import { findArgument, removeArgument } from "../../plugin/variables/query.ts";

interface SourceOptions {
  readonly header: string;
  readonly query: string;
  readonly cookie: string;
  /** Take the token out of what goes upstream, before it is verified. */
  readonly hide: boolean;
  /** Refuse a request that carries two different tokens. */
  readonly strict: boolean;
}

/** The token's text; "" when what is present cannot be one; undefined when the request carries none. */
export type TakeToken = (view: RequestView) => string | undefined;

export function compileTokenSource(options: SourceOptions): TakeToken {
  const { query, cookie } = options;
  const header = options.header.toLowerCase();
  const readers: readonly TakeToken[] = [
    (view) => readHeader(view, header),
    (view) => readArgument(view, query),
    (view) => readCookie(view, cookie, options.strict),
  ];
  const removers: readonly ((view: RequestView) => void)[] = [
    (view) => void view.headers.remove(header),
    (view) => {
      view.query = removeArgument(view.query, query);
    },
    (view) => void removeCookie(view.headers, cookie),
  ];

  const find: TakeToken = (view) =>
    readHeader(view, header) ?? readArgument(view, query) ?? readCookie(view, cookie, options.strict);
  if (!options.hide && !options.strict) return find;
  return (view) => {
    const found = readers.map((read) => read(view));
    const at = found.findIndex((one) => one !== undefined);
    if (at < 0) return undefined;
    const token = found[at] as string;
    // Copies of the same token elsewhere would hand the upstream what was to be hidden.
    if (options.hide) for (const [i, one] of found.entries()) if (i === at || one === token) removers[i]?.(view);
    return options.strict && found.some((one) => one !== undefined && one !== token) ? "" : token;
  };
}

function readHeader(view: RequestView, lower: string): string | undefined {
  const value = view.headers.only(lower);
  if (value === undefined) return undefined;
  if (value === null) return "";
  // Exactly these two spellings: any other scheme stays in the text and makes it no token.
  return value.startsWith("Bearer ") || value.startsWith("bearer ") ? view.headers.restOf(value, 7) : value;
}

function readArgument(view: RequestView, name: string): string | undefined {
  if (view.query === undefined) return undefined;
  const found = findArgument(view.query, name);
  if (!found) return undefined;
  return found.repeated || found.valueless ? "" : found.value;
}

function readCookie(view: RequestView, name: string, strict: boolean): string | undefined {
  const found = findCookie(view.headers, name);
  return found && strict && found.conflicting ? "" : found?.value;
}
