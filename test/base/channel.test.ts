import { Type } from "typebox";
import { expect, test } from "vitest";
import { type Call, Channel, reader, type Tell } from "../../src/base/channel.ts";
import { FakeClock } from "../../src/base/clock.ts";
import { CodedError } from "../../src/base/errors.ts";
import { silentLog } from "../../src/base/log.ts";
import { makePipes } from "../support/pipes.ts";
import { until } from "../support/until.ts";

const NUMBER = reader(Type.Object({ n: Type.Integer() }));
const SAY: Tell<{ n: number }> = { name: "say", body: NUMBER };
const DOUBLE: Call<{ n: number }, { n: number }> = { name: "double", body: NUMBER, reply: NUMBER };

function open(waitingMax?: number) {
  const clock = new FakeClock();
  const [a, b] = makePipes();
  const options = { clock, log: silentLog, ...(waitingMax === undefined ? {} : { waitingMax }) };
  return { clock, pipe: a, left: new Channel({ ...options, pipe: a }), right: new Channel({ ...options, pipe: b }) };
}

test("what is told arrives in order, and what is not what it should be does not arrive", async () => {
  const { left, right, pipe } = open();
  const heard: number[] = [];
  right.onTell(SAY, ({ n }) => heard.push(n));
  left.tell(SAY, { n: 1 });
  for (const wrong of [null, "x", [], [0, "say", { n: "2" }], [0, "unknown", { n: 2 }], [9, 1, 2]]) pipe.send(wrong);
  left.tell(SAY, { n: 3 });
  await until(() => heard.length === 2, "both");
  expect(heard).toEqual([1, 3]);
});

test("a call is answered, at once or later", async () => {
  const { left, right } = open();
  right.onCall(DOUBLE, ({ n }) => (n % 2 === 0 ? { n: n * 2 } : Promise.resolve({ n: n * 2 })));
  expect(await Promise.all([1, 2, 3].map((n) => left.call(DOUBLE, { n }, 1_000)))).toEqual([
    { n: 2 },
    { n: 4 },
    { n: 6 },
  ]);
});

test("an error arrives with its code, one without a code as that of the other process", async () => {
  const { left, right } = open();
  right.onCall(DOUBLE, ({ n }) => {
    if (n === 1) throw new CodedError("STORE_COMPACTED", { message: "gone" });
    throw new Error("odd");
  });
  await expect(left.call(DOUBLE, { n: 1 }, 1_000)).rejects.toMatchObject({ code: "STORE_COMPACTED", message: "gone" });
  await expect(left.call(DOUBLE, { n: 2 }, 1_000)).rejects.toMatchObject({ code: "WORKER_UNAVAILABLE" });
});

test.each([
  { says: "nobody answers such calls", answer: undefined },
  { says: "the answer is not what it should be", answer: () => ({ n: "x" }) as never },
])("a call fails when $says", async ({ answer }) => {
  const { left, right } = open();
  if (answer) right.onCall(DOUBLE, answer);
  await expect(left.call(DOUBLE, { n: 1 }, 1_000)).rejects.toMatchObject({ code: "WORKER_UNAVAILABLE" });
});

test("a call that is not answered in time fails, and a late answer is ignored", async () => {
  const { clock, left, right } = open();
  let answer: (reply: { n: number }) => void = () => undefined;
  let isAsked = false;
  right.onCall(DOUBLE, () => {
    isAsked = true;
    return new Promise((resolve) => (answer = resolve));
  });
  const asked = left.call(DOUBLE, { n: 1 }, 1_000);
  const failed = expect(asked).rejects.toThrow(/in time/);
  await until(() => isAsked, "the call");
  clock.advance(1_000);
  await failed;
  answer({ n: 2 });
  right.onCall(DOUBLE, ({ n }) => ({ n }));
  expect(await left.call(DOUBLE, { n: 5 }, 1_000)).toEqual({ n: 5 });
});

test("calls that wait are bounded, and told when the channel ends", async () => {
  const { left, right } = open(2);
  right.onCall(DOUBLE, () => new Promise(() => undefined));
  const waiting = [left.call(DOUBLE, { n: 1 }, 1_000), left.call(DOUBLE, { n: 1 }, 1_000)];
  await expect(left.call(DOUBLE, { n: 1 }, 1_000)).rejects.toThrow(/too many/);
  left.close();
  for (const one of waiting) await expect(one).rejects.toThrow(/gone/);
  await expect(left.call(DOUBLE, { n: 1 }, 1_000)).rejects.toThrow(/gone/);
});
