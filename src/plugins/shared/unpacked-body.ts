/**
 * Bodies without their content coding, for plugins that read them.
 * Promise: what unpacks to more than the limit is never unpacked: compression bombs cost nothing.
 */
import { brotliDecompressSync, gunzipSync, inflateSync } from "node:zlib";
import { CodedError } from "../../base/errors.ts";

/**
 * @param encoding value of Content-Encoding; undefined: none
 * @returns undefined for a coding that nobody here reads
 * @throws CodedError BAD_RESPONSE beyond the limit; what zlib throws for bytes that are not in that coding
 */
export function unpackBody(bytes: Buffer, encoding: string | undefined, maxOutputLength: number): Buffer | undefined {
  try {
    switch (encoding?.toLowerCase()) {
      case undefined:
      case "identity":
        return bytes;
      case "gzip":
      case "x-gzip":
        return gunzipSync(bytes, { maxOutputLength });
      case "deflate":
        return inflateSync(bytes, { maxOutputLength });
      case "br":
        return brotliDecompressSync(bytes, { maxOutputLength });
      default:
        return undefined;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_BUFFER_TOO_LARGE") throw error;
    throw new CodedError("BAD_RESPONSE", { message: `the body unpacks to more than ${maxOutputLength} bytes` });
  }
}
