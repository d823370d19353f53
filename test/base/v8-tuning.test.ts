import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { workerArguments } from "../../src/base/v8-tuning.ts";

test("workers that have a processor each, or less, collect without helpers", () => {
  expect(workerArguments(2, 4)).not.toContain("--single-threaded-gc");
  expect(workerArguments(4, 4)).toContain("--single-threaded-gc");
  expect(workerArguments(3, 2)).toContain("--single-threaded-gc");
});

test("workers keep the arguments of their primary", () => {
  expect(workerArguments(1, 4).slice(0, process.execArgv.length)).toEqual(process.execArgv);
});

test("a process tuned for one processor collects both kinds of garbage and loses nothing", () => {
  const script = `
    const { tuneCollector } = await import(${JSON.stringify(new URL("../../src/base/v8-tuning.ts", import.meta.url).href)});
    tuneCollector(1);
    const { PerformanceObserver } = await import("node:perf_hooks");
    const kinds = new Set();
    new PerformanceObserver((list) => list.getEntries().forEach(({ detail }) => kinds.add(detail.kind))).observe({ type: "gc" });
    let kept = [];
    for (let turn = 0; turn < 400; turn++) {
      kept.push(Array.from({ length: 5_000 }, (_, n) => ({ n, text: "t" + n })));
      if (kept.length > 40) kept = kept.slice(20);
      await new Promise(setImmediate);
    }
    console.log(kept.every((list) => list.every(({ n, text }) => text === "t" + n)), [...kinds].sort().join());`;
  const args = ["--import", "tsx", "--input-type=module", "-e", script];
  const child = spawnSync(process.execPath, args, { encoding: "utf8" });
  expect(child.stderr).toBe("");
  expect(child.stdout).toMatch(/^true .*1.*4/); // scavenges and full collections happened
});
