import { expect, test } from "vitest";
import { ChunkedDecoder } from "../../src/gateway/http/chunked-decoder.ts";

interface Decoded {
  readonly data: string;
  /** Bytes taken; -1 when malformed. */
  readonly used: number;
  readonly done: boolean;
}

function decode(text: string, sizes: readonly number[]): Decoded {
  const decoder = new ChunkedDecoder();
  let data = "";
  const sink = {
    onChunk: (piece: Buffer): void => {
      data += piece.toString("latin1");
    },
  };
  const bytes = Buffer.from(text, "latin1");
  let at = 0;
  let turn = 0;
  while (at < bytes.length && !decoder.done) {
    const size = sizes[turn++ % sizes.length] ?? 1;
    const piece = bytes.subarray(at, at + size);
    const used = decoder.feed(piece, 0, sink);
    if (used < 0) return { data, used, done: false };
    at += used;
  }
  return { data, used: at, done: decoder.done };
}

const SLICINGS = [[1], [2], [3, 1], [5, 7, 1], [1000]];

test.each([
  { says: "two chunks", text: "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", data: "abcde" },
  {
    says: "upper and lower hexadecimal",
    text: "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    data: "01234567890123456789",
  },
  { says: "leading zeros", text: "0003\r\nabc\r\n000\r\n\r\n", data: "abc" },
  { says: "many zeros in front", text: `${"0".repeat(60)}3\r\nabc\r\n${"0".repeat(60)}\r\n\r\n`, data: "abc" },
  { says: "extensions", text: '3;a="b;c"\r\nabc\r\n0;x\r\n\r\n', data: "abc" },
  { says: "blanks behind a size", text: "3 \t\r\nabc\r\n0\r\n\r\n", data: "abc" },
  { says: "trailers", text: "1\r\na\r\n0\r\nX-T: 1\r\nContent-Length: 5\r\n\r\n", data: "a" },
  { says: "line ends inside data", text: "4\r\n\r\n\r\n\r\n0\r\n\r\n", data: "\r\n\r\n" },
  { says: "nothing", text: "0\r\n\r\n", data: "" },
])("decodes $says in any slicing, and takes no byte more", ({ text, data }) => {
  for (const sizes of SLICINGS) {
    expect(decode(`${text}HTTP/1.1 200`, sizes)).toEqual({ data, used: text.length, done: true });
  }
});

test.each([
  { says: "no size", text: "\r\nabc\r\n" },
  { says: "0x", text: "0x3\r\nabc\r\n" },
  { says: "a sign", text: "+3\r\nabc\r\n" },
  { says: "a blank before the size", text: " 3\r\nabc\r\n" },
  { says: "a bare LF", text: "3\nabc\r\n" },
  { says: "a bare LF in an extension", text: "3;a\nabc\r\n" },
  { says: "NUL in an extension", text: "3;\0\r\nabc\r\n" },
  { says: "zeros without end", text: `${"0".repeat(2000)}3\r\nabc\r\n` },
  { says: "a size beyond 2^53", text: "fffffffffffffff\r\n" },
  { says: "bytes behind a chunk", text: "3\r\nabcX\r\n0\r\n\r\n" },
  { says: "a bare LF behind a chunk", text: "3\r\nabc\n0\r\n\r\n" },
  { says: "an extension without end", text: `3;${"a".repeat(5000)}` },
  { says: "trailers without end", text: `0\r\n${"X: 1\r\n".repeat(2000)}` },
  { says: "a bare LF in a trailer", text: "0\r\nX: 1\n\r\n" },
])("refuses $says in any slicing", ({ text }) => {
  for (const sizes of SLICINGS) expect(decode(text, sizes).used).toBe(-1);
});
