import { describe, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { metricsText, openMetrics } from "../../src/base/metrics.ts";

function counted(afterMs: number) {
  const clock = new FakeClock();
  const metrics = openMetrics();
  const family = metrics.counter("hits", "Hits.", ["who"], { clock, afterMs });
  return { clock, metrics, family, text: () => metricsText(metrics.registry) };
}

describe("series with an expiry", () => {
  test("are forgotten though nobody has ever scraped", async () => {
    const { clock, family, text } = counted(1_000);
    family.child("old").inc();
    clock.advance(2_000);
    expect(await text()).not.toContain("old");
    expect(family.generation).toBe(1);
  });

  test("live from their last change on, seen by a scrape or not", async () => {
    const { clock, family, text } = counted(600_000);
    const busy = family.child("busy");
    family.child("old").inc();
    for (let minute = 0; minute < 12; minute++) {
      busy.inc();
      clock.advance(60_000);
    }
    expect(family.generation).toBe(1);
    expect(await text()).toBe('# HELP hits Hits.\n# TYPE hits counter\nhits{who="busy"} 12\n');
  });

  test("leave no timer behind when the last of them is gone, and get one anew", async () => {
    const { clock, family, text } = counted(1_000);
    for (const turn of [1, 2]) {
      family.child("one").inc();
      expect(clock.timers).toBe(1);
      clock.advance(2_000);
      expect([clock.timers, family.generation]).toEqual([0, turn]);
    }
    expect(await text()).toBe("");
  });
});

describe("metrics as text", () => {
  test("say nothing of families without samples, whatever their help says", async () => {
    const metrics = openMetrics();
    metrics.counter("empty_first", "Nothing\n\nyet.", ["who"]);
    metrics.counter("some", "Some\n\nlines.", ["who"]).child("a\n\nb").inc();
    metrics.gauge("empty_last", "Nothing.", ["who"]);
    const text = '# HELP some Some\\n\\nlines.\n# TYPE some counter\nsome{who="a\\n\\nb"} 1\n';
    expect(await metricsText(metrics.registry)).toBe(text);
  });

  test("of no samples at all are empty", async () => {
    const metrics = openMetrics();
    metrics.gauge("empty", "Nothing.", ["who"]);
    expect(await metricsText(metrics.registry)).toBe("");
    expect(await metricsText(openMetrics().registry)).toMatch(/^\n?$/);
  });
});
