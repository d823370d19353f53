/** HTTP/2 upstreams: sessions and their ends, what a bad one may not do, and that no client can tell the protocol. */
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { connect, createServer as createHttp2 } from "node:http2";
import type { AddressInfo, Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  ACK,
  answerFrames,
  END_HEADERS,
  END_STREAM,
  FRAME,
  type Frame,
  type FrameServer,
  type FrameServerConnection,
  frame,
  headerBlock,
  openFrameServer,
  setting,
  u32,
} from "../support/http2-frames.ts";
import {
  answering,
  ask,
  cutResponse,
  openClient,
  openRawUpstream,
  openTestGateway,
  routingOf,
  send,
  type TestGateway,
  type TestUpstream,
  type UpstreamInput,
  upstreamOf,
  waitFor,
} from "./support.ts";

const closing: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of closing.reverse()) await close();
});

async function open(upstream: TestUpstream): Promise<TestGateway> {
  const gateway = await openTestGateway(routingOf({ "*": { upstream } }));
  closing.push(() => gateway.close(0));
  return gateway;
}

async function frames(...input: Parameters<typeof openFrameServer>): Promise<FrameServer> {
  const server = await openFrameServer(...input);
  closing.push(() => server.close());
  return server;
}

const http2 = (port: number, input: UpstreamInput = {}): TestUpstream => upstreamOf([port], { http2: true, ...input });
const GET = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
const POST = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nb";
const isRequest = ({ type }: Frame): boolean => type === FRAME.HEADERS;

