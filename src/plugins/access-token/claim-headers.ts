/**
 * Claims as headers for the upstream.
 * Promise: a value that cannot stand in a header is left out, never cut, escaped or an error.
 */
import { type Claims, compileClaim } from "../../base/jose/token.ts";
import { isHeaderValue } from "../../plugin/caller-identity.ts";

/** Flat [name, value, …]. */
type ClaimLines = (claims: Claims) => readonly string[];

/** @param headers header name → claim name; undefined where none is asked for */
export function compileClaimHeaders(headers: Readonly<Record<string, string>>): ClaimLines | undefined {
  const wanted = Object.entries(headers).map(([name, claim]) => ({ name, read: compileClaim(claim) }));
  if (wanted.length === 0) return undefined;
  return (claims) =>
    wanted.flatMap(({ name, read }) => {
      const text = claimText(read(claims));
      return text !== undefined && isHeaderValue(text) ? [name, text] : [];
    });
}

/** Text, number or truth value as text; a list of such joined by commas, unless a member holds one. */
function claimText(value: unknown): string | undefined {
  if (!Array.isArray(value)) return scalarText(value);
  const texts = value.map(scalarText);
  return texts.some((text) => text === undefined || text.includes(",")) ? undefined : texts.join(",");
}

function scalarText(value: unknown): string | undefined {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean"
    ? String(value)
    : undefined;
}
