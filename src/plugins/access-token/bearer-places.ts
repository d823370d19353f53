/**
 * Where a request may carry an access token, and how it is taken out again.
 * Promise: two tokens, wherever they stand, are ambiguous, equal or not (RFC 6750 section 2); nothing is removed before the
 * token was accepted, so that another plugin of multi-auth finds what it looks for.
 */
import type { Presented } from "../../plugin/judge/judge.ts";
import type { RequestView } from "../../plugin/request-view.ts";
import { findCookie, removeCookie } from "../../plugin/variables/cookies.ts";
import { findArgument, removeArgument } from "../../plugin/variables/query.ts";
import type { TakePresented } from "../shared/bearer.ts";

interface BearerPlaces {
  readonly header: string;
  readonly query: string | undefined;
  readonly cookie: string | undefined;
}

type Found = Presented | "ambiguous" | undefined;

export function compileTake({ header, query, cookie }: BearerPlaces): TakePresented {
  const readHeader = headerReader(header);
  if (query === undefined && cookie === undefined) return (view) => readHeader(view) ?? "missing";
  return (view) => {
    const found = [readHeader(view), readArgument(view, query), readCookie(view, cookie)].filter(
      (one) => one !== undefined,
    );
    if (found.length > 1) return "ambiguous";
    return found[0] ?? "missing";
  };
}

/** Takes the token, and the proof that came with it, out of what goes upstream. */
export function compileHide({ header, query, cookie }: BearerPlaces): (view: RequestView) => void {
  const readHeader = headerReader(header);
  const lower = header.toLowerCase();
  return (view) => {
    // A password in the same header is not ours to hide.
    if (readHeader(view) !== undefined) view.headers.remove(lower);
    view.headers.remove("dpop");
    if (query !== undefined) view.query = removeArgument(view.query, query);
    if (cookie !== undefined) removeCookie(view.headers, cookie);
  };
}

function headerReader(header: string): (view: RequestView) => Found {
  const lower = header.toLowerCase();
  const isScheme = lower === "authorization";
  return (view) => {
    const values = view.headers.getAll(lower);
    if (values.length > 1) return "ambiguous";
    if (values[0] === undefined) return undefined;
    return isScheme ? withScheme(values[0], view) : bare(values[0], view);
  };
}

function withScheme(value: string, view: RequestView): Presented | undefined {
  if (value.startsWith("Bearer ")) return bare(value.slice(7), view);
  const scheme = /^(bearer|dpop)(?: +|$)/i.exec(value);
  if (!scheme) return undefined;
  return { text: value.slice(scheme[0].length), asProof: scheme[1]?.toLowerCase() === "dpop", view };
}

function bare(text: string, view: RequestView): Presented {
  return { text, asProof: false, view };
}

function readArgument(view: RequestView, name: string | undefined): Found {
  const found = name === undefined ? undefined : findArgument(view.query, name);
  return found && (found.repeated ? "ambiguous" : bare(found.value, view));
}

function readCookie(view: RequestView, name: string | undefined): Found {
  const found = name === undefined ? undefined : findCookie(view.headers, name);
  return found && (found.conflicting ? "ambiguous" : bare(found.value, view));
}