describe("sessions", () => {
  test("many requests share a connection, and none goes out before the upstream's SETTINGS", async () => {
    let early = 0;
    const held: Frame[] = [];
    const server = await frames((got, connection) => {
      if (got.type === FRAME.SETTINGS && got.flags === 0) {
        setImmediate(() =>
          connection.send(frame(FRAME.SETTINGS, 0, 0, setting(3, 100)), frame(FRAME.SETTINGS, ACK, 0)),
        );
      } else if (isRequest(got)) {
        if (!connection.frames.some(({ type, flags }) => type === FRAME.SETTINGS && flags === ACK)) early++;
        held.push(got);
        if (held.length === 20) for (const { stream } of held) connection.send(answerFrames(stream));
      }
    }, "none");
    const gateway = await open(http2(server.port));
    const got = await Promise.all(Array.from({ length: 20 }, () => ask(gateway.port, GET)));
    expect(got.every(({ status, body }) => status === 200 && body === "ok")).toBe(true);
    expect([server.connections.length, early]).toEqual([1, 0]);
  });

  test("its limit of streams is kept: others wait, or get the next connection", async () => {
    const open1 = new Map<FrameServerConnection, number>();
    let most = 0;
    const server = await frames(
      (got, connection) => {
        if (!isRequest(got)) return;
        const now = (open1.get(connection) ?? 0) + 1;
        open1.set(connection, now);
        most = Math.max(most, now);
        setTimeout(() => {
          open1.set(connection, (open1.get(connection) ?? 1) - 1);
          connection.send(answerFrames(got.stream));
        }, 20);
      },
      setting(3, 2),
    );
    const gateway = await open(http2(server.port, { pool: { size: 3 } }));
    const got = await Promise.all(Array.from({ length: 30 }, () => ask(gateway.port, GET)));
    expect(got.every(({ status }) => status === 200)).toBe(true);
    expect(most).toBeLessThanOrEqual(2);
    expect(server.connections.length).toBeLessThanOrEqual(3);
  });

  test("GOAWAY: what was begun is finished, what was not looked at is sent again, also a POST", async () => {
    const seen: string[] = [];
    const server = await frames((got, connection) => {
      if (!isRequest(got)) return;
      seen.push(`${connection.index}:${got.stream}`);
      if (connection.index > 0) connection.send(answerFrames(got.stream, "new"));
      else if (got.stream === 3) {
        connection.send(frame(FRAME.GOAWAY, 0, 0, Buffer.concat([u32(1), u32(0)])));
        setImmediate(() => connection.send(answerFrames(1, "old")));
      }
    });
    const upstream = http2(server.port, { retries: 0 });
    const gateway = await open(upstream);
    const first = ask(gateway.port, GET);
    await waitFor(() => seen.length === 1);
    const second = await ask(gateway.port, POST);
    expect([(await first).body, second.body]).toEqual(["old", "new"]);
    expect((await ask(gateway.port, GET)).body).toBe("new");
    expect(seen).toEqual(["0:1", "0:3", "1:1", "1:3"]);
    expect(upstream.outcomes.every(({ kind }) => kind === "response")).toBe(true);
  });

  test("a body that goes out again after GOAWAY is whole, however much came while there was no connection", async () => {
    const sent = Buffer.alloc(400_000, "0123456789abcdef");
    let second: FrameServerConnection | undefined;
    const settle = (connection: FrameServerConnection): void =>
      connection.send(frame(FRAME.SETTINGS, 0, 0, setting(3, 100)), frame(FRAME.SETTINGS, ACK, 0));
    const bodyOf = ({ frames: all }: FrameServerConnection): Buffer =>
      Buffer.concat(all.filter(({ type }) => type === FRAME.DATA).map(({ payload }) => payload));
    const server = await frames((got, connection) => {
      const isFirst = connection.index === 0;
      if (got.type === FRAME.SETTINGS && got.flags === 0) {
        if (isFirst) settle(connection);
        else second = connection; // silent as yet
      } else if (isFirst && isRequest(got)) {
        connection.send(frame(FRAME.GOAWAY, 0, 0, Buffer.concat([u32(0), u32(0)])));
      } else if (got.type === FRAME.DATA) {
        const room = u32(got.payload.length);
        if (room.readUInt32BE() > 0)
          connection.send(frame(FRAME.WINDOW_UPDATE, 0, 0, room), frame(FRAME.WINDOW_UPDATE, 0, got.stream, room));
        if ((got.flags & END_STREAM) !== 0)
          connection.send(answerFrames(got.stream, `${bodyOf(connection).equals(sent)}`));
      }
    }, "none");
    const gateway = await open(http2(server.port, { retries: 0 }));
    const client = await openClient(gateway.port);
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n");
    const piece = (from: number, to: number): Buffer =>
      Buffer.concat([Buffer.from(`${(to - from).toString(16)}\r\n`), sent.subarray(from, to), Buffer.from("\r\n")]);
    client.send(piece(0, 16));
    await waitFor(() => second !== undefined);
    for (let at = 16; at < sent.length; at += 16_384) client.send(piece(at, Math.min(at + 16_384, sent.length)));
    client.send("0\r\n\r\n");
    settle(second as unknown as FrameServerConnection);
    expect(cutResponse(await client.until((text) => cutResponse(text) !== undefined))?.body).toBe("true");
    client.close();
  });

  test("who waits gets a session of his own, when those that were expected to do take less", async () => {
    const held: (() => void)[] = [];
    const server = await frames((got, connection) => {
      if (got.type === FRAME.SETTINGS && got.flags === 0) {
        // Late, so that all six wait for it; one that comes later makes the test easier, never wrong.
        setTimeout(
          () => connection.send(frame(FRAME.SETTINGS, 0, 0, setting(3, 2)), frame(FRAME.SETTINGS, ACK, 0)),
          200,
        );
      } else if (isRequest(got)) {
        held.push(() => connection.send(answerFrames(got.stream)));
        if (held.length === 6) for (const answer of held) answer();
      }
    }, "none");
    const gateway = await open(http2(server.port));
    const got = await Promise.all(Array.from({ length: 6 }, () => ask(gateway.port, GET)));
    expect(got.map(({ status }) => status)).toEqual(Array.from({ length: 6 }, () => 200));
    expect(server.connections.length).toBe(3);
  });

  test("sessions that leave, and end a long call beside it, take nobody's place", async () => {
    const held: (() => void)[] = [];
    const server = await frames((got, connection) => {
      if (!isRequest(got)) return;
      if (got.stream === 1) held.push(() => connection.send(answerFrames(got.stream)));
      else connection.send(answerFrames(got.stream));
    });
    const gateway = await open(http2(server.port, { pool: { size: 1, requests: 2 } }));
    const long: Promise<unknown>[] = [];
    for (let round = 1; round <= 3; round++) {
      long.push(ask(gateway.port, GET));
      await waitFor(() => held.length === round);
      expect((await ask(gateway.port, GET)).status).toBe(200);
    }
    expect(server.connections.length).toBe(3);
    for (const answer of held) answer();
    await Promise.all(long);
  });

  test("GOAWAY with an error: what it had begun is lost, what it had not is sent again", async () => {
    const server = await frames((got, connection) => {
      if (!isRequest(got)) return;
      if (connection.index > 0) connection.send(answerFrames(got.stream, "new"));
      else if (got.stream === 3) connection.send(frame(FRAME.GOAWAY, 0, 0, Buffer.concat([u32(1), u32(2)])));
    });
    const gateway = await open(http2(server.port, { retries: 0 }));
    const first = ask(gateway.port, POST);
    await waitFor(() => server.connections[0]?.frames.some(isRequest) === true);
    expect((await ask(gateway.port, POST)).body).toBe("new");
    expect((await first).status).toBe(502);
  });

  test("REFUSED_STREAM is sent once more, and then tried elsewhere by the upstream's rules", async () => {
    let refused = 0;
    const full = await frames((got, connection) => {
      if (!isRequest(got)) return;
      refused++;
      connection.send(frame(FRAME.RST_STREAM, 0, got.stream, u32(7)));
    });
    const other = await frames((got, connection) => {
      if (isRequest(got)) connection.send(answerFrames(got.stream, "other"));
    });
    const gateway = await open(upstreamOf([full.port, other.port], { http2: true }));
    expect(await ask(gateway.port, POST)).toMatchObject({ status: 200, body: "other" });
    expect(refused).toBe(2);
  });

  test("a peer that is silent is asked by PING: one that answers is waited for, one that is dead is left", async () => {
    const pings: number[] = [];
    let answers = true;
    const server = await frames((got, connection) => {
      if (got.type !== FRAME.PING || got.flags === ACK) return;
      pings.push(connection.index);
      if (answers) connection.send(frame(FRAME.PING, ACK, 0, got.payload));
    });
    const upstream = http2(server.port, { timeouts: { readMs: 2_000 } });
    const gateway = await open(upstream);
    expect((await ask(gateway.port, POST)).status).toBe(504);
    expect(pings).toEqual([0]);
    answers = false;
    expect((await ask(gateway.port, POST)).status).toBe(502);
    expect(pings.length).toBe(2);
    await waitFor(() => server.connections[0]?.socket.destroyed === true);
    expect(upstream.outcomes.map(({ kind }) => kind)).toEqual(["timeout", "refused"]);
  });

  test("an idle connection is closed in time, and one that carried all it may is left", async () => {
    const server = await frames((got, connection) => {
      if (isRequest(got)) connection.send(answerFrames(got.stream));
    });
    const gateway = await open(http2(server.port, { pool: { idleMs: 150, requests: 2 } }));
    for (let at = 0; at < 3; at++) expect((await ask(gateway.port, GET)).status).toBe(200);
    expect(server.connections.length).toBe(2);
    await waitFor(() => server.connections.every(({ socket }) => socket.destroyed || socket.readableEnded));
  });

  test("an upstream that speaks HTTP/1.1 only, or nothing, is one that does not answer", async () => {
    const plain = createHttp((_request, response) => response.end("plain")).listen(0, "127.0.0.1");
    closing.push(() => void plain.close());
    await new Promise((resolve) => plain.once("listening", resolve));
    const upstream = http2(portOf(plain));
    expect((await ask((await open(upstream)).port, GET)).status).toBe(502);
    expect(upstream.outcomes).toEqual([{ kind: "refused" }]);
    const silent = await frames(() => {}, "none");
    const late = await open(http2(silent.port, { timeouts: { connectMs: 200 } }));
    expect((await ask(late.port, GET)).status).toBe(504);
  });
});

