/**
 * What plugins give as bytes, checked where they give it: nothing else may reach a socket, and the one that is wrong is
 * the one that throws.
 */

/** Text becomes UTF-8. Throws TypeError for what is neither text nor bytes. */
export function bytesOf(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (typeof value === "string") return Buffer.from(value, "utf8");
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError("a body must be a Buffer or a text");
}
