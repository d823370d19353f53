import { describe, expect, test } from "vitest";
import { metricsText } from "../../src/base/metrics.ts";
import { answerHeader, bodyText, makeEnv, metricValue, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { prometheus } from "../../src/plugins/prometheus/prometheus.ts";

interface Outcome extends ViewInput {
  status?: number;
  node?: string;
  source?: "upstream" | "gateway";
  consumer?: string;
}

function log(env: TestEnv, conf: object, outcome: Outcome): void {
  const view = makeView({ startedMs: 100, ...outcome });
  view.receivedBytes = 10;
  view.sentBytes = 20;
  if (outcome.consumer !== undefined)
    view.consumer = { username: outcome.consumer, groupId: undefined, customId: undefined, labels: {} };
  if (outcome.node !== undefined) {
    Object.assign(view.upstream, { address: outcome.node, sentMs: 105, headMs: 120, endMs: 125 });
    view.upstream.statuses.push(outcome.status ?? 200);
  }
  if (outcome.status !== undefined)
    view.response = makeResponse({ status: outcome.status, source: outcome.source ?? "upstream" });
  env.clock.advance(130 - env.clock.monotonicMs());
  env.compile(prometheus, conf).log?.(view);
}

const SETTINGS = { exportUri: "/apisix/prometheus/metrics", buckets: [10, 100], metrics: {} };

async function labelValues(env: TestEnv, name: string, label: string): Promise<ReadonlySet<string>> {
  const text = await metricsText(env.metrics);
  return new Set(
    [...text.matchAll(new RegExp(`^${name}\\{.*\\b${label}="([^"]*)"`, "gm"))].map(([, value]) => value ?? ""),
  );
}

const ROUTE = { id: "1", name: "main", serviceId: "s", serviceName: "shop", matchedUri: "/a/*", matchedHost: "a.com" };

describe("prometheus", () => {
  test("a proxied request is counted with all its labels", async () => {
    const env = makeEnv();
    log(env, {}, { route: ROUTE, status: 200, node: "127.0.0.1", consumer: "jack" });
    const labels = { route: "1", service: "s", consumer: "jack", node: "127.0.0.1", request_type: "traditional_http" };
    expect(
      await metricValue(env, "apisix_http_status", {
        ...labels,
        code: "200",
        matched_uri: "/a/*",
        matched_host: "a.com",
        response_source: "upstream",
      }),
    ).toBe(1);
    expect(await metricValue(env, "apisix_bandwidth", { ...labels, type: "ingress" })).toBe(10);
    expect(await metricValue(env, "apisix_bandwidth", { ...labels, type: "egress" })).toBe(20);
    const text = await metricsText(env.metrics);
    const latency = (type: string, le: string): string | undefined =>
      new RegExp(`apisix_http_latency_bucket\\{type="${type}".*le="${le}"\\} (\\d+)`).exec(text)?.[1];
    expect([latency("request", "20"), latency("request", "50")]).toEqual(["0", "1"]); // 30 ms in all
    expect([latency("upstream", "10"), latency("upstream", "20")]).toEqual(["0", "1"]); // 20 ms of it
    expect([latency("apisix", "5"), latency("apisix", "10")]).toEqual(["0", "1"]);
  });

  test.each([
    {
      says: "a plugin's answer",
      outcome: { status: 401, source: "gateway" as const },
      want: { code: "401", response_source: "apisix", node: "" },
    },
    {
      says: "an upstream that gave nothing",
      outcome: { status: 502, source: "gateway" as const, node: "10.0.0.1" },
      want: { code: "502", response_source: "nginx", node: "10.0.0.1" },
    },
    { says: "a client that went away", outcome: {}, want: { code: "499" } },
  ])("$says is counted as such", async ({ outcome, want }) => {
    const env = makeEnv();
    log(env, {}, { route: ROUTE, ...outcome });
    expect(await metricValue(env, "apisix_http_status", want)).toBe(1);
  });

  test("names stand for ids where they are preferred and exist", async () => {
    const env = makeEnv();
    log(env, { prefer_name: true }, { route: ROUTE, status: 200 });
    log(env, { prefer_name: true }, { route: { ...ROUTE, name: "", serviceName: "" }, status: 200 });
    expect(await metricValue(env, "apisix_http_status", { route: "main", service: "shop" })).toBe(1);
    expect(await metricValue(env, "apisix_http_status", { route: "1", service: "s" })).toBe(1);
  });

  test("labels that the metadata disables are empty", async () => {
    const metadata = { prometheus: { disabled_labels: { http_status: ["consumer", "node"] } } };
    const env = makeEnv({ metadata });
    log(env, {}, { route: ROUTE, status: 200, consumer: "a", node: "1.1.1.1" });
    log(env, {}, { route: ROUTE, status: 200, consumer: "b", node: "2.2.2.2" });
    expect(await metricValue(env, "apisix_http_status", { consumer: "", node: "" })).toBe(2);
    expect(await metricValue(env, "apisix_bandwidth", { consumer: "a", type: "egress" })).toBe(20);
  });

  test("extra labels are read from variables, metric by metric", async () => {
    const metrics = {
      http_status: { extraLabels: [["team", "http_x_team"] as const, ["up", "upstream_addr"] as const], expireMs: 0 },
      bandwidth: { extraLabels: [["verb", "request_method"] as const], expireMs: 0 },
    };
    const env = makeEnv({ settings: { prometheus: { ...SETTINGS, metrics } } });
    log(env, {}, { route: ROUTE, status: 200, headers: { "X-Team": "blue" }, node: "10.0.0.1" });
    log(env, {}, { route: ROUTE, status: 200, headers: { "X-Team": "red" } });
    log(env, {}, { route: ROUTE, status: 200 });
    expect(await metricValue(env, "apisix_http_status", { team: "blue", up: "10.0.0.1:0" })).toBe(1);
    expect(await metricValue(env, "apisix_http_status", { team: "red", up: "" })).toBe(1);
    expect(await metricValue(env, "apisix_http_status", { team: "" })).toBe(1);
    expect(await metricValue(env, "apisix_bandwidth", { verb: "GET", type: "egress", node: "" })).toBe(40);
    const text = await metricsText(env.metrics);
    expect(text).not.toMatch(/apisix_http_latency_count\{[^}]*(?:team|verb)=/);
  });

  test("an extra label shows no token, key or cookie, whatever the settings name", async () => {
    const names = ["http_authorization", "arg_jwt", "cookie_jwt", "request_uri", "args", "http_x_team"];
    const extraLabels = names.map((variable, n) => [`l${n}`, variable] as const);
    const env = makeEnv({
      settings: { prometheus: { ...SETTINGS, metrics: { http_status: { extraLabels, expireMs: 0 } } } },
    });
    const token = "eyJhbGciOiJIUzI1NiJ9.eyJrZXkiOiJrIn0.c2ln";
    const headers = { Authorization: `Bearer ${token}`, Cookie: `jwt=${token}`, "X-Team": token };
    const view = makeView({ route: ROUTE, target: `/a?jwt=${token}&b=1`, headers });
    view.response = makeResponse({ status: 200, source: "upstream" });
    env.compile(prometheus).log?.(view);
    const labels = { l0: "***", l1: "***", l2: "***", l3: "/a?jwt=***&b=1", l4: "jwt=***&b=1", l5: "***" };
    expect(await metricValue(env, "apisix_http_status", labels)).toBe(1);
    expect(await metricsText(env.metrics)).not.toContain("eyJ");
  });

  test("what clients send into an extra label is bounded in number and length", async () => {
    const metrics = { http_status: { extraLabels: [["team", "http_x_team"] as const], expireMs: 0 } };
    const env = makeEnv({ settings: { prometheus: { ...SETTINGS, metrics } } });
    const log = env.compile(prometheus).log;
    const send = (team: string): void => {
      const view = makeView({ route: ROUTE, headers: { "X-Team": team } });
      view.response = makeResponse({ status: 200, source: "upstream" });
      log?.(view);
    };
    send("x".repeat(5_000));
    for (let i = 0; i < 2_000; i++) send(`t${i}`);
    const values = await labelValues(env, "apisix_http_status", "team");
    expect(values.size).toBe(501);
    expect(Math.max(...[...values].map((value) => value.length))).toBe(128);
    expect(await metricValue(env, "apisix_http_status", { team: "other" })).toBe(2_001 - 500);
  });

  test("a series that stands still is forgotten after its time, and counts from nothing when it is back", async () => {
    const metrics = { http_status: { extraLabels: [], expireMs: 60_000 } };
    const env = makeEnv({ settings: { prometheus: { ...SETTINGS, metrics } } });
    const phases = env.compile(prometheus);
    const send = (consumer: string): void => {
      const view = makeView({ route: ROUTE });
      view.consumer = { username: consumer, groupId: undefined, customId: undefined, labels: {} };
      view.response = makeResponse({ status: 200, source: "upstream" });
      phases.log?.(view);
    };
    const count = (consumer: string): Promise<number | undefined> =>
      metricValue(env, "apisix_http_status", { consumer });
    send("old");
    send("busy");
    expect([await count("old"), await count("busy")]).toEqual([1, 1]);
    env.clock.advance(59_999);
    send("busy");
    expect([await count("old"), await count("busy")]).toEqual([1, 2]);
    env.clock.advance(1);
    expect([await count("old"), await count("busy")]).toEqual([undefined, 2]);
    expect(await metricValue(env, "apisix_bandwidth", { consumer: "old", type: "egress" })).toBe(0); // has no expiry
    send("old");
    expect([await count("old"), await count("busy")]).toEqual([1, 2]);
    env.clock.advance(60_000);
    expect([await count("old"), await count("busy")]).toEqual([undefined, undefined]);
  });

  test("path and buckets are those of the settings", async () => {
    const settings = { exportUri: "/m", buckets: [7, 70], metrics: {} };
    const env = makeEnv({ plugins: [prometheus], settings: { prometheus: settings } });
    log(env, {}, { route: ROUTE, status: 200, node: "a" });
    expect(env.internalApi("/apisix/prometheus/metrics")).toBeUndefined();
    const text = bodyText(await env.internalApi("/m")?.handle(makeView(), "/m"));
    expect(
      [...text.matchAll(/apisix_http_latency_bucket\{.*type="request".*le="([^"]+)"/g)].map(([, le]) => le),
    ).toEqual(["7", "70", "+Inf"]);
  });

  test("a request without a route has empty labels", async () => {
    const env = makeEnv({ resource: { kind: "global_rule", id: "1" } });
    const view = makeView();
    view.route = undefined;
    view.response = makeResponse({ status: 404, source: "gateway" });
    env.compile(prometheus).log?.(view);
    expect(await metricValue(env, "apisix_http_status", { code: "404", route: "", matched_uri: "" })).toBe(1);
  });

  test("the metrics are an API for public-api", async () => {
    const env = makeEnv({ plugins: [prometheus] });
    log(env, {}, { route: ROUTE, status: 200 });
    const answer = await env.internalApi("/apisix/prometheus/metrics")?.handle(makeView(), "/m");
    expect(answerHeader(answer, "content-type")).toContain("text/plain");
    expect(bodyText(answer)).toContain('apisix_http_status{code="200",route="1"');
  });

  test("a wrong type is refused, and the route's configuration is preferred to a global rule's", () => {
    expect(() => makeEnv().compile(prometheus, { prefer_name: "yes" })).toThrow(
      'property "prefer_name" validation failed: wrong type: expected boolean, got string',
    );
    expect(prometheus.preferRoute).toBe(true);
  });
});