/** Early hints in front of the answer. */
const INTERIM = /^(?:HTTP\/1\.1 103 [^\r]*\r\n(?:[^\r]+\r\n)*\r\n)*/;
const final = (text: string) => cutResponse(text.replace(INTERIM, ""));

describe("a bad upstream", () => {
  const head = (...fields: (readonly [string, string])[]): Buffer => headerBlock([[":status", "200"], ...fields]);
  const headers = (stream: number, flags: number, block: Buffer): Buffer => frame(FRAME.HEADERS, flags, stream, block);
  const many = (count: number, make: (at: number) => Buffer): Buffer =>
    Buffer.concat(Array.from({ length: count }, (_, at) => make(at)));
  let good: FrameServer;
  let gateway: TestGateway;
  const bad: Record<string, (stream: number) => Buffer> = {
    "connection-specific header": (id) => headers(id, END_HEADERS | END_STREAM, head(["connection", "close"])),
    "transfer-encoding": (id) => headers(id, END_HEADERS | END_STREAM, head(["transfer-encoding", "chunked"])),
    "name in upper case": (id) => headers(id, END_HEADERS | END_STREAM, head(["X-Up", "1"])),
    "no status": (id) => headers(id, END_HEADERS | END_STREAM, headerBlock([["x-a", "1"]])),
    "two lengths": (id) => headers(id, END_HEADERS, head(["content-length", "1"], ["content-length", "2"])),
    "DATA before a head": (id) => frame(FRAME.DATA, 0, id, Buffer.from("x")),
    "1xx without end": (id) => many(200, () => headers(id, END_HEADERS, headerBlock([[":status", "103"]]))),
    "101": (id) => headers(id, END_HEADERS, headerBlock([[":status", "101"]])),
    "600 header lines": (id) =>
      headers(id, END_HEADERS | END_STREAM, head(...Array.from({ length: 600 }, (_, at) => [`x-${at}`, "1"] as const))),
    "CONTINUATION without end": (id) =>
      Buffer.concat([headers(id, 0, head()), many(2_000, () => frame(FRAME.CONTINUATION, 0, id, head(["x-a", "1"])))]),
    "a block that unpacks to much": (id) =>
      Buffer.concat([
        headers(
          id,
          0,
          Buffer.concat([head(), Buffer.from([0x40, 1, 0x62, 0x7f, 0x80 + 1, 31]), Buffer.alloc(4_095, "b")]),
        ),
        frame(FRAME.CONTINUATION, END_HEADERS | END_STREAM, id, Buffer.alloc(12_000, 0xbe)),
      ]),
    "broken HPACK": (id) => headers(id, END_HEADERS | END_STREAM, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff])),
    "a pushed stream": (id) => frame(5, END_HEADERS, id, Buffer.concat([u32(2), headerBlock([[":method", "GET"]])])),
    "an answer to a stream of nobody": () => answerFrames(99),
    "a reset": (id) => frame(FRAME.RST_STREAM, 0, id, u32(2)),
    "PING flood": () => many(30_000, () => frame(FRAME.PING, 0, 0, Buffer.alloc(8))),
    "SETTINGS flood": () => many(30_000, () => frame(FRAME.SETTINGS, 0, 0, setting(3, 100))),
    "a window beyond 2^31": () => frame(FRAME.WINDOW_UPDATE, 0, 0, u32(0x7fffffff)),
    "a frame longer than allowed": (id) => frame(FRAME.DATA, 0, id, Buffer.alloc(20_000)),
    "no HTTP/2 at all": () => Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
  };

  beforeAll(async () => {
    const evil = await frames((got, connection) => {
      if (got.type !== FRAME.DATA || got.payload.length === 0) return;
      const name = Object.keys(bad)[Number(got.payload.toString("latin1"))];
      connection.send(name === undefined ? answerFrames(got.stream) : (bad[name]?.(got.stream) ?? Buffer.alloc(0)));
    });
    good = await frames((got, connection) => {
      if (isRequest(got)) connection.send(answerFrames(got.stream));
    });
    gateway = await openTestGateway(
      routingOf({
        good: { upstream: http2(good.port) },
        "*": { upstream: http2(evil.port, { retries: 0, timeouts: { readMs: 4_000 } }) },
      }),
    );
    closing.push(() => gateway.close(0));
  });

  test("hints with several links in one field pass to clients that take trailers, and end nothing", async () => {
    const links = "</a.css>; rel=preload; as=style, </b.js>; rel=preload; as=script";
    const hinting = await frames((got, connection) => {
      if (!isRequest(got)) return;
      const hint = headerBlock([
        [":status", "103"],
        ["link", links],
      ]);
      connection.send(frame(FRAME.HEADERS, END_HEADERS, got.stream, hint), answerFrames(got.stream));
    });
    const own = await open(http2(hinting.port));
    const text = await send(
      own.port,
      GET.replace("\r\n\r\n", "\r\nTE: trailers\r\n\r\n"),
      (all) => final(all) !== undefined,
    );
    expect(text).toMatch(/^HTTP\/1\.1 103 Early Hints\r\n/);
    expect(text).toContain("</a.css>; rel=preload; as=style");
    expect(text).toContain("</b.js>; rel=preload; as=script");
    expect(text).toContain("HTTP/1.1 200 OK");
  });

  test.each(Object.keys(bad).map((name, at) => ({ name, at })))(
    "$name is 502 and harms nobody else",
    async ({ at }) => {
      const request = `POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: ${String(at).length}\r\n\r\n${at}`;
      const got = final(await send(gateway.port, request, (text) => final(text) !== undefined));
      expect(got?.status).toBe(502);
      expect((await ask(gateway.port, GET.replace("/x", "/good"))).body).toBe("ok");
    },
  );

  test.each([
    { name: "more than its length", length: "5", after: (id: number) => frame(FRAME.DATA, 1, id, Buffer.from("long")) },
    { name: "less than its length", length: "9", after: (id: number) => frame(FRAME.DATA, 1, id, Buffer.from("long")) },
    { name: "RST_STREAM without an error", after: (id: number) => frame(FRAME.RST_STREAM, 0, id, u32(0)) },
    { name: "RST_STREAM with one", after: (id: number) => frame(FRAME.RST_STREAM, 0, id, u32(2)) },
    { name: "GOAWAY with an error", after: () => frame(FRAME.GOAWAY, 0, 0, Buffer.concat([u32(99), u32(2)])) },
    { name: "trailers with a status", after: (id: number) => headers(id, END_HEADERS | END_STREAM, head()) },
  ])("a response that breaks off by $name has no end", async ({ after, ...more }) => {
    const fields = "length" in more ? [["content-length", more.length] as const] : [];
    const server = await frames((got, connection) => {
      if (!isRequest(got)) return;
      connection.send(
        headers(got.stream, END_HEADERS, head(...fields)),
        frame(FRAME.DATA, 0, got.stream, Buffer.from("part")),
      );
      setTimeout(() => connection.send(after(got.stream)), 50);
    });
    const own = await open(http2(server.port));
    const client = await openClient(own.port);
    client.send(GET);
    const text = await client.untilClosed();
    expect(text).toMatch(/part/);
    expect(cutResponse(text)).toBeUndefined();
  });

  test("a value that would break the head is not passed on", async () => {
    const server = await frames((got, connection) => {
      if (!isRequest(got)) return;
      const block = head(["x-a", "1\r\nset-cookie: a=1"], ["x-b", "2"]);
      connection.send(headers(got.stream, END_HEADERS | END_STREAM, block));
    });
    const own = await open(http2(server.port));
    const got = await ask(own.port, GET);
    expect([got.headers["x-b"], got.headers["x-a"], got.headers["set-cookie"]]).toEqual(["2", undefined, undefined]);
  });

  test("what comes behind the end of an answer reaches nobody", async () => {
    const server = await frames((got, connection) => {
      if (isRequest(got))
        connection.send(answerFrames(got.stream), frame(FRAME.DATA, END_STREAM, got.stream, Buffer.from("more")));
    });
    const own = await open(http2(server.port));
    for (let at = 0; at < 3; at++)
      expect(await ask(own.port, GET)).toMatchObject({ status: 200, body: "ok", rest: "" });
  });

  test("trailers without end are bounded", async () => {
    const server = await frames((got, connection) => {
      if (!isRequest(got)) return;
      const flood = Array.from({ length: 20_000 }, (_, at) => [`x-${at}`, "1".repeat(20)] as const);
      connection.send(headers(got.stream, END_HEADERS, head()), frame(FRAME.DATA, 0, got.stream, Buffer.from("part")));
      let block = headerBlock(flood);
      let type: number = FRAME.HEADERS;
      while (block.length > 0) {
        connection.send(
          frame(type, END_STREAM * Number(type === FRAME.HEADERS), got.stream, block.subarray(0, 16_384)),
        );
        block = block.subarray(16_384);
        type = FRAME.CONTINUATION;
      }
    });
    const own = await open(http2(server.port, { timeouts: { readMs: 4_000 } }));
    const client = await openClient(own.port);
    client.send(GET);
    expect(cutResponse(await client.untilClosed())).toBeUndefined();
  });
});

