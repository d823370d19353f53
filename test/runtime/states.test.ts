import { expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { LINGER_MS, openStates } from "../../src/runtime/shared-states.ts";

function openCounted() {
  const clock = new FakeClock();
  const closed: string[] = [];
  const states = openStates(clock);
  const hold = (key: string) =>
    states.hold(
      key,
      () => ({ key }),
      (state) => void closed.push(state.key),
    );
  return { clock, closed, states, hold };
}

test("holders of one key share one state", () => {
  const { hold } = openCounted();
  expect(hold("a").state).toBe(hold("a").state);
  expect(hold("a").state).not.toBe(hold("b").state);
});

test("a state is closed once its last holder has been gone for a while", () => {
  const { clock, closed, states, hold } = openCounted();
  const [one, two] = [hold("a"), hold("a")];
  one.release();
  one.release();
  clock.advance(LINGER_MS);
  expect(closed).toEqual([]);
  two.release();
  clock.advance(LINGER_MS - 1);
  expect(closed).toEqual([]);
  clock.advance(1);
  expect(closed).toEqual(["a"]);
  expect(states.size).toBe(0);
});

test("who comes in time finds the state again, and the wait begins anew", () => {
  const { clock, closed, hold } = openCounted();
  const first = hold("a");
  first.release();
  clock.advance(LINGER_MS - 1);
  const again = hold("a");
  expect(again.state).toBe(first.state);
  clock.advance(LINGER_MS * 2);
  again.release();
  clock.advance(LINGER_MS - 1);
  expect(closed).toEqual([]);
  clock.advance(1);
  expect(closed).toEqual(["a"]);
});

test("states that were given back at different times are closed at different times", () => {
  const { clock, closed, hold } = openCounted();
  const [a, b] = [hold("a"), hold("b")];
  a.release();
  clock.advance(1_000);
  b.release();
  clock.advance(LINGER_MS - 1_000);
  expect(closed).toEqual(["a"]);
  clock.advance(1_000);
  expect(closed).toEqual(["a", "b"]);
});

test("closing the registry closes all of them once", async () => {
  const { clock, closed, states, hold } = openCounted();
  const held = hold("a");
  hold("b").release();
  await states.close();
  held.release();
  clock.advance(LINGER_MS * 2);
  expect(closed).toEqual(["a", "b"]);
});
