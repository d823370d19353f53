/** HTTP/2 for callers: requests, bodies both ways, what goes upstream as HTTP/1.1, and the end of connections. */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  type OutgoingHttpHeaders,
} from "node:http2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import type { RequestView } from "../../src/plugin/request-view.ts";
import { type Authority, openAuthority, type Pair } from "../support/authority.ts";
import { slack } from "../support/long-run.ts";
import { answering, OK, openRawUpstream, type RawUpstream, routingOf, upstreamOf, waitFor } from "./support.ts";
import { openTlsGateway, shake, type TlsGateway, type TlsInput } from "./tls-support.ts";

let authority: Authority;
let pair: Pair;
let upstream: RawUpstream;
const opened: TlsGateway[] = [];
const sessions: ClientHttp2Session[] = [];

beforeAll(async () => {
  authority = openAuthority();
  pair = authority.issue(["a.test"]);
  upstream = await openRawUpstream(answering(OK));
});

afterAll(async () => {
  for (const session of sessions) session.destroy();
  await Promise.all(opened.map((gateway) => gateway.close(0)));
  await upstream.close();
  authority.close();
});

type Routes = Parameters<typeof routingOf>[0];

async function open(routes?: Routes, input: TlsInput = {}): Promise<TlsGateway> {
  const gateway = await openTlsGateway(routingOf(routes ?? { "*": { upstream: upstreamOf([upstream.port]) } }), input);
  gateway.ssls.set("1", { ...pair, sni: "a.test" });
  opened.push(gateway);
  return gateway;
}

function dial(gateway: TlsGateway): ClientHttp2Session {
  const session = connect(`https://a.test:${gateway.tlsPort}`, {
    servername: "a.test",
    rejectUnauthorized: false,
    lookup: (_name, options, callback) => {
      if (options.all) callback(null, [{ address: "127.0.0.1", family: 4 }]);
      else callback(null, "127.0.0.1", 4);
    },
  });
  session.on("error", () => {});
  sessions.push(session);
  return session;
}

interface Answered {
  readonly status: number;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: string;
  /** RST_STREAM's code; 0 is none. */
  readonly code: number;
}