describe("the same answer through HTTP/1.1 and HTTP/2 upstreams, whatever the client speaks", () => {
  let one: TestGateway;
  let general: TestGateway;
  const servers: Server[] = [];

  function serve(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks);
      const { url = "", method = "" } = request;
      const seen = Object.entries(request.headers)
        .filter(([name]) => !/^(?::|te$|host$|connection$|transfer-encoding$|content-length$)/.test(name))
        .map(([name, value]) => `${name}: ${String(value)}`)
        .sort();
      const host = request.headers[":authority"] ?? request.headers.host;
      response.setHeader("date", "Tue, 01 Dec 2026 00:00:00 GMT");
      response.setHeader("x-byte", "\xe9");
      if (url.startsWith("/cookies")) response.setHeader("set-cookie", ["a=1", "b=2"]);
      if (url.startsWith("/empty")) response.statusCode = 204;
      if (url.startsWith("/not")) response.statusCode = 404;
      if (url.startsWith("/same")) response.statusCode = 304;
      if (url.startsWith("/length")) response.setHeader("content-length", "5");
      if (url.startsWith("/big")) response.write(Buffer.alloc(300_000, "d"));
      if (/^\/(?:empty|same)/.test(url)) response.end();
      else if (url.startsWith("/length")) response.end(method === "HEAD" ? undefined : Buffer.from("12345"));
      else {
        const text = body.toString("latin1", 0, 40);
        response.end(Buffer.from(JSON.stringify({ method, url, host, seen, body: body.length, text })));
      }
    });
  }

  beforeAll(async () => {
    const plain = createHttp(serve);
    const second = createHttp2(serve as unknown as Parameters<typeof createHttp2>[1]);
    for (const server of [plain, second]) {
      server.listen(0, "127.0.0.1");
      await new Promise((resolve) => server.once("listening", resolve));
      servers.push(server);
      closing.push(() => void server.close());
    }
    const routing = routingOf({
      one: {
        upstream: upstreamOf([portOf(plain)], { passHost: "rewrite", upstreamHost: "up.test" }),
        plugins: [unprefixed],
      },
      two: {
        upstream: upstreamOf([portOf(second)], { http2: true, passHost: "rewrite", upstreamHost: "up.test" }),
        plugins: [unprefixed],
      },
    });
    one = await openTestGateway(routing, { fastLane: true });
    general = await openTestGateway(routing, { fastLane: false });
    closing.push(
      () => one.close(0),
      () => general.close(0),
    );
  });

  const unprefixed = {
    rewrite: (view: { upstreamPath: string }) => {
      view.upstreamPath = view.upstreamPath.slice(4);
      return undefined;
    },
  };

  interface Case {
    readonly says: string;
    readonly method?: string;
    readonly path: string;
    readonly fields?: readonly (readonly [string, string])[];
    readonly body?: Buffer;
  }
  const cases: Case[] = [
    { says: "a GET with a query", path: "/x?a=1&b=%20" },
    { says: "HEAD", method: "HEAD", path: "/length" },
    { says: "a length", path: "/length" },
    { says: "204", path: "/empty" },
    { says: "304", path: "/same" },
    { says: "404", path: "/not" },
    { says: "cookies both ways", path: "/cookies", fields: [["cookie", "a=1; b=2"]] },
    { says: "a small body", method: "POST", path: "/x", body: Buffer.from("abc") },
    { says: "an empty POST", method: "POST", path: "/x", body: Buffer.alloc(0) },
    { says: "200 KB up", method: "PUT", path: "/x", body: Buffer.alloc(200_000, "u") },
    { says: "300 KB down", path: "/big" },
    { says: "bytes above ASCII", path: "/x", fields: [["x-one", "caf\xe9"]] },
    {
      says: "repeated headers",
      path: "/x",
      fields: [
        ["x-two", "1"],
        ["x-two", "2"],
      ],
    },
  ];

  /** Status, headers and body as one text. */
  async function overHttp1(gateway: TestGateway, way: string, item: Case): Promise<string> {
    const { method = "GET", path, fields = [], body } = item;
    const lines = fields.map(([name, value]) => `${name}: ${value}\r\n`).join("");
    const framed = body === undefined ? "" : `Content-Length: ${body.length}\r\n`;
    const request = `${method} /${way}${path} HTTP/1.1\r\nHost: client.test\r\n${lines}${framed}\r\n`;
    const isDone = (text: string): boolean => cutResponse(text, method === "HEAD") !== undefined;
    const text = await send(
      gateway.port,
      Buffer.concat([Buffer.from(request, "latin1"), body ?? Buffer.alloc(0)]),
      isDone,
    );
    const got = cutResponse(text, method === "HEAD");
    return JSON.stringify([got?.status, comparable(got?.headers ?? {}), got?.body]);
  }

  function overHttp2(gateway: TestGateway, way: string, item: Case): Promise<string> {
    const { method = "GET", path, fields = [], body } = item;
    const session = connect(`http://127.0.0.1:${gateway.port}`);
    const named: Record<string, string[]> = {};
    for (const [name, value] of fields) named[name] = [...(named[name] ?? []), value];
    const stream = session.request(
      { ":method": method, ":path": `/${way}${path}`, ":authority": "client.test", ...named },
      { endStream: body === undefined },
    );
    if (body) stream.end(body);
    return new Promise((resolve) => {
      const chunks: Buffer[] = [];
      let head: Readonly<Record<string, unknown>> = {};
      stream.on("response", (headers) => {
        head = headers;
      });
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("close", () => {
        session.destroy();
        resolve(JSON.stringify([head[":status"], comparable(head), Buffer.concat(chunks).toString("latin1")]));
      });
    });
  }

  function comparable(headers: Readonly<Record<string, unknown>>): unknown {
    const framing = /^(?::|connection$|keep-alive$|transfer-encoding$|content-length$)/;
    return Object.entries(headers)
      .filter(([name]) => !framing.test(name))
      .map(([name, value]) => [name, String(value)])
      .sort();
  }

  test.each(cases)("$says", async (item) => {
    const lanes = [
      ["fast", (way: string) => overHttp1(one, way, item)],
      ["general", (way: string) => overHttp1(general, way, item)],
      ["HTTP/2", (way: string) => overHttp2(one, way, item)],
    ] as const;
    for (const [lane, asks] of lanes) expect([lane, await asks("two")]).toEqual([lane, await asks("one")]);
  });
});

