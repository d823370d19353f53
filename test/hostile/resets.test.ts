/**
 * Clients that reset their connection at the worst moment, in a real process: nobody else may notice.
 */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { admin, type Node, startNode, until } from "../support/process.ts";
import { startWebSocketServer, type WebSocketServer } from "../support/websocket.ts";

const UPGRADE = "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
const GET = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
const POST = "POST /x HTTP/1.1\r\nHost: h\r\n";

const CASES: readonly { readonly says: string; readonly bytes: string }[] = [
  { says: "CONNECT", bytes: "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n" },
  { says: "a refused WebSocket handshake", bytes: `${UPGRADE}Host: again\r\n\r\n` },
  { says: "a WebSocket handshake with a body", bytes: `${UPGRADE}Content-Length: 5\r\n\r\nhello` },
  { says: "a WebSocket handshake without a key", bytes: `${UPGRADE}\r\n` },
  { says: "an open WebSocket", bytes: `${UPGRADE}Sec-WebSocket-Key: a\r\n\r\n` },
  { says: "another upgrade", bytes: "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n" },
  { says: "a handshake behind a request", bytes: `${GET}${UPGRADE}\r\n` },
  { says: "a request", bytes: GET },
  { says: "ten requests", bytes: GET.repeat(10) },
  { says: "half a body", bytes: `${POST}Content-Length: 100000\r\n\r\nhello` },
  { says: "half a chunk", bytes: `${POST}Transfer-Encoding: chunked\r\n\r\n5\r\nhel` },
  { says: "a body that waits for 100", bytes: `${POST}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n` },
  { says: "what no parser reads", bytes: "GET /x HTTP/1.1\nHost: h\n\n" },
  { says: "half a head", bytes: "GET /x HTTP/1.1\r\nHo" },
];

describe.each([["on"], ["off"]] as const)("fast lane %s", (fastLane) => {
  let upstream: WebSocketServer;
  let node: Node;

  beforeAll(async () => {
    upstream = await startWebSocketServer();
    node = await startNode("start", { args: ["--fast-lane", fastLane] });
    const nodes = { [`127.0.0.1:${upstream.port}`]: 1 };
    const route = { uri: "/*", enable_websocket: true, upstream: { type: "roundrobin", nodes } };
    expect((await admin(node, "PUT", "/routes/1", route)).status).toBe(201);
    await until("the route", async () => (await fetch(`${node.gateway}/x`)).ok);
  });

  afterAll(async () => {
    await node?.stop("SIGKILL");
    await upstream?.stop();
  });

  test.each(CASES)("the node survives a reset after $says", async ({ bytes }) => {
    // At once, after the bytes have left, and a little later: which one meets the node's own write differs by machine.
    for (let i = 0; i < 30; i++) await sendAndReset(node, bytes, i % 3);
    const after = await fetch(`${node.gateway}/x`).catch((error: unknown) => error);
    expect(after, node.output()).toHaveProperty("status", 200);
  });
});

function sendAndReset(node: Node, bytes: string, waitMs: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(Number(new URL(node.gateway).port), "127.0.0.1");
    socket.on("error", () => resolve());
    socket.on("close", () => resolve());
    socket.write(bytes, "latin1", () => {
      if (waitMs === 0) socket.resetAndDestroy();
      else setTimeout(() => socket.resetAndDestroy(), waitMs);
    });
    socket.resume();
  });
}
