import { describe, expect, test } from "vitest";
import { Ring } from "../../src/runtime/upstream/balance/chash.ts";
import { begin, failover, next, OK, openBench, serve, tally } from "./upstream-fixture.ts";

const A = "127.0.0.1:1980";
const B = "127.0.0.1:1981";
const C = "127.0.0.1:1982";
const D = "127.0.0.1:1983";
const even = { [A]: 1, [B]: 1, [C]: 1 };
const ranked = (...items: readonly [id: string, weight: number, priority: number][]) =>
  items.map(([id, weight, priority]) => {
    const [host = "", port] = id.split(":");
    return { host, port: Number(port), weight, priority };
  });

describe("roundrobin", () => {
  test.each([
    { says: "even weights share evenly", nodes: { [A]: 1, [B]: 1 }, count: 40, want: { [A]: 20, [B]: 20 } },
    { says: "weights are shares", nodes: { [A]: 5, [B]: 3, [C]: 2 }, count: 50, want: { [A]: 25, [B]: 15, [C]: 10 } },
    {
      says: "one cycle is enough for exact shares",
      nodes: { [A]: 5, [B]: 3, [C]: 2 },
      count: 10,
      want: { [A]: 5, [B]: 3, [C]: 2 },
    },
    { says: "common factors shorten the cycle", nodes: { [A]: 300, [B]: 100 }, count: 4, want: { [A]: 3, [B]: 1 } },
    { says: "weight 0 gets nothing beside others", nodes: { [A]: 0, [B]: 1 }, count: 12, want: { [B]: 12 } },
    {
      says: "weight 0 gets nothing beside two others",
      nodes: { [A]: 0, [B]: 1, [C]: 2 },
      count: 12,
      want: { [B]: 4, [C]: 8 },
    },
    { says: "all of weight 0 take turns", nodes: { [A]: 0, [B]: 0 }, count: 12, want: { [A]: 6, [B]: 6 } },
    { says: "one node is used whatever its weight", nodes: { [A]: 0 }, count: 3, want: { [A]: 3 } },
    { says: "huge weights cost nothing", nodes: { [A]: 1_000_003, [B]: 999_983 }, count: 1000, want: undefined },
  ])("$says", ({ nodes, count, want }) => {
    for (const seed of [1, 2, 3, 4, 5]) {
      const counts = tally(openBench(seed).compile({ nodes }), count);
      if (want) expect(counts).toEqual(want);
    }
  });

  test("turns interleave by level", () => {
    const unit = openBench().compile({ nodes: { [A]: 3, [B]: 1 } });
    const turns = Array.from({ length: 8 }, () => serve(unit));
    expect(turns.join("").replaceAll(A, "a").replaceAll(B, "b")).toMatch(/^(aaab|aaba|abaa|baaa){2}$/);
  });

  test("processes do not start at the same node", () => {
    const starts = Array.from({ length: 40 }, (_, seed) => serve(openBench(seed).compile({ nodes: even })));
    expect(new Set(starts).size).toBe(3);
  });

  test("a retry goes to another node, and every node is tried at most once", () => {
    const unit = openBench().compile({ nodes: { [A]: 100, [B]: 1, [C]: 0 }, retries: 9 });
    for (let n = 0; n < 20; n++) expect(failover(unit).sort()).toEqual([A, B]);
  });
});

describe("priorities", () => {
  test.each(["roundrobin", "least_conn", "ewma", "chash"])(
    "%s uses the highest, and lower ones only after it",
    (type) => {
      const nodes = ranked([A, 1, 0], [B, 1, 0], [C, 1, -1], [D, 1, -2]);
      const unit = openBench().compile({ type, key: "arg_id", nodes });
      const view = (n: number) => ({ target: `/?id=${n}` });
      const used = tally(unit, 40, view);
      expect(Object.keys(used).sort()).toEqual([A, B]);
      const order = failover(unit, view(1));
      expect(order.slice(0, 2).sort()).toEqual([A, B]);
      expect(order.slice(2)).toEqual([C, D]);
    },
  );

  test("weights count within one priority", () => {
    const unit = openBench().compile({ nodes: ranked([A, 0, 1], [B, 5, 0], [C, 0, 0]) });
    expect(failover(unit)).toEqual([A, B]);
  });
});

