import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import type { SeriesPage } from "../../src/base/metric-pages.ts";
import { type Metrics, metricsText, openMetrics } from "../../src/base/metrics.ts";
import {
  addTally,
  mergeConfigs,
  NO_TALLY,
  readFacts,
  type WorkerConfig,
  writeFacts,
} from "../../src/node/workers/config-wire.ts";
import {
  MergedMetrics,
  type MetricsSource,
  mergeHealth,
  pageMetrics,
  readPages,
} from "../../src/node/workers/merged-metrics.ts";
import { METRICS } from "../../src/node/workers/protocol.ts";
import { SharedProber } from "../../src/node/workers/shared-probe.ts";
import type { ProbeConf } from "../../src/runtime/upstream/health/health-conf.ts";
import type { ConfigStatus } from "../../src/status/status-facts.ts";

const FACTS: ConfigStatus = {
  ...{ loaded: true, connected: true, fresh: true, stalenessSeconds: 1, appliedRevision: 5n, storeHeadRevision: 5n },
  ...{ reachable: true, problem: undefined, records: 3, epochs: { broken: 1 }, lists: { first: 1 } },
  ...{ auditDifferences: 0, beat: undefined, changedAtMs: 7, hash: "h", problems: [] },
};
const PROBLEM = { key: "/apisix/routes/1", kind: "route", revision: 4n, reason: "bad", blocks: false };

function worker(applied: bigint, facts: Partial<ConfigStatus> = {}, silentSeconds = 0): WorkerConfig {
  return { facts: { ...FACTS, ...facts }, applied, silentSeconds };
}

describe("the facts of a node", () => {
  test("are as far as the worker furthest behind, and as sound as the worst", () => {
    const merged = mergeConfigs(
      [
        worker(9n, { storeHeadRevision: 9n, problems: [PROBLEM] }),
        worker(7n, { fresh: false, records: 2, hash: "older", problems: [PROBLEM] }, 4),
      ],
      NO_TALLY,
    );
    expect(merged).toMatchObject({ appliedRevision: 7n, storeHeadRevision: 9n, records: 2, hash: "older" });
    expect(merged).toMatchObject({ loaded: true, fresh: false, stalenessSeconds: 5, problems: [PROBLEM] });
  });

  test("are not loaded while one worker is not, however far the others are", () => {
    expect(mergeConfigs([worker(9n), worker(0n, { loaded: false })], NO_TALLY)?.loaded).toBe(false);
    expect(mergeConfigs([], NO_TALLY)).toBeUndefined();
  });

  test("count what workers that are gone had counted", () => {
    const past = addTally(NO_TALLY, FACTS);
    expect(mergeConfigs([worker(9n), worker(9n)], past)).toMatchObject({ epochs: { broken: 3 }, lists: { first: 3 } });
  });

  test("arrive as they were sent; an unchanged list of problems is not sent again", () => {
    const facts = { ...FACTS, problems: [PROBLEM] };
    const first = writeFacts(facts, "");
    const there = readFacts(first.wire, undefined);
    expect(there).toEqual(facts);
    const second = writeFacts(facts, first.problems);
    expect(second.wire.problems).toBeNull();
    expect(readFacts(second.wire, there)).toEqual(facts);
  });
});

