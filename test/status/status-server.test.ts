import { hostname } from "node:os";
import { afterEach, describe, expect, test } from "vitest";
import { openMetrics } from "../../src/base/metrics.ts";
import type { StatusListener } from "../../src/status/listener.ts";
import type { ConfigStatus, NodeSource } from "../../src/status/status-facts.ts";
import { collectNodeMetrics, collectProcessMetrics } from "../../src/status/status-metrics.ts";
import { openStatus } from "../../src/status/status-server.ts";

const NOW_MS = 1_700_000_000_000;
const CONFIG: ConfigStatus = {
  loaded: true,
  connected: true,
  fresh: true,
  stalenessSeconds: 0.25,
  appliedRevision: 41n,
  storeHeadRevision: 42n,
  reachable: true,
  problem: undefined,
  records: 7,
  epochs: { broken: 2, compacted: 0 },
  lists: { first: 1 },
  auditDifferences: 0,
  beat: { writtenMs: NOW_MS - 30, receivedMs: NOW_MS },
  changedAtMs: NOW_MS - 5_000,
  hash: "abc123",
  problems: [],
};

const PROBLEMS = [
  { key: "/apisix/routes/1", kind: "route", revision: 9n, reason: "bad uri", blocks: false },
  { key: "/apisix/global_rules/1", kind: "global_rule", revision: 9n, reason: "no key-auth", blocks: true },
];

const open: StatusListener[] = [];
afterEach(async () => {
  for (const listener of open.splice(0)) await listener.stop();
});

interface World {
  readonly role?: NodeSource["role"];
  readonly config?: Partial<ConfigStatus>;
  readonly draining?: boolean;
  readonly maxStaleMs?: number;
  readonly readyProblems?: NodeSource["readyProblems"];
  readonly waitApplied?: NodeSource["waitApplied"];
}

async function start(world: World = {}) {
  const facts: NodeSource = {
    id: "node-<1>",
    role: world.role ?? "gateway",
    version: "1.2.3",
    apisixVersion: "3.11.0",
    startedAtMs: NOW_MS - 60_000,
    store: "etcd",
    maxStaleMs: world.maxStaleMs,
    readyProblems: world.readyProblems ?? "ignore",
    config: () => ({ ...CONFIG, ...world.config }),
    issuers: () => [],
    modifyIndexes: () => ({ routes: 40, max_modify_index: 41 }),
    draining: () => world.draining ?? false,
    workers: () => [{ id: 1, pid: 99, state: "serving", startedAtMs: NOW_MS, appliedRevision: 41n }],
    listeners: () => [{ name: "gateway", address: { host: "::1", port: 9080 }, tls: false }],
    waitApplied: world.waitApplied ?? (async () => false),
  };
  const metrics = openMetrics();
  collectNodeMetrics(metrics, facts);
  collectProcessMetrics(metrics);
  const listener = await openStatus({
    listen: { host: "127.0.0.1", port: 0 },
    facts,
    health: async () => [],
    metrics: metrics.chunks,
    metricsType: metrics.registry.contentType,
    exportUri: "/apisix/prometheus/metrics",
    nowMs: () => NOW_MS,
  });
  open.push(listener);
  const base = `http://127.0.0.1:${listener.address.port}`;
  return async (path: string, init?: RequestInit) => {
    const answer = await fetch(`${base}${path}`, init);
    const text = await answer.text();
    return {
      status: answer.status,
      text,
      json: () => JSON.parse(text) as Record<string, unknown>,
      headers: answer.headers,
    };
  };
}

