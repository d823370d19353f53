/**
 * A body through a codec of node:zlib: short ones at once, others piece by piece on threads beside the event loop.
 * Promise: what an upstream sends little by little goes on little by little; the client's slowness reaches the upstream;
 * what a codec holds is counted from its opening to its closing.
 */
import type { Transform, TransformOptions } from "node:stream";
import type { BrotliOptions, ZlibOptions } from "node:zlib";
import type { BodyFlow, BodyOut, BodyTransform } from "../../plugin/body-stages.ts";

export interface CoderParts {
  /** Bodies up to so many bytes are coded in one go: less than what a thread costs. */
  readonly wholeMax: number;
  /** What the codec needs, in bytes. @param length of the body, where it is known */
  memoryOf(length: number | undefined): number;
  whole(body: Buffer): Buffer;
  /** @param flushes after each write, as the body comes little by little */
  stream(length: number | undefined, flushes: boolean): CodecStream;
}

/** A stream of node:zlib. */
type CodecStream = Transform;
/** Streams of node:zlib hand options on to node:stream, which the types do not say. */
export type StreamOptions = (ZlibOptions | BrotliOptions) &
  Pick<TransformOptions, "readableHighWaterMark" | "writableHighWaterMark">;

/** Pieces are put together up to this. */
const PIECE_BYTES = 65_536;

export function codedBody(parts: CoderParts, memory: { bytes: number }): BodyTransform {
  return {
    open(out, length) {
      const bytes = parts.memoryOf(length);
      memory.bytes += bytes;
      const forget = (): void => {
        memory.bytes -= bytes;
      };
      if (length !== undefined && length <= parts.wholeMax) return new WholeBody(parts, out, forget);
      return new StreamedBody(parts.stream(length, length === undefined), out, forget);
    },
  };
}

class WholeBody implements BodyFlow {
  readonly #parts: CoderParts;
  readonly #out: BodyOut;
  readonly close: () => void;
  readonly #pieces: Buffer[] = [];

  constructor(parts: CoderParts, out: BodyOut, close: () => void) {
    this.#parts = parts;
    this.#out = out;
    this.close = close;
  }

  write(piece: Buffer): boolean {
    this.#pieces.push(piece);
    return true;
  }

  /** Nothing can go on before the end. */
  flush(): void {}

  end(): void {
    this.#out.write(this.#parts.whole(joined(this.#pieces)));
    this.#out.end();
  }
}

class StreamedBody implements BodyFlow {
  readonly #codec: CodecStream;
  readonly #forget: () => void;
  #pieces: Buffer[] = [];
  #bytes = 0;
  #isFull = false;

  constructor(codec: CodecStream, out: BodyOut, forget: () => void) {
    this.#codec = codec;
    this.#forget = forget;
    codec.on("data", (piece: Buffer) => {
      if (!out.write(piece)) codec.pause();
      out.flush();
    });
    codec.on("drain", () => {
      this.#isFull = false;
      out.ready();
    });
    codec.on("end", () => out.end());
    codec.on("error", (error) => out.fail(error));
  }

  write(piece: Buffer): boolean {
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    if (this.#bytes >= PIECE_BYTES) this.flush();
    return !this.#isFull;
  }

  flush(): void {
    if (this.#bytes === 0) return;
    const piece = joined(this.#pieces);
    this.#pieces = [];
    this.#bytes = 0;
    if (!this.#codec.write(piece)) this.#isFull = true;
  }

  end(): void {
    this.flush();
    this.#codec.end();
  }

  ready(): void {
    this.#codec.resume();
  }

  close(): void {
    this.#codec.destroy();
    this.#forget();
  }
}

function joined(pieces: readonly Buffer[]): Buffer {
  const [only] = pieces;
  return pieces.length === 1 && only ? only : Buffer.concat(pieces);
}
