import { describe, expect, test } from "vitest";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { openStates } from "../../src/runtime/shared-states.ts";
import { begin, next, openBench, serve, serveSoon, settle, tally } from "./upstream-fixture.ts";

const answer = (ttlSeconds: number, ...addresses: string[]) => ({ addresses, ttlSeconds });
const one = { nodes: { "a.test:8080": 1 } };

describe("a node given by name", () => {
  test("is looked up at the first request and known at once from then on", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(60, "10.0.0.1"));
    const unit = bench.compile({ nodes: { "A.test:8080": 1 } });
    expect(bench.script.lookups).toEqual([]);
    const first = begin(unit).next();
    expect(first).toBeInstanceOf(Promise);
    expect(await first).toEqual({
      id: "A.test:8080",
      host: "A.test",
      port: 8080,
      address: "10.0.0.1",
      hostHeader: "A.test:8080",
    });
    expect(next(begin(unit))?.address).toBe("10.0.0.1");
    expect(bench.script.lookups).toEqual(["a.test"]);
  });

  test("is looked up once for many requests and upstreams at the same time", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(60, "10.0.0.1"));
    const units = [1, 2, 3].map((n) => bench.compile(one, { key: `/apisix/routes/${n}` }));
    const targets = await Promise.all([...units, ...units].map((unit) => begin(unit).next()));
    expect(targets.map((target) => target?.address)).toEqual(Array(6).fill("10.0.0.1"));
    expect(bench.script.lookups).toEqual(["a.test"]);
  });

  test("uses one address per request, one after the other", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(60, "10.0.0.2", "10.0.0.1", "10.0.0.3"));
    const unit = bench.compile(one);
    await serveSoon(unit);
    const seen = Array.from({ length: 6 }, () => next(begin(unit))?.address);
    expect([...seen.slice(0, 3)].sort()).toEqual(["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    expect(seen.slice(3)).toEqual(seen.slice(0, 3));
  });

  test("counts as one node, whatever its addresses", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(60, "10.0.0.1", "10.0.0.2"));
    const attempts = begin(bench.compile(one));
    await attempts.next();
    expect(attempts.mayRetry()).toBe("exhausted");
  });

  test("gives each of its addresses once to a try whose connections are refused", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(60, "10.0.0.1", "10.0.0.2", "10.0.0.3"));
    const attempts = begin(bench.compile(one));
    const seen = [(await attempts.next())?.address, attempts.nextAddress()?.address, attempts.nextAddress()?.address];
    expect(seen.sort()).toEqual(["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
    expect(attempts.nextAddress()).toBeUndefined();
    attempts.report({ kind: "refused" });
    expect(attempts.nextAddress()).toBeUndefined();
    expect(attempts.tried).toHaveLength(1);
  });

  test("keeps the same target object while the address is the same", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(1, "10.0.0.1"));
    const unit = bench.compile(one);
    const before = await serveSoon(unit);
    bench.script.answers.set("a.test", answer(1, "10.0.0.9", "10.0.0.1"));
    for (let n = 0; n < 5; n++) {
      serve(unit);
      await bench.pass(1000);
    }
    const after = [next(begin(unit)), next(begin(unit))];
    expect(after.map((target) => target?.address).sort()).toEqual(["10.0.0.1", "10.0.0.9"]);
    expect(after).toContain(before);
  });
});

describe("answers are renewed", () => {
  test("in the background when their TTL ends, without a request waiting", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(10, "10.0.0.1"));
    const unit = bench.compile(one);
    await serveSoon(unit);
    serve(unit);
    bench.script.answers.set("a.test", answer(10, "10.0.0.2"));
    await bench.pass(9000);
    expect(next(begin(unit))?.address).toBe("10.0.0.1");
    await bench.pass(2100);
    expect(bench.script.lookups).toHaveLength(2);
    expect(next(begin(unit))?.address).toBe("10.0.0.2");
  });

  test("not more than once a second, whatever the TTL", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(0, "10.0.0.1"));
    const unit = bench.compile(one);
    await serveSoon(unit);
    for (let n = 0; n < 100; n++) {
      serve(unit);
      await bench.pass(100);
    }
    expect(bench.script.lookups.length).toBeGreaterThan(7);
    expect(bench.script.lookups.length).toBeLessThanOrEqual(11);
  });

  test("seldom while nobody asks, and at once when somebody does", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(1, "10.0.0.1"));
    const unit = bench.compile(one);
    await serveSoon(unit);
    await bench.pass(50_000, 500);
    expect(bench.script.lookups).toHaveLength(2);
    bench.script.answers.set("a.test", answer(1, "10.0.0.2"));
    expect(next(begin(unit))?.address).toBe("10.0.0.1");
    await settle();
    expect([next(begin(unit))?.address, bench.script.lookups.length]).toEqual(["10.0.0.2", 3]);
    await bench.pass(600_000, 1000);
    expect(bench.script.lookups.length).toBeGreaterThan(8);
    expect(bench.script.lookups.length).toBeLessThan(20);
  });

  test("no longer once nothing holds the name", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(1, "10.0.0.1"));
    const before = bench.compile(one);
    await serveSoon(before);
    const after = bench.compile({ ...one, retries: 3 });
    before.close();
    expect(next(begin(after))?.address).toBe("10.0.0.1");
    after.close();
    const asked = bench.script.lookups.length;
    await bench.pass(600_000, 1000);
    expect([bench.script.lookups.length, bench.dns.names()]).toEqual([asked, []]);
  });
});

