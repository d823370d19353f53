import { describe, expect, test } from "vitest";
import { openStates } from "../../src/runtime/shared-states.ts";
import { HealthState } from "../../src/runtime/upstream/health/health-state.ts";
import type { ProbeOutcome } from "../../src/runtime/upstream/health/node-health.ts";
import type { AttemptOutcome } from "../../src/runtime/upstream/upstream-unit.ts";
import { type Bench, begin, failover, next, openBench, serve, settle, tally } from "./upstream-fixture.ts";

const A = "127.0.0.1:1980";
const B = "127.0.0.1:1981";
const C = "127.0.0.1:1982";
const nodes = { [A]: 1, [B]: 1 };
const passiveOnly = { active: { healthy: { interval: 3600 }, unhealthy: { interval: 3600 } } };
const REFUSED: AttemptOutcome = { kind: "refused" };
const statuses = (bench: Bench) =>
  Object.fromEntries(bench.upstreams.healthStatus().flatMap((one) => one.nodes.map((n) => [n.port, n.status])));
/** Reports an outcome for one target by trying until it comes. */
function reportOn(unit: Parameters<typeof begin>[0], id: string, outcome: AttemptOutcome): void {
  for (let turn = 0; turn < 50; turn++) {
    const attempts = begin(unit);
    const target = next(attempts);
    attempts.report(target?.id === id ? outcome : { kind: "aborted" });
    if (target?.id === id) return;
  }
  throw new Error(`${id} gets no requests`);
}

describe("nodes without weight", () => {
  const weighted = (checks: object) => ({ nodes: { [A]: 1, [B]: 1, [C]: 0 }, checks });
  const checks = { ...passiveOnly, passive: { unhealthy: { tcp_failures: 1 } } };

  test("are used when every node with weight is unhealthy, and no longer when one is not", async () => {
    const unit = openBench().compile(weighted(checks));
    expect(Object.keys(tally(unit, 10)).sort()).toEqual([A, B]);
    reportOn(unit, A, REFUSED);
    expect(tally(unit, 10)).toEqual({ [B]: 10 });
    reportOn(unit, B, REFUSED);
    expect(tally(unit, 10)).toEqual({ [C]: 10 });
    reportOn(unit, C, REFUSED);
    expect(Object.keys(tally(unit, 10)).sort()).toEqual([A, B]);
  });

  test("stand in for the only node with weight", () => {
    const unit = openBench().compile({ nodes: { [A]: 1, [B]: 0 }, checks });
    expect(serve(unit)).toBe(A);
    reportOn(unit, A, REFUSED);
    expect(tally(unit, 4)).toEqual({ [B]: 4 });
  });

  test("come before nodes of a lower priority", () => {
    const [one, two, three] = [1, 0, 5].map((weight, at) => ({
      ...{ host: "127.0.0.1", port: 1980 + at, weight, priority: at === 2 ? -1 : 0 },
    }));
    const unit = openBench().compile({ nodes: [one, two, three], checks });
    reportOn(unit, A, REFUSED);
    expect(tally(unit, 4)).toEqual({ [B]: 4 });
    reportOn(unit, B, REFUSED);
    expect(tally(unit, 4)).toEqual({ [C]: 4 });
  });
});

