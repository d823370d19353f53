/**
 * Upstream nodes that die, stall, close as we write, and come back: G1 with two of them, G13 for everybody else. What bad
 * framing does (fault 46) is in test/gateway/responses.test.ts.
 */
import { createServer, type Server } from "node:http";
import { createServer as createTcp, type Server as TcpServer } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { reportFault } from "../support/fault-report.ts";
import { type Load, percentile, startLoad } from "../support/load.ts";
import { allowTime, bounded, slack } from "../support/long-run.ts";
import { freePort } from "../support/ports.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";

allowTime();

let node: Node;
const ends: (() => unknown)[] = [];
const last = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Answers with its path; `keepAliveMs` is when it closes an idle connection. */
async function target(port: number, keepAliveMs = 600_000): Promise<Server> {
  const server = createServer((request, response) => response.end(request.url));
  server.keepAliveTimeout = keepAliveMs;
  server.listen(port, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  ends.push(() => close(server));
  return server;
}

function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  return closed;
}

async function route(
  name: string,
  ports: readonly number[],
  upstream: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  const nodes = Object.fromEntries(ports.map((port) => [`127.0.0.1:${port}`, 1]));
  const put = await admin(node, "PUT", `/routes/${name}`, {
    uri: `/${name}/*`,
    upstream: { type: "roundrobin", nodes, ...upstream },
  });
  expect(put.status, JSON.stringify(put.body)).toBe(201);
  await until(`route ${name}`, async () => (await fetch(`${node.gateway}/${name}/x`)).status !== 404);
}

function callers(name: string, rate: number): Load {
  return startLoad({
    targets: [{ name, origin: node.gateway }],
    rate,
    request: (n) => ({ path: `/${name}/${n}` }),
  });
}

describe("upstream nodes in trouble", () => {
  beforeAll(async () => {
    node = await startNode("start");
  });

  afterAll(async () => {
    await node?.stop("SIGKILL");
    for (const end of ends.splice(0).reverse()) await end();
  });

  test("G1: 43 one of two nodes dies and comes back: no request fails", async () => {
    const [one, two] = [await freePort(), await freePort()];
    let doomed = await target(one);
    await target(two);
    await route("pair", [one, two], {
      retries: 1,
      checks: {
        active: { type: "tcp", healthy: { interval: 1, successes: 1 }, unhealthy: { interval: 1, tcp_failures: 1 } },
      },
    });
    const load = callers("pair", bounded(100, 500));
    for (let i = 0; i < bounded(2, 10); i++) {
      await last(500);
      await close(doomed);
      await last(1_000);
      doomed = await target(one);
    }
    await last(500);
    await load.stop();
    reportFault({
      fault: "43 one of two upstream nodes dies and comes back",
      how: "listener and connections closed",
      ...{ sent: load.sent, failed: load.failed, freshMs: undefined, guarantees: "G1", held: load.failed === 0 },
    });
    expect(load.failures).toEqual([]);
  });

  test("G1: 45 an upstream that closes idle connections just as we write: no request fails", async () => {
    let sent = 0;
    for (const idleMs of bounded([1, 5, 20], [1, 2, 5, 10, 15, 20, 30, 50, 100])) {
      const port = await freePort();
      await target(port, idleMs);
      await route(`idle${idleMs}`, [port]);
      // Requests come about as far apart as the upstream waits.
      const load = callers(`idle${idleMs}`, Math.min(400, 1_000 / idleMs));
      await until("enough requests", () => load.sent >= bounded(100, 10_000 / 9), 600_000);
      await load.stop();
      sent += load.sent;
      expect(load.failures, `closes after ${idleMs} ms`).toEqual([]);
    }
    reportFault({
      fault: "45 upstream closes as we write",
      how: "keep-alive time-outs near the pace of requests",
      ...{ sent, failed: 0, freshMs: undefined, guarantees: "G1", held: true },
    });
  });

  test("G13: 44 a node that never answers costs its own callers a 504 and nobody else anything", async () => {
    const silent: TcpServer = createTcp((socket) => socket.on("error", () => {}).resume());
    silent.listen(0, "127.0.0.1");
    await new Promise((resolve) => silent.once("listening", resolve));
    ends.push(() => silent.close());
    const address = silent.address();
    const silentPort = address !== null && typeof address === "object" ? address.port : 0;
    const good = await freePort();
    await target(good);
    await route("innocent", [good]);
    const alone = callers("innocent", 100);
    await last(bounded(1_500, 10_000));
    await alone.stop();
    await route("silent", [silentPort], { retries: 0, timeout: { connect: 1, send: 1, read: 1 } });
    const stalled = startLoad({
      targets: [{ name: "silent", origin: node.gateway }],
      rate: 50,
      request: () => ({ path: "/silent/x" }),
      judge: ({ status }) => (status === 504 ? undefined : `status ${status}`),
    });
    const beside = callers("innocent", 100);
    await last(bounded(2_500, 20_000));
    await beside.stop();
    await stalled.stop();
    const p99 = (load: Load): number =>
      percentile(
        load.records.map(({ tookMs }) => tookMs),
        0.99,
      );
    reportFault({
      fault: "44 upstream accepts and never answers",
      how: "TCP server that only reads",
      sent: stalled.sent + beside.sent,
      failed: beside.failed + stalled.failed,
      freshMs: undefined,
      guarantees: "G13",
      held: beside.failed + stalled.failed === 0,
      note: `innocent callers p99 ${p99(alone).toFixed(0)} ms before, ${p99(beside).toFixed(0)} ms beside`,
    });
    expect(stalled.failures).toEqual([]);
    expect(beside.failures).toEqual([]);
  });

  test("G13: 48 with every node down the answer comes fast, and the first request after their return is served", async () => {
    const ports = [await freePort(), await freePort()];
    let servers = await Promise.all(ports.map((port) => target(port)));
    await route("all", ports, { retries: 1, timeout: { connect: 1, send: 1, read: 1 } });
    await Promise.all(servers.map(close));
    const down = startLoad({
      targets: [{ name: "all", origin: node.gateway }],
      rate: 100,
      request: () => ({ path: "/all/x" }),
      judge: ({ status }) => (status === 502 || status === 503 ? undefined : `status ${status}`),
    });
    await last(bounded(1_500, 60_000));
    await down.stop();
    expect(down.failures).toEqual([]);
    const slowest = Math.max(...down.records.map(({ runMs }) => runMs));
    servers = await Promise.all(ports.map((port) => target(port)));
    const backMs = performance.now();
    await until("served again", async () => (await fetch(`${node.gateway}/all/y`)).ok, slack(2_000), 5);
    reportFault({
      fault: "48 all upstream nodes down, then up",
      how: "listeners closed",
      ...{ sent: down.sent, failed: down.failed, freshMs: performance.now() - backMs, guarantees: "G13", held: true },
      note: `slowest refusal ${slowest.toFixed(0)} ms`,
    });
    expect(slowest).toBeLessThan(slack(2_000));
    expect(servers).toHaveLength(2);
  });
});
