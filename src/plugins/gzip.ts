/**
 * gzip: compresses responses for clients that accept it. Source: APISIX 3.18 gzip, RFC 1952.
 */
import { constants, createGzip, gzipSync } from "node:zlib";
import { type Static, Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { CoderParts, StreamOptions } from "./content-coding/coded-body.ts";
import { codingPhases, schemaOfCoding } from "./content-coding/coding-rules.ts";

const schema = schemaOfCoding({
  comp_level: Defaulted(
    Type.Integer({ minimum: 1, maximum: 9, default: 1, description: "1 is the fastest, 9 gives the shortest." }),
  ),
  buffers: Defaulted(
    Type.Object(
      {
        number: Defaulted(Type.Integer({ minimum: 1, default: 32, description: "Pieces that wait for the client." })),
        size: Defaulted(Type.Integer({ minimum: 1, default: 4_096, description: "Bytes of a piece." })),
      },
      { default: { number: 32, size: 4_096 }, description: "What is held of a compressed body." },
    ),
  ),
});

export const gzip = definePlugin({
  name: "gzip",
  version: 0.1,
  priority: 995,
  explain: "run",
  schema,
  compile: (conf, env) => codingPhases("gzip", conf, env, gzipParts(conf)),
});

const SLOW_LEVEL = 7;
const WINDOW_BITS_MAX = 15;
const WINDOW_BITS_MIN = 10;
const MEMORY_LEVEL_MAX = 8;
const PIECE_BYTES_MIN = 64;
const PIECE_BYTES_MAX = 1_048_576;
const WAITING_BYTES_MAX = 8_388_608;
const INPUT_BYTES = 131_072;

function gzipParts({ buffers, comp_level: level }: Static<typeof schema>): CoderParts {
  const chunkSize = Math.min(PIECE_BYTES_MAX, Math.max(PIECE_BYTES_MIN, buffers.size));
  const waiting = Math.min(WAITING_BYTES_MAX, buffers.number * buffers.size);
  return {
    wholeMax: level < SLOW_LEVEL ? 65_536 : 16_384,
    memoryOf(length) {
      const { memLevel, windowBits } = sizesFor(length);
      return (1 << (windowBits + 2)) + (1 << (memLevel + 9)) + Math.min(waiting, length ?? waiting);
    },
    whole: (body) => gzipSync(body, { level, ...sizesFor(body.length) }),
    stream(length, flushes) {
      const options: StreamOptions = {
        ...{ level, chunkSize, ...sizesFor(length) },
        ...{ writableHighWaterMark: INPUT_BYTES, readableHighWaterMark: waiting },
        ...(flushes ? { flush: constants.Z_SYNC_FLUSH } : {}),
      };
      return createGzip(options);
    },
  };
}

/** A window that is not longer than the body. */
function sizesFor(length: number | undefined): { windowBits: number; memLevel: number } {
  const wanted = length === undefined ? WINDOW_BITS_MAX : Math.ceil(Math.log2(length + 1));
  const windowBits = Math.max(WINDOW_BITS_MIN, Math.min(WINDOW_BITS_MAX, wanted));
  return { windowBits, memLevel: Math.min(MEMORY_LEVEL_MAX, windowBits - 6) };
}
