/**
 * The text formats of hmac-auth: the Authorization header, the signing text, the Digest header, HTTP dates.
 * Promise: nothing throws, whatever was sent. Source: docs/spec/plugins.md section 4.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { HeaderList } from "../../plugin/headers.ts";

export interface Signature {
  readonly keyId: string;
  readonly algorithm: string;
  /** Names in the order they were signed, spelled as sent. */
  readonly headers: readonly string[];
  /** Base64. */
  readonly value: string;
}

/** @returns undefined when keyId, algorithm or signature is missing, or a field stands there twice */
export function parseSignature(header: string): Signature | undefined {
  const fields = new Map<string, string>();
  for (const field of header.slice("Signature".length).split(",")) {
    const match = /^\s*(\w+)="([^"]*)"\s*$/.exec(field);
    if (!match) continue;
    const [, name = "", value = ""] = match;
    if (fields.has(name)) return undefined;
    fields.set(name, value);
  }
  const keyId = fields.get("keyId");
  const algorithm = fields.get("algorithm");
  const value = fields.get("signature");
  if (!keyId || !algorithm || !value) return undefined;
  return { keyId, algorithm, value, headers: (fields.get("headers") ?? "").split(" ").filter((name) => name !== "") };
}

/**
 * The lines a client signs: key id, then one line per named header that was sent, each ended by a newline.
 * @param requestTarget what `@request-target` stands for
 */
export function signingText(signature: Signature, headers: HeaderList, requestTarget: string): string {
  let text = `${signature.keyId}\n`;
  for (const name of signature.headers) {
    const value = headers.get(name.toLowerCase());
    if (value !== undefined) text += `${name}: ${value}\n`;
    else if (name === "@request-target") text += `${requestTarget}\n`;
  }
  return text;
}

/** Whether `Digest: SHA-256=<base64>` is that of the body. */
export function digestMatches(header: string, body: Buffer): boolean {
  const wanted = Buffer.from(`SHA-256=${createHash("sha256").update(body).digest("base64")}`);
  const given = Buffer.from(header);
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}

/** @returns seconds since 1970 of a date like `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 section 5.6.7) */
export function parseHttpDate(text: string | undefined): number | undefined {
  if (text === undefined || !/^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/.test(text)) {
    return undefined;
  }
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : ms / 1000;
}
