/**
 * The request body as plugins see it. The lane owns the bytes: what a plugin has read is still sent upstream.
 */
export interface RequestBody {
  /** Bytes announced by Content-Length, 0 when there is no body, undefined when chunked. */
  readonly length: number | undefined;
  /**
   * Reads the whole body once; later calls return the same bytes.
   * Throws GatewayError REQUEST_TOO_LARGE above `limitBytes`, CLIENT_ABORTED when the client went away.
   */
  read(limitBytes: number): Promise<Buffer>;
  /** Sends these bytes upstream instead. */
  replace(bytes: Buffer): void;
}
