import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { compileLimitKey } from "../../src/plugins/limits/limit-key.ts";
import { openLocalCounters, slide } from "../../src/plugins/limits/local-counters.ts";
import { ExpiringMap } from "../../src/plugins/shared/expiring-map.ts";
import { canonicalText, confHash } from "../../src/plugins/shared/schema-parts.ts";

describe("what clients can make a node remember", () => {
  test("an entry ends by itself, and ended entries are swept as the map grows", () => {
    const map = new ExpiringMap<{ endMs: number }>(100_000);
    for (let i = 0; i < 1024; i++) map.set(`old${i}`, { endMs: 10 }, 0);
    expect([map.get("old1", 9)?.endMs, map.get("old1", 10)]).toEqual([10, undefined]);
    map.set("new", { endMs: 99 }, 10);
    expect(map.size).toBe(1);
  });

  test("at the bound the oldest makes room", () => {
    const map = new ExpiringMap<{ endMs: number }>(2000);
    for (let i = 0; i < 5000; i++) map.set(`key${i}`, { endMs: 1e9 }, i);
    expect(map.size).toBe(2000);
    expect([map.get("key0", 1), map.get("key4999", 1)?.endMs]).toEqual([undefined, 1e9]);
  });

  test("at the bound a new entry costs no walk through all of them", () => {
    const map = new ExpiringMap<{ endMs: number }>(65_536);
    const timed = (count: number, name: string): number => {
      const startMs = performance.now();
      for (let i = 0; i < count; i++) map.set(`${name}${i}`, { endMs: 1e9 }, i);
      return performance.now() - startMs;
    };
    const filling = timed(65_536, "a");
    // A walk for each would take a thousand times as long as filling the map did.
    expect(timed(65_536, "b")).toBeLessThan(filling * 20 + 500);
    expect(map.size).toBeLessThanOrEqual(65_536);
    expect(map.get("b65535", 1)?.endMs).toBe(1e9);
  });

  test("a long key counts by its hash: apart from others, and never kept as it was sent", () => {
    const keyOf = compileLimitKey({ key: "http_u", keyType: "var" }, new FakeClock());
    const common = "u".repeat(15_000);
    const [one, again, other] = ["1", "1", "2"].map((end) => keyOf(makeView({ headers: { u: common + end } })));
    expect(again).toBe(one);
    expect(other).not.toBe(one);
    expect(one?.length).toBeLessThan(100);
    expect(keyOf(makeView({ headers: { u: "short" } }))).toBe("short");
  });

  test("a key that is no well-formed text is found again", () => {
    const map = new ExpiringMap<{ endMs: number }>(10);
    for (const key of ["\ud800 and more of it", "\u00e9 and more of it", "\u20ac and more of it"]) {
      map.set(key, { endMs: 9 }, 0);
      expect(map.get(key, 1)?.endMs).toBe(9);
    }
  });

  test("an entry that is set again stays one entry", () => {
    const map = new ExpiringMap<{ endMs: number }>(10);
    for (let i = 0; i < 100; i++) map.set("same", { endMs: i }, 0);
    expect(map.size).toBe(1);
  });
});

describe("local counters", () => {
  const open = () => {
    const clock = new FakeClock();
    return { clock, counters: openLocalCounters(makeEnv().states, clock) };
  };

  test("in any fixed window no more than the limit pass", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 5 }),
        fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 60 }),
        async (limit, pauses) => {
          const { clock, counters } = open();
          const windows = counters.windows("s");
          let windowEnd = 0;
          let passed = 0;
          for (const pause of pauses) {
            clock.advance(pause);
            if (clock.monotonicMs() >= windowEnd) {
              windowEnd = clock.monotonicMs() + 1000;
              passed = 0;
            }
            const use = await windows.hit("k", { limit, windowMs: 1000, sliding: false }, 1);
            if (use.allowed) passed++;
            expect(passed).toBeLessThanOrEqual(limit);
            expect(use.resetMs).toBeCloseTo(windowEnd - clock.monotonicMs(), 5);
          }
        },
      ),
    );
  });

  test("a sliding window never lets through more than twice the limit in its length", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 80 }), async (pauses) => {
        const { clock, counters } = open();
        const windows = counters.windows("s");
        const passed: number[] = [];
        for (const pause of pauses) {
          clock.advance(pause);
          const now = clock.monotonicMs();
          if ((await windows.hit("k", { limit: 4, windowMs: 1000, sliding: true }, 1)).allowed) passed.push(now);
          expect(passed.filter((at) => at > now - 1000).length).toBeLessThanOrEqual(8);
        }
      }),
    );
  });

  test("a leaky bucket lets through its rate and its burst, and no more", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 300 }), { maxLength: 80 }), async (pauses) => {
        const { clock, counters } = open();
        const buckets = counters.buckets("s");
        let passed = 0;
        for (const pause of pauses) {
          clock.advance(pause);
          if ((await buckets.pour("k", { perSecond: 5, burst: 3 })).allowed) passed++;
        }
        expect(passed).toBeLessThanOrEqual(1 + 3 + (clock.monotonicMs() / 1000) * 5 + 1e-6);
      }),
    );
  });

  test("the window before counts by the share that is left of it", () => {
    const rule = { limit: 10, windowMs: 1000, sliding: true };
    expect(slide(0, 10, rule, 1, 250)).toEqual({ allowed: true, remaining: 1, resetMs: 750 });
    expect(slide(3, 10, rule, 1, 250)).toMatchObject({ allowed: false, remaining: 0 });
    expect(slide(10, 0, rule, 1, 250)).toEqual({ allowed: false, remaining: 0, resetMs: 750 });
  });
});

describe("scopes", () => {
  test("equal content has one hash, whatever its order; _meta takes no part", () => {
    expect(confHash({ a: 1, b: [{ c: 2, d: 3 }] })).toBe(confHash({ _meta: { x: 1 }, b: [{ d: 3, c: 2 }], a: 1 }));
    expect(confHash({ a: 1 })).not.toBe(confHash({ a: "1" }));
    expect(canonicalText({ b: undefined, a: [null, true] })).toBe('{"a":[null,true]}');
  });
});
