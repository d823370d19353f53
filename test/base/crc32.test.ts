import { crc32 as zlibCrc32 } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { crc32, crc32Chain } from "../../src/base/crc32.ts";

test("of any text it is zlib's", () => {
  expect(crc32("123456789")).toBe(0xcbf43926);
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => crc32(text) === zlibCrc32(text)));
});

test("a chain feeds each value to the next, lowest byte first", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      const values = new Uint32Array(20);
      crc32Chain(crc32(text), values);
      const bytes = Buffer.alloc(4);
      for (const value of values) {
        expect(value).toBe(zlibCrc32(bytes, zlibCrc32(text)));
        bytes.writeUInt32LE(value);
      }
    }),
  );
});