describe("when DNS fails", () => {
  test("addresses outlive the gap between two configurations", async () => {
    const bench = openBench(1, openStates);
    bench.script.answers.set("a.test", answer(1, "10.0.0.1"));
    const before = bench.compile(one);
    await serveSoon(before);
    before.close();
    bench.script.answers.delete("a.test");
    await bench.pass(20_000);
    const after = bench.compile({ ...one, retries: 2 });
    expect(next(begin(after))?.address).toBe("10.0.0.1");
    after.close();
    await bench.pass(40_000);
    expect(bench.dns.names()).toEqual([]);
  });

  test.each([
    { says: "an error", broken: new Error("queryA ESERVFAIL a.test") },
    { says: "silence", broken: new Promise<never>(() => {}) },
    { says: "an empty answer", broken: answer(60) },
  ])("($says) the last good addresses serve", async ({ broken }) => {
    const bench = openBench();
    bench.script.answers.set("a.test", answer(1, "10.0.0.1"));
    const unit = bench.compile(one);
    await serveSoon(unit);
    bench.script.answers.set("a.test", broken);
    for (let n = 0; n < 60; n++) {
      expect(next(begin(unit))?.address).toBe("10.0.0.1");
      await bench.pass(1000, 500);
    }
    expect(bench.dns.names()[0]).toMatchObject({ name: "a.test", addresses: ["10.0.0.1"] });
    expect(bench.dns.names()[0]?.failures).toBeGreaterThan(2);
    expect(bench.logged.filter(({ level }) => level === "warn")).toHaveLength(1);
    bench.script.answers.set("a.test", answer(1, "10.0.0.7"));
    await bench.pass(37_000, 500);
    expect(next(begin(unit))?.address).toBe("10.0.0.7");
  });

  test("look-ups back off and come back", async () => {
    const bench = openBench();
    const unit = bench.compile(one);
    expect(await begin(unit).next()).toBeUndefined();
    await bench.pass(120_000, 500);
    expect(bench.script.lookups.length).toBeGreaterThan(6);
    expect(bench.script.lookups.length).toBeLessThan(16);
    expect(await bench.metric("jotgate_dns_lookups_total", { outcome: "failed" })).toBe(bench.script.lookups.length);
  });

  test("a name never known gives nothing: first after the wait, then at once, until it is known", async () => {
    const bench = openBench();
    const unit = bench.compile(one);
    const attempts = begin(unit);
    expect(await attempts.next()).toBeUndefined();
    expect(attempts.tried).toEqual([]);
    expect(unit.start(makeView())).toBeUndefined();
    bench.script.answers.set("a.test", answer(60, "10.0.0.1"));
    await bench.pass(1100);
    expect(next(begin(unit))?.address).toBe("10.0.0.1");
  });

  test("nobody waits longer than five seconds for the first answer", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", new Promise(() => {}));
    const waiting = begin(bench.compile(one)).next();
    let isDone = false;
    void Promise.resolve(waiting).then(() => {
      isDone = true;
    });
    await bench.pass(4900);
    expect(isDone).toBe(false);
    await bench.pass(200);
    expect([isDone, await waiting]).toEqual([true, undefined]);
  });

  test("nobody waits longer for it than for a connection, and other nodes serve then", async () => {
    const bench = openBench();
    bench.script.answers.set("a.test", new Promise(() => {}));
    const timeout = { connect: 0.5, send: 60, read: 60 };
    const alone = begin(bench.compile({ ...one, timeout })).next();
    const beside = begin(
      bench.compile({
        timeout,
        nodes: [
          { host: "a.test", port: 80, weight: 1, priority: 1 },
          { host: "127.0.0.1", port: 80, weight: 1, priority: 0 },
        ],
      }),
    ).next();
    await bench.pass(600);
    expect(await alone).toBeUndefined();
    expect((await beside)?.address).toBe("127.0.0.1");
  });

  test("the other nodes serve, and passing over is no try", async () => {
    const bench = openBench();
    bench.script.answers.set("b.test", answer(60, "10.0.0.2"));
    const unit = bench.compile({ nodes: { "a.test:80": 1, "b.test:80": 1, "127.0.0.1:80": 1 }, retries: 1 });
    for (let n = 0; n < 3; n++) {
      const attempts = begin(unit);
      expect((await attempts.next())?.host).not.toBe("a.test");
      expect((await attempts.next())?.host).not.toBe("a.test");
      expect(attempts.tried).toHaveLength(2);
    }
    expect(tally(unit, 10)).toEqual({ "b.test:80": 5, "127.0.0.1:80": 5 });
    bench.script.answers.set("a.test", answer(60, "10.0.0.1"));
    await bench.pass(3000);
    await serveSoon(unit);
    expect(Object.keys(tally(unit, 9)).sort()).toEqual(["127.0.0.1:80", "a.test:80", "b.test:80"]);
  });
});
