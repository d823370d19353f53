import { describe, expect, test } from "vitest";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { begin, failover, next, openBench } from "./upstream-fixture.ts";

const A = "127.0.0.1:1980";
const B = "127.0.0.1:1981";
const C = "127.0.0.1:1982";

describe("retries", () => {
  test.each([
    { says: "unset, every node is tried", nodes: { [A]: 1, [B]: 1, [C]: 1 }, retries: undefined, tries: 3 },
    { says: "unset, a single node is tried once", nodes: { [A]: 1 }, retries: undefined, tries: 1 },
    { says: "0 means none", nodes: { [A]: 1, [B]: 1 }, retries: 0, tries: 1 },
    { says: "1 means one", nodes: { [A]: 1, [B]: 1, [C]: 1 }, retries: 1, tries: 2 },
    { says: "more than nodes end with the nodes", nodes: { [A]: 1, [B]: 1 }, retries: 5, tries: 2 },
    { says: "a single node is tried again", nodes: { [A]: 1 }, retries: 2, tries: 3 },
    { says: "the only node with weight is tried again", nodes: { [A]: 0, [B]: 1 }, retries: 2, tries: 3 },
    { says: "nodes of weight 0 count for the default", nodes: { [A]: 0, [B]: 1 }, retries: undefined, tries: 2 },
  ])("$says", ({ nodes, retries, tries }) => {
    for (const type of ["roundrobin", "chash", "least_conn", "ewma"]) {
      const tried = failover(openBench().compile({ type, key: "uri", nodes, retries }));
      expect(tried).toHaveLength(tries);
      if (Object.values(nodes).every((weight) => weight > 0) && Object.keys(nodes).length > 1) {
        expect(new Set(tried).size).toBe(tries);
      }
    }
  });

  test("the targets tried are told in order", () => {
    const attempts = begin(openBench().compile({ nodes: { [A]: 1, [B]: 1 } }));
    expect(attempts.tried).toEqual([]);
    const first = next(attempts);
    expect(attempts.tried).toEqual([first]);
    const second = next(attempts);
    expect(attempts.tried).toEqual([first, second]);
    expect(next(attempts)).toBeUndefined();
    expect(attempts.tried).toHaveLength(2);
  });

  test("a retry is allowed until the tries are used up", () => {
    const attempts = begin(openBench().compile({ nodes: { [A]: 1, [B]: 1 } }));
    expect(attempts.mayRetry()).toBe("yes");
    next(attempts);
    expect(attempts.mayRetry()).toBe("yes");
    next(attempts);
    expect(attempts.mayRetry()).toBe("exhausted");
  });

  test("with tries left but no node left there is no next target", () => {
    const attempts = begin(openBench().compile({ nodes: { [A]: 1, [B]: 1 }, retries: 5 }));
    next(attempts);
    next(attempts);
    expect([attempts.mayRetry(), next(attempts)]).toEqual(["yes", undefined]);
  });

  test.each([
    { says: "in time", afterMs: 500, want: "yes" },
    { says: "after retry_timeout", afterMs: 501, want: "timeout" },
  ])("a retry $says is '$want'", ({ afterMs, want }) => {
    const bench = openBench();
    const attempts = begin(bench.compile({ nodes: { [A]: 1, [B]: 1, [C]: 1 }, retry_timeout: 0.5 }));
    next(attempts);
    bench.clock.advance(afterMs);
    expect(attempts.mayRetry()).toBe(want);
  });

  test("without tries left it does not matter that it is late", () => {
    const bench = openBench();
    const attempts = begin(bench.compile({ nodes: { [A]: 1 }, retry_timeout: 0.5 }));
    next(attempts);
    bench.clock.advance(1000);
    expect(attempts.mayRetry()).toBe("exhausted");
  });

  test("retry_timeout 0 is no limit", () => {
    const bench = openBench();
    const attempts = begin(bench.compile({ nodes: { [A]: 1, [B]: 1 }, retry_timeout: 0 }));
    next(attempts);
    bench.clock.advance(3_600_000);
    expect(attempts.mayRetry()).toBe("yes");
  });

  test.each([{}, [], undefined])("without nodes (%j) there is nothing to start", (nodes) => {
    expect(openBench().compile({ nodes }).start(makeView())).toBeUndefined();
  });

  test("targets say what a lane needs to connect", () => {
    const [v4, v6] = [{ [A]: 1 }, { "[::1]:8080": 1 }].map((nodes) => next(begin(openBench().compile({ nodes }))));
    expect(v4).toEqual({ id: A, host: "127.0.0.1", port: 1980, address: "127.0.0.1", hostHeader: A });
    expect(v6).toEqual({ id: "[::1]:8080", host: "::1", port: 8080, address: "::1", hostHeader: "[::1]:8080" });
  });

  test("a request keeps the nodes it began with", () => {
    const bench = openBench();
    const unit = bench.compile({ nodes: { [A]: 1, [B]: 1 } });
    const attempts = begin(unit);
    const first = next(attempts)?.id;
    bench.compile({ nodes: { [C]: 1 } });
    unit.close();
    expect([first, next(attempts)?.id].sort()).toEqual([A, B]);
  });
});
