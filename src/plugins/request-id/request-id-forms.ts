/**
 * The forms of ids that request-id can make; all from the cryptographic random source.
 */
import { randomBytes, randomUUID } from "node:crypto";

/** UUID version 4. */
export function makeUuid(): string {
  return randomUUID();
}

/** UUID version 7 (RFC 9562): 48 bits of milliseconds, then random. */
export function makeUuidV7(nowMs: number): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(Math.floor(nowMs), 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString("hex");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}

const NANOID_ALPHABET = "-_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/** 21 characters, 126 random bits. */
export function makeNanoid(): string {
  let id = "";
  for (const byte of randomBytes(21)) id += NANOID_ALPHABET[byte & 63];
  return id;
}

const KSUID_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const KSUID_EPOCH_SECONDS = 1_400_000_000; // of the format, 2014-05-13

/** 27 characters in base 62: 32 bits of seconds, 128 random bits; sorts by time. */
export function makeKsuid(nowMs: number): string {
  const bytes = randomBytes(20);
  bytes.writeUInt32BE(Math.max(0, Math.floor(nowMs / 1000) - KSUID_EPOCH_SECONDS), 0);
  let number = BigInt(`0x${bytes.toString("hex")}`);
  let id = "";
  for (let i = 0; i < 27; i++) {
    id = `${KSUID_ALPHABET[Number(number % 62n)]}${id}`;
    number /= 62n;
  }
  return id;
}

/** Characters of a set, each as likely as the others. */
export function makeRangeId(length: number, characters: string): string {
  const set = [...characters];
  const fair = Math.floor(0x10000 / set.length) * set.length; // larger numbers would favour the first characters
  let id = "";
  for (let made = 0; made < length; ) {
    const bytes = randomBytes((length - made) * 2);
    for (let at = 0; at + 1 < bytes.length && made < length; at += 2) {
      const number = bytes.readUInt16BE(at);
      if (number >= fair) continue;
      id += set[number % set.length];
      made++;
    }
  }
  return id;
}
