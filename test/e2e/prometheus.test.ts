/**
 * What a Prometheus that was set up for APISIX finds at a node: every name and label of its documentation that has a
 * meaning here, and the settings that APISIX has as `plugin_attr.prometheus`. On etcd, with two workers.
 */
import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";
import { sampleOf } from "../support/scrape.ts";

const ATTRIBUTES = {
  http_status: { extra_labels: [{ up: "$upstream_addr" }, { team: "$http_x_team" }], expire: 1 },
  bandwidth: { extra_labels: [{ verb: "$request_method" }] },
};

let etcd: EtcdCluster;
let writer: Node;
let gateway: Node;
let upstream: Server;
let port = 0;

async function put(path: string, record: unknown): Promise<number> {
  const { status, body } = await admin(writer, "PUT", path, record);
  expect(status, JSON.stringify(body)).toBeLessThan(300);
  return Number((body as { modifiedIndex?: number; value?: unknown }).modifiedIndex ?? 0);
}

async function scrape(path = "/our/metrics"): Promise<string> {
  const answer = await fetch(`${gateway.status}${path}`);
  expect(answer.status).toBe(200);
  return answer.text();
}

describe.skipIf(!etcdAvailable())("a gateway of two workers", () => {
  beforeAll(async () => {
    upstream = createServer((_request, response) => response.end("ok"));
    await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
    const address = upstream.address();
    port = address !== null && typeof address === "object" ? address.port : 0;
    etcd = await startEtcd();
    writer = await startNode("admin", { etcd: etcd.endpoints });
    const target = { type: "roundrobin", nodes: { [`127.0.0.1:${port}`]: 1 } };
    const checks = { active: { http_path: "/", healthy: { interval: 1 } } };
    await put("/upstreams/u", { ...target, checks });
    await put("/routes/1", { uri: "/a/*", name: "main", upstream_id: "u", plugins: { prometheus: {} } });
    await put("/routes/api", { uri: "/our/metrics", plugins: { "public-api": {} } });
    gateway = await startNode("gateway", {
      etcd: etcd.endpoints,
      args: [
        ...["--workers", "2", "--prometheus-metric-prefix", "gw_", "--prometheus-export-uri", "/our/metrics"],
        ...["--prometheus-default-buckets", "10,100", "--prometheus-metrics", JSON.stringify(ATTRIBUTES)],
      ],
    });
  });

  afterAll(async () => {
    for (const node of [gateway, writer]) await node?.stop("SIGKILL");
    await etcd?.stop();
    upstream?.closeAllConnections();
    upstream?.close();
  });

  test("every name is there with its labels", async () => {
    for (let i = 0; i < 10; i++) {
      const answer = await fetch(`${gateway.gateway}/a/b`, { headers: { "X-Team": "blue", connection: "close" } });
      expect(answer.status).toBe(200);
    }
    // Workers may have begun with what the node held; each says within a second that it reached etcd itself.
    const ready = { gw_upstream_status: 1, gw_http_status: 10, gw_etcd_reachable: 1 };
    await until("health checks and all workers are shown", async () => {
      const scraped = await scrape();
      return Object.entries(ready).every(([name, value]) => sampleOf(scraped, name) === value);
    });
    const text = await scrape(); // families are written one after the other: only the next scrape has all of those requests
    const tail = 'request_type="traditional_http",request_llm_model="",llm_model=""';
    const up = `127.0.0.1:${port}`;
    const lines = text.split("\n");
    expect(lines).toContain(
      `gw_http_status{code="200",route="1",matched_uri="/a/*",matched_host="",service="",consumer="",node="127.0.0.1",${tail},response_source="upstream",up="${up}",team="blue"} 10`,
    );
    expect(text).toContain(
      `gw_bandwidth{type="egress",route="1",service="",consumer="",node="127.0.0.1",${tail},verb="GET"}`,
    );
    for (const type of ["request", "upstream", "apisix"]) {
      const labels = `{type="${type}",route="1",service="",consumer="",node="127.0.0.1",${tail}}`;
      expect(lines).toContain(`gw_http_latency_count${labels} 10`);
    }
    const bounds = [...text.matchAll(/^gw_http_latency_bucket\{type="request".*le="([^"]+)"\} \d+$/gm)];
    expect(bounds.map(([, bound]) => bound)).toEqual(["10", "100", "+Inf"]);
    expect(lines).toContain(`gw_upstream_status{name="/apisix/upstreams/u",ip="127.0.0.1",port="${port}"} 1`);
    expect(lines).toContain("gw_etcd_reachable 1");
    expect(text).toMatch(/^gw_node_info\{hostname="[^"]+",version="[^"]+"\} 1$/m);
    expect(sampleOf(text, "gw_http_requests_total")).toBeGreaterThanOrEqual(10);
    for (const state of ["active", "accepted", "handled", "reading", "writing", "waiting"]) {
      expect(sampleOf(text, "gw_nginx_http_current_connections", `state="${state}"`)).toBeGreaterThanOrEqual(0);
    }
    expect(sampleOf(text, "gw_nginx_http_current_connections", 'state="accepted"')).toBeGreaterThanOrEqual(10);
    expect(text).not.toMatch(/^apisix_/m);
    expect(await scrape("/metrics")).toContain("gw_http_status{");
    expect((await fetch(`${gateway.status}/apisix/prometheus/metrics`)).status).toBe(404);
    const shared = await fetch(`${gateway.gateway}/our/metrics`);
    expect([shared.status, (await shared.text()).includes("gw_node_info")]).toEqual([200, false]); // of one worker
  });

  test("etcd_modify_indexes follow the changes of each kind", async () => {
    const index = (text: string, key: string): number =>
      sampleOf(text, "gw_etcd_modify_indexes", `key="${key}"`) ?? Number.NaN;
    const first = await scrape();
    for (const key of ["services", "ssls", "consumers", "global_rules", "stream_routes", "protos", "prev_index"]) {
      expect(index(first, key), key).toBe(0);
    }
    const revisions = [index(first, "upstreams"), index(first, "routes")];
    expect(revisions[0]).toBeGreaterThan(0);
    expect(revisions[1]).toBeGreaterThan(revisions[0] ?? 0);
    expect(index(first, "max_modify_index")).toBe(revisions[1]);
    await put("/global_rules/1", { plugins: { "request-id": {} } });
    const second = await until("the global rule", async () => {
      const text = await scrape();
      return index(text, "global_rules") > 0 ? text : "";
    });
    const rule = index(second, "global_rules");
    expect(rule).toBeGreaterThan(index(first, "max_modify_index"));
    expect(index(second, "max_modify_index")).toBe(rule);
    expect(index(second, "x_etcd_index")).toBeGreaterThanOrEqual(rule);
    expect(index(second, "routes")).toBe(revisions[1]);
    await admin(writer, "DELETE", "/global_rules/1");
    const third = await until("the deletion", async () => {
      const text = await scrape();
      return index(text, "global_rules") > rule ? text : "";
    });
    expect(index(third, "prev_index")).toBe(rule);
  });

  test("a series that stands still is gone after its time, the others stay", async () => {
    const last = await until("http_status has expired", async () => {
      const text = await scrape();
      return sampleOf(text, "gw_http_status") === undefined ? text : "";
    });
    expect(sampleOf(last, "gw_bandwidth", 'type="ingress"')).toBeGreaterThan(0);
    expect((await fetch(`${gateway.gateway}/a/b`)).status).toBe(200);
    await until("it counts anew", async () => sampleOf(await scrape(), "gw_http_status") === 1);
  });
});

describe("settings that cannot be", () => {
  test.each([
    {
      says: "a label that is there",
      args: ["--prometheus-metrics", '{"http_status":{"extra_labels":[{"code":"$uri"}]}}'],
    },
    {
      says: "a label twice",
      args: ["--prometheus-metrics", '{"bandwidth":{"extra_labels":[{"a":"$uri"},{"a":"$host"}]}}'],
    },
    { says: "a metric that is not counted", args: ["--prometheus-metrics", '{"llm_latency":{"expire":1}}'] },
    {
      says: "a value that is no variable",
      args: ["--prometheus-metrics", '{"bandwidth":{"extra_labels":[{"a":"b"}]}}'],
    },
    {
      says: "buckets that do not grow",
      args: ["--prometheus-default-buckets", "10,10"],
      error: "prometheus.default_buckets: ",
    },
    {
      says: "a path of the status listener",
      args: ["--prometheus-export-uri", "/ready"],
      error: "prometheus.export_uri: /ready",
    },
  ])("$says stops the start", async ({ args, error = "--prometheus-metrics: expected " }) => {
    const node = await startNode("start", { args, nowait: true });
    expect(await node.exited).not.toBe(0);
    expect(node.output()).toContain(error);
  });
});