describe("the state of a target", () => {
  // s: success (threshold 2), h: http failure (5), t: tcp failure (2), o: time-out (3)
  const step = (state: HealthState, letter: string): void => {
    if (letter === "s") state.succeed(2);
    if (letter === "h") state.fail("http", 5);
    if (letter === "t") state.fail("tcp", 2);
    if (letter === "o") state.fail("timeout", 3);
  };
  test.each([
    { says: "begins healthy", steps: "", want: "healthy", counts: [0, 0, 0, 0] },
    { says: "counts no successes while healthy", steps: "sss", want: "healthy", counts: [0, 0, 0, 0] },
    { says: "is mostly healthy after one failure", steps: "h", want: "mostly_healthy", counts: [0, 1, 0, 0] },
    { says: "is unhealthy at the http threshold", steps: "hhhhh", want: "unhealthy", counts: [0, 5, 0, 0] },
    { says: "is unhealthy at the tcp threshold", steps: "tt", want: "unhealthy", counts: [0, 0, 2, 0] },
    { says: "is unhealthy at the time-out threshold", steps: "ooo", want: "unhealthy", counts: [0, 0, 0, 3] },
    { says: "counts kinds of failure apart", steps: "hhhhtoo", want: "mostly_healthy", counts: [0, 4, 1, 2] },
    { says: "forgets failures at a success", steps: "hhhhts", want: "mostly_healthy", counts: [1, 0, 0, 0] },
    { says: "is healthy again after enough successes", steps: "hss", want: "healthy", counts: [2, 0, 0, 0] },
    { says: "forgets successes at a failure", steps: "hsh", want: "mostly_healthy", counts: [0, 1, 0, 0] },
    { says: "counts no failures while unhealthy", steps: "tttt", want: "unhealthy", counts: [0, 0, 2, 0] },
    { says: "is mostly unhealthy after one success", steps: "tts", want: "mostly_unhealthy", counts: [1, 0, 0, 0] },
    {
      says: "stays mostly unhealthy at one more failure",
      steps: "ttst",
      want: "mostly_unhealthy",
      counts: [0, 0, 1, 0],
    },
    { says: "falls back at the threshold", steps: "ttstt", want: "unhealthy", counts: [0, 0, 2, 0] },
    { says: "heals after enough successes", steps: "ttss", want: "healthy", counts: [2, 0, 0, 0] },
  ])("$says", ({ steps, want, counts }) => {
    const state = new HealthState();
    for (const letter of steps) step(state, letter);
    const { success, http_failure, tcp_failure, timeout_failure } = state.counter;
    expect(state.status).toBe(want);
    expect([success, http_failure, tcp_failure, timeout_failure]).toEqual(counts);
    expect(state.isUsable).toBe(want === "healthy" || want === "mostly_healthy");
  });

  test("ignores what has threshold 0", () => {
    const state = new HealthState();
    for (let n = 0; n < 300; n++) state.fail("tcp", 0);
    expect([state.status, state.counter.tcp_failure]).toEqual(["healthy", 0]);
  });
});

