/**
 * What a write warns of, as a header (RFC 7234 section 5.5), since tools compare the body with what APISIX answers.
 * Promise: bounded in number and length, and never a byte that a header must not hold, whatever a record is called.
 */
import type { Warning } from "../preview/warnings.ts";

const WARNINGS_MAX = 8;
const TEXT_LENGTH_MAX = 300;

/** @param warnings of a dry run, or of a history that cannot bring back everything */
export function warningHeader(
  warnings: readonly (Pick<Warning, "key" | "message"> & { readonly code: string })[],
): Readonly<Record<string, string>> {
  if (warnings.length === 0) return {};
  const shown = warnings.slice(0, WARNINGS_MAX).map(({ code, key, message }) => quoted(`${code}: ${key} ${message}`));
  const more = warnings.length - shown.length;
  if (more > 0) shown.push(quoted(`more: ${more} further warnings, a dry run shows them`));
  return { Warning: shown.join(", ") };
}

/** As a quoted-string; what is no printable ASCII stands as escapes of its bytes. */
function quoted(text: string): string {
  const printable = text.replace(/[^ -~]+/gu, (others) =>
    [...Buffer.from(others, "utf8")].map((byte) => `%${byte.toString(16).padStart(2, "0").toUpperCase()}`).join(""),
  );
  const whole = printable.length > TEXT_LENGTH_MAX ? `${printable.slice(0, TEXT_LENGTH_MAX - 3)}...` : printable;
  return `299 - "${whole.replace(/["\\]/g, "\\$&")}"`;
}