describe("chash", () => {
  const byDevice = { type: "chash", key: "arg_device" };
  const device = (n: number | string) => ({ target: `/?device=${n}` });

  test("points and keys are placed as OpenResty places them", () => {
    const ring = new Ring([
      { id: A, weight: 1 },
      { id: B, weight: 1 },
      { id: C, weight: 2 },
    ]);
    const owners = Array.from({ length: 12 }, (_, n) => ring.owner(ring.find(`key-${n}`)));
    expect(owners).toEqual([2, 2, 2, 2, 0, 2, 2, 2, 2, 2, 1, 0]);
    expect(ring.size).toBe(640);
  });

  test("one key stays on one node, many keys use all", () => {
    const unit = openBench().compile({ ...byDevice, nodes: even });
    expect(Object.keys(tally(unit, 12, () => device("a")))).toHaveLength(1);
    expect(Object.keys(tally(unit, 40, device))).toHaveLength(3);
  });

  test("every process agrees", () => {
    const [one, other] = [1, 2].map((seed) => openBench(seed).compile({ ...byDevice, nodes: even }));
    for (let n = 0; n < 50; n++) expect(one && serve(one, device(n))).toBe(other && serve(other, device(n)));
  });

  test("removing a node moves only its keys", () => {
    const bench = openBench();
    const before = bench.compile({ ...byDevice, nodes: even });
    const after = bench.compile({ ...byDevice, nodes: { [A]: 1, [C]: 1 } });
    for (let n = 0; n < 200; n++) {
      const old = serve(before, device(n));
      if (old !== B) expect(serve(after, device(n))).toBe(old);
    }
  });

  test.each([
    { says: "weights are shares", nodes: { [A]: 100, [B]: 300 }, share: 0.25 },
    { says: "huge odd weights are scaled, not expanded", nodes: { [A]: 1_000_003, [B]: 3_000_007 }, share: 0.25 },
    { says: "weight 0 gets nothing", nodes: { [A]: 0, [B]: 1, [C]: 1 }, share: 0 },
    { says: "all of weight 0 share", nodes: { [A]: 0, [B]: 0 }, share: 0.5 },
  ])("$says", ({ nodes, share }) => {
    const counts = tally(openBench().compile({ ...byDevice, nodes }), 4000, device);
    expect(Math.abs((counts[A] ?? 0) / 4000 - share)).toBeLessThan(share === 0 ? 0.0001 : 0.06);
  });

  test("a retry walks to the next different node, the same way for the same key", () => {
    const unit = openBench().compile({ ...byDevice, nodes: even });
    for (let n = 0; n < 20; n++) {
      const order = failover(unit, device(n));
      expect([...order].sort()).toEqual([A, B, C]);
      expect(failover(unit, device(n))).toEqual(order);
    }
  });

  test.each([
    { says: "a variable", conf: { key: "uri" }, same: { target: "/x" }, other: (n: number) => ({ target: `/${n}` }) },
    {
      says: "a header, whatever its case",
      conf: { hash_on: "header", key: "X-Sess" },
      same: { headers: { "x-sess": "q" } },
      other: (n: number) => ({ headers: { "X-SESS": `s${n}` } }),
    },
    {
      says: "a cookie",
      conf: { hash_on: "cookie", key: "sid" },
      same: { headers: { Cookie: "a=b; sid=1" } },
      other: (n: number) => ({ headers: { Cookie: `sid=${n}` } }),
    },
    {
      says: "a combination of variables",
      conf: { hash_on: "vars_combinations", key: "$request_method/$arg_a" },
      same: { target: "/?a=1" },
      other: (n: number) => ({ target: `/?a=${n}` }),
    },
    {
      says: "the client's address where the key has no value",
      conf: { key: "arg_missing" },
      same: {},
      other: (n: number) => ({ connection: { peerAddress: `10.0.0.${n}` } }),
    },
    {
      says: "the client's address where no variable of a combination has a value",
      conf: { hash_on: "vars_combinations", key: "x$arg_missing" },
      same: {},
      other: (n: number) => ({ connection: { peerAddress: `10.0.0.${n}` } }),
    },
  ])("hashes on $says", ({ conf, same, other }) => {
    const unit = openBench().compile({ type: "chash", ...conf, nodes: even });
    expect(Object.keys(tally(unit, 12, () => same))).toHaveLength(1);
    expect(Object.keys(tally(unit, 60, other))).toHaveLength(3);
  });

  test("hashes on the consumer's name", async () => {
    const { makeView } = await import("../../src/plugin/testkit/testkit-view.ts");
    const unit = openBench().compile({ type: "chash", hash_on: "consumer", nodes: even });
    const seen = new Set<string | undefined>();
    for (let n = 0; n < 60; n++) {
      const view = makeView();
      view.consumer = { username: `u${n}`, groupId: undefined, customId: undefined, labels: {} };
      const attempts = unit.start(view);
      seen.add(attempts && next(attempts)?.id);
    }
    expect(seen.size).toBe(3);
  });
});

