import { describe, expect, test, vi } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { Pace } from "../../src/base/metric-pages.ts";
import { metricsText, openMetrics } from "../../src/base/metrics.ts";

function counted(afterMs: number) {
  const clock = new FakeClock();
  const metrics = openMetrics();
  const family = metrics.counter("hits", "Hits.", ["who"], { clock, afterMs });
  return { clock, metrics, family, text: () => metricsText(metrics) };
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
    expect(await metricsText(metrics)).toBe(text);
  });

  test("of no samples at all are empty", async () => {
    const metrics = openMetrics();
    metrics.gauge("empty", "Nothing.", ["who"]);
    expect(await metricsText(metrics)).toBe("");
    expect(await metricsText(openMetrics())).toMatch(/^\n?$/);
  });
});

describe("a family", () => {
  test("that is full counts the rest together, says so once, and shows how often", async () => {
    const full: string[] = [];
    const metrics = openMetrics({ maxSeries: 10, onFull: (name) => full.push(name) });
    const hits = metrics.counter("apisix_hits", "h", ["who"]);
    for (let i = 0; i < 30; i++) hits.child(`n${i}`).inc();
    const times = metrics.histogram("times", "h", [1, 2], ["who"]); // five lines each
    for (let i = 0; i < 4; i++) times.child(`n${i}`).observe(1);
    metrics.gaugeOf("read", "h", ["who"], () => Array.from({ length: 12 }, (_, i) => ({ labels: [`${i}`], value: i })));
    const text = await metricsText(metrics);
    expect(text).toContain('apisix_hits{who="n9"} 1\n');
    expect(text).toContain('apisix_hits{who="other"} 20\n');
    expect(text).toContain('times_count{who="other"} 2\n');
    expect(text).toContain('jotgate_metric_series_left_out_total{family="apisix_hits"} 20\n');
    expect(text).not.toContain('read{who="10"}');
    await metricsText(metrics);
    expect(full.toSorted()).toEqual(["apisix_hits", "read", "times"]);
  });

  test("forgets what belongs to a record that is gone, by id and by name; a new one of that name is another", async () => {
    const metrics = openMetrics();
    const hits = metrics.counter("hits", "h", ["code", "route"]);
    const times = metrics.histogram("times", "h", [1], ["route"]);
    for (const route of ["a", 'q"', "other"]) {
      hits.child("200", route).inc();
      times.child(route).observe(1);
    }
    metrics.named("route", "1", "a");
    metrics.forget("route", "1");
    metrics.forget("route", 'q"');
    metrics.forget("consumer", "other");
    hits.child("500", "a").inc(7);
    const text = await metricsText(metrics);
    expect(text.split("\n").filter((line) => !line.startsWith("#") && line !== "")).toEqual([
      'hits{code="200",route="other"} 1',
      'hits{code="500",route="a"} 7',
      'times_bucket{route="other",le="1"} 1',
      'times_bucket{route="other",le="+Inf"} 1',
      'times_sum{route="other"} 1',
      'times_count{route="other"} 1',
    ]);
    expect(hits.generation).toBe(2);
  });

  test("is read in turns: timers go on while a hundred thousand series are written", async () => {
    const metrics = openMetrics({ maxSeries: 200_000 });
    const hits = metrics.counter("hits", "h", ["who"]);
    for (let i = 0; i < 100_000; i++) hits.child(`somebody with a name ${i}`).inc();
    let turns = 0;
    const timer = setInterval(() => turns++, 1);
    const [one, other] = [metrics.chunks(), metrics.chunks()];
    const chunks = await one;
    clearInterval(timer);
    expect(await other).toBe(chunks);
    expect(turns).toBeGreaterThan(5);
    expect(Math.max(...chunks.map(({ length }) => length))).toBeLessThan(100_000);
    expect(
      Buffer.concat([...chunks])
        .toString()
        .split("\n"),
    ).toHaveLength(100_003);
  });
});

test("a scrape rests once for a piece of work, not once for each who has a part in it", async () => {
  const metrics = openMetrics();
  const family = metrics.counter("many", "", ["n"]);
  for (let i = 0; i < 10_000; i++) family.child(String(i)).inc();
  let pages = 0;
  for await (const page of metrics.pages()) pages += page.keys.length > 0 ? 1 : 0;
  // As on a machine so slow that each page is a slice.
  const due = vi.spyOn(Pace.prototype, "isDue").mockReturnValue(true);
  const paces = new Set<Pace>();
  const rest = vi.spyOn(Pace.prototype, "rest").mockImplementation(async function (this: Pace) {
    paces.add(this);
  });
  try {
    await metrics.chunks();
    expect(pages).toBeGreaterThan(30);
    expect(rest.mock.calls.length).toBeGreaterThanOrEqual(pages);
    expect(paces.size).toBe(1); // whoever rests, the time counts anew for all
  } finally {
    due.mockRestore();
    rest.mockRestore();
  }
});
