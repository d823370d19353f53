/** What Node.js takes from its surroundings (NODE_OPTIONS, signals) opens nothing of a running node. */
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { admin, type Node, startNode, until } from "../support/process.ts";

let upstream: Server;
const seen: string[] = [];
const nodes: Node[] = [];

beforeAll(async () => {
  upstream = createServer((request, response) => {
    seen.push(request.url ?? "");
    request.resume().on("end", () => response.end("ok"));
  });
  await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
});

afterAll(async () => {
  for (const node of nodes) await node.stop("SIGKILL");
  upstream.closeAllConnections();
  upstream.close();
});

async function open(args: readonly string[], env: Record<string, string> = {}): Promise<Node> {
  const node = await startNode("start", { args, env });
  nodes.push(node);
  const address = upstream.address();
  const port = address && typeof address === "object" ? address.port : 0;
  const route = { uri: "/*", upstream: { type: "roundrobin", nodes: { [`127.0.0.1:${port}`]: 1 } } };
  expect((await admin(node, "PUT", "/routes/1?wait=all", route)).status).toBe(201);
  return node;
}

/** The status of the first answer to these bytes; "" when the connection ends without any. */
function statusOf(base: string, bytes: string): Promise<string> {
  return new Promise((resolve) => {
    const { hostname, port } = new URL(base);
    let text = "";
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    const end = (): void => {
      socket.destroy();
      resolve(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? "");
    };
    socket.on("data", (chunk) => {
      text += chunk;
      if (text.includes("\r\n\r\n")) end();
    });
    socket.on("end", end).on("error", end);
  });
}

/** What Node's lenient parser takes and its strict one refuses. */
const LENIENT = [
  { says: "a control character in a header value", bytes: "GET /a HTTP/1.1\r\nHost: h\r\nX-A: a\x01b\r\n\r\n" },
  {
    says: "a length beside chunks",
    bytes:
      "POST /b HTTP/1.1\r\nHost: h\r\nExpect: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  },
  {
    says: "chunked that is not the last coding",
    bytes: "POST /c HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
  },
  { says: "a line that ends in LF alone", bytes: "GET /d HTTP/1.1\nHost: h\nExpect: 100-continue\n\n" },
  { says: "a space before the colon", bytes: "GET /e HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nX-A : b\r\n\r\n" },
];

describe("NODE_OPTIONS", () => {
  let node: Node;
  beforeAll(async () => {
    const options = "--insecure-http-parser --max-http-header-size=1000000";
    node = await open([], { NODE_OPTIONS: options, NODE_TLS_REJECT_UNAUTHORIZED: "0" });
  });

  test.each(LENIENT)("--insecure-http-parser softens no listener: $says", async ({ bytes }) => {
    seen.length = 0;
    for (const base of [node.gateway, node.admin, node.status, node.control]) {
      expect(await statusOf(base, bytes), base).toMatch(/^(?:400|417|)$/);
    }
    expect(seen).toEqual([]);
  });

  test("--max-http-header-size does not lift the bounds of the inner listeners", async () => {
    const bytes = `GET /live HTTP/1.1\r\nHost: h\r\nX-A: ${"a".repeat(100_000)}\r\n\r\n`;
    for (const base of [node.admin, node.status, node.control]) expect(await statusOf(base, bytes), base).toBe("431");
  });

  test("NODE_TLS_REJECT_UNAUTHORIZED=0 is said to be ignored", () => {
    expect(node.output()).toContain("NODE_TLS_REJECT_UNAUTHORIZED=0 is ignored");
  });
});

/** Process ids of a node, its workers and the one that stands by. */
function processesOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return [pid, ...children.split(" ").filter(Boolean).map(Number)];
}

/** Ports on which anything of this machine listens on loopback. */
function listening(): Set<number> {
  const ports = new Set<number>();
  for (const line of readFileSync("/proc/net/tcp", "utf8").split("\n").slice(1)) {
    const [, local = "", , state] = line.trim().split(/\s+/);
    if (state === "0A") ports.add(Number.parseInt(local.split(":")[1] ?? "", 16));
  }
  return ports;
}

const DEBUGGER = 9229;

describe("signals", () => {
  test("SIGUSR1 opens no debugger, in any process", async () => {
    const node = await open(["--workers", "2"]);
    // The milliseconds before the first line of ours runs are Node's: a process has its name once that line is behind it.
    const isOurs = (pid: number): boolean => readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("jotgate ");
    await until("two workers and one that stands by", () => {
      const processes = processesOf(node.pid);
      return processes.length >= 4 && processes.every(isOurs);
    });
    for (const pid of processesOf(node.pid)) process.kill(pid, "SIGUSR1");
    for (let i = 0; i < 20; i++) expect((await fetch(`${node.gateway}/${i}`)).status).toBe(200);
    expect(node.output()).not.toContain("Debugger listening");
    expect(listening()).not.toContain(DEBUGGER);
  });

  test.each(["1", "2"])("SIGQUIT to all of %s worker processes drains the node", async (workers) => {
    const node = await open(["--workers", workers]);
    for (const pid of processesOf(node.pid).reverse()) process.kill(pid, "SIGQUIT");
    expect(await node.exited).toBe(0);
  });
});
