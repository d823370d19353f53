/**
 * Decodes the chunked coding of responses (RFC 9112 section 7.1): sizes strict, extensions dropped.
 * Promise: bytes in any slicing give the same data; nothing that is not chunked coding is passed on.
 */
const EXTENSION_MAX = 4096; // of one chunk; nobody sends more than a signature
const TRAILER_MAX = 8192;
const SIZE_DIGITS_MAX = 13; // stays below 2^53; zeros in front do not count
const ZEROS_MAX = 1024;

const SIZE = 0;
const EXTENSION = 1;
const SIZE_LF = 2;
const DATA = 3;
const DATA_CR = 4;
const DATA_LF = 5;
const TRAILER_START = 6;
const TRAILER = 7;
const TRAILER_LF = 8;
const LAST_LF = 9;
const DONE = 10;

export interface ChunkSink {
  /** A piece of decoded data, a part of the input. */
  onChunk(data: Buffer): void;
}

export class ChunkedDecoder {
  #state = SIZE;
  #size = 0;
  #digits = 0;
  #zeros = 0;
  #extra = 0;
  /** Lines of the trailer section, as they came, each with its CR. */
  trailer = "";

  reset(): void {
    this.#state = SIZE;
    this.#size = 0;
    this.#digits = 0;
    this.#zeros = 0;
    this.#extra = 0;
    this.trailer = "";
  }

  get done(): boolean {
    return this.#state === DONE;
  }

  /**
   * Takes bytes from `start` on.
   * @returns where the coding ended (`done` is true then) or `input.length`; -1 when it is malformed
   */
  feed(input: Buffer, start: number, sink: ChunkSink): number {
    let at = start;
    while (at < input.length && this.#state !== DONE) {
      if (this.#state === DATA) {
        const end = Math.min(input.length, at + this.#size);
        this.#size -= end - at;
        if (this.#size === 0) this.#state = DATA_CR;
        sink.onChunk(input.subarray(at, end));
        at = end;
        continue;
      }
      if (!this.#step(input[at] as number)) return -1;
      at++;
    }
    return at;
  }

  #step(byte: number): boolean {
    switch (this.#state) {
      case SIZE:
        return this.#readSize(byte);
      case EXTENSION:
        if (byte === 0x0d) this.#state = SIZE_LF;
        return byte !== 0x0a && byte !== 0 && ++this.#extra <= EXTENSION_MAX;
      case SIZE_LF:
        this.#digits = 0;
        this.#zeros = 0;
        this.#extra = 0;
        this.#state = this.#size === 0 ? TRAILER_START : DATA;
        return byte === 0x0a;
      case DATA_CR:
        this.#state = DATA_LF;
        return byte === 0x0d;
      case DATA_LF:
        this.#state = SIZE;
        return byte === 0x0a;
      case TRAILER_START:
        this.#state = byte === 0x0d ? LAST_LF : TRAILER;
        this.trailer += String.fromCharCode(byte);
        return byte !== 0x0a && ++this.#extra <= TRAILER_MAX;
      case TRAILER:
        if (byte === 0x0d) this.#state = TRAILER_LF;
        this.trailer += String.fromCharCode(byte);
        return byte !== 0x0a && byte !== 0 && ++this.#extra <= TRAILER_MAX;
      case TRAILER_LF:
        this.#state = TRAILER_START;
        return byte === 0x0a;
      case LAST_LF:
        this.#state = DONE;
        return byte === 0x0a;
      default:
        return false;
    }
  }

  #readSize(byte: number): boolean {
    const digit = hexDigit(byte);
    if (digit === 0 && this.#digits === 0) return ++this.#zeros <= ZEROS_MAX;
    if (digit >= 0) {
      this.#size = this.#size * 16 + digit;
      return ++this.#digits <= SIZE_DIGITS_MAX;
    }
    if (this.#digits + this.#zeros === 0) return false;
    if (byte === 0x0d) this.#state = SIZE_LF;
    // chunk-ext begins with ";", blanks before it are bad white space that must be tolerated (RFC 9112 section 7.1.1).
    else if (byte === 0x3b || byte === 0x20 || byte === 0x09) this.#state = EXTENSION;
    else return false;
    return true;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
