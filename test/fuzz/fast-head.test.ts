/**
 * The fast lane against llhttp: whatever the fast lane accepts, Node's parser accepts with the same method, target,
 * header list and body. The other way round nothing is promised: what is not accepted is handed over.
 */
import { createServer, type IncomingMessage } from "node:http";
import { Duplex } from "node:stream";
import { afterAll, expect, test } from "vitest";
import { readHeaderBlock, readRequestLine } from "../../src/gateway/fast/fast-head.ts";
import { HeaderScan } from "../../src/gateway/http/request-headers.ts";
import { Dice, damage, makeRequest, seeds } from "./http-input.ts";

interface Read {
  /** What the request takes of the input. */
  readonly bytes: string;
  readonly method: string;
  readonly target: string;
  readonly lines: readonly string[];
  readonly body: string;
}

class Recorder extends HeaderScan {
  readonly raw: string[] = [];

  override add(name: string, value: string, kind?: number): void {
    this.raw.push(name, value);
    super.add(name, value, kind);
  }
}

/** The first request of `text` as the fast lane reads it; undefined when it would wait or hand over. */
function readFast(text: string): Read | undefined {
  const given = Buffer.from(text, "latin1");
  const line = { method: "", targetAt: 0, targetEnd: 0 };
  const blockAt = readRequestLine(given, line);
  if (blockAt < 0) return undefined;
  const scan = new Recorder();
  scan.begin({ forwardedTrust: "unset", realIpHeader: "x-real-ip" });
  const end = readHeaderBlock(given, blockAt, 100, scan);
  if (end < 0 || scan.finish() !== undefined) return undefined;
  if (scan.chunked || scan.expect !== undefined || scan.upgrade !== undefined) return undefined;
  const length = Math.max(0, scan.length);
  const body = text.slice(end, end + length);
  if (body.length < length) return undefined;
  const target = text.slice(line.targetAt, line.targetEnd);
  return { bytes: text.slice(0, end + length), method: line.method, target, lines: scan.raw, body };
}

const waiting = new WeakMap<object, (read: Omit<Read, "bytes"> | undefined) => void>();
const server = createServer({ requireHostHeader: false }, (request: IncomingMessage) => {
  let body = "";
  request.setEncoding("latin1");
  request.on("data", (piece: string) => {
    body += piece;
  });
  request.on("end", () =>
    waiting.get(request.socket)?.({
      method: request.method ?? "",
      target: request.url ?? "",
      lines: request.rawHeaders,
      body,
    }),
  );
});
server.maxHeadersCount = 0;
server.on("clientError", (_error, socket) => waiting.get(socket)?.(undefined));
server.on("connect", (_request, socket) => waiting.get(socket)?.(undefined));

afterAll(() => void server.close());

/** The request that these bytes are for llhttp; undefined when it refuses them or wants more. */
function readNode(bytes: string): Promise<Read | undefined> {
  return new Promise((resolve) => {
    const socket = new Duplex({ read: () => {}, write: (_chunk, _encoding, done) => done() });
    waiting.set(socket, (read) => {
      waiting.delete(socket);
      resolve(read && { bytes, ...read });
      socket.destroy();
    });
    server.emit("connection", socket);
    socket.push(Buffer.from(bytes, "latin1"));
    socket.push(null);
    socket.on("close", () => resolve(undefined));
  });
}

test("what the fast lane accepts, llhttp accepts with the same meaning", async ({ task }) => {
  const { from, to } = seeds(20_000, task.timeout);
  let accepted = 0;
  for (let seed = from; seed < to; seed++) {
    const dice = new Dice(seed);
    const text = damage(dice, makeRequest(dice));
    const fast = readFast(text);
    if (!fast) continue;
    accepted++;
    const node = await readNode(fast.bytes);
    expect(node, `FUZZ_SEED=${seed}: ${JSON.stringify(text)}`).toEqual(fast);
  }
  if (to - from > 1) expect(accepted / (to - from)).toBeGreaterThan(0.1);
});

test("every single byte in every place of a plain head is read alike or not accepted", async () => {
  const plain = "GET /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi";
  for (let at = 0; at < plain.length; at++) {
    // All bytes would take minutes; those below 0x30 and around the borders of classes mean something.
    for (const code of [
      0, 1, 9, 10, 11, 12, 13, 32, 33, 34, 35, 37, 44, 45, 47, 48, 49, 58, 59, 64, 65, 91, 95, 97, 123, 126, 127, 128,
      160, 255,
    ]) {
      const text = plain.slice(0, at) + String.fromCharCode(code) + plain.slice(at + 1);
      const fast = readFast(text);
      if (fast) expect(await readNode(fast.bytes), JSON.stringify(text)).toEqual(fast);
    }
  }
});
