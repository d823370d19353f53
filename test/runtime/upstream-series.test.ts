import { expect, test } from "vitest";
import { metricsText } from "../../src/base/metrics.ts";
import { begin, next, openBench, serveSoon } from "./upstream-fixture.ts";

const INLINE = { key: "/apisix/routes/5", id: "", name: "" };

function seriesOf(bench: ReturnType<typeof openBench>, addresses: readonly string[]) {
  const bytes = bench.metrics.counter("bytes", "h", ["node"]);
  for (const address of addresses) bytes.child(address).inc();
  return async () =>
    [...(await metricsText(bench.metrics)).matchAll(/^bytes\{node="(.*)"\}/gm)].map(([, node]) => node);
}

test("series of an address are forgotten when no upstream has it any more", async () => {
  const bench = openBench();
  const shown = seriesOf(bench, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
  const first = bench.compile({ type: "roundrobin", nodes: { "10.0.0.1:80": 1, "10.0.0.2:80": 1, "10.0.0.3:80": 1 } });
  bench.compile({ type: "roundrobin", nodes: { "10.0.0.3:81": 1 } }, INLINE);
  bench.compile({ type: "roundrobin", nodes: { "10.0.0.2:80": 1 } });
  first.close();
  await bench.pass(1_100);
  expect(await shown()).toEqual(["10.0.0.2", "10.0.0.3"]);
});

test("series of an address stay when its upstream is put again, even if the new one opens after the former closed", async () => {
  const bench = openBench();
  const shown = seriesOf(bench, ["10.0.0.1"]);
  const record = { type: "roundrobin", nodes: { "10.0.0.1:80": 1 } };
  bench.compile(record).close();
  bench.compile(record);
  await bench.pass(1_100);
  expect(await shown()).toEqual(["10.0.0.1"]);
});

test("series of addresses that a name has no more are forgotten, but not at once: it may have them again", async () => {
  const bench = openBench();
  const shown = seriesOf(bench, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
  const answer = async (...addresses: string[]): Promise<void> => {
    bench.script.answers.set("a.test", { addresses, ttlSeconds: 60 });
    await bench.pass(61_000, 1_000);
    next(begin(unit));
  };
  bench.script.answers.set("a.test", { addresses: ["10.0.0.1", "10.0.0.2"], ttlSeconds: 60 });
  const unit = bench.compile({ type: "roundrobin", nodes: { "a.test:80": 1 } });
  await serveSoon(unit);
  await answer("10.0.0.3");
  await answer("10.0.0.2");
  expect(await shown()).toHaveLength(3);
  await bench.pass(600_000, 1_000);
  expect(await shown()).toEqual(["10.0.0.2"]);
});
