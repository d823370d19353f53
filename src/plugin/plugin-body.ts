/**
 * The request body as plugins see it. The lane owns the bytes: what a plugin has read is still sent upstream.
 */

export interface RequestBody {
  /** Bytes announced by Content-Length, 0 when there is no body, undefined when chunked. */
  readonly length: number | undefined;
  /**
   * Reads the whole body once; later calls return the same bytes.
   * Throws CodedError REQUEST_TOO_LARGE above `limitBytes`, CLIENT_ABORTED when the client went away.
   */
  read(limitBytes: number): Promise<Buffer>;
  /** Sends these bytes upstream instead. */
  replace(bytes: Buffer): void;
}

/** Text becomes UTF-8. Throws TypeError for what is neither text nor bytes. */
export function bytesOf(value: unknown): Buffer {
  if (Buffer.isBuffer(value)) return value;
  if (typeof value === "string") return Buffer.from(value, "utf8");
  if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  throw new TypeError("a body must be a Buffer or a text");
}
