/**
 * brotli: compresses responses for clients that accept it. Source: APISIX 3.18 brotli, RFC 7932.
 */
import { brotliCompressSync, constants, createBrotliCompress } from "node:zlib";
import { type Static, Type } from "typebox";
import { Defaulted, definePlugin } from "../plugin/plugin.ts";
import type { CoderParts, StreamOptions } from "./content-coding/coded-body.ts";
import { codingPhases, schemaOfCoding } from "./content-coding/coding-rules.ts";

const schema = schemaOfCoding({
  mode: Defaulted(
    Type.Integer({ minimum: 0, maximum: 2, default: 0, description: "0: anything, 1: UTF-8 text, 2: WOFF 2.0 fonts." }),
  ),
  comp_level: Defaulted(
    Type.Integer({ minimum: 0, maximum: 11, default: 6, description: "0 is the fastest, 11 gives the shortest." }),
  ),
  lgwin: Defaulted(
    Type.Unsafe<number>({
      enum: [0, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24],
      default: 19,
      description: "Window, as a power of two; 0: the library's default.",
    }),
  ),
  lgblock: Defaulted(
    Type.Unsafe<number>({
      enum: [0, 16, 17, 18, 19, 20, 21, 22, 23, 24],
      default: 0,
      description: "Input block, as a power of two; 0: by the level.",
    }),
  ),
});

export const brotli = definePlugin({
  name: "brotli",
  version: 0.1,
  priority: 996,
  explain: "run",
  schema,
  compile: (conf, env) => codingPhases("br", conf, env, brotliParts(conf)),
});

const { BROTLI_PARAM_LGBLOCK, BROTLI_PARAM_LGWIN, BROTLI_PARAM_MODE, BROTLI_PARAM_QUALITY, BROTLI_PARAM_SIZE_HINT } =
  constants;
const LGWIN_DEFAULT = 22;
const INPUT_BYTES = 131_072;

function brotliParts({ comp_level: level, lgblock, lgwin, mode }: Static<typeof schema>): CoderParts {
  const params = {
    [BROTLI_PARAM_MODE]: mode,
    [BROTLI_PARAM_QUALITY]: level,
    ...(lgwin === 0 ? {} : { [BROTLI_PARAM_LGWIN]: lgwin }),
    ...(lgblock === 0 ? {} : { [BROTLI_PARAM_LGBLOCK]: lgblock }),
  };
  const windowBytes = 2 ** (lgwin || LGWIN_DEFAULT);
  const tableBytes = level < 5 ? 1_048_576 : level < 10 ? 4_194_304 : 16_777_216;
  return {
    wholeMax: level < 5 ? 65_536 : level < 7 ? 32_768 : 0,
    memoryOf: (length) =>
      2 * Math.min(windowBytes, length ?? windowBytes) + Math.min(tableBytes, 64 * (length ?? tableBytes)),
    whole: (body) => brotliCompressSync(body, { params: { ...params, [BROTLI_PARAM_SIZE_HINT]: body.length } }),
    stream(length, flushes) {
      const options: StreamOptions = {
        params: length === undefined ? params : { ...params, [BROTLI_PARAM_SIZE_HINT]: Math.min(length, 2 ** 30) },
        writableHighWaterMark: INPUT_BYTES,
        ...(flushes ? { flush: constants.BROTLI_OPERATION_FLUSH } : {}),
      };
      return createBrotliCompress(options);
    },
  };
}