describe("active checks", () => {
  test("begin with the first request, not before", async () => {
    const bench = openBench();
    const unit = bench.compile({ nodes, checks: { active: {} } });
    await bench.pass(5000);
    expect([bench.script.probes.length, bench.upstreams.healthStatus()]).toEqual([0, []]);
    serve(unit);
    await bench.pass(1000);
    expect(new Set(bench.script.probes.map(({ target }) => target.port))).toEqual(new Set([1980, 1981]));
  });

  test("end when no configuration holds them", async () => {
    const bench = openBench();
    const unit = bench.compile({ nodes, checks: { active: {} } });
    serve(unit);
    await bench.pass(3000);
    bench.script.outcome = () => new Promise(() => {});
    await bench.pass(1500);
    const open = bench.script.probes.at(-1);
    const before = bench.script.probes.length;
    unit.close();
    await bench.pass(10_000);
    expect([bench.script.probes.length, open?.signal.aborted, bench.heldStates()]).toEqual([before, true, 0]);
  });

  test("come once an interval, healthy and unhealthy apart, and at most one at a time", async () => {
    const bench = openBench();
    const checks = { active: { healthy: { interval: 10 }, unhealthy: { interval: 2 } } };
    const unit = bench.compile({ nodes: { [A]: 1, [B]: 1 }, checks });
    bench.script.outcome = ({ port }) => (port === 1980 ? { kind: "status", status: 200 } : { kind: "refused" });
    serve(unit);
    await bench.pass(200_000, 500);
    const count = (port: number) => bench.script.probes.filter(({ target }) => target.port === port).length;
    expect(count(1980)).toBeGreaterThanOrEqual(19);
    expect(count(1980)).toBeLessThanOrEqual(23);
    expect(count(1981)).toBeGreaterThanOrEqual(85);
    expect(count(1981)).toBeLessThanOrEqual(110);
    bench.script.outcome = () => new Promise(() => {});
    const before = bench.script.probes.length;
    await bench.pass(60_000, 500);
    expect(bench.script.probes.length - before).toBe(2);
  });

  test.each([
    { says: "refused", outcome: { kind: "refused" }, probes: 2 },
    { says: "timeout", outcome: { kind: "timeout" }, probes: 3 },
    { says: "status 500", outcome: { kind: "status", status: 500 }, probes: 5 },
    { says: "status 404", outcome: { kind: "status", status: 404 }, probes: 5 },
    { says: "no HTTP", outcome: { kind: "status", status: 0 }, probes: 5 },
  ] as const)("$says takes the target out after $probes probes", async ({ outcome, probes }) => {
    const bench = openBench();
    let asked = 0;
    bench.script.outcome = ({ port }) => {
      if (port !== 1980) return { kind: "status", status: 200 };
      asked++;
      return outcome;
    };
    const unit = bench.compile({ nodes, checks: { active: {} } });
    serve(unit);
    while (asked < probes) {
      expect(tally(unit, 10)).toEqual({ [A]: 5, [B]: 5 });
      await bench.pass(100);
    }
    await settle();
    expect(tally(unit, 10)).toEqual({ [B]: 10 });
    expect(statuses(bench)).toEqual({ 1980: "unhealthy", 1981: "healthy" });
    expect(await bench.metric("jotgate_upstream_healthy", { upstream: "/apisix/upstreams/1", target: A })).toBe(0);
    expect(await bench.metric("jotgate_upstream_healthy", { upstream: "/apisix/upstreams/1", target: B })).toBe(1);
  });

  test.each([
    { says: "a status in neither list", outcome: { kind: "status", status: 418 } },
    { says: "a redirect", outcome: { kind: "status", status: 302 } },
  ] as const)("$says does no harm", async ({ outcome }) => {
    const bench = openBench();
    bench.script.outcome = () => outcome;
    const unit = bench.compile({ nodes, checks: { active: {} } });
    serve(unit);
    await bench.pass(20_000, 500);
    expect(statuses(bench)).toEqual({ 1980: "healthy", 1981: "healthy" });
  });

  test("bring a target back within two intervals, and tell so in the log", async () => {
    const bench = openBench();
    let outcome: ProbeOutcome = { kind: "refused" };
    bench.script.outcome = ({ port }) => (port === 1980 ? outcome : { kind: "status", status: 200 });
    const unit = bench.compile({ nodes, checks: { active: {} } });
    serve(unit);
    await bench.pass(5000);
    expect(tally(unit, 4)).toEqual({ [B]: 4 });
    outcome = { kind: "status", status: 200 };
    await bench.pass(2000);
    expect(tally(unit, 4)).toEqual({ [A]: 2, [B]: 2 });
    expect(bench.logged.map(({ level, fields, message }) => [level, fields["target"], message])).toEqual([
      ["warn", A, "upstream target is unhealthy"],
      ["info", A, "upstream target is healthy"],
    ]);
  });

  test("a prober that throws counts as refused", async () => {
    const bench = openBench();
    bench.script.outcome = () => Promise.reject(new Error("no sockets left"));
    const unit = bench.compile({ nodes, checks: { active: {} } });
    serve(unit);
    await bench.pass(4000);
    expect(statuses(bench)).toEqual({ 1980: "unhealthy", 1981: "unhealthy" });
  });

  test("tcp checks are content with a connection", async () => {
    const bench = openBench();
    let outcome: ProbeOutcome = { kind: "refused" };
    bench.script.outcome = () => outcome;
    const unit = bench.compile({ nodes, checks: { active: { type: "tcp" } } });
    serve(unit);
    await bench.pass(4000);
    expect(statuses(bench)[1980]).toBe("unhealthy");
    outcome = { kind: "connected" };
    await bench.pass(4000);
    expect(statuses(bench)[1980]).toBe("healthy");
    expect(bench.upstreams.healthStatus()[0]?.type).toBe("tcp");
  });

  test("no more probes at once than `concurrency`", async () => {
    const bench = openBench();
    bench.script.outcome = () => new Promise(() => {});
    const many = Object.fromEntries(Array.from({ length: 20 }, (_, n) => [`127.0.0.1:${2000 + n}`, 1]));
    serve(bench.compile({ nodes: many, checks: { active: { concurrency: 3 } } }));
    await bench.pass(5000);
    expect(bench.script.probes).toHaveLength(3);
  });

  test.each([
    { says: "the node's address", extra: {}, host: "127.0.0.1" },
    { says: "the check's host", extra: {}, active: { host: "check.test" }, host: "check.test" },
    { says: "upstream_host under rewrite", extra: { pass_host: "rewrite", upstream_host: "up.test" }, host: "up.test" },
    {
      says: "the check's host before upstream_host",
      extra: { pass_host: "rewrite", upstream_host: "up.test" },
      active: { host: "check.test" },
      host: "check.test",
    },
  ])("the probe's Host is $says", async ({ extra, active, host }) => {
    const bench = openBench();
    serve(bench.compile({ ...extra, nodes: { [A]: 1 }, checks: { active: { ...active, port: 99 } } }));
    await bench.pass(1000);
    expect(bench.script.probes[0]?.target).toMatchObject({ address: "127.0.0.1", port: 99, host });
  });

  test("a name is probed at its address, by its name", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", { addresses: ["10.0.0.1", "10.0.0.2"], ttlSeconds: 60 });
    const unit = bench.compile({ nodes: { "a.test:8080": 1 }, checks: { active: {} } });
    await begin(unit).next();
    await bench.pass(3000);
    expect(bench.script.probes[0]?.target).toMatchObject({ port: 8080, host: "a.test" });
    expect(new Set(bench.script.probes.map(({ target }) => target.address))).toEqual(new Set(["10.0.0.1", "10.0.0.2"]));
    expect(bench.upstreams.healthStatus()[0]?.nodes[0]).toMatchObject({ ip: "10.0.0.1", hostname: "a.test" });
  });
});

