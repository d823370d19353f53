/**
 * Bytes of the embedded store: keys that sort by (key, revision) and records of one version.
 */
import { CodedError } from "../../base/errors.ts";
import type { KeyValue, LeaseId, Revision } from "../store.ts";

/** What LMDB takes on pages of 4 KiB (1,978), less the revision. */
const MAX_ENCODED_KEY = 1_900;
const HEAD_BYTES = 25;
const DELETED = 0;
const PUT = 1;

/** One version of a key; `undefined` is its deletion. */
export type Version = Omit<KeyValue, "key" | "modRevision"> | undefined;

/**
 * The key with its end marked so that byte order stays: 00 becomes 00 FF, the end is 00 00.
 * @throws CodedError STORE_TOO_LARGE
 */
export function encodeKey(key: string): Buffer {
  const plain = Buffer.from(key, "utf8");
  if (plain.length > MAX_ENCODED_KEY) throw tooLong(plain.length);
  if (!plain.includes(0)) return Buffer.concat([plain, Buffer.of(0, 0)]);
  const bytes: number[] = [];
  for (const byte of plain) {
    bytes.push(byte);
    if (byte === 0) bytes.push(0xff);
  }
  if (bytes.length > MAX_ENCODED_KEY) throw tooLong(bytes.length);
  return Buffer.from([...bytes, 0, 0]);
}

/** Place of one version of an encoded key. */
export function versionKey(encoded: Buffer, revision: Revision): Buffer {
  const bytes = Buffer.allocUnsafe(encoded.length + 8);
  encoded.copy(bytes);
  bytes.writeBigUInt64BE(revision, encoded.length);
  return bytes;
}

export function splitVersionKey(bytes: Buffer): { readonly encoded: Buffer; readonly revision: Revision } {
  const at = bytes.length - 8;
  return { encoded: bytes.subarray(0, at), revision: bytes.readBigUInt64BE(at) };
}

export function decodeKey(encoded: Buffer): string {
  const plain = encoded.subarray(0, encoded.length - 2);
  if (!plain.includes(0)) return plain.toString("utf8");
  return Buffer.from(plain.filter((byte, i) => !(byte === 0xff && plain[i - 1] === 0))).toString("utf8");
}

/** Place in the log of changes: revision, then order within it. */
export function logKey(revision: Revision, order: number): Buffer {
  const bytes = Buffer.allocUnsafe(10);
  bytes.writeBigUInt64BE(revision, 0);
  bytes.writeUInt16BE(order, 8);
  return bytes;
}

export function encodeVersion(version: Version): Buffer {
  if (version === undefined) return Buffer.of(DELETED);
  const bytes = Buffer.allocUnsafe(HEAD_BYTES + version.value.length);
  bytes[0] = PUT;
  bytes.writeBigUInt64BE(version.createRevision, 1);
  bytes.writeBigUInt64BE(version.version, 9);
  bytes.writeBigInt64BE(version.lease, 17);
  version.value.copy(bytes, HEAD_BYTES);
  return bytes;
}

/** The value is a view of `bytes`. */
export function decodeVersion(bytes: Buffer): Version {
  if (bytes[0] !== PUT) return undefined;
  return {
    createRevision: bytes.readBigUInt64BE(1),
    version: bytes.readBigUInt64BE(9),
    lease: bytes.readBigInt64BE(17),
    value: bytes.subarray(HEAD_BYTES),
  };
}

/** Place of a key among those of its lease. */
export function leaseKey(lease: LeaseId, encoded?: Buffer): Buffer {
  const id = Buffer.allocUnsafe(8);
  id.writeBigInt64BE(lease);
  return encoded === undefined ? id : Buffer.concat([id, encoded]);
}

function tooLong(bytes: number): CodedError {
  return new CodedError("STORE_TOO_LARGE", { message: `a key of ${bytes} bytes is too long` });
}
