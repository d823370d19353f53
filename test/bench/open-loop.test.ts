import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import { AnswerReader } from "../../bench/answer-reader.ts";
import { type OpenLoopPlan, openLoop } from "../../bench/open-loop.ts";
import { dueAfterMs, dueBy, percentile } from "../../bench/schedule.ts";

describe("the schedule of an open loop", () => {
  test("has requests due at fixed times, the first at once", () => {
    expect([0, 1, 250].map((index) => dueAfterMs(index, 1_000))).toEqual([0, 1, 250]);
    expect([-1, 0, 0.9, 1, 10, 99].map((ms) => dueBy(ms, 1_000, 50))).toEqual([0, 1, 1, 2, 11, 50]);
  });

  test("gives percentiles by rank", () => {
    const sorted = Float64Array.from({ length: 200 }, (_, n) => n + 1);
    expect([50, 99, 99.9, 100].map((percent) => percentile(sorted, percent))).toEqual([100, 198, 200, 200]);
    expect(percentile(new Float64Array(0), 99)).toBeNaN();
  });
});

describe("the reader of answers", () => {
  const ANSWER = Buffer.from("HTTP/1.1 404 Not Found\r\nX: y\r\ncontent-length: 5\r\n\r\nhello");

  test("ends an answer where its length says, wherever it is cut", () => {
    for (let at = 1; at < ANSWER.length; at++) {
      const reader = new AnswerReader();
      expect(reader.read(ANSWER.subarray(0, at)), `cut at ${at}`).toBe(0);
      expect(reader.read(ANSWER.subarray(at))).toBe(404);
      expect(reader.read(ANSWER)).toBe(404);
    }
  });

  test("takes an answer without a body", () => {
    expect(new AnswerReader().read(Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))).toBe(200);
    expect(new AnswerReader().read(Buffer.from("HTTP/1.1 204 No Content\r\n\r\n"))).toBe(204);
  });

  test.each([
    ["more bytes", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab"],
    ["without Content-Length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ["no answer", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\na"],
  ])("refuses to guess: %s", (says, text) => {
    expect(() => new AnswerReader().read(Buffer.from(text))).toThrow(says);
  });
});

describe("the open loop", () => {
  let server: Server | undefined;
  const folder = mkdtempSync(join(tmpdir(), "open-loop-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
  });

  async function planFor(listener: Parameters<typeof createServer>[1], given: Partial<OpenLoopPlan>) {
    server = createServer({}, listener ?? (() => {}));
    await new Promise<void>((ok) => server?.listen(0, "127.0.0.1", ok));
    // True: it listens on a port.
    const { port } = server.address() as AddressInfo;
    const requests = join(folder, "requests.txt");
    writeFileSync(requests, "/a\tBearer one\n/b\n");
    const plan = { url: `http://127.0.0.1:${port}`, requests, method: "GET", bodyBytes: 0, seconds: 1 };
    return { ...plan, connections: 2, rate: 100, status: 200, ...given };
  }

  test("sends every request of the plan, in turn, and judges each answer", async () => {
    const seen = { a: 0, b: 0, tokens: 0, bodies: 0 };
    const plan = await planFor(
      (request, response) => {
        if (request.url === "/a") seen.a++;
        else seen.b++;
        if (request.headers.authorization === "Bearer one") seen.tokens++;
        if (request.headers["content-length"] === "10") seen.bodies++;
        response.writeHead(request.url === "/b" ? 500 : 200, { "Content-Length": 2 }).end("ok");
      },
      { method: "POST", bodyBytes: 10 },
    );
    const result = await openLoop(plan);
    expect(seen).toEqual({ a: 75, b: 75, tokens: 75, bodies: 150 }); // half a second of them is not recorded
    expect(result).toMatchObject({ requests: 150, wrongStatus: 75, socketErrors: 0 });
  });

  test("charges a server that stalls for every request that was due meanwhile", async () => {
    const STALL_MS = 400;
    let answered = 0;
    const plan = await planFor(
      (_request, response) => {
        const answer = () => response.writeHead(200, { "Content-Length": 0 }).end();
        // One stall of the only connection, well within what is recorded.
        if (++answered === 100) setTimeout(answer, STALL_MS);
        else answer();
      },
      { connections: 1, rate: 100 },
    );
    const result = await openLoop(plan);
    // Of the 100 recorded requests, some 40 were due during the stall; measured from when they were sent, one was slow.
    expect(result.maxMs).toBeGreaterThanOrEqual(STALL_MS * 0.9);
    expect(result.p99Ms).toBeGreaterThan(STALL_MS / 2);
    expect(result.requests).toBe(150);
  });

  test("counts connections that end, and what stays unanswered", async () => {
    const plan = await planFor((request) => request.socket.destroy(), { connections: 2 });
    const result = await openLoop(plan);
    expect(result.socketErrors).toBeGreaterThan(2);
  });
});
