/**
 * WebSockets through a real node: authenticated on the handshake, then a tunnel with time-outs, back-pressure and an end.
 */
import type { Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { makeToken, SECRET } from "../support/jwt.ts";
import { percentile } from "../support/load.ts";
import { bounded, slack } from "../support/long-run.ts";
import { mib, residentMib, watchMemory } from "../support/memory.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";
import { metricsOf, sampleOf } from "../support/scrape.ts";
import {
  BINARY,
  CLOSE,
  type HandshakeOptions,
  openWebSocket,
  PING,
  PONG,
  type ServerSide,
  startWebSocketServer,
  type WebSocketClient,
  type WebSocketServer,
} from "../support/websocket.ts";

const AT_ONCE = bounded(200, 1_000);
const GROWTH_MIB = 64;
const DRAIN_MS = 1_500;
const say = (text: string): void => void process.stdout.write(`\n${text}\n`);

describe.each([
  { lane: "fast lane", fastLane: "on" },
  { lane: "general lane", fastLane: "off" },
] as const)("$lane", ({ lane, fastLane }) => {
  let upstream: WebSocketServer;
  let node: Node;
  const clients: WebSocketClient[] = [];

  beforeAll(async () => {
    upstream = await startWebSocketServer();
    node = await start();
  });

  afterEach(() => {
    for (const client of clients.splice(0)) client.destroy();
  });

  afterAll(async () => {
    await node?.stop("SIGKILL");
    await upstream?.stop();
  });

  async function start(...args: readonly string[]): Promise<Node> {
    const started = await startNode("start", { args: ["--fast-lane", fastLane, ...args] });
    const target = { type: "roundrobin", nodes: { [`127.0.0.1:${upstream.port}`]: 1 } };
    const auth = { "jwt-auth": {} };
    const records: Record<string, unknown> = {
      "/consumers/jack": { username: "jack", plugins: { "jwt-auth": { key: "ws-key", secret: SECRET } } },
      "/routes/open": { uri: "/open", enable_websocket: true, upstream: target },
      "/routes/guarded": { uri: "/guarded", enable_websocket: true, plugins: auth, upstream: target },
      "/routes/plain": { uri: "/plain", upstream: target },
      "/services/ws": { enable_websocket: true, upstream: target },
      "/routes/by-service": { uri: "/by-service", service_id: "ws" },
      "/routes/against-service": { uri: "/against-service", service_id: "ws", enable_websocket: false },
      "/routes/idle": {
        uri: "/idle",
        enable_websocket: true,
        timeout: { connect: 5, send: 5, read: 1 },
        upstream: target,
      },
      "/routes/limited": {
        uri: "/limited",
        enable_websocket: true,
        plugins: {
          "limit-conn": { conn: 2, burst: 0, default_conn_delay: 0.1, key: "remote_addr", rejected_code: 429 },
        },
        upstream: target,
      },
    };
    for (const [path, record] of Object.entries(records))
      expect((await admin(started, "PUT", path, record)).status, path).toBe(201);
    await until("the last route", async () => (await fetch(`${started.gateway}/limited`)).ok);
    return started;
  }

  async function open(path: string, options: Partial<HandshakeOptions> = {}, to = node): Promise<WebSocketClient> {
    const client = await openWebSocket({ port: Number(new URL(to.gateway).port), path, ...options });
    clients.push(client);
    return client;
  }

  /** An open tunnel and the upstream's side of it. */
  async function openBoth(path: string, to = node): Promise<[WebSocketClient, ServerSide]> {
    const before = new Set(upstream.open);
    const client = await open(path, {}, to);
    expect(client.status).toBe(101);
    const peer = await until("the upstream's side", () => [...upstream.open].find((one) => !before.has(one)));
    return [client, peer];
  }

  const ended = (socket: Socket): Promise<void> => new Promise((ok) => void socket.once("end", ok).once("close", ok));
  const noneActive = (): Promise<unknown> =>
    until("no upstream connection is at work", async () => {
      return sampleOf(await metricsOf(node), "jotgate_upstream_connections", 'state="active"') === 0;
    });

  const token = (payload: object = {}): string =>
    makeToken({ payload: { key: "ws-key", exp: Math.floor(Date.now() / 1_000) + 3_600, ...payload } });

  test.each([
    { says: "no token", path: "/guarded", status: 401 },
    { says: "a token that is none", path: "/guarded", headers: { Authorization: "Bearer a.b.c" }, status: 401 },
    { says: "an expired one", path: "/guarded", headers: { Authorization: token({ exp: 1 }) }, status: 401 },
    { says: "a token in the header", path: "/guarded", headers: { Authorization: `Bearer ${token()}` }, status: 101 },
    { says: "a token in the query, as browsers must", path: `/guarded?jwt=${token()}`, status: 101 },
    { says: "a token in a cookie", path: "/guarded", headers: { Cookie: `jwt=${token()}` }, status: 101 },
  ])("a handshake with $says is answered $status", async ({ path, headers = {}, status }) => {
    const seen = upstream.heads.length;
    const client = await open(path, { headers: { ...headers, "X-Consumer-Username": "mallory" } });
    expect(client.status).toBe(status);
    if (status === 101) expect(upstream.heads.at(-1)).toMatch(/\r\nX-Consumer-Username: jack\r\n/i);
    else expect(upstream.heads).toHaveLength(seen);
    if (status === 101) expect(upstream.heads.at(-1)).not.toContain("mallory");
    if (status === 401) await until("the reason", () => client.body().includes('"message"'));
    client.destroy();
  });

  test("frames of all sizes pass both ways, pings and pongs too", async () => {
    const client = await open("/open");
    for (const size of [0, 1, 125, 126, 65_535, 65_536, mib(2)]) {
      const payload = Buffer.alloc(size, size % 251);
      client.send(payload, BINARY);
      const frame = await client.next();
      expect(frame.opcode).toBe(BINARY);
      expect(frame.payload.equals(payload)).toBe(true);
    }
    client.send("beat", PING);
    expect(await client.next()).toEqual({ opcode: PONG, payload: Buffer.from("beat") });
    const [peer] = upstream.open;
    peer?.send("unasked");
    expect((await client.next()).payload.toString()).toBe("unasked");
    client.send(Buffer.from([0x03, 0xe8]), CLOSE);
    expect((await client.next()).opcode).toBe(CLOSE);
    await client.ended;
  });

  test.each([
    { says: "a route that does not allow it", path: "/plain", status: 200 },
    { says: "a service that allows it", path: "/by-service", status: 101 },
    { says: "a route that takes back what its service allows", path: "/against-service", status: 200 },
  ])("$says: $status", async ({ path, status }) => {
    const client = await open(path);
    expect(client.status).toBe(status);
    if (status === 200) {
      expect(upstream.heads.at(-1)).not.toMatch(/^(?:upgrade|connection):/im);
      await until("the answer", () => client.body() === "plain");
    }
    client.destroy();
  });

  test("a tunnel in which nothing moves ends by the route's read time-out", async () => {
    const startMs = performance.now();
    const client = await open("/idle");
    await client.ended;
    expect(performance.now() - startMs).toBeGreaterThan(900);
  });

  test.each([
    { says: "the client", move: (client: WebSocketClient, _peer: ServerSide) => client.send("x", PONG) },
    { says: "the upstream", move: (_client: WebSocketClient, peer: ServerSide) => peer.send("x", PONG) },
  ])("a tunnel in which only $says sends stays open", async ({ move }) => {
    const quiet = await startWebSocketServer(() => {});
    const record = { uri: "/quiet", enable_websocket: true, timeout: { connect: 5, send: 5, read: 2 } };
    const nodes = { [`127.0.0.1:${quiet.port}`]: 1 };
    expect((await admin(node, "PUT", "/routes/quiet", { ...record, upstream: { nodes } })).status).toBeLessThan(300);
    await until("the route", async () => (await fetch(`${node.gateway}/quiet`)).ok);
    const client = await open("/quiet");
    expect(client.status).toBe(101);
    const peer = [...quiet.open].at(-1) as ServerSide; // true: it has answered
    let over = false;
    void client.ended.then(() => {
      over = true;
    });
    const startMs = performance.now();
    const timer = setInterval(() => move(client, peer), 100);
    await until("two time-outs have passed, or the end", () => over || performance.now() - startMs > 5_000);
    clearInterval(timer);
    expect(over).toBe(false);
    client.destroy();
    await quiet.stop();
  });

  test("a client that has said all still hears the upstream", async () => {
    const [client, peer] = await openBoth("/open");
    peer.socket.removeAllListeners("end");
    const told = ended(peer.socket);
    client.socket.end();
    await told;
    peer.send("goodbye");
    expect((await client.next()).payload.toString()).toBe("goodbye");
    peer.socket.end();
    await client.ended;
  });

  test("all that an upstream has said before it ended reaches the client", async () => {
    const [client, peer] = await openBoth("/open");
    for (let i = 0; i < 50; i++) peer.send(Buffer.alloc(65_536, i), BINARY);
    peer.socket.end();
    for (let i = 0; i < 50; i++) expect((await client.next()).payload[0]).toBe(i);
    await client.ended;
  });

  test("an upstream that dies ends the tunnel; a client that dies ends it as well", async () => {
    const [first, firstPeer] = await openBoth("/open");
    firstPeer.socket.resetAndDestroy();
    await first.ended;
    const [second, secondPeer] = await openBoth("/open");
    const gone = ended(secondPeer.socket);
    second.socket.resetAndDestroy();
    await gone;
    await noneActive();
  });

  test("a client that does not read stops the upstream, and memory stays flat", async () => {
    const [client, peer] = await openBoth("/open");
    const total = mib(128);
    const block = Buffer.alloc(mib(1) - 10, 7);
    client.socket.pause();
    const watch = watchMemory(node.pid);
    let flowing = true;
    let sent = 0;
    peer.socket.on("drain", () => {
      flowing = true;
    });
    const pump = setInterval(() => {
      for (; flowing && sent < total; sent += mib(1)) {
        peer.send(block, BINARY);
        flowing = !peer.socket.writableNeedDrain;
      }
    }, 5);
    let last = -1;
    let sinceMs = performance.now();
    await until("the upstream can send no more", () => {
      if (sent !== last) sinceMs = performance.now();
      last = sent;
      return performance.now() - sinceMs > 300;
    });
    expect(sent).toBeLessThan(total);
    client.socket.resume();
    for (let i = 0; i < 128; i++) expect((await client.next()).payload.length).toBe(block.length);
    clearInterval(pump);
    const memory = watch.stop();
    if (memory) expect(memory.peak - memory.start).toBeLessThan(GROWTH_MIB);
    client.destroy();
  });

  test("limit-conn counts a tunnel for as long as it is open", async () => {
    const [first, second] = [await open("/limited"), await open("/limited")];
    expect([first.status, second.status]).toEqual([101, 101]);
    expect((await open("/limited")).status).toBe(429);
    first.destroy();
    await until("a free place", async () => (await open("/limited")).status === 101);
  });

  test(`${AT_ONCE} WebSockets at once all work`, async () => {
    await noneActive();
    const before = residentMib(node.pid);
    const startMs = performance.now();
    const all = await Promise.all(
      Array.from({ length: AT_ONCE }, () => open("/guarded", { headers: { Authorization: token() } })),
    );
    const openedMs = performance.now() - startMs;
    expect(all.filter(({ status }) => status === 101)).toHaveLength(AT_ONCE);
    const times: number[] = [];
    for (let round = 0; round < 3; round++)
      await Promise.all(
        all.map(async (client, i) => {
          const sentMs = performance.now();
          client.send(`${round}/${i}`);
          expect((await client.next(20_000)).payload.toString()).toBe(`${round}/${i}`);
          times.push(performance.now() - sentMs);
        }),
      );
    const after = residentMib(node.pid);
    const each = before === undefined || after === undefined ? "?" : (((after - before) * 1_024) / AT_ONCE).toFixed(0);
    say(
      `${lane}, ${AT_ONCE} WebSockets: open after ${openedMs.toFixed(0)} ms, ${each} KiB each; echo to all at once ` +
        `p50 ${percentile(times, 0.5).toFixed(1)} ms, p99 ${percentile(times, 0.99).toFixed(1)} ms`,
    );
    expect(sampleOf(await metricsOf(node), "jotgate_upstream_connections", 'state="active"')).toBe(AT_ONCE);
    for (const client of all) client.destroy();
    await noneActive();
  });

  // Starting two more processes is worth it once: a tunnel that is there is the same on both lanes.
  if (fastLane === "on") {
    test("SIGTERM leaves tunnels their drain time, then ends them and exits 0", async () => {
      const draining = await start("--drain-time", `${DRAIN_MS}ms`);
      const [client] = await openBoth("/open", draining);
      const startMs = performance.now();
      draining.signal("SIGTERM");
      await until("not ready", async () => (await fetch(`${draining.status}/ready`)).status === 503);
      client.send("still here");
      expect((await client.next()).payload.toString()).toBe("still here");
      await client.ended;
      expect(performance.now() - startMs).toBeGreaterThan(DRAIN_MS * 0.9);
      expect(await draining.exited).toBe(0);
    });

    test("SIGTERM waits no longer than the last tunnel is open", async () => {
      const draining = await start("--drain-time", "120s");
      const [client] = await openBoth("/open", draining);
      draining.signal("SIGTERM");
      await until("not ready", async () => (await fetch(`${draining.status}/ready`)).status === 503);
      const startMs = performance.now();
      client.send(Buffer.from([0x03, 0xe8]), CLOSE);
      expect(await draining.exited).toBe(0);
      expect(performance.now() - startMs).toBeLessThan(slack(1_500)); // not the two minutes
    });
  }
});
