/** Upstreams that behave oddly: what they said is used as far as it is HTTP, and nothing waits for what cannot come. */
import { connect as connectHttp2 } from "node:http2";
import { createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { openBench } from "../runtime/upstream-fixture.ts";
import { openAuthority } from "../support/authority.ts";
import { LANES } from "./lanes.ts";
import {
  answering,
  ask,
  OK,
  openClient,
  openRawUpstream,
  openTestGateway,
  type RawUpstream,
  routingOf,
  type UpstreamInput,
  upstreamOf,
  waitFor,
} from "./support.ts";
import { openTlsGateway } from "./tls-support.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function open(upstream: RawUpstream, fastLane: boolean, input: UpstreamInput & { websocket?: boolean } = {}) {
  closing.push(() => upstream.close());
  const { websocket = false } = input;
  // Nothing here may end by a time-out.
  const timeouts = { connectMs: 600_000, sendMs: 600_000, readMs: 600_000 };
  const unit = upstreamOf([upstream.port], { retries: 0, timeouts, ...input });
  const gateway = await openTestGateway(routingOf({ "*": { upstream: unit, websocket } }), { fastLane });
  closing.push(() => gateway.close(0));
  return gateway;
}

describe.each(LANES)("$lane", ({ fastLane }) => {
  test.each([
    { says: "SSH", bytes: "SSH-2.0-OpenSSH_9.6\r\n" },
    { says: "SMTP", bytes: "220 mail.test ESMTP\r\n" },
    { says: "a TLS alert", bytes: "\x15\x03\x01\x00\x02\x02\x0a" },
    { says: "HTTP/2 settings", bytes: "\x00\x00\x12\x04\x00\x00\x00\x00\x00" },
    { says: "redis", bytes: "-ERR unknown command\r\n" },
    { says: "one wrong byte", bytes: "X" },
    { says: "another version of HTTP", bytes: "HTTP/3" },
    { says: "a bare line end behind the status", bytes: "HTTP/1.1 200 OK\nX: 1" },
    { says: "a header without a colon", bytes: "HTTP/1.1 200 OK\r\nnothing here\r\n" },
    { says: "NUL in a header", bytes: "HTTP/1.1 200 OK\r\nX: \0" },
  ])("a peer that says $says and waits is answered 502 at once", async ({ bytes }) => {
    const upstream = await openRawUpstream((socket, seen) => {
      if (seen.endsWith("\r\n\r\n")) socket.write(bytes, "latin1");
    });
    const gateway = await open(upstream, fastLane);
    expect((await ask(gateway.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n")).status).toBe(502);
  });

  test.each([
    { says: "1 s", keepAlive: "timeout=1, max=100", kept: true },
    { says: "0 s", keepAlive: "timeout=0", kept: false },
  ])("an upstream that keeps a connection for $says has it kept no longer", async ({ keepAlive, kept }) => {
    const answer = `HTTP/1.1 200 OK\r\nKeep-Alive: ${keepAlive}\r\nContent-Length: 2\r\n\r\nok`;
    const upstream = await openRawUpstream(answering(answer));
    const gateway = await open(upstream, fastLane, { pool: { idleMs: 3_600_000 } });
    expect((await ask(gateway.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n")).body).toBe("ok");
    const shows = (state: string, count: number) => async (): Promise<boolean> =>
      (await gateway.scrape()).includes(`jotgate_upstream_connections{state="${state}"} ${count}`);
    if (kept) await waitFor(shows("idle", 1));
    await waitFor(shows("idle", 0));
    await waitFor(shows("active", 0));
  });

  test("G3: an answer that comes while the body is still sent arrives, though the upstream then closes", async () => {
    const early = `HTTP/1.1 413 Too Large\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n${"e".repeat(100_000)}`;
    // It reads the head, answers, and closes with the body unread: a reset follows its answer.
    const server = await listen((socket) => {
      socket.once("data", () => {
        socket.pause();
        socket.write(early);
        socket.destroySoon();
      });
    });
    const port = portOf(server);
    const unit = upstreamOf([port], { retries: 0 });
    const gateway = await openTestGateway(routingOf({ "*": { upstream: unit } }), { fastLane });
    closing.push(() => gateway.close(0));
    for (let round = 0; round < 25; round++) {
      const client = await openClient(gateway.port);
      client.send(`POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: ${40_000_000}\r\n\r\n`);
      const piece = Buffer.alloc(256 * 1024, "b");
      let left = 40_000_000;
      const more = (): void => {
        while (left > 0 && !client.closed) {
          const size = Math.min(left, piece.length);
          left -= size;
          if (!client.socket.write(piece.subarray(0, size))) {
            client.socket.once("drain", more);
            return;
          }
        }
      };
      more();
      const text = await client.until((got) => got.endsWith("e".repeat(1000)) && got.length > 100_000);
      client.close();
      expect(text.slice(0, 12)).toBe("HTTP/1.1 413");
      expect(text.length).toBeGreaterThan(100_000);
    }
  });

  test("where one address of a name refuses, the next is asked, and the node is judged by what came of it", async () => {
    const upstream = await openRawUpstream(answering(OK));
    closing.push(() => upstream.close());
    const bench = openBench();
    bench.script.answers.set("a.test", { addresses: ["127.0.0.31", "127.0.0.1", "127.0.0.32"], ttlSeconds: 60 });
    const passive = { unhealthy: { tcp_failures: 1 } };
    const unit = bench.compile({ nodes: { [`a.test:${upstream.port}`]: 1 }, checks: { active: {}, passive } });
    const gateway = await openTestGateway(routingOf({ "*": { upstream: unit } }), { fastLane });
    closing.push(() => gateway.close(0));
    for (let n = 0; n < 6; n++) {
      const answer = await ask(gateway.port, `POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n${n}`);
      expect(answer.status).toBe(200);
    }
    expect(bench.upstreams.healthStatus()[0]?.nodes[0]?.status).toBe("healthy");
    await upstream.close();
    expect((await ask(gateway.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n")).status).toBe(502);
    expect(bench.upstreams.healthStatus()[0]?.nodes[0]?.status).toBe("unhealthy");
  });

  test("an upgrade to a protocol that was not asked for is answered 502", async () => {
    let answered = "h2c";
    const upstream = await openRawUpstream((socket, seen) => {
      if (!seen.endsWith("\r\n\r\n")) return;
      socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${answered}\r\n\r\n`);
    });
    const gateway = await open(upstream, fastLane, { websocket: true });
    const request =
      "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    for (answered of ["h2c", "websocket, h2c"]) expect((await ask(gateway.port, request)).status).toBe(502);
    answered = "WebSocket";
    expect((await ask(gateway.port, request)).status).toBe(101);
  });
});

test("a status above 599 is a 502 over HTTP/2, with what the upstream said", async () => {
  const upstream = await openRawUpstream(answering("HTTP/1.1 666 Odd\r\nX-A: 1\r\nContent-Length: 4\r\n\r\nmine"));
  closing.push(() => upstream.close());
  const authority = openAuthority();
  closing.push(() => authority.close());
  const pair = authority.issue(["a.test"]);
  const gateway = await openTlsGateway(routingOf({ "*": { upstream: upstreamOf([upstream.port]) } }));
  closing.push(() => gateway.close(0));
  gateway.ssls.set("1", { ...pair, snis: ["a.test"] });
  const session = connectHttp2(`https://127.0.0.1:${gateway.tlsPort}`, { servername: "a.test", ca: authority.cert });
  closing.push(() => session.destroy());
  const stream = session.request({ ":path": "/x", ":authority": "a.test" });
  const answer = await new Promise<{ status: unknown; body: string }>((resolve, reject) => {
    let body = "";
    let status: unknown;
    stream.on("response", (headers) => {
      status = headers[":status"];
    });
    stream.setEncoding("latin1").on("data", (chunk: string) => {
      body += chunk;
    });
    stream.on("end", () => resolve({ status, body })).on("error", reject);
  });
  expect(answer).toEqual({ status: 502, body: "mine" });
});

function listen(serve: (socket: Socket) => void): Promise<Server> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    serve(socket);
  });
  closing.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

function portOf(server: Server): number {
  const address = server.address();
  return typeof address === "object" && address ? address.port : 0;
}
