import fc from "fast-check";
import { expect, test } from "vitest";
import { hashOf } from "../../src/base/packed/hash-index.ts";
import { PackedMap } from "../../src/base/packed/packed-map.ts";
import { runs } from "../support/long-run.ts";

const MIB = 2 ** 20;
const shown = (map: PackedMap): [string, string][] =>
  [...map.entries()].map(([key, { value }]): [string, string] => [key, value.toString("latin1")]).sort();

test("it answers as a Map does, whatever is done to it", () => {
  const key = fc.oneof(
    fc.constantFrom("", "a", "ab", "key-1", "\u00e9", "\u20ac", "\ud800", "a\0b"),
    fc.string({ maxLength: 6 }),
    fc.string({ unit: "binary", maxLength: 4 }),
  );
  const value = fc.oneof(fc.string({ maxLength: 9 }), fc.constantFrom("x".repeat(70_000), "y".repeat(1_000_000)));
  const action = fc.tuple(fc.constantFrom("set", "set", "delete"), key, value, fc.bigInt({ min: 0n, max: 2n ** 63n }));
  fc.assert(
    fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
      const [packed, plain] = [new PackedMap(), new Map<string, string>()];
      for (const [what, name, text, revision] of actions) {
        if (what === "delete") expect(packed.delete(name)).toBe(plain.delete(name));
        else {
          packed.set(name, Buffer.from(text, "latin1"), revision, revision / 2n);
          plain.set(name, Buffer.from(text, "latin1").toString("latin1"));
          expect(packed.get(name)).toMatchObject({ modRevision: revision, createRevision: revision / 2n });
          expect(packed.keysOf(hashOf(name))).toContain(name);
        }
        expect(packed.size).toBe(plain.size);
        expect(packed.has(name)).toBe(plain.has(name));
        expect(packed.get(name)?.value.toString("latin1")).toBe(plain.get(name));
      }
      expect(shown(packed)).toEqual([...plain].sort());
    }),
    { numRuns: runs(20) },
  );
});

test("many records come, change and go; its buffers follow what is left", () => {
  const packed = new PackedMap();
  const plain = new Map<string, string>();
  let seed = 7;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return seed % below;
  };
  for (let step = 0; step < runs(40_000); step++) {
    const key = `/apisix/consumers/c${random(5_000)}`;
    if (random(3) === 0) {
      packed.delete(key);
      plain.delete(key);
    } else {
      const value = `${step}`.repeat(1 + random(30));
      packed.set(key, Buffer.from(value), BigInt(step), 1n);
      plain.set(key, value);
    }
  }
  expect(packed.size).toBe(plain.size);
  expect(new Map(shown(packed))).toEqual(plain);
  const live = [...plain].reduce((sum, [key, value]) => sum + key.length + value.length + 32, 0);
  expect(packed.bytes).toBeLessThan(2 * live + MIB);
  for (const key of plain.keys()) packed.delete(key);
  expect([packed.size, shown(packed)]).toEqual([0, []]);
  expect(packed.bytes).toBeLessThan(MIB);
});

test("a few records that change again and again are never lost, and stay small", () => {
  const packed = new PackedMap();
  let lost = 0;
  for (let step = 0; step < 60_000; step++) {
    const key = `k${(step * 7) % 13}`;
    packed.set(key, Buffer.from(`${step}`.padEnd(1 + (step % 997), "x")), BigInt(step), 1n);
    if (packed.get(key)?.modRevision !== BigInt(step)) lost++;
    if (step % 1_000 === 0) for (let n = 0; n < Math.min(13, step); n++) expect(packed.has(`k${n}`)).toBe(true);
  }
  expect(lost).toBe(0);
  expect(packed.size).toBe(13);
  expect(packed.bytes).toBeLessThan(MIB);
});

test("what was read stays as it was, whatever becomes of the record", () => {
  const packed = new PackedMap();
  for (let n = 0; n < 10_000; n++) packed.set(`k${n}`, Buffer.from(`value ${n}`), 1n, 1n);
  const read = Array.from({ length: 10_000 }, (_, n) => packed.get(`k${n}`)?.value);
  for (let n = 0; n < 10_000; n++) packed.delete(`k${n}`);
  for (let n = 0; n < 50_000; n++) packed.set(`other ${n}`, Buffer.from(`another value ${n}`), 2n, 2n);
  expect(read.map(String)).toEqual(Array.from({ length: 10_000 }, (_, n) => `value ${n}`));
});

test("a walk shows what stays exactly once, while other records come, change and go", () => {
  const packed = new PackedMap();
  for (let n = 0; n < 30_000; n++) packed.set(`k${n}`, Buffer.from("before"), 1n, 1n);
  const seen = new Map<string, number>();
  let steps = 0;
  let wrong = 0;
  for (const [key, { value }] of packed.entries()) {
    seen.set(key, (seen.get(key) ?? 0) + 1);
    const n = Number(key.slice(1));
    if (steps++ < 20_000) {
      packed.set(`new ${steps}`, Buffer.from("x".repeat(100)), 2n, 2n);
      packed.set(`k${((n * 7) % 30_000) | 1}`, Buffer.from("after"), 2n, 1n); // odd ones change, even ones may go
      packed.delete(`k${((n * 11) % 30_000) & ~1}`);
    }
    if (!key.startsWith("new") && !["before", "after"].includes(value.toString())) wrong++;
  }
  expect(wrong).toBe(0);
  expect([...seen.values()].every((count) => count === 1)).toBe(true);
  expect([...packed.keys()].filter((key) => key.startsWith("k") && seen.get(key) !== 1)).toEqual([]);
});