function ask(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: string | Buffer): Promise<Answered> {
  const stream = session.request(headers, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  return answerOf(stream);
}

function answerOf(stream: ClientHttp2Stream): Promise<Answered> {
  return new Promise((resolve) => {
    let headers: Readonly<Record<string, unknown>> = {};
    const chunks: Buffer[] = [];
    stream.on("response", (got) => {
      headers = got;
    });
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("error", () => {});
    stream.on("close", () => {
      const body = Buffer.concat(chunks).toString("latin1");
      resolve({ status: Number(headers[":status"] ?? 0), headers, body, code: stream.rstCode ?? 0 });
    });
  });
}

describe("requests", () => {
  test("before anything was loaded every path is 503; afterwards 404, also when a service is missing", async () => {
    const freshness = { isTooOld: false, isLoaded: false };
    const gateway = await open({ broken: { broken: 404 } }, { freshness });
    const session = dial(gateway);
    const statuses = () => Promise.all(["/", "/x", "/broken"].map((path) => ask(session, { ":path": path })));
    const body = '{"error_msg":"503 Service Temporarily Unavailable"}\n';
    for (const got of await statuses()) expect(got).toMatchObject({ status: 503, body, code: 0 });
    expect(await gateway.scrape()).toContain('jotgate_gateway_errors_total{reason="configuration_not_loaded"} 3');
    freshness.isLoaded = true;
    for (const got of await statuses()) expect(got).toMatchObject({ status: 404, code: 0 });
  });

  test("a request goes upstream as HTTP/1.1, its answer comes back", async () => {
    const seen: unknown[] = [];
    const plugin: PluginPhases = {
      rewrite: ({ head, connection }: RequestView) => {
        seen.push([head.httpVersion, head.hostHeader, head.host, connection.scheme, connection.sni]);
        return undefined;
      },
    };
    const gateway = await open({ "*": { upstream: upstreamOf([upstream.port]), plugins: [plugin] } });
    const before = upstream.all.length;
    const got = await ask(dial(gateway), { ":path": "/x?a=1", "x-one": "1", cookie: ["a=1", "b=2"], te: "trailers" });
    expect(got).toMatchObject({ status: 200, body: "ok", code: 0 });
    expect(got.headers["server"]).toBe("jotgate");
    expect(got.headers["content-length"]).toBe("2");
    expect(got.headers["date"]).toBeTypeOf("string");
    expect(seen).toEqual([["2.0", `a.test:${gateway.tlsPort}`, "a.test", "https", "a.test"]]);
    const lines = upstream.all.slice(before).split("\r\n");
    expect(lines[0]).toBe("GET /x?a=1 HTTP/1.1");
    expect(lines).toContain(`Host: a.test:${gateway.tlsPort}`);
    expect(lines).toContain("x-one: 1");
    expect(lines).toContain("cookie: a=1; b=2");
    expect(lines).toContain("X-Forwarded-Proto: https");
    expect(upstream.all.slice(before)).not.toMatch(/^te:|^:/im);
  });

  test("streams of one connection are answered independently", async () => {
    const held: (() => void)[] = [];
    const slow = await openRawUpstream((socket) => void held.push(() => socket.write(OK)));
    const gateway = await open({
      slow: { upstream: upstreamOf([slow.port]) },
      "*": { upstream: upstreamOf([upstream.port]) },
    });
    const session = dial(gateway);
    const waiting = ask(session, { ":path": "/slow" });
    const quick = await Promise.all([1, 2, 3].map(() => ask(session, { ":path": "/x" })));
    expect(quick.map(({ status }) => status)).toEqual([200, 200, 200]);
    await waitFor(() => held.length > 0);
    held[0]?.();
    expect((await waiting).status).toBe(200);
    const text = await gateway.scrape();
    expect(text).toContain('jotgate_lane_requests_total{lane="http2"} 4');
    expect(text).toMatch(/^apisix_http_requests_total 4$/m);
    await slow.close();
  });

  test.each([
    { says: "with content-length", headers: { "content-length": "300000" }, framed: "Content-Length: 300000" },
    { says: "without content-length", headers: {}, framed: "Transfer-Encoding: chunked" },
  ])("an upload $says reaches the upstream whole", async ({ headers, framed }) => {
    const sink = await openRawUpstream((socket, seen) => {
      const body = seen.length - seen.indexOf("\r\n\r\n") - 4;
      if (seen.endsWith("0\r\n\r\n") || body === 300_000) socket.write(OK);
    });
    const gateway = await open({ "*": { upstream: upstreamOf([sink.port]) } });
    const body = Buffer.alloc(300_000, "u");
    const got = await ask(dial(gateway), { ":method": "PUT", ":path": "/x", ...headers }, body);
    expect(got).toMatchObject({ status: 200, body: "ok" });
    expect(sink.all).toContain(framed);
    expect(sink.all.replace(/^.*?\r\n\r\n/s, "").match(/u/g)).toHaveLength(300_000);
    await sink.close();
  });

  test("a small body is sent with its length, trailers of the request are dropped", async () => {
    const gateway = await open();
    const before = upstream.all.length;
    const stream = dial(gateway).request({ ":method": "POST", ":path": "/x" }, { waitForTrailers: true } as object);
    stream.on("wantTrailers", () => stream.sendTrailers({ "x-trailer": "1", "x-consumer-username": "admin" }));
    stream.end("abc");
    expect((await answerOf(stream)).status).toBe(200);
    expect(upstream.all.slice(before)).toContain("Content-Length: 3\r\n\r\nabc");
    expect(upstream.all.slice(before)).not.toMatch(/x-trailer|x-consumer/i);
  });

  test("trailers of the upstream are dropped, its body is whole", async () => {
    const chunked =
      "HTTP/1.1 200 OK\r\nTrailer: X-T\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-T: 1\r\n\r\n";
    const source = await openRawUpstream(answering(chunked));
    const gateway = await open({ "*": { upstream: upstreamOf([source.port]) } });
    const got = await ask(dial(gateway), { ":path": "/x" });
    expect(got).toMatchObject({ status: 200, body: "abcde", code: 0 });
    expect(got.headers["transfer-encoding"]).toBeUndefined();
    expect(got.headers["trailer"]).toBeUndefined();
    await source.close();
  });

  test("repeated headers of the upstream are kept, cookies apart", async () => {
    const head = "HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nVia: x\r\nVia: y\r\nETag: 1\r\nETag: 2\r\n";
    const source = await openRawUpstream(
      answering(`${head}Connection: X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n`),
    );
    const gateway = await open({ "*": { upstream: upstreamOf([source.port]) } });
    const got = await ask(dial(gateway), { ":path": "/x" });
    expect(got.status).toBe(200);
    expect(got.headers["set-cookie"]).toEqual(["a=1", "b=2"]);
    expect(got.headers["via"]).toBe("x, y");
    expect(got.headers["x-hop"]).toBeUndefined();
    await source.close();
  });

  test("a download of 20 MB is whole, and waits for a slow reader", async () => {
    const size = 20_000_000;
    let written = 0;
    const source = await openRawUpstream((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`);
      const fill = (): void => {
        while (written < size) {
          const bytes = Math.min(65_536, size - written);
          written += bytes;
          if (!socket.write(Buffer.alloc(bytes, "d"))) {
            socket.once("drain", fill);
            return;
          }
        }
      };
      fill();
    });
    const gateway = await open({ "*": { upstream: upstreamOf([source.port]) } });
    const stream = dial(gateway).request({ ":path": "/x" });
    let read = 0;
    await new Promise((resolve) => stream.on("response", resolve));
    let last = -1;
    await waitFor(() => {
      const settled = written === last;
      last = written;
      return settled && written > 0;
    });
    expect(written).toBeLessThan(size);
    stream.on("data", (chunk: Buffer) => {
      read += chunk.length;
    });
    await new Promise((resolve) => stream.on("close", resolve));
    expect(read).toBe(size);
    await source.close();
  });

  test("HEAD shows the length and has no body", async () => {
    const source = await openRawUpstream(answering("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n"));
    const gateway = await open({ "*": { upstream: upstreamOf([source.port]) } });
    const got = await ask(dial(gateway), { ":method": "HEAD", ":path": "/x" });
    expect(got).toMatchObject({ status: 200, body: "", code: 0 });
    expect(got.headers["content-length"]).toBe("77");
    await source.close();
  });

  test("Expect: 100-continue is answered when the body is wanted", async () => {
    const gateway = await open();
    const stream = dial(gateway).request({ ":method": "POST", ":path": "/x", expect: "100-continue" });
    await new Promise<void>((resolve) => stream.on("continue", () => resolve()));
    stream.end("abc");
    expect((await answerOf(stream)).status).toBe(200);
  });

  test("an early answer ends the stream without waiting for the body; the connection lives on", async () => {
    const refuse: PluginPhases = {
      rewrite: () => ({ status: 401, headers: [], body: "no", reason: "refused" }),
    };
    const gateway = await open({ closed: { plugins: [refuse] }, "*": { upstream: upstreamOf([upstream.port]) } });
    const session = dial(gateway);
    const stream = session.request({ ":method": "POST", ":path": "/closed" });
    stream.write(Buffer.alloc(1000));
    const got = await answerOf(stream);
    expect(got).toMatchObject({ status: 401, body: "no", code: constants.NGHTTP2_NO_ERROR });
    expect((await ask(session, { ":path": "/x" })).status).toBe(200);
  });

  test("a client that resets its stream ends the request upstream", async () => {
    let closed = false;
    const silent = await openRawUpstream((socket) => {
      socket.on("close", () => {
        closed = true;
      });
    });
    const gateway = await open({ "*": { upstream: upstreamOf([silent.port]) } });
    const stream = dial(gateway).request({ ":path": "/x" });
    stream.on("error", () => {});
    await waitFor(() => silent.all !== "");
    stream.close(constants.NGHTTP2_CANCEL);
    await waitFor(() => closed);
    await silent.close();
  });

  test.each([
    { says: "with a length", head: "Content-Length: 90000", piece: "x".repeat(40_000) },
    { says: "without a length", head: "Transfer-Encoding: chunked", piece: "3\r\nabc\r\n" },
    { says: "until close, which was a reset", head: "X-Any: 1", piece: "abc" },
  ])("an upstream that breaks off $says resets the stream and no other", async ({ head, piece }) => {
    const broken = await openRawUpstream((socket) => {
      socket.write(`HTTP/1.1 200 OK\r\n${head}\r\n\r\n${piece}`);
      setTimeout(() => void socket.resetAndDestroy(), 50);
    });
    const gateway = await open({
      broken: { upstream: upstreamOf([broken.port]) },
      "*": { upstream: upstreamOf([upstream.port]) },
    });
    const session = dial(gateway);
    const got = await ask(session, { ":path": "/broken" });
    expect(got).toMatchObject({ status: 200, code: constants.NGHTTP2_INTERNAL_ERROR });
    expect((await ask(session, { ":path": "/x" })).status).toBe(200);
    await broken.close();
  });

  test.each([
    { says: "a method that nobody knows", headers: { ":method": "BREW", ":path": "/x" }, status: 400 },
    { says: "TRACE", headers: { ":method": "TRACE", ":path": "/x" }, status: 405 },
    { says: "CONNECT", headers: { ":method": "CONNECT", ":authority": "a.test:1" }, status: 405 },
    { says: "a target of 20,000 bytes", headers: { ":path": `/${"x".repeat(20_000)}` }, status: 414 },
    { says: "a fragment", headers: { ":path": "/x#y" }, status: 400 },
    { says: "a path above the root", headers: { ":path": "/../x" }, status: 400 },
    { says: "OPTIONS *", headers: { ":method": "OPTIONS", ":path": "*" }, status: 200 },
    { says: "userinfo in the authority", headers: { ":path": "/x", ":authority": "u@a.test" }, status: 400 },
    { says: "a port that is none", headers: { ":path": "/x", ":authority": "a.test:99999" }, status: 400 },
    { says: "101 header lines", headers: { ":path": "/x", ...many(101) }, status: 431 },
    { says: "17 KiB of headers", headers: { ":path": "/x", "x-big": "x".repeat(17_000) }, status: 431 },
    { says: "another expectation", headers: { ":path": "/x", expect: "200-ok" }, status: 417 },
    { says: "no route", headers: { ":path": "/none" }, status: 404 },
  ])("$says: $status, and the connection lives on", async ({ headers, status }) => {
    const gateway = await open({ x: { upstream: upstreamOf([upstream.port]) } });
    const session = dial(gateway);
    const raw = { ...headers } as OutgoingHttpHeaders;
    const got = await ask(session, raw);
    expect(got.status).toBe(status);
    expect((await ask(session, { ":path": "/x" })).status).toBe(200);
  });
});

function many(count: number): OutgoingHttpHeaders {
  return Object.fromEntries(Array.from({ length: count }, (_, at) => [`x-${at}`, "1"]));
}

describe("the end of connections", () => {
  test("a drain sends GOAWAY, finishes what runs, serves new connections, and closes", async () => {
    const held: (() => void)[] = [];
    const slow = await openRawUpstream((socket) => void held.push(() => socket.write(OK)));
    const gateway = await open({
      slow: { upstream: upstreamOf([slow.port]) },
      "*": { upstream: upstreamOf([upstream.port]) },
    });
    const session = dial(gateway);
    const goaways: [number, number | undefined][] = [];
    session.on("goaway", (code, last) => goaways.push([code, last]));
    const running = ask(session, { ":path": "/slow" });
    await waitFor(() => held.length > 0);
    gateway.beginDrain();
    const other = await ask(dial(gateway), { ":path": "/x" });
    expect(other.status).toBe(200);
    const closing = gateway.close(60_000);
    await waitFor(() => goaways.length > 0);
    expect(goaways).toEqual([[constants.NGHTTP2_NO_ERROR, 1]]);
    held[0]?.();
    expect(await running).toMatchObject({ status: 200, body: "ok" });
    const startMs = Date.now();
    await closing;
    expect(Date.now() - startMs).toBeLessThan(slack(2_500));
    await slow.close();
  });

  test("an idle connection is closed by GOAWAY, a connection with a request is not", async () => {
    const held: (() => void)[] = [];
    const slow = await openRawUpstream((socket) => void held.push(() => socket.write(OK)));
    const gateway = await open({ "*": { upstream: upstreamOf([slow.port]) } }, { settings: { idleTimeoutMs: 200 } });
    const busy = dial(gateway);
    const running = ask(busy, { ":path": "/x" });
    const idle = dial(gateway);
    await waitFor(() => idle.closed || idle.destroyed);
    expect(busy.destroyed).toBe(false);
    held[0]?.();
    expect((await running).status).toBe(200);
    await waitFor(() => busy.closed || busy.destroyed);
    await slow.close();
  });

  test("HTTP/2 can be switched off", async () => {
    const gateway = await open(undefined, { http2: false });
    const done = await shake(gateway.tlsPort, { servername: "a.test", ALPNProtocols: ["h2", "http/1.1"] });
    expect(done.ok && done.socket.alpnProtocol).toBe("http/1.1");
    if (done.ok) done.socket.destroy();
  });

  test("a client that speaks neither h2 nor http/1.1 fails its handshake", async () => {
    const gateway = await open();
    const done = await shake(gateway.tlsPort, { servername: "a.test", ALPNProtocols: ["spdy/3"] });
    expect(done.ok).toBe(false);
  });
});
