/** Lines on their way to the disk: batches, moved files, slow and full disks. */
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { type Clock, FakeClock, systemClock } from "../../src/base/clock.ts";
import { FLUSH_MS, LineSink } from "../../src/base/line-sink.ts";
import { silentLog } from "../../src/base/log.ts";
import { metricsText, openMetrics } from "../../src/base/metrics.ts";
import { mountSmallDisk, whyNoMount } from "../support/tmpfs.ts";
import { until as untilTrue } from "../support/until.ts";

const folder = mkdtempSync(join(tmpdir(), "jotgate-log-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let files = 0;

const until = (fact: () => boolean | Promise<boolean>): Promise<void> => untilTrue(fact, "lines are written");

function open(clock: Clock, more: { target?: string; pendingLengthMax?: number } = {}) {
  const metrics = openMetrics();
  const target = more.target ?? join(folder, `${++files}.log`);
  const lines = metrics.counter("test_lines_total", "Lines.", ["result"]);
  const sink = new LineSink({ name: "test", clock, log: silentLog, lines, ...more, target });
  const count = async (result: string): Promise<number> => {
    const text = await metricsText(metrics);
    return Number(new RegExp(`test_lines_total\\{result="${result}"\\} (\\d+)`).exec(text)?.[1]);
  };
  return { sink, target, count, read: () => (existsSync(target) ? readFileSync(target, "utf8") : "") };
}

describe("batches", () => {
  test("lines are written within a second, not each by itself", async () => {
    const clock = new FakeClock();
    const { sink, read, count } = open(clock);
    sink.write("one");
    sink.write("two é");
    clock.advance(FLUSH_MS - 1);
    expect(read()).toBe("");
    clock.advance(1);
    await until(() => read() === "one\ntwo é\n");
    await until(async () => (await count("written")) === 2);
    await sink.close();
  });

  test("enough for a batch is written at once", async () => {
    const { sink, read } = open(new FakeClock());
    const line = "x".repeat(999);
    for (let i = 0; i < 66; i++) sink.write(line);
    await until(() => read().length >= 65_000);
    await sink.close();
    expect(read().split("\n")).toHaveLength(67);
  });

  test("closing writes what waits; closing twice is fine; lines behind it are dropped", async () => {
    const { sink, read, count } = open(new FakeClock());
    for (let i = 0; i < 1000; i++) sink.write(`line ${i}`);
    await sink.close();
    await sink.close();
    sink.write("late");
    expect(read().split("\n")).toHaveLength(1001);
    expect(await count("dropped")).toBe(1);
  });

  test("lines follow each other whole and in order, however they come", async () => {
    const { sink, read } = open(systemClock);
    for (let i = 0; i < 50_000; i++) {
      sink.write(`${i} ${"y".repeat(i % 100)}`);
      if (i % 5000 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await sink.close();
    const numbers = read()
      .split("\n")
      .slice(0, -1)
      .map((line) => Number(line.split(" ")[0]));
    expect(numbers).toEqual(Array.from({ length: 50_000 }, (_, i) => i));
  });
});

describe("bad disks", () => {
  test("what does not fit into the buffer is dropped and counted, nobody waits", async () => {
    const { sink, count, read } = open(new FakeClock(), { pendingLengthMax: 1000 });
    for (let i = 0; i < 100; i++) sink.write("x".repeat(99));
    expect(await count("dropped")).toBe(90);
    await sink.close();
    expect(read().split("\n")).toHaveLength(11);
  });

  test("a full disk loses lines, counts them, and goes on", async () => {
    const clock = new FakeClock();
    const { sink, count } = open(clock, { target: "/dev/full" });
    for (let turn = 1; turn <= 3; turn++) {
      sink.write("x");
      clock.advance(FLUSH_MS);
      await until(async () => (await count("failed")) === turn);
    }
    await sink.close();
    expect(await count("written")).toBe(0);
  });

  test.skipIf(whyNoMount() !== undefined)(
    "a disk that becomes full counts lines, not batches, and keeps them whole",
    async () => {
      const { folder: small, unmount } = mountSmallDisk("64k");
      try {
        const target = join(small, "access.log");
        const { sink, count } = open(systemClock, { target });
        const filler = join(small, "filler");
        writeFileSync(filler, Buffer.alloc(40_000));
        for (let i = 0; i < 900; i++) sink.write(`line ${i} ${"x".repeat(90)}`);
        await until(async () => (await count("failed")) > 0);
        rmSync(filler);
        for (let i = 900; i < 910; i++) sink.write(`line ${i} ${"x".repeat(90)}`);
        await sink.close();
        const lines = readFileSync(target, "utf8").split("\n");
        expect(lines.pop()).toBe("");
        expect(lines.filter((line) => !/^line \d+ x{90}$/.test(line))).toEqual([]);
        expect(lines.length).toBeGreaterThan(100);
        expect([await count("written"), await count("failed")]).toEqual([lines.length, 910 - lines.length]);
      } finally {
        unmount();
      }
    },
  );

  test("a file that cannot be opened is an error at the start", () => {
    expect(() => open(systemClock, { target: join(folder, "none", "a.log") })).toThrow("ENOENT");
  });
});

test("a file that was moved away is opened anew, no line is lost", async () => {
  const clock = new FakeClock();
  const { sink, target, read, count } = open(clock);
  sink.write("one");
  clock.advance(FLUSH_MS);
  // Confirmed, not only on the disk: a tick while a write is under way is left out.
  await until(async () => (await count("written")) === 1);
  renameSync(target, `${target}.1`);
  sink.write("two");
  clock.advance(FLUSH_MS);
  await until(() => read() === "two\n");
  expect(readFileSync(`${target}.1`, "utf8")).toBe("one\n");
  await sink.close();
});