describe("passive checks", () => {
  test.each([
    { says: "two refusals", outcome: REFUSED, times: 2, passive: {} },
    { says: "seven time-outs", outcome: { kind: "timeout" }, times: 7, passive: {} },
    { says: "five answers 500", outcome: { kind: "response", status: 500, latencyMs: 1 }, times: 5, passive: {} },
    { says: "five answers 429", outcome: { kind: "response", status: 429, latencyMs: 1 }, times: 5, passive: {} },
    {
      says: "a listed status at its threshold",
      outcome: { kind: "response", status: 418, latencyMs: 1 },
      times: 1,
      passive: { unhealthy: { http_statuses: [418], http_failures: 1 } },
    },
    {
      says: "refusals as 502, with tcp_failures off and 502 listed",
      outcome: REFUSED,
      times: 3,
      passive: { unhealthy: { tcp_failures: 0, http_statuses: [502], http_failures: 3 } },
    },
  ] as const)("$says take a target out", ({ outcome, times, passive }) => {
    const bench = openBench();
    const unit = bench.compile({ nodes, checks: { ...passiveOnly, passive } });
    for (let n = 0; n < times; n++) {
      expect(statuses(bench)[1980]).not.toBe("unhealthy");
      reportOn(unit, A, outcome);
    }
    expect(statuses(bench)[1980]).toBe("unhealthy");
  });

  test.each([
    { says: "an answer 404", outcome: { kind: "response", status: 404, latencyMs: 1 } },
    { says: "an answer 502", outcome: { kind: "response", status: 502, latencyMs: 1 } },
    { says: "a client that left", outcome: { kind: "aborted" } },
  ] as const)("$says says nothing", ({ outcome }) => {
    const bench = openBench();
    const unit = bench.compile({ nodes, checks: { ...passiveOnly, passive: {} } });
    for (let n = 0; n < 30; n++) reportOn(unit, A, outcome);
    expect(statuses(bench)).toEqual({ 1980: "healthy", 1981: "healthy" });
  });

  test("an answer in between clears the failures", () => {
    const bench = openBench();
    const unit = bench.compile({ nodes, checks: { ...passiveOnly, passive: {} } });
    for (let n = 0; n < 10; n++) {
      reportOn(unit, A, REFUSED);
      reportOn(unit, A, { kind: "response", status: 200, latencyMs: 1 });
    }
    expect(statuses(bench)[1980]).toBe("mostly_healthy");
  });

  test("are off unless configured, and need active ones to heal", () => {
    const bench = openBench();
    for (const checks of [passiveOnly, { passive: {} }]) {
      const unit = bench.compile({ nodes, checks });
      for (let n = 0; n < 10; n++) reportOn(unit, A, REFUSED);
      expect(tally(unit, 2)).toEqual({ [A]: 1, [B]: 1 });
    }
  });

  test("a target they took out is probed at the unhealthy interval from then on", async () => {
    const bench = openBench();
    const active = { healthy: { interval: 3600 }, unhealthy: { interval: 1 } };
    const unit = bench.compile({ nodes, checks: { active, passive: {} } });
    reportOn(unit, A, REFUSED);
    reportOn(unit, A, REFUSED);
    expect(statuses(bench)[1980]).toBe("unhealthy");
    await bench.pass(2000);
    expect(statuses(bench)[1980]).toBe("healthy");
  });
});

