import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { Deadline, TICK_MS, TimerWheel } from "../../src/gateway/timer-wheel.ts";

function open(): { clock: FakeClock; wheel: TimerWheel; fired: string[]; item: (name: string) => Deadline } {
  const clock = new FakeClock();
  const wheel = new TimerWheel(clock);
  wheel.start();
  const fired: string[] = [];
  return { clock, wheel, fired, item: (name) => new Deadline(() => void fired.push(name)) };
}

describe("a deadline", () => {
  test.each([0, 1, 49, 50, 51, 500, 10_000, 51_199, 51_200, 51_201, 60_000, 200_000])(
    "of %d ms is never early and at most two ticks late",
    (delayMs) => {
      const { clock, wheel, fired, item } = open();
      clock.advance(30);
      wheel.arm(item("a"), delayMs);
      clock.advance(Math.max(0, delayMs - 1));
      expect(fired).toEqual([]);
      clock.advance(1 + 2 * TICK_MS);
      expect(fired).toEqual(["a"]);
      clock.advance(300_000);
      expect(fired).toEqual(["a"]);
    },
  );

  test("that is moved away again and again does not fire", () => {
    const { clock, wheel, fired, item } = open();
    const a = item("a");
    for (let i = 0; i < 100; i++) {
      wheel.arm(a, 1000);
      clock.advance(500);
    }
    expect(fired).toEqual([]);
    clock.advance(700);
    expect(fired).toEqual(["a"]);
  });

  test("that is moved nearer fires then", () => {
    const { clock, wheel, fired, item } = open();
    const a = item("a");
    wheel.arm(a, 60_000);
    wheel.arm(a, 100);
    clock.advance(200);
    expect(fired).toEqual(["a"]);
  });

  test("that was taken away or removed does not fire, and may be armed again", () => {
    const { clock, wheel, fired, item } = open();
    const a = item("a");
    const b = item("b");
    wheel.arm(a, 100);
    wheel.arm(b, 100);
    wheel.disarm(a);
    wheel.remove(b);
    clock.advance(500);
    expect(fired).toEqual([]);
    wheel.arm(a, 100);
    wheel.arm(b, 200);
    clock.advance(500);
    expect(fired).toEqual(["a", "b"]);
  });
});

test("deadlines that run may arm, move and remove others of the same moment", () => {
  const { clock, wheel, fired } = open();
  const later = new Deadline(() => void fired.push("later"));
  const removed = new Deadline(() => void fired.push("removed"));
  const first = new Deadline(() => {
    fired.push("first");
    wheel.remove(removed);
    if (fired.length > 1) return;
    wheel.arm(later, 100);
    wheel.arm(first, 100);
  });
  wheel.arm(removed, 100);
  wheel.arm(first, 100);
  clock.advance(200);
  expect(fired).toEqual(["first"]);
  clock.advance(150);
  expect(fired.toSorted()).toEqual(["first", "first", "later"]);
});

test("time in which the loop was blocked does not count", () => {
  let nowMs = 0;
  let tick: () => void = () => {};
  const clock = {
    nowMs: () => nowMs,
    monotonicMs: () => nowMs,
    after: () => ({ cancel: () => {} }),
    every: (_ms: number, run: () => void) => {
      tick = run;
      return { cancel: () => {} };
    },
  };
  const wheel = new TimerWheel(clock);
  wheel.start();
  const fired: string[] = [];
  wheel.arm(new Deadline(() => void fired.push("a")), 1000);
  nowMs = 5000;
  tick();
  expect(fired).toEqual([]);
  for (let i = 0; i < 20; i++) {
    nowMs += TICK_MS;
    tick();
  }
  expect(fired).toEqual(["a"]);
});

test("a stopped wheel stands still, stopping twice is fine", () => {
  const { clock, wheel, fired, item } = open();
  wheel.arm(item("a"), 100);
  wheel.stop();
  wheel.stop();
  clock.advance(1000);
  expect(fired).toEqual([]);
});
