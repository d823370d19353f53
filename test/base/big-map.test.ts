import fc from "fast-check";
import { expect, test } from "vitest";
import { BigMap } from "../../src/base/packed/big-map.ts";

test("it answers as a Map does, whatever is done to it", () => {
  const key = fc.oneof(fc.constantFrom("", "a", "ab", "key-1", "key-2"), fc.string({ maxLength: 6 }));
  const action = fc.tuple(fc.constantFrom("set", "delete"), key, fc.nat(9));
  fc.assert(
    fc.property(fc.array(action), (actions) => {
      const [big, plain] = [new BigMap<number>(), new Map<string, number>()];
      for (const [what, name, value] of actions) {
        if (what === "delete") expect(big.delete(name)).toBe(plain.delete(name));
        else {
          big.set(name, value);
          plain.set(name, value);
        }
        expect([big.size, big.get(name), big.has(name)]).toEqual([plain.size, plain.get(name), plain.has(name)]);
      }
      expect([...big.values()].sort()).toEqual([...plain.values()].sort());
    }),
  );
});
