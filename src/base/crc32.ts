/**
 * CRC-32 (RFC 1952 section 8) of short texts, and of the chain that places a ring's points: a call of zlib's costs more
 * than a short text's value.
 */

/** TABLES[n][byte]: what a byte does to the value once n more bytes have followed it. */
const TABLES = [0, 1, 2, 3].map(() => new Uint32Array(256)) as [Uint32Array, Uint32Array, Uint32Array, Uint32Array];
const [FIRST] = TABLES;
for (let byte = 0; byte < 256; byte++) {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  FIRST[byte] = value;
}
for (let byte = 0; byte < 256; byte++) {
  for (const [at, table] of TABLES.slice(1).entries()) {
    const value = (TABLES[at] as Uint32Array)[byte] as number;
    table[byte] = (value >>> 8) ^ (FIRST[value & 0xff] as number);
  }
}

/** Of the text as UTF-8. */
export function crc32(text: string): number {
  let value = -1;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 0x7f) return ofBytes(Buffer.from(text));
    value = (value >>> 8) ^ (FIRST[(value ^ code) & 0xff] as number);
  }
  return ~value >>> 0;
}

/**
 * Fills `into`: each value is that of `before`'s bytes and then the value before it, lowest byte first; the first one's
 * is 0. Cost: about 10 ns a value.
 */
export function crc32Chain(before: number, into: Uint32Array): void {
  const [first, second, third, fourth] = TABLES;
  let last = 0;
  for (let at = 0; at < into.length; at++) {
    const value = ~before ^ last;
    const high = (fourth[value & 0xff] as number) ^ (third[(value >>> 8) & 0xff] as number);
    last = ~(high ^ (second[(value >>> 16) & 0xff] as number) ^ (first[value >>> 24] as number));
    into[at] = last;
  }
}

function ofBytes(bytes: Buffer): number {
  let value = -1;
  for (const byte of bytes) value = (value >>> 8) ^ (FIRST[(value ^ byte) & 0xff] as number);
  return ~value >>> 0;
}