describe("unhealthy targets", () => {
  const down = (unit: Parameters<typeof begin>[0], ...ids: string[]) => {
    for (const id of ids) for (let n = 0; n < 2; n++) reportOn(unit, id, REFUSED);
  };
  const checks = { ...passiveOnly, passive: {} };

  test.each(["roundrobin", "chash", "least_conn", "ewma"])("%s gives them nothing, retries neither", (type) => {
    const unit = openBench().compile({ type, key: "remote_port", nodes: { [A]: 1, [B]: 1, [C]: 1 }, checks });
    const spread = (n: number) => ({ connection: { peerPort: n } });
    for (let n = 0; n < 2; n++) {
      const attempts = begin(unit);
      while (next(attempts)?.id !== A) attempts.report({ kind: "aborted" });
      attempts.report(REFUSED);
    }
    expect(Object.keys(tally(unit, 60, spread)).sort()).toEqual([B, C]);
    expect(failover(unit).sort()).toEqual([B, C]);
  });

  test("the healthy ones keep their exact shares", () => {
    const unit = openBench().compile({ nodes: { [A]: 5, [B]: 3, [C]: 2 }, checks });
    down(unit, A);
    expect(tally(unit, 50)).toEqual({ [B]: 30, [C]: 20 });
  });

  test("on a ring only their keys move", () => {
    const unit = openBench().compile({ type: "chash", key: "arg_k", nodes: { [A]: 1, [B]: 1, [C]: 1 }, checks });
    const view = (n: number) => ({ target: `/?k=${n}` });
    const before = Array.from({ length: 100 }, (_, n) => serve(unit, view(n)));
    const key = before.indexOf(A);
    for (let n = 0; n < 2; n++) {
      const attempts = begin(unit, view(key));
      next(attempts);
      attempts.report(REFUSED);
    }
    for (const [n, id] of before.entries()) {
      if (id === A) expect(serve(unit, view(n))).not.toBe(A);
      else expect(serve(unit, view(n))).toBe(id);
    }
  });

  test("when all are unhealthy, all are used", () => {
    const unit = openBench().compile({ nodes, checks });
    down(unit, A);
    down(unit, B);
    expect(tally(unit, 8)).toEqual({ [A]: 4, [B]: 4 });
  });

  test("of a higher priority let the lower one serve", () => {
    const ranked = [
      { host: "127.0.0.1", port: 1980, weight: 1, priority: 1 },
      { host: "127.0.0.1", port: 1981, weight: 1, priority: 0 },
    ];
    const unit = openBench().compile({ nodes: ranked, checks });
    expect(tally(unit, 4)).toEqual({ [A]: 4 });
    down(unit, A);
    expect(tally(unit, 4)).toEqual({ [B]: 4 });
  });

  test("a single target is used in any state, and shown", () => {
    const bench = openBench();
    const unit = bench.compile({ nodes: { [A]: 1 }, checks });
    down(unit, A);
    expect([statuses(bench), serve(unit)]).toEqual([{ 1980: "unhealthy" }, A]);
  });
});