describe("trailers and early hints", () => {
  const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n";
  const rest = "X-T: 1\r\nContent-Length: 9\r\nX-Consumer-Username: admin\r\nbroken\r\n\r\n";
  const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";

  async function openBoth(fastLane: boolean): Promise<TestGateway> {
    const one = await openRawUpstream(answering(hints + chunked + rest));
    const two = await frames((got, { send }) => {
      if (!isRequest(got)) return;
      const id = got.stream;
      const block = headerBlock([
        ["x-t", "1"],
        ["x-consumer-username", "admin"],
        ["set-cookie", "a=1"],
      ]);
      send(
        frame(
          FRAME.HEADERS,
          END_HEADERS,
          id,
          headerBlock([
            [":status", "103"],
            ["link", "</a>"],
          ]),
        ),
      );
      send(frame(FRAME.HEADERS, END_HEADERS, id, headerBlock([[":status", "200"]])));
      send(frame(FRAME.DATA, 0, id, Buffer.from("ok")), frame(FRAME.HEADERS, END_HEADERS | END_STREAM, id, block));
    });
    closing.push(() => one.close());
    const routing = routingOf({ one: { upstream: upstreamOf([one.port]) }, two: { upstream: http2(two.port) } });
    const gateway = await openTestGateway(routing, { fastLane });
    closing.push(() => gateway.close(0));
    return gateway;
  }

  test.each([
    { way: "one", fastLane: true },
    { way: "one", fastLane: false },
    { way: "two", fastLane: true },
    { way: "two", fastLane: false },
  ])("from $way to clients that take them (fast lane: $fastLane)", async ({ way, fastLane }) => {
    const gateway = await openBoth(fastLane);
    const get = (te: string) => `GET /${way} HTTP/1.1\r\nHost: h\r\n${te}\r\n`;
    const isDone = (text: string): boolean => /\r\n0\r\n(?:[^\r]+\r\n)*\r\n$/.test(text);
    const taking = await send(gateway.port, get("TE: trailers\r\nConnection: TE\r\n"), isDone);
    expect(taking).toMatch(/^HTTP\/1\.1 103 .*\r\nlink: <\/a>\r\n\r\nHTTP\/1\.1 200 /i);
    expect(taking).toMatch(/2\r\nok\r\n0\r\nx-t: 1\r\n\r\n$/i);
    const other = await send(gateway.port, get(""), isDone);
    expect(other).toMatch(/2\r\nok\r\n0\r\n\r\n$/);
    const session = connect(`http://127.0.0.1:${gateway.port}`);
    const stream = session.request({ ":path": `/${way}` });
    const seen: unknown[] = [];
    stream.on("headers", (headers) => seen.push([headers[":status"], headers["link"]]));
    stream.on("trailers", (trailers) => seen.push(Object.entries(trailers)));
    stream.resume();
    await new Promise((resolve) => stream.on("close", resolve));
    session.destroy();
    expect(seen).toEqual([[103, "</a>"], [["x-t", "1"]]]);
  });

  test("of a request to an HTTP/2 upstream, without what judges a request", async () => {
    const blocks: Frame[] = [];
    const server = await frames((got, connection) => {
      if (isRequest(got)) blocks.push(got);
      if ((got.flags & END_STREAM) !== 0 && got.stream > 0) connection.send(answerFrames(got.stream));
    });
    const gateway = await open(http2(server.port));
    const session = connect(`http://127.0.0.1:${gateway.port}`);
    const options = { waitForTrailers: true, endStream: false };
    const stream = session.request({ ":method": "POST", ":path": "/x", trailer: "x-t" }, options);
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-t": "1", "x-consumer-username": "admin" }));
    stream.end("body");
    stream.resume();
    await new Promise((resolve) => stream.on("close", resolve));
    session.destroy();
    expect(blocks.length).toBe(2);
    // Huffman-coded: "x-t" and "1" are short, an identity is not.
    expect(blocks[1]?.payload.length).toBeLessThan(12);
  });
});

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port; // true: it listens on a port
}