describe("probes", () => {
  test("a node that loaded its configuration is live and ready", async () => {
    const get = await start();
    for (const path of ["/live", "/ready", "/status/ready"]) {
      const { status, json } = await get(path);
      expect([status, json()]).toEqual([200, { status: "ok" }]);
    }
  });

  test.each<{ says: string; world: World; want: string | undefined }>([
    { says: "without a configuration", world: { config: { loaded: false } }, want: "no configuration was loaded yet" },
    {
      says: "whose store is away since the start",
      world: { config: { loaded: false, problem: { code: "store-unreachable", text: "connect refused", sinceMs: 0 } } },
      want: "no configuration was loaded yet: connect refused",
    },
    {
      says: "of the role admin whose store is away",
      world: {
        role: "admin",
        config: { loaded: false, problem: { code: "store-unreachable", text: "connect refused", sinceMs: 0 } },
      },
      want: "the store does not answer: connect refused",
    },
    {
      says: "that cannot apply a change",
      world: { config: { problem: { code: "apply-failed", text: "revision 7 cannot be applied", sinceMs: 0 } } },
      want: "the configuration cannot be brought up to date: revision 7 cannot be applied",
    },
    { says: "that is stopping", world: { draining: true }, want: "the node is stopping" },
    {
      says: "older than max_stale",
      world: { maxStaleMs: 1_000, config: { stalenessSeconds: 1.5 } },
      want: "the configuration is older than max_stale",
    },
    {
      says: "that lost the store but holds a configuration",
      world: { config: { reachable: false, fresh: false, stalenessSeconds: 900 } },
      want: undefined,
    },
    {
      says: "with problems that refuse requests, where that counts",
      world: { readyProblems: "blocking" as const, config: { problems: PROBLEMS } },
      want: "1 problems of records refuse requests, the first is /apisix/global_rules/1: no key-auth",
    },
    {
      says: "with any problem, where that counts",
      world: { readyProblems: "all" as const, config: { problems: PROBLEMS } },
      want: "2 problems of records, the first is /apisix/routes/1: bad uri",
    },
    {
      says: "with problems that refuse nothing",
      world: { readyProblems: "blocking" as const, config: { problems: PROBLEMS.slice(0, 1) } },
      want: undefined,
    },
    { says: "with problems, where they are ignored", world: { config: { problems: PROBLEMS } }, want: undefined },
  ])("a node $says is live, and ready only when traffic may come", async ({ world, want }) => {
    const get = await start(world);
    expect((await get("/live")).status).toBe(200);
    const { status, json } = await get("/ready");
    expect(status).toBe(want === undefined ? 200 : 503);
    expect(json()["error"]).toBe(want);
  });
});

describe("/config", () => {
  test("says how far the configuration is", async () => {
    const get = await start();
    expect((await get("/config")).json()).toEqual({
      revision: 41,
      store_head_revision: 42,
      loaded: true,
      fresh: true,
      connected: true,
      staleness_seconds: 0.25,
      age_seconds: 5,
      hash: "abc123",
      records: 7,
      store_problem: null,
      last_known_good: null,
      problems_total: 0,
      problems: [],
    });
  });

  test("says what the last-known-good file holds, and what is wrong with it", async () => {
    const copy = { savedAtMs: 1_700_000_000_500, savedRevision: 40n, problem: "no space" };
    const answer = (await (await start({ config: { copy } }))("/config")).json();
    expect(answer["last_known_good"]).toEqual({ saved: 1_700_000_000, revision: 40, problem: "no space" });
  });

  test("lists problems, a bounded number of them", async () => {
    const problems = Array.from({ length: 150 }, (_, i) => ({
      key: `/apisix/routes/${i}`,
      kind: "routes",
      revision: 9n,
      reason: "bad uri",
      blocks: false,
    }));
    const get = await start({ config: { problems } });
    const answer = (await get("/config")).json();
    expect(answer["problems_total"]).toBe(150);
    expect(answer["problems"]).toHaveLength(100);
  });
});

describe("/applied", () => {
  test.each([
    { query: "", status: 200, want: { applied: true, revision: 41 } },
    { query: "?min=41", status: 200, want: { applied: true, revision: 41 } },
    { query: "?min=42", status: 200, want: { applied: false, revision: 41 } },
    { query: "?min=x", status: 400, want: { error_msg: "min must be a revision and wait a number of milliseconds" } },
    {
      query: "?min=42&wait=-1",
      status: 400,
      want: { error_msg: "min must be a revision and wait a number of milliseconds" },
    },
    {
      query: "?min=1&min=2",
      status: 400,
      want: { error_msg: "min must be a revision and wait a number of milliseconds" },
    },
  ])("answers $query with $status", async ({ query, status, want }) => {
    const answer = await (await start())(`/applied${query}`);
    expect([answer.status, answer.json()]).toEqual([status, want]);
  });

  test("waits until the revision is applied, for a bounded time", async () => {
    const asked: [bigint, number][] = [];
    const get = await start({
      waitApplied: async (revision, waitMs) => {
        asked.push([revision, waitMs]);
        return true;
      },
    });
    expect((await get("/applied?min=99&wait=99999999")).json()["applied"]).toBe(true);
    expect(asked).toEqual([[99n, 60_000]]);
  });

  test("a stopping listener does not wait for long polls", async () => {
    let asked: () => void = () => {};
    const reached = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const get = await start({
      waitApplied: () => {
        asked();
        return new Promise(() => {});
      },
    });
    const poll = get("/applied?min=99&wait=60000").then(
      () => "answered",
      () => "cut",
    );
    await reached;
    await open.pop()?.stop();
    expect(await poll).toBe("cut");
  });
});