describe("health across configuration changes", () => {
  const checks = { ...passiveOnly, passive: {} };
  const brokenA = (bench: Bench) => {
    const unit = bench.compile({ nodes, checks });
    reportOn(unit, A, REFUSED);
    reportOn(unit, A, REFUSED);
    return unit;
  };

  test.each([
    { says: "another balancer", change: { type: "least_conn" } },
    { says: "one node more", change: { nodes: { ...nodes, [C]: 1 } } },
    { says: "another weight", change: { nodes: { [A]: 7, [B]: 1 } } },
    { says: "other checks", change: { checks: { ...checks, active: { ...checks.active, http_path: "/x" } } } },
    { says: "another probe Host", change: { pass_host: "rewrite", upstream_host: "x.test" } },
  ])("$says: what is known of a target that stays is kept, and shown before the next request", async ({ change }) => {
    const bench = openBench();
    const before = brokenA(bench);
    const after = bench.compile({ nodes, checks, ...change });
    before.close();
    expect(statuses(bench)[1980]).toBe("unhealthy");
    expect(await bench.metric("jotgate_upstream_healthy", { upstream: "/apisix/upstreams/1", target: A })).toBe(0);
    expect(Object.keys(tally(after, 10))).not.toContain(A);
  });

  test.each([
    { says: "nothing that they depend on", change: { retries: 1 } },
    { says: "another path", change: { checks: { active: { http_path: "/x" } } } },
    { says: "another interval", change: { checks: { active: { healthy: { interval: 2 } } } } },
    { says: "a passive part", change: { checks: { active: {}, passive: {} } } },
    { says: "another node", change: { nodes: { [B]: 1 } } },
    { says: "another host", change: { pass_host: "rewrite", upstream_host: "x.test" } },
  ])("probes go on without a request after a change of $says", async ({ change }) => {
    const bench = openBench();
    const record = { nodes: { [A]: 1 }, checks: { active: {} } };
    const before = bench.compile(record);
    serve(before);
    await bench.pass(2000);
    bench.compile({ ...record, ...change });
    before.close();
    const asked = bench.script.probes.length;
    await bench.pass(10_000);
    expect(bench.script.probes.length).toBeGreaterThan(asked + 3);
    expect(bench.upstreams.healthStatus()).toHaveLength(1);
  });

  test("checks that no request has begun do not begin by a change", async () => {
    const bench = openBench();
    const record = { nodes: { [A]: 1 }, checks: { active: {} } };
    bench.compile(record).close();
    bench.compile({ ...record, retries: 1 });
    await bench.pass(5000);
    expect(bench.script.probes).toEqual([]);
  });

  test("probes go on without a pause or a double", async () => {
    const bench = openBench();
    const record = { nodes: { [A]: 1 }, checks: { active: {} } };
    let unit = bench.compile(record);
    for (let n = 0; n < 20; n++) {
      serve(unit);
      await bench.pass(1000);
      const changed = bench.compile({ ...record, retries: n });
      unit.close();
      unit = changed;
    }
    expect(bench.script.probes.length).toBeGreaterThanOrEqual(19);
    expect(bench.script.probes.length).toBeLessThanOrEqual(23);
  });

  test("probes are not put off by changes that come faster than they", async () => {
    const bench = openBench();
    const record = { nodes: { [A]: 1 }, checks: { active: { healthy: { interval: 2 } } } };
    let unit = bench.compile(record);
    for (let n = 0; n < 200; n++) {
      serve(unit);
      await bench.pass(100);
      const changed = bench.compile({ ...record, retries: n });
      unit.close();
      unit = changed;
    }
    expect(bench.script.probes.length).toBeGreaterThanOrEqual(10);
    expect(bench.script.probes.length).toBeLessThanOrEqual(12);
  });

  test("state that lingers between two configurations is kept, but not probed", async () => {
    const bench = openBench(1, openStates);
    const record = { nodes, checks: { active: {}, passive: {} } };
    const before = bench.compile(record);
    bench.script.outcome = () => ({ kind: "refused" });
    serve(before);
    await bench.pass(5000);
    before.close();
    const asked = bench.script.probes.length;
    await bench.pass(20_000);
    expect(bench.script.probes.length).toBe(asked);
    const after = bench.compile(record);
    begin(after);
    expect(statuses(bench)).toEqual({ 1980: "unhealthy", 1981: "unhealthy" });
    await bench.pass(100);
    expect(bench.script.probes.length).toBe(asked + 2);
  });

  test("upstreams with equal checks share probes, and failures of requests only within one resource", async () => {
    const bench = openBench();
    const active = { nodes: { [A]: 1 }, checks: { active: {} } };
    for (const key of ["/apisix/routes/1", "/apisix/routes/2"]) serve(bench.compile(active, { key }));
    await bench.pass(5000);
    expect(bench.script.probes.length).toBeLessThanOrEqual(7);
    const other = openBench();
    const one = other.compile({ nodes, checks }, { key: "/apisix/routes/1" });
    const two = other.compile({ nodes, checks }, { key: "/apisix/routes/2" });
    reportOn(one, A, REFUSED);
    reportOn(one, A, REFUSED);
    expect([tally(one, 2), tally(two, 2)]).toEqual([{ [B]: 2 }, { [A]: 1, [B]: 1 }]);
  });

  test("a resource is listed once while it is being replaced", () => {
    const bench = openBench();
    const before = brokenA(bench);
    const after = bench.compile({ nodes: { ...nodes, [C]: 1 }, checks });
    serve(after);
    expect(bench.upstreams.healthStatus()).toEqual([
      {
        name: "/apisix/upstreams/1",
        type: "http",
        nodes: [
          {
            ip: "127.0.0.1",
            port: 1980,
            hostname: "127.0.0.1",
            status: "unhealthy",
            counter: { success: 0, http_failure: 0, tcp_failure: 2, timeout_failure: 0 },
          },
          expect.objectContaining({ port: 1981, status: "healthy" }),
          expect.objectContaining({ port: 1982, status: "healthy" }),
        ],
      },
    ]);
    before.close();
    bench.upstreams.close();
    expect([bench.upstreams.healthStatus(), bench.heldStates()]).toEqual([[], 0]);
  });
});
