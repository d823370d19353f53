/**
 * Traces of real nodes: on every lane, in workers, with a receiver of OTLP that decodes what they send.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { type CollectedSpan, type Collector, openCollector } from "../support/otlp-collector.ts";
import { freePort } from "../support/ports.ts";
import { admin, type Node, startNode, temporaryFolder, until, VIEWER_KEY } from "../support/process.ts";

const SPAN = "b7ad6b7169203331";
const SPANS = "jotgate_opentelemetry_spans_total";
const ON = { opentelemetry: { sampler: { name: "always_on" } } };
const PARENTS = { opentelemetry: { sampler: { name: "parent_base" } } };

let upstream: Server;
let port = 0;
let dead = 0;
/** `traceparent` and `tracestate` of each path, as the upstream got them. */
const seen = new Map<string, (string | undefined)[]>();
let collector: Collector;
let file = "";
let log = "";
let nodes: { fast: Node; general: Node };
let tls = 0;
let traces = 0;

const newTrace = (): string => (++traces).toString(16).padStart(32, "a");

beforeAll(async () => {
  upstream = createServer(({ headers, url = "" }, response) => {
    seen.set(url, [headers["traceparent"] as string | undefined, headers["tracestate"] as string | undefined]);
    response.end("{}");
  });
  await new Promise<void>((done) => upstream.listen(0, "127.0.0.1", done));
  port = (upstream.address() as AddressInfo).port;
  [collector, dead, tls] = await Promise.all([openCollector(), freePort(), freePort()]);
  const folder = temporaryFolder("opentelemetry");
  file = join(folder, "gateway.yaml");
  log = join(folder, "access.log");
  publish();
  const args = ["--file", file, "--access-log-format", "json"];
  const [fast, general] = await Promise.all([
    startNode("start", {
      args: [...args, "--workers", "2", "--gateway-tls-listen", `127.0.0.1:${tls}`, "--access-log-target", log],
    }),
    startNode("start", { args: [...args, "--fast-lane", "off"] }),
  ]);
  nodes = { fast, general };
}, 120_000);

afterAll(async () => {
  await Promise.all([nodes?.fast.stop(), nodes?.general.stop(), collector?.close()]);
  upstream?.close();
});

/** @param address of the collector */
function publish(address = collector.address, batch: object = { batch_timeout: 0.05 }): void {
  const live = { type: "roundrobin", nodes: { [`127.0.0.1:${port}`]: 1 } };
  const record = {
    routes: [
      { id: "on", uri: "/on/*", plugins: { ...ON, "fault-injection": { delay: { duration: 0.02 } } }, upstream: live },
      { id: "parents", uri: "/parents/*", plugins: PARENTS, upstream: live },
      {
        id: "retried",
        uri: "/retried/*",
        plugins: ON,
        upstream: { type: "roundrobin", nodes: [node(dead, 1), node(port, 0)], retries: 1 },
      },
      { id: "dead", uri: "/dead/*", plugins: ON, upstream: { type: "roundrobin", nodes: [node(dead, 0)], retries: 0 } },
      { id: "ruled", uri: "/ruled/*", plugins: {}, upstream: live },
    ],
    global_rules: [{ id: "all", plugins: PARENTS }],
    ssls: [{ id: "tls", snis: ["localhost"], cert: CERTIFICATE, key: PRIVATE_KEY }],
    plugin_metadata: [{ id: "opentelemetry", collector: { address, request_timeout: 1 }, batch_span_processor: batch }],
  };
  writeFileSync(file, JSON.stringify(record));
}
const node = (at: number, priority: number) => ({ host: "127.0.0.1", port: at, weight: 1, priority });

const overHttp1 = (which: "fast" | "general") => async (path: string, headers: Record<string, string>) =>
  (await fetch(nodes[which].gateway + path, { headers })).status;

async function overHttp2(path: string, headers: Record<string, string>): Promise<number> {
  const session = connectHttp2(`https://localhost:${tls}`, { rejectUnauthorized: false });
  try {
    return await new Promise((resolve, reject) => {
      session.on("error", reject);
      const stream = session.request({ ":path": path, ...headers });
      stream.on("response", (answer) => resolve(answer[":status"] ?? 0));
      stream.on("error", reject);
      stream.resume().end();
    });
  } finally {
    session.close();
  }
}