describe("/metrics", () => {
  test.each(["/metrics", "/apisix/prometheus/metrics"])(
    "%s holds configuration, node and process metrics",
    async (path) => {
      const get = await start({
        config: { problems: [{ key: "/apisix/routes/1", kind: "routes", revision: 9n, reason: "bad", blocks: false }] },
      });
      const { text, headers } = await get(path);
      expect(headers.get("content-type")).toContain("text/plain; version=0.0.4");
      for (const line of [
        "jotgate_config_applied_revision 41",
        "jotgate_config_store_head_revision 42",
        "jotgate_config_loaded 1",
        "jotgate_config_fresh 1",
        "jotgate_config_staleness_seconds 0.25",
        "jotgate_config_propagation_seconds 0.03",
        'jotgate_config_problems{kind="routes"} 1',
        'jotgate_config_watch_epochs_total{end="broken"} 2',
        'jotgate_config_lists_total{why="first"} 1',
        "jotgate_etcd_reachable 1",
        'jotgate_node_info{version="1.2.3",role="gateway",store="etcd"} 1',
        'jotgate_node_workers{state="serving"} 1',
        "jotgate_node_draining 0",
        `apisix_node_info{hostname="${hostname()}",version="3.11.0"} 1`,
        "apisix_etcd_reachable 1",
        'apisix_etcd_modify_indexes{key="routes"} 40',
        'apisix_etcd_modify_indexes{key="max_modify_index"} 41',
        'apisix_etcd_modify_indexes{key="x_etcd_index"} 42',
      ]) {
        expect(text.split("\n")).toContain(line);
      }
      expect(text).toMatch(/^process_resident_memory_bytes \d+/m);
      expect(text).toMatch(/^nodejs_eventloop_lag_seconds /m);
    },
  );
});

describe("/status", () => {
  test("is a page for browsers, with everything escaped and no script allowed", async () => {
    const reason = "<script>alert('x')</script>";
    const get = await start({
      config: { problems: [{ key: `/apisix/routes/"&`, kind: "routes", revision: 9n, reason, blocks: false }] },
    });
    const { text, headers } = await get("/status", { headers: { accept: "text/html" } });
    expect(headers.get("content-type")).toBe("text/html; charset=utf-8");
    expect(headers.get("content-security-policy")).toContain("default-src 'none'");
    expect(text).not.toContain("<script>");
    expect(text).toContain("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
    expect(text).toContain("/apisix/routes/&quot;&amp;");
    expect(text).toContain("node-&lt;1&gt;");
    expect(text).toContain("gateway [::1]:9080");
    expect(text).toContain("process 99, serving, revision 41");
  });

  test("is the same facts as JSON for programs", async () => {
    const answer = (await (await start({ draining: true }))("/status")).json();
    expect(answer).toMatchObject({
      status: "error",
      error: "the node is stopping",
      role: "gateway",
      version: "1.2.3",
      draining: true,
    });
    expect(answer["config"]).toMatchObject({ revision: 41 });
  });
});

describe("what is not there", () => {
  test.each([
    { path: "/", method: "GET", status: 404 },
    { path: "/apisix/admin/routes", method: "GET", status: 404 },
    { path: "/ready", method: "POST", status: 404 },
    { path: "/%zz", method: "GET", status: 400 },
  ])("$method $path is answered $status as JSON", async ({ path, method, status }) => {
    const answer = await (await start())(path, { method });
    expect(answer.status).toBe(status);
    expect(answer.json()).toHaveProperty("error_msg");
  });

  test("a port that is taken is reported with its address", async () => {
    await start();
    const taken = open[0]?.address ?? { host: "127.0.0.1", port: 1 };
    const again = openStatus({
      listen: taken,
      facts: {} as NodeSource,
      health: async () => [],
      metrics: async () => [],
      metricsType: "text/plain",
      exportUri: "/metrics",
      nowMs: () => NOW_MS,
    });
    await expect(again).rejects.toMatchObject({ code: "EADDRINUSE", port: taken.port });
  });
});