describe("the metrics of a node", () => {
  const make = (): { readonly metrics: Metrics; readonly source: MetricsSource } => {
    const metrics = openMetrics();
    const ask = pageMetrics(metrics);
    const wire = (): Promise<SeriesPage[]> =>
      readPages(
        async (body) => METRICS.reply(await ask(METRICS.body(body) ?? { reading: 0 })) ?? { reading: 0, page: null },
      );
    return { metrics, source: { metrics: wire } };
  };

  const merge = (sources: readonly MetricsSource[], own = openMetrics()) => {
    let asked = sources;
    const merged = new MergedMetrics(own, () => asked, 100_000);
    return {
      text: async (of = sources): Promise<string> => {
        asked = of;
        return metricsText(merged);
      },
      retire: (...given: Parameters<typeof merged.retire>) => merged.retire(...given),
      forget: (label: string, id: string) => merged.forget(label, id),
    };
  };

  test("are sums, or what the family says", async () => {
    const [own, one, other] = [openMetrics(), make(), make()];
    own.gauge("jotgate_own", "h").child().set(4);
    for (const [{ metrics }, by] of [
      [one, 2],
      [other, 3],
    ] as const) {
      metrics.counter("jotgate_c_total", "h", ["route"]).child("a").inc(by);
      metrics.histogram("jotgate_h_seconds", "h", [1, 5]).child().observe(by);
      metrics.gaugeOf("jotgate_least", "h", [], () => [{ labels: [], value: by }], "min");
      metrics.gaugeOf("jotgate_most", "h", [], () => [{ labels: [], value: by }], "max");
    }
    const text = await merge([one.source, other.source], own).text();
    for (const line of [
      'jotgate_c_total{route="a"} 5',
      'jotgate_h_seconds_bucket{le="5"} 2',
      "jotgate_h_seconds_sum 5",
      "jotgate_h_seconds_count 2",
      "jotgate_least 2",
      "jotgate_most 3",
      "jotgate_own 4",
    ])
      expect(text.split("\n")).toContain(line);
  });

  test("do not go back when a worker ends, said its last or not", async () => {
    const [one, other] = [make(), make()];
    const merged = merge([]);
    for (const { metrics } of [one, other]) {
      metrics.counter("jotgate_c_total", "h").child().inc(10);
      metrics.gauge("jotgate_g", "h").child().set(1);
    }
    expect(await merged.text([one.source, other.source])).toContain("jotgate_c_total 20");
    one.metrics.counter("jotgate_c_total", "h").child().inc(5);
    merged.retire(one.source, await one.source.metrics());
    merged.retire(one.source, undefined);
    expect(await merged.text([other.source])).toContain("jotgate_c_total 25");
    merged.retire(other.source, undefined);
    const text = await merged.text([]);
    expect(text).toContain("jotgate_c_total 25");
    expect(text).not.toContain("jotgate_g ");
  });

  test("forget what ended workers had counted for a record that is gone", async () => {
    const one = make();
    for (const route of ["a", "b"]) one.metrics.counter("jotgate_c_total", "h", ["route", "x"]).child(route, "y").inc();
    const merged = merge([]);
    merged.retire(one.source, await one.source.metrics());
    merged.forget("route", "a");
    const text = await merged.text();
    expect(text).toContain('jotgate_c_total{route="b",x="y"} 1');
    expect(text).not.toContain('route="a"');
  });

  test("keep counts that APISIX calls gauges, and let levels of the same name go", async () => {
    const [one, other] = [make(), make()];
    for (const { metrics } of [one, other]) {
      metrics.counterOf("apisix_c", "h", ["state"], () => [{ labels: ["accepted"], value: 3 }], "gauge");
      metrics.gaugeOf("apisix_c", "h", ["state"], () => [{ labels: ["active"], value: 2 }]);
    }
    const merged = merge([one.source, other.source]);
    await merged.text();
    merged.retire(one.source, undefined);
    const text = await merged.text([other.source]);
    expect(text).toMatch(/^# HELP apisix_c h\n# TYPE apisix_c gauge\n(?:apisix_c.*\n){2}/);
    for (const line of ['apisix_c{state="active"} 2', 'apisix_c{state="accepted"} 6'])
      expect(text).toContain(`${line}\n`);
  });

  test("count a worker that does not answer by what it said last", async () => {
    const one = make();
    one.metrics.counter("jotgate_c_total", "h").child().inc(10);
    let isBusy = false;
    const source = { metrics: () => (isBusy ? Promise.reject(new Error("busy")) : one.source.metrics()) };
    const merged = merge([]);
    await merged.text([source]);
    isBusy = true;
    expect(await merged.text([source])).toContain("jotgate_c_total 10");
  });
});

test("the health of a node's targets is the worst that a worker sees", () => {
  const counter = { success: 0, http_failure: 0, tcp_failure: 0, timeout_failure: 0 };
  const report = (name: string, status: "healthy" | "unhealthy") => ({
    ...{ name, type: "http" as const },
    nodes: [{ ip: "127.0.0.1", port: 1, status, counter }],
  });
  const merged = mergeHealth([
    { status: "fulfilled", value: [report("a", "healthy")] },
    { status: "fulfilled", value: [report("a", "unhealthy"), report("b", "healthy")] },
    { status: "rejected", reason: new Error("busy") },
  ]);
  expect(merged).toEqual([report("a", "unhealthy"), report("b", "healthy")]);
});

describe("health checks of several workers", () => {
  const conf: ProbeConf = {
    ...{ type: "http", timeoutMs: 1_000, method: "GET", path: "/", body: "", headers: [] },
    ...{ host: undefined, port: undefined, verify: false },
  };
  const target = (port: number) => ({ address: "127.0.0.1", port, host: "a", tls: undefined });

  test("ask each target once per interval, and each worker learns each outcome once", async () => {
    const clock = new FakeClock();
    let asked = 0;
    const probes = openMetrics().counter("probes_total", "h", ["outcome"]);
    const probe = async () => ({ kind: "status", status: 200 + asked++ }) as const;
    const prober = new SharedProber({ probe, probes, clock });
    const [one, other] = [{}, {}];
    for (let round = 0; round < 3; round++) {
      const first = await prober.ask(one, target(1), conf);
      clock.advance(400);
      expect(await prober.ask(other, target(1), conf)).toEqual(first);
      clock.advance(600);
    }
    expect(asked).toBe(3);
    expect(await prober.ask(one, target(2), conf)).toEqual({ kind: "status", status: 203 });
  });

  test("share one that is under way, and call a broken one refused", async () => {
    let asked = 0;
    const prober = new SharedProber({
      clock: new FakeClock(),
      probes: openMetrics().counter("probes_total", "h", ["outcome"]),
      probe: async () => {
        asked++;
        throw new Error("broken");
      },
    });
    const outcomes = await Promise.all([{}, {}, {}].map((asker) => prober.ask(asker, target(1), conf)));
    expect(outcomes).toEqual(Array.from({ length: 3 }, () => ({ kind: "refused" })));
    expect(asked).toBe(1);
  });
});