const spansOf = (traceId: string, count: number): Promise<readonly CollectedSpan[]> =>
  until(`${count} spans of ${traceId}`, () => {
    const spans = collector.spans.filter((span) => span.traceId === traceId);
    return spans.length >= count ? spans : undefined;
  });
const one = (spans: readonly CollectedSpan[], kind: CollectedSpan["kind"]): CollectedSpan =>
  spans.find((span) => span.kind === kind) as CollectedSpan;

const LANES = [
  { lane: "the fast lane", call: overHttp1("fast") },
  { lane: "the general lane", call: overHttp1("general") },
  { lane: "HTTP/2", call: overHttp2 },
];

describe.each(LANES)("$lane", ({ lane, call }) => {
  const path = (route: string): string => `/${route}/${lane.replaceAll(/\W/g, "")}`;

  test("gateway, wait and try are spans of the caller's trace, and the try is the upstream's parent", async () => {
    const traceId = newTrace();
    const headers = { traceparent: `00-${traceId}-${SPAN}-01`, tracestate: "a=1,b=2" };
    expect(await call(path("on"), headers)).toBe(200);
    const spans = await spansOf(traceId, 3);
    const [server, wait, client] = [one(spans, "server"), one(spans, "internal"), one(spans, "client")];
    expect(spans).toHaveLength(3);
    expect(server).toMatchObject({ name: "GET /on/*", parent: SPAN, state: "a=1,b=2", isError: false });
    expect(server.attributes).toMatchObject({ "apisix.route_id": "on", "http.response.status_code": "200" });
    expect(server.resource).toMatchObject({ "service.name": "APISIX" });
    expect(wait).toMatchObject({ name: "plugin fault-injection", parent: server.spanId });
    expect(wait.endMs - wait.startMs).toBeGreaterThan(10);
    expect(client).toMatchObject({ name: "GET", parent: server.spanId, isError: false });
    expect(client.attributes).toMatchObject({
      "network.peer.address": "127.0.0.1",
      "server.port": String(port),
      "http.response.status_code": "200",
    });
    for (const inner of [wait, client]) {
      expect(inner.startMs).toBeGreaterThanOrEqual(server.startMs);
      expect(inner.endMs).toBeLessThanOrEqual(server.endMs);
    }
    expect(Math.abs(server.endMs - Date.now())).toBeLessThan(60_000);
    expect(seen.get(path("on"))).toEqual([`00-${traceId}-${client.spanId}-01`, "a=1,b=2"]);
  });

  test("each try is a span with its address and what became of it", async () => {
    const traceId = newTrace();
    expect(await call(path("retried"), { traceparent: `00-${traceId}-${SPAN}-01` })).toBe(200);
    const spans = await spansOf(traceId, 3);
    const tries = spans.filter(({ kind }) => kind === "client").sort((a, b) => a.startMs - b.startMs);
    expect(tries).toMatchObject([
      { isError: true, attributes: { "server.port": String(dead), "error.type": "connect" } },
      { isError: false, attributes: { "server.port": String(port), "http.request.resend_count": "1" } },
    ]);
    expect(tries[0]?.attributes).not.toHaveProperty("http.response.status_code");
    expect(tries[1]?.attributes).toMatchObject({ "http.response.status_code": "200" });
    expect(tries[0]?.endMs).toBeLessThanOrEqual(tries[1]?.startMs ?? 0);
    expect(seen.get(path("retried"))?.[0]).toBe(`00-${traceId}-${tries[1]?.spanId}-01`);
  });

  test("what is not sampled goes on as a trace that is not, and sends nothing", async () => {
    const [quiet, loud] = [newTrace(), newTrace()];
    expect(await call(path("parents"), { traceparent: `00-${quiet}-${SPAN}-00` })).toBe(200);
    expect(seen.get(path("parents"))?.[0]).toMatch(new RegExp(`^00-${quiet}-(?!${SPAN})[0-9a-f]{16}-00$`));
    expect(await call(path("parents"), { traceparent: `00-${loud}-${SPAN}-01` })).toBe(200);
    await spansOf(loud, 2);
    expect(collector.spans.filter(({ traceId }) => traceId === quiet)).toEqual([]);
  });

  test("a global rule traces what has no plugin, and no route; a route that has one is left to it", async () => {
    const [ruled, missing, both] = [newTrace(), newTrace(), newTrace()];
    expect(await call(path("ruled"), { traceparent: `00-${ruled}-${SPAN}-01` })).toBe(200);
    expect(await call("/nowhere", { traceparent: `00-${missing}-${SPAN}-01` })).toBe(404);
    expect(await call(path("on"), { traceparent: `00-${both}-${SPAN}-00` })).toBe(200); // always_on
    expect(await spansOf(ruled, 2)).toHaveLength(2);
    const [root] = await spansOf(missing, 1);
    expect(root).toMatchObject({
      name: "GET",
      attributes: { "http.status_code": "404", "jotgate.reason": "route_not_found" },
    });
    expect(await spansOf(both, 3)).toHaveLength(3);
  });

  test("without a caller's trace one begins", async () => {
    expect(await call(path("on"), { tracestate: "a=1" })).toBe(200);
    const [parent = "", state] = seen.get(path("on")) ?? [];
    expect(state).toBeUndefined();
    const spans = await spansOf(parent.slice(3, 35), 3);
    expect(one(spans, "server").parent).toBe("");
  });
});