describe("least_conn", () => {
  const record = { type: "least_conn", nodes: { [A]: 1, [B]: 1, [C]: 2 } };

  test("the fewest open tries in proportion to weight win", () => {
    const unit = openBench().compile(record);
    const counts: Record<string, number> = {};
    for (let n = 0; n < 40; n++) {
      const id = next(begin(unit))?.id ?? "";
      counts[id] = (counts[id] ?? 0) + 1;
    }
    expect(counts).toEqual({ [A]: 10, [B]: 10, [C]: 20 });
  });

  test("equals take turns", () => {
    const unit = openBench().compile({ ...record, nodes: even });
    expect(tally(unit, 30)).toEqual({ [A]: 10, [B]: 10, [C]: 10 });
  });

  test.each([
    { says: "an answer", outcome: OK },
    { says: "a refusal", outcome: { kind: "refused" } },
    { says: "a time-out", outcome: { kind: "timeout" } },
    { says: "a client that left", outcome: { kind: "aborted" } },
  ] as const)("$says ends a try, once", ({ outcome }) => {
    const unit = openBench().compile({ ...record, nodes: { [A]: 1, [B]: 1 } });
    const first = begin(unit);
    const busy = next(first)?.id;
    expect(next(begin(unit))?.id).not.toBe(busy);
    first.report(outcome);
    first.report(outcome);
    expect(next(begin(unit))?.id).toBe(busy);
    expect(new Set([next(begin(unit))?.id, next(begin(unit))?.id]).size).toBe(2);
  });

  test("a try that was given up without a report is not counted for ever", () => {
    const unit = openBench().compile({ ...record, nodes: { [A]: 1, [B]: 1 } });
    for (let n = 0; n < 10; n++) {
      const attempts = begin(unit);
      next(attempts);
      next(attempts);
      attempts.report(OK);
    }
    expect(tally(unit, 10)).toEqual({ [A]: 5, [B]: 5 });
  });
});

