/**
 * Reads the server name out of the first bytes of a TLS connection, before anything is spent on cryptography, so that
 * certificate, protocol versions and client verification can all follow from the name.
 * Promise: pure and bounded; never throws; what OpenSSL would read differently is "broken" (the name is compared with
 * OpenSSL's after the handshake as well). Sources: RFC 8446 sections 4.1.2 and 5.1, RFC 6066 section 3.
 */

type ClientHello =
  | { readonly kind: "incomplete" }
  | { readonly kind: "broken" }
  | {
      readonly kind: "complete";
      /** In lower case, without a dot at its end; undefined when the client sent none. */
      readonly serverName: string | undefined;
    };

/** Larger ones are broken; with post-quantum key shares a hello has about 2 KiB. */
export const HELLO_BYTES_MAX = 16_384;
/** Nobody needs more, and each one read anew with every byte that comes would be dear. */
const RECORDS_MAX = 32;

const RECORD_HEAD = 5;
const MESSAGE_HEAD = 4;
const RECORD_BYTES_MAX = 16_384;
const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
const SERVER_NAME = 0;
const NAME = /^[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*\.?$/;

const INCOMPLETE: ClientHello = Object.freeze({ kind: "incomplete" });
const BROKEN: ClientHello = Object.freeze({ kind: "broken" });

/** @param bytes all that has arrived so far */
export function readClientHello(bytes: Buffer): ClientHello {
  const message = joinRecords(bytes);
  if (message === "incomplete") return INCOMPLETE;
  return message === "broken" ? BROKEN : readHello(message);
}

/** The body of the handshake message that the first records carry. */
function joinRecords(bytes: Buffer): Buffer | "incomplete" | "broken" {
  const parts: Buffer[] = [];
  let held = 0;
  for (let at = 0; parts.length < RECORDS_MAX; ) {
    const left = bytes.length - at;
    if (left > 0 && bytes[at] !== HANDSHAKE) return "broken";
    if (left > 1 && bytes[at + 1] !== 3) return "broken";
    if (left < RECORD_HEAD) return "incomplete";
    const length = bytes.readUInt16BE(at + 3);
    if (length === 0 || length > RECORD_BYTES_MAX) return "broken";
    at += RECORD_HEAD;
    const part = bytes.subarray(at, at + length);
    parts.push(part);
    held += part.length;
    const end = messageEnd(parts, held);
    if (end === "broken") return "broken";
    if (end !== undefined && held >= end) return Buffer.concat(parts, held).subarray(MESSAGE_HEAD, end);
    if (part.length < length) return "incomplete";
    at += length;
  }
  return "broken";
}

/** Where the message ends, as soon as its head is there. */
function messageEnd(parts: readonly Buffer[], held: number): number | undefined | "broken" {
  if (held === 0) return undefined;
  if (parts[0]?.[0] !== CLIENT_HELLO) return "broken";
  if (held < MESSAGE_HEAD) return undefined;
  const head = parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts.slice(0, MESSAGE_HEAD));
  const end = MESSAGE_HEAD + head.readUIntBE(1, 3);
  return end > HELLO_BYTES_MAX ? "broken" : end;
}

/** Cuts vectors off a message; whatever lies outside of it is undefined. */
class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  take(length: number): Buffer | undefined {
    const end = this.#at + length;
    if (end > this.#bytes.length) return undefined;
    const part = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return part;
  }

  /** @param size bytes of the length in front */
  vector(size: 1 | 2): Buffer | undefined {
    const length = this.take(size)?.readUIntBE(0, size);
    return length === undefined ? undefined : this.take(length);
  }
}

function readHello(message: Buffer): ClientHello {
  const reader = new Reader(message);
  const fixed = reader.take(34); // version and random
  const session = reader.vector(1);
  const suites = reader.vector(2);
  const compressions = reader.vector(1);
  if (!fixed || !session || !suites || !compressions) return BROKEN;
  if (reader.done) return { kind: "complete", serverName: undefined };
  const extensions = reader.vector(2);
  if (!extensions || !reader.done) return BROKEN;
  return findServerName(new Reader(extensions));
}

function findServerName(extensions: Reader): ClientHello {
  let serverName: string | undefined;
  while (!extensions.done) {
    const type = extensions.take(2)?.readUInt16BE(0);
    const body = extensions.vector(2);
    if (type === undefined || !body) return BROKEN;
    if (type !== SERVER_NAME) continue;
    const name = serverName === undefined ? readServerName(body) : undefined;
    if (name === undefined) return BROKEN;
    serverName = name;
  }
  return { kind: "complete", serverName };
}

/** Exactly one name of type host_name, as OpenSSL wants it. */
function readServerName(body: Buffer): string | undefined {
  const list = new Reader(body);
  const entries = list.vector(2);
  if (!entries || !list.done) return undefined;
  const reader = new Reader(entries);
  const type = reader.take(1)?.[0];
  const name = reader.vector(2)?.toString("latin1");
  if (type !== 0 || name === undefined || !reader.done || name.length > 255 || !NAME.test(name)) return undefined;
  return normaliseServerName(name);
}

/** Names compare in lower case and without a dot at the end. */
export function normaliseServerName(name: string): string {
  const lower = name.toLowerCase();
  return lower.endsWith(".") ? lower.slice(0, -1) : lower;
}

const ALERT_HEAD = [21, 3, 3, 0, 2, 2];

export const ALERT_DECODE_ERROR = Buffer.from([...ALERT_HEAD, 50]);
export const ALERT_MISSING_EXTENSION = Buffer.from([...ALERT_HEAD, 109]);
export const ALERT_UNRECOGNIZED_NAME = Buffer.from([...ALERT_HEAD, 112]);
