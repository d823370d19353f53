/** Log lines on their way to stderr: readers that do not read, full disks, what is said of lost lines. */
import { execFileSync } from "node:child_process";
import { closeSync, constants, mkdtempSync, openSync, readFileSync, readSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { openLog } from "../../src/base/log.ts";
import { countLogLines, LogSink, openPatiently } from "../../src/base/log-sink.ts";
import { metricsText, openMetrics } from "../../src/base/metrics.ts";

const folder = mkdtempSync(join(tmpdir(), "jotgate-sink-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
let pipes = 0;

/** A pipe that nobody reads unless asked. */
function pipe() {
  const path = join(folder, `${++pipes}.pipe`);
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  const read = (): string => {
    const bytes = Buffer.alloc(1 << 20);
    let text = "";
    for (;;) {
      let count = 0;
      try {
        count = readSync(reader, bytes);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      }
      if (count === 0) return text;
      text += bytes.toString("utf8", 0, count);
    }
  };
  return { fd: openPatiently(writer, () => undefined), read, leave: () => closeSync(reader) };
}

const parse = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

test("every line says when, how bad, which node and what", () => {
  const path = join(folder, "plain.log");
  const log = openLog({
    level: "info",
    node: "node-1",
    sink: new LogSink({ clock: new FakeClock(), fd: openSync(path, "a") }),
  });
  log.child({ worker: 2 }).warn({ code: "STORE_FULL" }, "no room");
  const [line] = parse(readFileSync(path, "utf8"));
  expect(line).toEqual({
    ...{ level: "warn", node: "node-1", worker: 2, code: "STORE_FULL", msg: "no room" },
    time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
  });
});

test("a reader that does not read costs lines, never time; what waited comes whole and in order", async () => {
  const clock = new FakeClock();
  const { fd, read } = pipe();
  const sink = new LogSink({ clock, fd });
  const metrics = openMetrics();
  countLogLines(metrics, sink);
  const log = openLog({ level: "info", node: "node-1", sink });
  const lines = 3_000;
  for (let i = 0; i < lines; i++) log.info({ i, filler: "x".repeat(1_000) }, "line");
  expect(sink.dropped).toBeGreaterThan(0);
  let text = "";
  for (let round = 0; round < 40; round++) {
    text += read();
    clock.advance(100);
  }
  text += read();
  const seen = parse(text);
  const kept = seen.flatMap(({ i }) => (typeof i === "number" ? [i] : []));
  expect(kept).toEqual(kept.map((_, at) => at)); // the first ones; later ones were dropped
  expect(kept.length + sink.dropped).toBe(lines);
  expect(seen.at(-1)).toMatchObject({ level: "warn", lines: sink.dropped });
  expect(await metricsText(metrics)).toContain(`jotgate_log_lines_total{result="dropped"} ${sink.dropped}\n`);
});

test("a line that got only half way is finished first", () => {
  const clock = new FakeClock();
  const { fd, read } = pipe();
  const sink = new LogSink({ clock, fd });
  const long = `${"a".repeat(100_000)}\n`; // more than a pipe holds
  sink.write(long);
  sink.write("next\n");
  let text = read();
  clock.advance(100);
  text += read();
  expect(text).toBe(`${long}next\n`);
  expect(sink).toMatchObject({ written: 2, dropped: 0 });
});

test("a full disk costs lines and is tried again", () => {
  const clock = new FakeClock();
  const sink = new LogSink({ clock, fd: openSync("/dev/full", "w") });
  for (let i = 0; i < 100; i++) sink.write("line\n");
  clock.advance(5_000);
  sink.write("line\n");
  expect(sink).toMatchObject({ written: 0, dropped: 101 });
});

test("a reader that is gone costs lines", () => {
  const { fd, leave } = pipe();
  leave();
  const sink = new LogSink({ clock: new FakeClock(), fd });
  sink.write("line\n");
  expect(sink).toMatchObject({ written: 0, dropped: 1 });
});

test("the end of the process tries what waits once more", () => {
  const { fd, read } = pipe();
  const sink = new LogSink({ clock: new FakeClock(), fd });
  sink.write(`${"a".repeat(100_000)}\n`);
  let text = read();
  sink.flush();
  text += read();
  expect(text).toHaveLength(100_001);
});

test("a pipe is opened anew, so that whoever else holds it may wait", () => {
  const path = join(folder, "shared.pipe");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const held = openSync(path, constants.O_WRONLY);
  const own = openPatiently(held, () => undefined);
  expect(own).not.toBe(held);
  expect(() => {
    for (;;) writeSync(own, "x".repeat(4_096));
  }).toThrow("EAGAIN");
  closeSync(reader);
});
