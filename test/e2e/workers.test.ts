/**
 * A gateway of two worker processes on etcd, under load: what happens when workers end, are replaced, or all stop.
 */
import { readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { admin, type Node, ROOT, run, startNode, temporaryFolder, until, untilReady } from "../support/process.ts";
import { startLoad } from "../support/steady-load.ts";

interface Worker {
  readonly pid: number;
  readonly state: string;
}

const RATE = 150; // requests per second, low enough for a busy machine
const dataDir = temporaryFolder("workers");
const crashFile = join(dataDir, "crash");

let etcd: EtcdCluster;
let adminNode: Node;
let gateway: Node;
let upstream: Server;
let target = "";
const held: (() => void)[] = [];
let probes = 0;
let failures = 0;
/** Every node that a test started, so that none stays when a test fails. */
const started: Node[] = [];

afterAll(async () => {
  for (const node of started) await node.stop("SIGKILL");
});

describe.skipIf(!etcdAvailable())("a gateway of two workers", () => {
  beforeAll(async () => {
    upstream = createServer((incoming, response) => {
      if (incoming.url === "/probe") probes++;
      if (incoming.url === "/failing") {
        failures++;
        response.statusCode = 500;
      }
      if (incoming.url === "/held") held.push(() => response.end("released"));
      else response.end("ok");
    });
    await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
    const address = upstream.address();
    target = `127.0.0.1:${address && typeof address === "object" ? address.port : 0}`;
    // A user's plugin that kills every worker which loads it while a certain file exists.
    const plugin = join(dataDir, "crash.mjs");
    writeFileSync(
      plugin,
      `import cluster from "node:cluster"; import { existsSync } from "node:fs";
       if (cluster.isWorker && existsSync(${JSON.stringify(crashFile)})) process.kill(process.pid, "SIGKILL");
       export const crash = { name: "crash", version: 1, priority: 1, schema: {}, compile: () => ({}) };`,
    );
    etcd = await startEtcd();
    adminNode = await startNode("admin", { etcd: etcd.endpoints });
    await put("/routes/hello", { uri: "/hello", upstream: toUpstream() });
    await put("/routes/held", { uri: "/held", upstream: toUpstream() });
    gateway = await startNode("gateway", {
      ...{ etcd: etcd.endpoints, dataDir },
      args: ["--workers", "2", "--plugins", plugin, "--drain-time", "10s"],
    });
  });

  afterAll(async () => {
    for (const release of held) release();
    await gateway?.stop("SIGKILL");
    await adminNode?.stop();
    await etcd?.stop();
    upstream?.closeAllConnections();
    upstream?.close();
  });

  test("all workers accept connections, and the metrics are those of all", async () => {
    const pids = (await serving()).map(({ pid }) => pid);
    expect(pids).toHaveLength(2);
    // A connection stands before a worker has accepted it, and one that is busy leaves more of them to the other.
    const sockets: Socket[] = [];
    await until("each worker has some", async () => {
      sockets.push(await openSocket(), await openSocket());
      return pids.every((pid) => connectionsOf(pid) > 0);
    });
    for (const socket of sockets) socket.destroy();

    const counted = seriesIn(await metrics());
    const load = startLoad(`${gateway.gateway}/hello`, RATE);
    await until("300 answers", () => load.answered() >= 300);
    const { sent, statuses, failures } = await load.stop();
    expect(failures).toEqual([]);
    expect(statuses).toEqual({ 200: sent });
    const text = await metrics();
    const now = seriesIn(text);
    expect(now.map((value, at) => value - (counted[at] ?? 0))).toEqual([sent, sent, sent]);
    expect(valueIn(text, 'jotgate_node_workers{state="serving"}')).toBe(2);
    expect(valueIn(text, "jotgate_config_loaded")).toBe(1);
    expect(text.match(/^process_start_time_seconds /gm)).toHaveLength(1);
  });

  test("what the node says it has applied, every worker answers by", async () => {
    for (let i = 0; i < 20; i++) {
      await put("/routes/mark", { uri: "/mark", plugins: { mocking: { response_example: `m${i}` } } });
      const { body } = await admin(adminNode, "GET", "/routes/mark");
      const { modifiedIndex } = body as { modifiedIndex: number };
      const applied = await fetch(`${gateway.status}/applied?min=${modifiedIndex}&wait=10000`);
      expect(await applied.json()).toMatchObject({ applied: true });
      for (let j = 0; j < 8; j++) expect(await textOn(await openSocket(), "/mark")).toContain(`m${i}`);
    }
  });

  test("a limit counts over all workers: exactly so many pass", async () => {
    const limits = [
      { uri: "/few", count: 7, tries: 60, type: "fixed" },
      { uri: "/many", count: 150, tries: 400, type: "fixed" },
      { uri: "/sliding", count: 20, tries: 80, type: "sliding" },
    ];
    for (const { uri, count, type } of limits) {
      const limit = { count, time_window: 600, window_type: type, rejected_code: 429 };
      await put(`/routes${uri}`, { uri, plugins: { "limit-count": limit }, upstream: toUpstream() });
      await reached(uri);
    }
    for (const { uri, count, tries } of limits) {
      const statuses = await callAll(uri, tries);
      // One hit told us that the route is there.
      expect(statuses.filter((status) => status === 200)).toHaveLength(count - 1);
      expect(statuses.filter((status) => status === 429)).toHaveLength(tries - count + 1);
    }
  });

  test("concurrency is limited over all workers, and free again afterwards", async () => {
    const limit = { conn: 3, burst: 0, default_conn_delay: 0.1, key: "server_addr", rejected_code: 429 };
    await put("/routes/narrow", {
      uri: "/narrow",
      plugins: { "limit-conn": limit, "proxy-rewrite": { uri: "/held" } },
      upstream: toUpstream(),
    });
    for (let round = 0; round < 2; round++) {
      const first = await until("one is let in", async () => {
        const before = held.length;
        const asked = statusOn(await openSocket(), "/narrow");
        const status = await Promise.race([asked, until("it is held", () => held.length > before)]);
        return typeof status === "number" ? undefined : { asked };
      });
      const more = Array.from({ length: 12 }, async () => statusOn(await openSocket(), "/narrow"));
      let refused = 0;
      for (const one of more) void one.then((status) => (refused += Number(status === 429)));
      await until("the others are refused", () => refused === 10);
      for (const release of held.splice(0)) release();
      expect((await Promise.all(more)).filter((status) => status === 200)).toHaveLength(2);
      expect(await first.asked).toBe(200);
    }
  });

  test("each target is probed once per node", async () => {
    const startedMs = performance.now();
    const active = { http_path: "/probe", healthy: { interval: 1 }, unhealthy: { interval: 1 } };
    await put("/routes/probed", { uri: "/probed", upstream: { ...toUpstream(), checks: { active } } });
    await reached("/probed");
    await callAll("/probed", 40); // checks begin with a worker's first request
    await until("six probes", () => probes >= 6);
    // Each second one, at most a tenth early.
    expect(performance.now() - startedMs).toBeGreaterThan(5 * 900);
    const health = await (await fetch(`${gateway.control}/v1/healthcheck/routes/probed`)).json();
    expect(health).toMatchObject({ nodes: [{ status: "healthy" }] });
    expect(valueIn(await metrics(), 'jotgate_upstream_probes_total{outcome="status"}')).toBeLessThanOrEqual(probes);
    await admin(adminNode, "DELETE", "/routes/probed");
  });

  test("api-breaker counts failures for the node, not for each worker", async () => {
    const breaker = { break_response_code: 418, unhealthy: { http_statuses: [500], failures: 40 } };
    await put("/routes/failing", { uri: "/failing", plugins: { "api-breaker": breaker }, upstream: toUpstream() });
    const ask = async () => (await fetch(`${gateway.gateway}/failing`, { headers: { connection: "close" } })).status;
    await until("the breaker", async () => (await ask()) === 418);
    // Each worker for itself would have let forty through before both were open, so more than forty more.
    expect(failures).toBeLessThan(60);
    expect(new Set([await ask(), await ask(), await ask(), await ask()])).toEqual(new Set([418]));
    await admin(adminNode, "DELETE", "/routes/failing");
  });

  test("G1 G10: 36 a worker that is killed under load is replaced; only what it held breaks", {
    timeout: 300_000,
  }, async () => {
    const [victim, other] = await serving();
    const load = startLoad(`${gateway.gateway}/hello`, RATE);
    await until("answers", () => load.answered() > 100);
    const atRisk = connectionsOf(victim?.pid ?? 0);
    const killedMs = performance.now();
    process.kill(victim?.pid ?? 0, "SIGKILL");
    const now = await until("two workers again", async () => {
      const workers = await serving();
      return workers.length === 2 && workers.every(({ pid }) => pid !== victim?.pid) ? workers : undefined;
    });
    process.stdout.write(`\na killed worker is replaced after ${(performance.now() - killedMs).toFixed(0)} ms\n`);
    const answered = load.answered();
    await until("answers go on", () => load.answered() > answered + 100);
    const { sent, statuses, failures } = await load.stop();
    expect(now.map(({ pid }) => pid)).toContain(other?.pid);
    expect(failures.length, failures.join("\n")).toBeLessThanOrEqual(atRisk + 2);
    expect(statuses).toEqual({ 200: sent - failures.length });
  });

  test("jotgate reload under load replaces every worker and loses nothing", async () => {
    for (let round = 0; round < 2; round++) {
      const before = (await serving()).map(({ pid }) => pid);
      const counted = valueIn(await metrics(), 'jotgate_http_requests_total{route="hello",status="200"}');
      const load = startLoad(`${gateway.gateway}/hello`, RATE);
      await until("answers", () => load.answered() > 100);
      const told = run(process.execPath, [join(ROOT, "bin/jotgate.mjs"), "reload", "--data-dir", dataDir]);
      expect(await told.exited, told.output()).toBe(0);
      await until(
        "only new workers",
        async () => {
          const all = await workers();
          return all.length === 2 && all.every(({ pid, state }) => state === "serving" && !before.includes(pid));
        },
        60_000,
      );
      const { sent, statuses, failures } = await load.stop();
      expect(failures).toEqual([]);
      expect(statuses).toEqual({ 200: sent });
      const after = valueIn(await metrics(), 'jotgate_http_requests_total{route="hello",status="200"}');
      expect(after).toBe(counted + sent);
    }
  });

  test("G10: 36 workers that keep crashing are started ever more slowly, and the others serve on", {
    timeout: 300_000,
  }, async () => {
    const [victim, other] = await serving();
    writeFileSync(crashFile, "");
    gateway.signal("SIGHUP");
    await until("a reload that fails", () => gateway.output().includes("reload failed"), 60_000);
    expect((await serving()).map(({ pid }) => pid)).toEqual([victim?.pid, other?.pid]);
    process.kill(victim?.pid ?? 0, "SIGKILL");
    const pauses = await until(
      "five crashes",
      () => {
        const lines = gateway.output().match(/"delayMs":\d+,"msg":"a worker ended; it is replaced"/g) ?? [];
        return lines.length >= 6 ? lines.slice(-4).map((line) => Number(/\d+/.exec(line)?.[0])) : undefined;
      },
      60_000,
    );
    expect(Math.max(...pauses)).toBeGreaterThan(1_000);
    const { failures } = await (async () => {
      const load = startLoad(`${gateway.gateway}/hello`, RATE);
      await until("answers", () => load.answered() > 100);
      return load.stop();
    })();
    expect(failures).toEqual([]);
    rmSync(crashFile);
    await until("two workers again", async () => (await serving()).length === 2, 60_000);
  });

  test("SIGTERM lets requests end, then all processes are gone and the exit code is 0", async () => {
    const node = await startPair();
    const pids = (await workers(node)).map(({ pid }) => pid);
    const before = held.length;
    const running = fetch(`${node.gateway}/held`);
    await until("the upstream has the request", () => held.length > before);
    node.signal("SIGTERM");
    await until("not ready", async () => (await fetch(`${node.status}/ready`)).status === 503);
    await until("no new connections", () =>
      openSocket(node).then(
        (socket) => void socket.destroy(),
        () => true,
      ),
    );
    for (const release of held.splice(0)) release();
    expect(await (await running).text()).toBe("released");
    expect(await node.exited).toBe(0);
    for (const pid of pids) expect(isAlive(pid)).toBe(false);
  });

  test("workers end with their primary", async () => {
    const node = await startPair();
    const pids = (await workers(node)).map(({ pid }) => pid);
    await node.stop("SIGKILL");
    await until("no worker is left", () => !pids.some(isAlive));
  });
});

test("on the embedded store, workers use the one that their primary has open", async () => {
  const node = await startNode("start", { args: ["--workers", "2"], nowait: true });
  started.push(node);
  await untilReady(node, 60_000);
  const before = (await workers(node)).map(({ pid }) => pid);
  expect(before).toHaveLength(2);
  const put = async (mark: string): Promise<void> => {
    const body = { uri: "/mark", plugins: { mocking: { response_example: mark } } };
    expect((await admin(node, "PUT", "/routes/mark", body)).status).toBeLessThan(300);
    const { modifiedIndex } = (await admin(node, "GET", "/routes/mark")).body as { modifiedIndex: number };
    await fetch(`${node.status}/applied?min=${modifiedIndex}&wait=10000`);
    for (let i = 0; i < 8; i++) expect(await textOn(await openSocket(node), "/mark")).toContain(mark);
  };
  await put("first");
  node.signal("SIGHUP");
  await until(
    "only new workers",
    async () => {
      const all = await workers(node);
      return all.length === 2 && all.every(({ pid, state }) => state === "serving" && !before.includes(pid));
    },
    60_000,
  );
  await put("second");
  expect(await node.stop()).toBe(0);
});

/** Another gateway of two workers; several processes load their program at once, which takes its time on a busy machine. */
async function startPair(): Promise<Node> {
  const node = await startNode("gateway", { etcd: etcd.endpoints, args: ["--workers", "2"], nowait: true });
  started.push(node);
  await untilReady(node, 60_000);
  return node;
}

function toUpstream(): object {
  return { type: "roundrobin", nodes: { [target]: 1 } };
}

async function put(path: string, body: unknown): Promise<void> {
  const answer = await admin(adminNode, "PUT", path, body);
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
}

async function workers(node = gateway): Promise<readonly Worker[]> {
  const answer = await fetch(`${node.status}/status`);
  return ((await answer.json()) as { workers: Worker[] }).workers;
}

async function serving(): Promise<readonly Worker[]> {
  return (await workers()).filter(({ state }) => state === "serving");
}

async function metrics(): Promise<string> {
  return (await fetch(`${gateway.status}/metrics`)).text();
}

function valueIn(text: string, series: string): number {
  const line = text.split("\n").find((one) => one.startsWith(`${series} `));
  return Number(line?.slice(series.length + 1));
}

/** What counts the requests of the route `hello`; 0 before the first. */
function seriesIn(text: string): readonly number[] {
  return [
    'jotgate_http_requests_total{route="hello",status="200"}',
    'jotgate_http_request_duration_seconds_count{route="hello"}',
    'jotgate_http_request_duration_seconds_bucket{route="hello",le="+Inf"}',
  ].map((series) => valueIn(text, series) || 0);
}

/** Waits until every worker knows the route, then asks it once. */
async function reached(uri: string): Promise<void> {
  const { body } = await admin(adminNode, "GET", `/routes${uri}`);
  const { modifiedIndex } = body as { modifiedIndex: number };
  await fetch(`${gateway.status}/applied?min=${modifiedIndex}&wait=10000`);
  expect(await statusOn(await openSocket(), uri)).toBe(200);
}

/** So many calls, eight at a time, each on its own connection. */
async function callAll(uri: string, count: number): Promise<readonly number[]> {
  const statuses: number[] = [];
  const caller = async (): Promise<void> => {
    while (count-- > 0) statuses.push(await statusOn(await openSocket(), uri));
  };
  await Promise.all(Array.from({ length: 8 }, caller));
  return statuses;
}

function openSocket(node = gateway): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port: Number(new URL(node.gateway).port) }, () => resolve(socket));
    socket.on("error", reject);
  });
}

function textOn(socket: Socket, uri: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    socket.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
    socket.on("end", () => resolve(text));
    socket.on("error", reject);
    socket.write(`GET ${uri} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n`);
  });
}

async function statusOn(socket: Socket, uri: string): Promise<number> {
  return Number((await textOn(socket, uri)).slice(9, 12));
}

/** Open connections of clients that a process holds, as Linux tells. */
function connectionsOf(pid: number): number {
  const port = Number(new URL(gateway.gateway).port).toString(16).toUpperCase().padStart(4, "0");
  const inodes = new Set<string>();
  for (const line of readFileSync(`/proc/${pid}/net/tcp`, "utf8").split("\n")) {
    const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
    if (local.endsWith(`:${port}`) && state === "01") inodes.add(`socket:[${inode}]`);
  }
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return inodes.has(readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      return false; // closed meanwhile
    }
  }).length;
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
