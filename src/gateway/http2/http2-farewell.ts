/**
 * What a client is told that speaks HTTP/2 where HTTP/1.1 was agreed on, or has begun: so much, in its own protocol. An answer
 * in HTTP/1.1 would be no answer to it. Source: RFC 9113 sections 3.4, 6.8 and 7.
 */
import { constants } from "node:http2";

const SETTINGS = 4;
const GOAWAY = 7;
const HEADER_BYTES = 9;

/** A whole conversation: empty SETTINGS, and GOAWAY with HTTP_1_1_REQUIRED before any stream. */
export const HTTP2_FAREWELL = Buffer.concat([frame(SETTINGS, Buffer.alloc(0)), frame(GOAWAY, goAway())]);

function goAway(): Buffer {
  const codes = Buffer.alloc(8);
  codes.writeUInt32BE(constants.NGHTTP2_HTTP_1_1_REQUIRED, 4);
  return Buffer.concat([codes, Buffer.from("this connection speaks HTTP/1.1")]);
}

function frame(type: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  return Buffer.concat([header, payload]);
}