describe("ewma", () => {
  const record = { type: "ewma", nodes: { [A]: 1, [B]: 1 } };
  const answer = (latencies: Record<string, number>) => (bench: ReturnType<typeof openBench>, count: number) => {
    const unit = bench.compile(record);
    const counts: Record<string, number> = {};
    for (let n = 0; n < count; n++) {
      const attempts = begin(unit);
      const id = next(attempts)?.id ?? "";
      bench.clock.advance(50);
      attempts.report({ kind: "response", status: 200, latencyMs: latencies[id] ?? 0 });
      counts[id] = (counts[id] ?? 0) + 1;
    }
    return counts;
  };

  test("the faster node gets more", () => {
    const counts = answer({ [A]: 5, [B]: 500 })(openBench(), 200);
    expect(counts[A]).toBeGreaterThan(10 * (counts[B] ?? 0));
  });

  test("a slow past fades, so a slow node is tried again", () => {
    const counts = answer({ [A]: 5, [B]: 500 })(openBench(), 2000);
    expect(counts[B]).toBeGreaterThan(1);
  });

  test("a node that refuses fast is not taken for a fast one", () => {
    const bench = openBench();
    const unit = bench.compile({ ...record, retries: 1 });
    const firsts: Record<string, number> = {};
    for (let n = 0; n < 100; n++) {
      const attempts = begin(unit);
      const first = next(attempts)?.id ?? "";
      firsts[first] = (firsts[first] ?? 0) + 1;
      bench.clock.advance(20);
      if (first === A) attempts.report({ kind: "refused" });
      const id = first === A ? next(attempts)?.id : first;
      expect(id).toBe(B);
      attempts.report({ kind: "response", status: 200, latencyMs: 20 });
    }
    expect(firsts[A]).toBeLessThan(10);
  });

  test("of three, a retry picks among the others", () => {
    const unit = openBench().compile({ type: "ewma", nodes: even });
    for (let n = 0; n < 20; n++) expect(failover(unit).sort()).toEqual([A, B, C]);
  });
});

describe("a configuration change", () => {
  test("of anything but the nodes goes on where the turns were", () => {
    const bench = openBench();
    const nodes = { [A]: 3, [B]: 2, [C]: 1 };
    let unit = bench.compile({ nodes });
    const counts: Record<string, number> = {};
    for (let n = 0; n < 36; n++) {
      const id = serve(unit) ?? "";
      counts[id] = (counts[id] ?? 0) + 1;
      const changed = bench.compile({ nodes: n % 2 ? nodes : { [C]: 1, [B]: 2, [A]: 3 }, retries: n });
      unit.close();
      unit = changed;
    }
    expect(counts).toEqual({ [A]: 18, [B]: 12, [C]: 6 });
  });

  test("of another resource with the same nodes does not share turns", () => {
    const bench = openBench();
    const one = bench.compile({ nodes: even }, { key: "/apisix/routes/1" });
    const other = bench.compile({ nodes: even }, { key: "/apisix/routes/2" });
    const counts: Record<string, number> = {};
    for (let n = 0; n < 30; n++) {
      const id = serve(one) ?? "";
      serve(other);
      counts[id] = (counts[id] ?? 0) + 1;
    }
    expect(counts).toEqual({ [A]: 10, [B]: 10, [C]: 10 });
  });

  test("keeps the counts of open tries, of the nodes that stay", () => {
    const bench = openBench();
    const before = bench.compile({ type: "least_conn", nodes: { [A]: 1, [B]: 1 } });
    const open = begin(before);
    const busy = next(open)?.id;
    const after = bench.compile({ type: "least_conn", nodes: { [A]: 1, [B]: 1, [C]: 1 } });
    before.close();
    expect([next(begin(after))?.id, next(begin(after))?.id]).not.toContain(busy);
    open.report(OK);
    expect(next(begin(after))?.id).toBe(busy);
  });

  test("gives everything back at the end", () => {
    const bench = openBench();
    const records = ["roundrobin", "chash", "least_conn", "ewma"].map((type) =>
      bench.compile({ type, key: "uri", nodes: { "a.test": 1, [B]: 1 }, checks: { active: {} } }, { key: type }),
    );
    expect(bench.heldStates()).toBeGreaterThan(8);
    for (const unit of records) unit.close();
    for (const unit of records) unit.close();
    expect([bench.heldStates(), bench.dns.names()]).toEqual([0, []]);
  });
});
