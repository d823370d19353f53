/** Workers that hear each other by way of their primary, and what is counted for the whole node by it. */
import { expect, test } from "vitest";
import { Channel, type Pipe } from "../../src/base/channel.ts";
import { FakeClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openSiblings, SiblingRelay } from "../../src/node/workers/worker-siblings.ts";
import type { Siblings } from "../../src/plugin/plugin.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { apiBreaker } from "../../src/plugins/api-breaker.ts";
import { begin, next, openBench } from "../runtime/upstream-fixture.ts";

/** Two pipes that are each other's ends; messages pass as a process would get them. */
function pipes(): [Pipe, Pipe] {
  const heard: [(message: unknown) => void, (message: unknown) => void] = [() => {}, () => {}];
  const end = (mine: 0 | 1): Pipe => ({
    send: (message) => heard[mine === 0 ? 1 : 0](structuredClone(message)),
    receive: (listener) => {
      heard[mine] = listener;
    },
  });
  return [end(0), end(1)];
}

function openNode(workers: number) {
  const clock = new FakeClock();
  const relay = new SiblingRelay();
  const siblings = Array.from({ length: workers }, (): Siblings => {
    const [primary, worker] = pipes();
    relay.add(new Channel({ pipe: primary, clock, log: silentLog }));
    return openSiblings(new Channel({ pipe: worker, clock, log: silentLog }), clock);
  });
  return { clock, siblings };
}

test("what one worker tells, each other one hears once and in order, also who listens later", () => {
  const { clock, siblings } = openNode(3);
  const heard = siblings.map((): unknown[] => []);
  const join = (at: number) => siblings[at]?.join("t", (message) => heard[at]?.push(message));
  const first = join(0);
  const second = join(1);
  first?.tell(1);
  first?.tell(2);
  clock.advance(10);
  second?.tell(3);
  clock.advance(10);
  expect(heard).toEqual([[3], [1, 2], []]);
  join(2);
  expect(heard[2]).toEqual([1, 2, 3]);
  second?.leave();
  first?.tell(4);
  clock.advance(10);
  expect(heard).toEqual([[3], [1, 2], [1, 2, 3, 4]]);
});

test("what is told at once is bounded", () => {
  const { clock, siblings } = openNode(2);
  let heard = 0;
  siblings[1]?.join("t", () => heard++);
  const topic = siblings[0]?.join("t", () => {});
  for (let n = 0; n < 30_000; n++) topic?.tell(n);
  clock.advance(10);
  expect(heard).toBe(10_000);
});

test("failures of requests make a target unhealthy for the node, whichever worker saw them", () => {
  const { clock, siblings } = openNode(3);
  const checks = { active: { unhealthy: { interval: 3600 } }, passive: { unhealthy: { tcp_failures: 3 } } };
  const units = siblings.map((one) => {
    const bench = openBench(1, undefined, one);
    return { bench, unit: bench.compile({ nodes: { "127.0.0.1:1980": 1 }, checks }) };
  });
  for (const { unit } of units) {
    const attempts = begin(unit);
    next(attempts);
    attempts.report({ kind: "refused" });
    clock.advance(10);
  }
  for (const { bench } of units) {
    expect(bench.upstreams.healthStatus()[0]?.nodes[0]).toMatchObject({
      status: "unhealthy",
      counter: { tcp_failure: 3 },
    });
  }
});

test("a breaker opens for the node, whichever worker saw the failures, and closes for it", async () => {
  const { clock, siblings } = openNode(2);
  const conf = { break_response_code: 599, unhealthy: { failures: 3 }, healthy: { successes: 2 } };
  const workers = siblings.map((one) => makeEnv({ siblings: one }));
  const phases = workers.map((env) => env.compile(apiBreaker, conf));
  const call = async (at: number, upstream: number): Promise<number> => {
    const view = makeView({ target: "/api" });
    const answer = await phases[at]?.access?.(view);
    if (!answer) view.upstream.statuses.push(upstream);
    view.response = makeResponse({ status: answer?.status ?? upstream });
    phases[at]?.log?.(view);
    clock.advance(10);
    return view.response.status;
  };
  expect([await call(0, 500), await call(1, 500), await call(0, 500)]).toEqual([500, 500, 500]);
  expect([await call(0, 200), await call(1, 200)]).toEqual([599, 599]);
  for (const env of workers) env.clock.advance(2_001);
  expect([await call(1, 200), await call(0, 200)]).toEqual([200, 200]);
  expect([await call(0, 500), await call(1, 500), await call(0, 200)]).toEqual([500, 500, 200]);
});
