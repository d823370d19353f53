/** The server name in the first bytes of a TLS connection, and what no reader may be fooled by. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { HELLO_BYTES_MAX, readClientHello } from "../../src/gateway/tls/tls-client-hello.ts";

const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const vector = (bytes: Buffer): Buffer => Buffer.concat([u16(bytes.length), bytes]);

function nameExtension(name: string, type = 0): Buffer {
  const entry = Buffer.concat([Buffer.from([type]), vector(Buffer.from(name, "latin1"))]);
  return Buffer.concat([u16(0), vector(vector(entry))]);
}

function hello(extensions: readonly Buffer[] | undefined): Buffer {
  const fixed = Buffer.concat([
    u16(0x0303),
    Buffer.alloc(32),
    Buffer.from([0]),
    vector(u16(0x1301)),
    Buffer.from([1, 0]),
  ]);
  const body = extensions ? Buffer.concat([fixed, vector(Buffer.concat(extensions))]) : fixed;
  const length = Buffer.from([0, body.length >> 8, body.length & 0xff]);
  return Buffer.concat([Buffer.from([1]), length, body]);
}

/** As records of at most so many bytes. */
function records(message: Buffer, size = 16_384): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    parts.push(Buffer.from([22, 3, 1]), vector(message.subarray(at, at + size)));
  }
  return Buffer.concat(parts);
}

const other = Buffer.concat([u16(0x002b), vector(Buffer.from([2, 3, 4]))]);

describe("names", () => {
  test.each([
    { says: "the name is read", extensions: [other, nameExtension("a.test")], want: "a.test" },
    { says: "case and the dot at the end do not matter", extensions: [nameExtension("A.Test.")], want: "a.test" },
    { says: "no name", extensions: [other], want: undefined },
    { says: "no extensions at all", extensions: undefined, want: undefined },
  ])("$says", ({ extensions, want }) => {
    expect(readClientHello(records(hello(extensions)))).toEqual({ kind: "complete", serverName: want });
  });

  test.each([
    { says: "two name extensions", bytes: records(hello([nameExtension("a.test"), nameExtension("b.test")])) },
    { says: "a name of another type", bytes: records(hello([nameExtension("a.test", 1)])) },
    { says: "an empty name", bytes: records(hello([nameExtension("")])) },
    { says: "NUL in a name", bytes: records(hello([nameExtension("a.test\0.evil")])) },
    { says: "a slash in a name", bytes: records(hello([nameExtension("../a")])) },
    { says: "an empty label", bytes: records(hello([nameExtension("a..test")])) },
    { says: "a name of 256 characters", bytes: records(hello([nameExtension("a".repeat(256))])) },
    {
      says: "bytes behind the name's list",
      bytes: records(
        hello([Buffer.concat([u16(0), vector(Buffer.concat([vector(Buffer.from([0, 0, 1, 97])), u16(0)]))])]),
      ),
    },
    { says: "another handshake message", bytes: records(Buffer.from([2, 0, 0, 1, 0])) },
    { says: "a record of another type", bytes: Buffer.from([23, 3, 3, 0, 1, 0]) },
    { says: "another version of records", bytes: Buffer.from([22, 2, 0, 0, 1, 1]) },
    { says: "an empty record", bytes: Buffer.from([22, 3, 1, 0, 0]) },
    { says: "a record of 16385 bytes", bytes: Buffer.from([22, 3, 1, 0x40, 1]) },
    { says: "a message beyond the limit", bytes: records(Buffer.from([1, 0, 0x40, 0, 0])) },
    { says: "SSL 2", bytes: Buffer.from([0x80, 0x2e, 1, 3, 1]) },
  ])("$says: broken", ({ bytes }) => {
    expect(readClientHello(bytes).kind).toBe("broken");
  });

  test("records of any size carry the same message", () => {
    const message = hello([other, nameExtension("a.test")]);
    for (let size = Math.ceil(message.length / 32); size <= message.length; size++) {
      expect(readClientHello(records(message, size))).toEqual({ kind: "complete", serverName: "a.test" });
    }
  });

  test("more records than anybody needs are broken", () => {
    expect(readClientHello(records(hello([other, nameExtension("a.test")]), 1)).kind).toBe("broken");
  });

  test("whatever is missing at the end is waited for", () => {
    for (const size of [7, 16_384]) {
      const bytes = records(hello([other, nameExtension("a.test")]), size);
      for (let end = 0; end < bytes.length; end++) {
        expect(readClientHello(bytes.subarray(0, end))).toEqual({ kind: "incomplete" });
      }
    }
  });
});

describe("anything", () => {
  test("bytes never make it throw, and it never waits beyond its limit", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), fc.boolean(), (noise, framed) => {
        const bytes = Buffer.from(noise);
        readClientHello(framed ? records(Buffer.concat([Buffer.from([1, 0, 1]), bytes])) : bytes);
      }),
    );
    const endless = Buffer.concat([Buffer.from([1, 0, 0x3f, 0xfb]), Buffer.alloc(HELLO_BYTES_MAX)]);
    for (const size of [1, 600, 16_384]) expect(readClientHello(records(endless, size)).kind).toBe("broken");
  });

  test("a changed byte gives the name, another name, or none; nothing is thrown", () => {
    const good = records(hello([other, nameExtension("a.test")]));
    fc.assert(
      fc.property(fc.nat(good.length - 1), fc.integer({ min: 0, max: 255 }), (at, value) => {
        const bytes = Buffer.from(good);
        bytes[at] = value;
        const read = readClientHello(bytes);
        if (read.kind === "complete" && read.serverName !== undefined)
          expect(read.serverName).toMatch(/^[a-z0-9._-]+$/);
      }),
    );
  });
});
