import { expect, test } from "vitest";
import { metricsText, openMetrics } from "../../src/base/metrics.ts";
import { asOpenMetrics, wantsOpenMetrics } from "../../src/status/openmetrics-text.ts";

test("counters lose their suffix where they are described, what has none has no type, and the end is said", async () => {
  const metrics = openMetrics();
  metrics.counter("jotgate_things_total", 'Things of "all" kinds', ["kind"]).child("a").inc(2);
  metrics.counter("apisix_http_status", "Statuses").child().inc();
  metrics.gauge("jotgate_level", "Level").child().set(1.5);
  metrics.histogram("jotgate_seconds", "Seconds", [0.5, 1]).child().observe(0.7);
  const plain = await metricsText(metrics);
  const text = Buffer.concat([...asOpenMetrics(await metrics.chunks())]).toString("utf8");
  expect(text).toContain(
    '# HELP jotgate_things Things of \\"all\\" kinds\n# TYPE jotgate_things counter\njotgate_things_total{kind="a"} 2\n',
  );
  expect(text).toContain("# TYPE apisix_http_status unknown\napisix_http_status 1\n");
  expect(text).toContain("# TYPE jotgate_level gauge\njotgate_level 1.5\n");
  expect(text).toContain("# TYPE jotgate_seconds histogram\njotgate_seconds_bucket");
  expect(text).not.toContain("\n\n");
  expect(text.endsWith("\n# EOF\n")).toBe(true);
  const samples = (all: string): string[] => all.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  expect(samples(text)).toEqual(samples(plain));
});

test.each([
  ["application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", true],
  ["text/plain, application/openmetrics-text; version=1.0.0; q=0.9", true],
  ["application/openmetrics-text;q=0", false],
  ["text/plain;version=0.0.4", false],
  ["*/*", false],
  [undefined, false],
])("Accept: %s", (accept, wanted) => {
  expect(wantsOpenMetrics(accept)).toBe(wanted);
});
