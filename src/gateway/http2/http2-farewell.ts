/**
 * What a client is told that speaks HTTP/2 where there is no TLS (h2c with prior knowledge): in its own protocol, that
 * HTTP/1.1 is spoken here. An answer in HTTP/1.1 would be no answer to it. Source: RFC 9113 sections 3.4, 6.8 and 7.
 */
import { constants } from "node:http2";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\n", "latin1");
const SETTINGS = 4;
const GOAWAY = 7;
const HEADER_BYTES = 9;

/** @param bytes the first of a connection */
export function isHttp2Preface(bytes: Buffer | undefined): boolean {
  return bytes?.subarray(0, PREFACE.length).equals(PREFACE) === true;
}

/** A whole conversation: empty SETTINGS, and GOAWAY with HTTP_1_1_REQUIRED before any stream. */
export const HTTP2_FAREWELL = Buffer.concat([frame(SETTINGS, Buffer.alloc(0)), frame(GOAWAY, goAway())]);

function goAway(): Buffer {
  const codes = Buffer.alloc(8);
  codes.writeUInt32BE(constants.NGHTTP2_HTTP_1_1_REQUIRED, 4);
  return Buffer.concat([codes, Buffer.from("this port speaks HTTP/1.1; HTTP/2 is spoken on the TLS listener")]);
}

function frame(type: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUIntBE(payload.length, 0, 3);
  header[3] = type;
  return Buffer.concat([header, payload]);
}
