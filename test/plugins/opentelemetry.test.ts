import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { makeEnv, metricValue, runPhases, type TestEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { compileVariable } from "../../src/plugin/variables/variables.ts";
import { opentelemetry } from "../../src/plugins/opentelemetry/opentelemetry.ts";
import { type CollectedSpan, type Collector, openCollector } from "../support/otlp-collector.ts";
import { until } from "../support/process.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const ON = { sampler: { name: "always_on" } };
const COUNTED = "jotgate_opentelemetry_spans_total";

let collector: Collector;
beforeEach(async () => {
  collector = await openCollector();
});
afterEach(() => collector.close());

/** Batches go when the configuration is given back, unless the metadata says sooner. */
function open(conf: object, metadata: Record<string, object | string | boolean> = {}): [PluginPhases, TestEnv] {
  const record = { ...metadata, collector: { address: collector.address, ...(metadata["collector"] as object) } };
  const env = makeEnv({ metadata: { opentelemetry: record } });
  return [env.compile(opentelemetry, conf), env];
}

/** One request to its end. @returns the `traceparent` that went upstream */
async function call(phases: PluginPhases, input: ViewInput = {}, status = 200): Promise<string> {
  const view = makeView(input);
  expect(await runPhases(phases, view)).toBeUndefined();
  phases.beforeProxy?.(view);
  view.upstream.statuses.push(status);
  view.response = makeResponse({ status, source: "upstream" });
  phases.log?.(view);
  return view.headers.get("traceparent") ?? "";
}

async function spansOf(phases: PluginPhases, count: number): Promise<readonly CollectedSpan[]> {
  phases.close?.();
  await until(`${count} spans`, () => collector.spans.length >= count);
  return collector.spans;
}

describe("opentelemetry", () => {
  test.each([
    { name: "always_on", options: {}, parent: undefined, sampled: true },
    { name: "always_on", options: {}, parent: "00", sampled: true },
    { name: "always_off", options: {}, parent: "01", sampled: false },
    { name: "trace_id_ratio", options: { fraction: 1 }, parent: "00", sampled: true },
    { name: "trace_id_ratio", options: {}, parent: "01", sampled: false },
    { name: "parent_base", options: {}, parent: "01", sampled: true },
    { name: "parent_base", options: { root: { name: "always_on" } }, parent: "00", sampled: false },
    { name: "parent_base", options: { root: { name: "always_on" } }, parent: undefined, sampled: true },
    { name: "parent_base", options: {}, parent: undefined, sampled: false },
    { name: "parent_base", options: { root: { name: "trace_id_ratio", options: { fraction: 1 } } }, sampled: true },
  ])("$name $options with a parent that says $parent: sampled $sampled", async ({ name, options, parent, sampled }) => {
    const [phases] = open({ sampler: { name, options } });
    const headers = parent === undefined ? undefined : { traceparent: `00-${TRACE}-${SPAN}-${parent}` };
    const sent = await call(phases, headers ? { headers } : {});
    expect(sent).toMatch(parent === undefined ? /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/ : new RegExp(`^00-${TRACE}-`));
    expect([sent.includes(SPAN), sent.endsWith("-01")]).toEqual([false, sampled]);
    phases.close?.();
    if (sampled) await until("its spans", () => collector.spans.length === 2);
  });

  test("a fraction samples that share of the traces, the same ones at every gateway", async () => {
    const conf = { sampler: { name: "trace_id_ratio", options: { fraction: 0.25 } } };
    const [[one], [other]] = [open(conf), open(conf)];
    const sent = await Promise.all(Array.from({ length: 2_000 }, () => call(one)));
    const share = sent.filter((text) => text.endsWith("01")).length / sent.length;
    expect(share).toBeGreaterThan(0.18);
    expect(share).toBeLessThan(0.32);
    for (const text of sent.slice(0, 50)) {
      const again = await call(other, { headers: { traceparent: text } });
      expect(again.slice(-2)).toBe(text.slice(-2));
    }
  });

  test("the spans say what was asked, where it went and what came, with secrets hidden", async () => {
    const [phases] = open(
      {
        ...ON,
        additional_attributes: ["arg_color", "http_authorization", "remote_addr"],
        additional_header_prefix_attributes: ["x-team-*", "X-One", "cookie", "x-missing"],
      },
      { resource: { "service.name": "edge", zone: "a", weight: 2, live: true } },
    );
    const sent = await call(
      phases,
      {
        method: "POST",
        target: "/orders?color=red&apikey=geheim",
        headers: {
          traceparent: `00-${TRACE}-${SPAN}-01`,
          tracestate: "vendor=1",
          authorization: "Bearer geheim",
          cookie: "a=geheim",
          "x-team-name": "blue",
          "x-one": "1",
          "user-agent": "curl",
        },
        route: { id: "r", name: "orders", serviceId: "s", serviceName: "shop", matchedUri: "/orders*" },
      },
      503,
    );
    const [server, client] = [...(await spansOf(phases, 2))].sort((a, b) => (a.kind < b.kind ? 1 : -1));
    expect(server).toMatchObject({
      name: "POST /orders*",
      kind: "server",
      traceId: TRACE,
      parent: SPAN,
      isError: true,
    });
    expect(server?.state).toBe("vendor=1");
    expect(server?.attributes).toMatchObject({
      "http.method": "POST",
      "http.target": "/orders?color=red&apikey=***",
      "http.user_agent": "curl",
      "http.route": "/orders*",
      "apisix.route_id": "r",
      "apisix.route_name": "orders",
      "apisix.service_name": "shop",
      "http.status_code": "503",
      "http.response.status_code": "503",
      "net.host.name": "gateway.test",
      arg_color: "red",
      remote_addr: "203.0.113.7",
      http_authorization: "***",
      "x-team-name": "blue",
      "x-one": "1",
      cookie: "***",
    });
    expect(server?.resource).toMatchObject({ "service.name": "edge", zone: "a", weight: "2", live: true });
    expect(JSON.stringify(collector.spans)).not.toContain("geheim");
    expect(client).toMatchObject({ name: "POST", kind: "client", parent: server?.spanId, isError: true });
    expect(sent).toBe(`00-${TRACE}-${client?.spanId}-01`);
    expect(collector.requests[0]?.path).toBe("/v1/traces");
  });

  test.each([
    "",
    "00-0-1-01",
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
  ])("traceparent %j is none: a new trace begins, without its state", async (text) => {
    const [phases] = open({ sampler: { name: "parent_base" } });
    const view = makeView({ headers: { traceparent: text, tracestate: "vendor=1" } });
    await runPhases(phases, view);
    expect(view.headers.getAll("traceparent")).toEqual([expect.stringMatching(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)]);
    expect(view.trace?.traceId).not.toBe(TRACE);
    expect(view.headers.has("tracestate")).toBe(false);
  });

  test("of two lines of traceparent none counts", async () => {
    const [phases] = open(ON);
    const view = makeView({ headers: { traceparent: [`00-${TRACE}-${SPAN}-01`, `00-${TRACE}-${SPAN}-01`] } });
    await runPhases(phases, view);
    expect(view.headers.getAll("traceparent")).toHaveLength(1);
    expect(view.trace?.traceId).not.toBe(TRACE);
  });

  test("x-request-id becomes the trace id where it can be one", async () => {
    const [phases] = open(ON, { trace_id_source: "x-request-id" });
    const idOf = async (headers: Record<string, string>) => (await call(phases, { headers })).slice(3, 35);
    expect(await idOf({ "x-request-id": "0AF76519-16cd-43dd-8448-eb211c80319c" })).toBe(TRACE);
    expect(await idOf({ "x-request-id": "mine", traceparent: `00-${TRACE}-${SPAN}-01` })).toBe(TRACE);
    for (const id of ["mine", "0".repeat(32), `${TRACE}0`])
      expect(await idOf({ "x-request-id": id })).toMatch(/^(?!0{32})[0-9a-f]{32}$/);
    const view = makeView();
    await runPhases(phases, view);
    expect(view.trace?.traceId).toBe(compileVariable("request_id")(view));
  });

  test("set_ngx_var: the variables of the gateway's span; without it none", async () => {
    const read = async (metadata: Record<string, boolean>): Promise<unknown[]> => {
      const view = makeView({ headers: { traceparent: `00-${TRACE}-${SPAN}-01` } });
      await runPhases(open(ON, metadata)[0], view);
      const names = ["context_traceparent", "trace_id", "span_id"].map((name) => `opentelemetry_${name}`);
      return [...names.map((name) => compileVariable(name)(view)), view.trace?.spanId];
    };
    const [parent, traceId, spanId, own] = await read({ set_ngx_var: true });
    expect([parent, traceId, spanId]).toEqual([`00-${TRACE}-${own}-01`, TRACE, own]);
    expect((await read({})).slice(0, 3)).toEqual([undefined, undefined, undefined]);
  });

  test("a full queue drops and counts; what waits goes when the configuration is given back", async () => {
    const [phases, env] = open(ON, { batch_span_processor: { max_queue_size: 4, max_export_batch_size: 4 } });
    collector.answer = () => undefined; // hangs
    for (let i = 0; i < 4; i++) await call(phases); // 4 spans are under way, 4 wait
    expect(await metricValue(env, COUNTED, { outcome: "queue_full" })).toBe(0);
    await call(phases);
    expect(await metricValue(env, COUNTED, { outcome: "queue_full" })).toBe(2);
    expect(await metricValue(env, "jotgate_opentelemetry_queued_spans", {})).toBe(4);
    await until("the first batch hangs", () => collector.requests.length === 1);
    collector.answer = undefined;
    expect(await spansOf(phases, 4)).toHaveLength(4);
    await until("they are taken", async () => (await metricValue(env, COUNTED, { outcome: "exported" })) === 4);
    env.clock.advance(1_500);
    await until(
      "the hanging one is given up",
      async () => (await metricValue(env, COUNTED, { outcome: "failed" })) === 4,
    );
    expect(await metricValue(env, "jotgate_opentelemetry_queued_spans", {})).toBe(0);
    await call(phases);
    expect(await metricValue(env, COUNTED, { outcome: "late" })).toBe(2);
  });

  test.each([
    { what: "a refusal", collected: { request_headers: { "X-Team": "t" } }, status: 400, why: "status 400" },
    { what: "a denied address", collected: { address: "169.254.169.254:4318" }, why: "not allowed" },
    { what: "nobody there", collected: { address: "127.0.0.1:1" }, why: "ECONNREFUSED" },
  ])("$what costs the spans, a count and a warning", async ({ collected, status, why }) => {
    const env = makeEnv({
      metadata: { opentelemetry: { collector: { address: collector.address, ...collected } } },
      settings: { deniedAddresses: ["169.254.0.0/16"] },
    });
    if (status) collector.answer = (response) => void response.writeHead(status).end("no");
    const phases = env.compile(opentelemetry, ON);
    await call(phases);
    phases.close?.();
    await until("it is counted", async () => (await metricValue(env, COUNTED, { outcome: "failed" })) === 2);
    expect(env.logged).toMatchObject([{ level: "warn", fields: { why: expect.stringContaining(why), spans: 2 } }]);
    if (status) expect(collector.requests[0]?.headers).toMatchObject({ "x-team": "t" });
  });

  test("what a collector says that it did not take is counted as rejected", async () => {
    const [phases, env] = open(ON);
    // ExportTraceServiceResponse { partial_success { rejected_spans: 1 } }
    collector.answer = (response) => void response.writeHead(200).end(Buffer.from([0x0a, 2, 0x08, 1]));
    await call(phases);
    phases.close?.();
    await until("it is counted", async () => (await metricValue(env, COUNTED, { outcome: "rejected" })) === 1);
    expect(await metricValue(env, COUNTED, { outcome: "exported" })).toBe(1);
  });

  test.each(["http://user:secret@127.0.0.1", "ftp://127.0.0.1", "127.0.0.1:4318?x=1", "a b", ""])(
    "the address %j is refused",
    (address) => {
      const env = makeEnv();
      const conf = { collector: { address } };
      expect(() => env.compile({ ...opentelemetry, schema: opentelemetry.metadataSchema as never }, conf)).toThrow();
    },
  );
});