test("the access log and lines of errors name trace and span", async () => {
  const traceId = newTrace();
  expect(await overHttp1("fast")("/dead/x", { traceparent: `00-${traceId}-${SPAN}-01` })).toBe(502);
  const server = one(await spansOf(traceId, 2), "server");
  expect(server).toMatchObject({ isError: true, attributes: { "jotgate.reason": "upstream_connect_failed" } });
  const line = await until("its line", () =>
    readFileSync(log, "utf8")
      .split("\n")
      .find((text) => text.includes(traceId)),
  );
  expect(JSON.parse(line)).toMatchObject({ trace_id: traceId, span_id: server.spanId, status: 502 });
  await until("the error's line", () =>
    nodes.fast
      .output()
      .split("\n")
      .some((text) => text.includes(`"trace_id":"${traceId}","span_id":"${server.spanId}"`)),
  );
});

test("a collector that hangs costs no request anything and is counted; what waits at the stop is sent", async () => {
  const own = await openCollector();
  own.answer = () => undefined;
  publish(own.address, { batch_timeout: 0.05, max_queue_size: 8, max_export_batch_size: 8 });
  await until("it is asked", async () => {
    await overHttp1("general")("/on/hang", {});
    return own.requests.length > 0;
  });
  const statuses = await Promise.all(Array.from({ length: 40 }, () => overHttp1("general")("/on/hang", {})));
  expect(new Set(statuses)).toEqual(new Set([200]));
  await until("what does not fit is counted", async () => {
    const text = await (await fetch(`${nodes.general.status}/metrics`)).text();
    return new RegExp(`${SPANS}\\{outcome="queue_full"\\} [1-9]`).test(text);
  });
  own.answer = undefined;
  await until("the queue is empty again", async () => {
    const text = await (await fetch(`${nodes.general.status}/metrics`)).text();
    return text.includes("jotgate_opentelemetry_queued_spans 0");
  });
  publish(own.address, { batch_timeout: 600 });
  await until("the new metadata counts", async () => {
    await overHttp1("general")("/on/last", {});
    const text = await (await fetch(`${nodes.general.status}/metrics`)).text();
    return /jotgate_opentelemetry_queued_spans [1-9]\d/.test(text); // more than the queue before had room for
  });
  expect(await nodes.general.stop()).toBe(0);
  expect(own.spans.filter(({ attributes }) => attributes["url.path"] === "/on/last").length).toBeGreaterThan(0);
  await own.close();
});

test("viewers and histories do not see the collector's headers", async () => {
  const single = await startNode("start", {});
  try {
    const record = { collector: { request_headers: { "X-Team": "geheim" } } };
    const path = "/plugin_metadata/opentelemetry";
    expect((await admin(single, "PUT", path, record)).status).toBeLessThan(300);
    expect((await admin(single, "GET", path)).body).toMatchObject({ value: record });
    const shown = await admin(single, "GET", path, undefined, { "X-API-KEY": VIEWER_KEY });
    expect(shown.body).toMatchObject({ value: { collector: { request_headers: { "X-Team": "********" } } } });
    const history = await admin(single, "GET", `/history${path}`, undefined, { "X-API-KEY": VIEWER_KEY });
    expect(JSON.stringify(history.body)).not.toContain("geheim");
  } finally {
    await single.stop();
  }
});
