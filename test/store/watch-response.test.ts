/** What a watch sends, read by hand: as another program wrote it, and as nobody should. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { readWatchResponse } from "../../src/store/etcd/watch-response.ts";
import { watchBytes } from "../support/etcd-wire.ts";

const number = fc.bigInt({ min: 0n, max: 2n ** 63n - 1n });
const small = fc.bigInt({ min: 0n, max: 300n });
const anyNumber = fc.oneof(number, small, fc.constantFrom(2n ** 49n - 1n, 2n ** 49n, 2n ** 53n, 2n ** 56n));
const bytes = fc.uint8Array({ maxLength: 300 }).map((data) => Buffer.from(data));
const event = fc.record({
  isDelete: fc.boolean(),
  key: fc.string({ unit: "grapheme", maxLength: 60 }),
  value: bytes,
  ...{ create: anyNumber, mod: anyNumber, version: anyNumber, lease: anyNumber },
  previous: fc.boolean(),
});
const message = fc.record({
  ...{ revision: anyNumber, compacted: anyNumber, cluster: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }) },
  ...{ created: fc.boolean(), canceled: fc.boolean(), fragment: fc.boolean(), reason: fc.string() },
  events: fc.array(event, { maxLength: 20 }),
});

function wireOf(given: typeof message extends fc.Arbitrary<infer T> ? T : never): Buffer {
  return watchBytes({
    header: { cluster_id: String(given.cluster), revision: String(given.revision), raft_term: "7" },
    ...{ watch_id: "3", created: given.created, canceled: given.canceled, fragment: given.fragment },
    ...{ compact_revision: String(given.compacted), cancel_reason: given.reason },
    events: given.events.map((one) => {
      const kv = {
        ...{ key: Buffer.from(one.key), value: one.value, create_revision: String(one.create) },
        ...{ mod_revision: String(one.mod), version: String(one.version), lease: String(one.lease) },
      };
      return { type: one.isDelete ? "Delete" : "Put", kv, ...(one.previous ? { prev_kv: kv } : {}) };
    }),
  });
}

test("is what protobufjs wrote", () => {
  fc.assert(
    fc.property(message, (given) => {
      const read = readWatchResponse(wireOf(given));
      const { created, canceled, fragment, revision } = given;
      expect(read).toMatchObject({ created, canceled, fragment, revision, cancelReason: given.reason });
      expect([read.compactRevision, read.count]).toEqual([given.compacted, given.events.length]);
      for (const [at, one] of given.events.entries()) {
        const { key, value, create: createRevision, mod: modRevision, version, lease } = one;
        const kv = { key, value, createRevision, modRevision, version, lease };
        const change = one.isDelete ? { type: "delete", key, kv: undefined } : { type: "put", key, kv };
        expect(read.event(at)).toEqual({ revision: modRevision, change });
      }
    }),
  );
});

test("cut anywhere, or of other bytes, it throws or is read, and ends", () => {
  const read = (given: Buffer): void => {
    try {
      const response = readWatchResponse(given);
      for (let at = 0; at < response.count; at++) response.event(at);
    } catch (error) {
      expect(error).toBeInstanceOf(RangeError);
    }
  };
  fc.assert(
    fc.property(message, fc.nat(), (given, at) => {
      const whole = wireOf(given);
      read(whole.subarray(0, at % (whole.length + 1)));
      if (whole.length > 0) whole[at % whole.length] = (whole[at % whole.length] ?? 0) ^ (1 + (at % 255));
      read(whole);
    }),
  );
  fc.assert(fc.property(bytes, read));
  // Field 11, longer than there is; a number without an end; an event without a key.
  for (const wrong of ["5a7f00", "08ffffffffffffffffffffff", "5a00"])
    expect(() => readWatchResponse(Buffer.from(wrong, "hex")).event(0)).toThrow(RangeError);
});
