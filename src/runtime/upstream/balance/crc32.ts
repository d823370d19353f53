/**
 * CRC-32 (IEEE 802.3), as nginx and ketama-like rings use it; node:zlib has it only from Node 20.15 and 22.2 on,
 * and without a way to continue from a running value.
 */
const TABLE = Uint32Array.from({ length: 256 }, (_unused, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value;
});

/** Feeds one byte to a running value that is not yet inverted at the end. */
export function crcByte(running: number, byte: number): number {
  return (TABLE[(running ^ byte) & 0xff] as number) ^ (running >>> 8);
}

/** The running value of a text's UTF-8 bytes. */
export function crcText(text: string): number {
  let running = 0xffffffff;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code > 0x7f) return crcBytes(Buffer.from(text));
    running = crcByte(running, code);
  }
  return running;
}

/** @returns an unsigned 32-bit number. Cost: one table look-up per byte; no allocation for ASCII. */
export function crc32(text: string): number {
  return (crcText(text) ^ 0xffffffff) >>> 0;
}

function crcBytes(bytes: Uint8Array): number {
  let running = 0xffffffff;
  for (const byte of bytes) running = crcByte(running, byte);
  return running;
}
