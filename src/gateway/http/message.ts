/**
 * What both directions of a message share: how its body is framed, how long bytes are valid, what a header may hold.
 * Source: RFC 9110 sections 5.5 and 5.6.2, RFC 9112 section 6.
 */

/** Length of a body in bytes; "none": there is none, whatever the headers say; "unknown": chunked, or until close. */
export type Framing = number | "none" | "unknown";

/** "call": bytes are valid during the call that brings them, and copied if kept; "kept": they are the receiver's. */
export type Lifetime = "call" | "kept";

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const NOT_IN_VALUE = /[^\t\x20-\x7e\x80-\xff]/;

/** Whether the text can be a method or a header's name. */
export function isToken(text: string): boolean {
  return TOKEN.test(text);
}

/** Whether the text, as latin1, can stand in a header. */
export function isFieldValue(text: string): boolean {
  return !NOT_IN_VALUE.test(text);
}

/** chunk[start, end) for somebody who keeps it; copied only where it must be. */
export function ownPiece(chunk: Buffer, start: number, end: number, lifetime: Lifetime): Buffer {
  const piece = start === 0 && end === chunk.length ? chunk : chunk.subarray(start, end);
  return lifetime === "kept" ? piece : Buffer.from(piece);
}
