/** gRPC through the gateway: `@grpc/grpc-js` on both sides, over HTTP/2 with prior knowledge. */
import { connect, createServer as createHttp2 } from "node:http2";
import { type AddressInfo, createServer as createTcp } from "node:net";
import { createServer as createTls } from "node:tls";
import {
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type StatusObject,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { makeProbe } from "../../src/gateway/health-probe.ts";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import type { ProbeConf } from "../../src/runtime/upstream/health/health-conf.ts";
import type { UpstreamUnit } from "../../src/runtime/upstream/upstream-unit.ts";
import { type Authority, openAuthority } from "../support/authority.ts";
import { type GrpcClient, type GrpcServer, openGrpcClient, openGrpcServer } from "../support/grpc.ts";
import { openTestGateway, routingOf, type TestGateway, type UpstreamInput, upstreamOf, waitFor } from "./support.ts";

let server: GrpcServer;
let gateway: TestGateway;
let client: GrpcClient;

beforeAll(async () => {
  server = await openGrpcServer();
  const upstream = upstreamOf([server.port], { scheme: "grpc" });
  gateway = await openTestGateway(routingOf({ "*": { upstream } }));
  client = openGrpcClient(gateway.port);
});

afterAll(async () => {
  client.close();
  await gateway.close(0);
  server.close();
});

function metadata(fields: Readonly<Record<string, string>> = {}): Metadata {
  const made = new Metadata();
  for (const [name, value] of Object.entries(fields)) made.set(name, value);
  return made;
}

describe("calls", () => {
  test("a unary call brings its message, metadata both ways, trailers and status", async () => {
    const got = await client.call("one", "hello", metadata({ "x-mine": "1" }));
    expect(got.text).toBe("hello!");
    expect(got.status.code).toBe(0);
    expect(got.status.metadata.get("x-trailer")).toEqual(["t"]);
    expect(got.head?.get("x-head")).toEqual(["h"]);
    expect(server.calls.at(-1)?.get("x-mine")).toEqual(["1"]);
    expect(server.calls.at(-1)?.get("x-forwarded-proto")).toEqual(["http"]);
  });

  test("an error status and its message come back as they are", async () => {
    const got = await client.call("fail", "x", metadata());
    expect(got.status).toMatchObject({ code: 9, details: "no: x ä" });
  });

  test("a server stream of 10,000 messages comes whole", async () => {
    const stream = client.many("10000 40", metadata());
    let count = 0;
    stream.on("data", () => count++);
    const status = await new Promise<StatusObject>((resolve) => stream.on("status", resolve));
    expect([status.code, count]).toEqual([0, 10_000]);
  });

  test("a client stream is summed up", async () => {
    const sum = client.sum(metadata());
    for (let at = 0; at < 1_000; at++) sum.send("m");
    expect(await sum.end()).toBe("1000");
  });

  test("in a two-way stream each message is answered before the next one is sent", async () => {
    const chat = client.chat(metadata());
    const got: string[] = [];
    let turns = 0;
    chat.on("data", (text: string) => {
      got.push(text);
      if (++turns < 20) chat.write(`m${turns}`);
      else chat.end();
    });
    chat.write("m0");
    const status = await new Promise<StatusObject>((resolve) => chat.on("status", resolve));
    expect(status.code).toBe(0);
    expect(got).toEqual(Array.from({ length: 20 }, (_, at) => `re m${at}`));
  });

  test("a call that the client cancels is cancelled upstream", async () => {
    const before = server.cancelled();
    const call = client.client.makeUnaryRequest(
      "/echo.Echo/Wait",
      (text: string) => Buffer.from(text),
      String,
      "x",
      () => {},
    );
    const came = server.calls.length;
    await waitFor(() => server.calls.length > came);
    call.cancel();
    await waitFor(() => server.cancelled() > before);
  });
});

test.each([
  { type: "application/grpc", length: 7 },
  { type: "application/grpc+proto", length: 7 },
  { type: "application/grpc", length: 0 },
])("a status behind $length announced bytes of $type arrives", async ({ type, length }) => {
  const upstream = createHttp2();
  upstream.on("stream", (stream) => {
    const head = { ":status": 200, "content-type": type, "content-length": length };
    stream.respond(head, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "5" }));
    stream.end(Buffer.alloc(length));
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  const { port } = upstream.address() as AddressInfo;
  const own = await openTestGateway(routingOf({ "*": { upstream: upstreamOf([port], { scheme: "grpc" }) } }));
  const session = connect(`http://127.0.0.1:${own.port}`);
  const stream = session.request({ ":method": "POST", ":path": "/a.A/M", "content-type": type, te: "trailers" });
  const seen: unknown[] = [];
  stream.on("data", (chunk: Buffer) => seen.push(chunk.length));
  stream.on("trailers", (trailers) => seen.push(trailers["grpc-status"]));
  stream.end();
  await new Promise((resolve) => stream.on("close", resolve));
  session.destroy();
  await own.close(0);
  upstream.close();
  expect(seen).toEqual(length === 0 ? ["5"] : [length, "5"]);
});

describe("what the gateway says itself", () => {
  const refusing = (status: number, body: string): PluginPhases => ({
    rewrite: () => ({ status, headers: ["WWW-Authenticate", "Bearer"], body, reason: "refused" }),
  });
  let own: TestGateway;
  let caller: GrpcClient;
  const routes: Parameters<typeof routingOf>[0] = {
    "a.A": { plugins: [refusing(401, '{"message":"Missing JWT token in 100% of request ä"}\n')] },
    "b.B": { plugins: [refusing(403, "no")] },
    "c.C": { upstream: upstreamOf([1], { scheme: "grpc" }) },
    "d.D": { plugins: [refusing(429, "slow down\n")] },
    "e.E": { upstream: upstreamOf([], { scheme: "grpc" }) },
  };

  beforeAll(async () => {
    own = await openTestGateway(
      routingOf({ ...routes, "echo.Echo": { upstream: upstreamOf([server.port], { scheme: "grpc" }) } }),
    );
    caller = openGrpcClient(own.port);
  });

  afterAll(async () => {
    caller.close();
    await own.close(0);
  });

  function statusOf(path: string, fields = {}, options = {}): Promise<StatusObject> {
    const bytes = (text: string): Buffer => Buffer.from(text);
    return new Promise((resolve) =>
      caller.client
        .makeUnaryRequest(path, bytes, String, "x", metadata(fields), options, () => {})
        .on("status", resolve),
    );
  }

  test.each([
    { path: "/a.A/M", code: 16, details: "Missing JWT token in 100% of request ä" },
    { path: "/b.B/M", code: 7, details: "no" },
    { path: "/c.C/M", code: 14, details: "502 Bad Gateway" },
    { path: "/d.D/M", code: 14, details: "slow down" },
    { path: "/e.E/M", code: 14, details: "503 Service Temporarily Unavailable" },
    { path: "/none.N/M", code: 12, details: "404 Route Not Found" },
  ])("$path ends with status $code", async ({ path, code, details }) => {
    const got = await statusOf(path);
    expect([got.code, got.details]).toEqual([code, details]);
  });

  test("its head is HTTP 200 without a message, and others still get the page", async () => {
    const session = connect(`http://127.0.0.1:${own.port}`);
    const ask = (type: string) =>
      new Promise<Record<string, unknown>>((resolve) => {
        const stream = session.request({ ":method": "POST", ":path": "/a.A/M", "content-type": type });
        stream.on("response", (headers, flags) => resolve({ ...headers, ends: (flags & 1) === 1 }));
        stream.end();
        stream.resume();
      });
    expect(await ask("application/grpc+proto")).toMatchObject({
      ":status": 200,
      "grpc-status": "16",
      "grpc-message": "Missing JWT token in 100%25 of request %C3%A4",
      "www-authenticate": "Bearer",
      ends: true,
    });
    expect(await ask("application/json")).toMatchObject({ ":status": 401, ends: false });
    session.destroy();
    expect(await own.scrape()).toMatch(/jotgate_http_requests_total\{route="a.A",status="401"\} 3/);
  });

  test("a call that takes longer than it gave ends with DEADLINE_EXCEEDED, and is cancelled upstream", async () => {
    const before = server.cancelled();
    expect(await statusOf("/echo.Echo/Wait", { "grpc-timeout": "200m" })).toMatchObject({ code: 4 });
    await waitFor(() => server.cancelled() > before);
    const stream = caller.chat(metadata({ "grpc-timeout": "300m" }));
    stream.on("error", () => {});
    const got: string[] = [];
    stream.on("data", (text: string) => got.push(text));
    stream.write("a");
    const status = await new Promise<StatusObject>((resolve) => stream.on("status", resolve));
    expect([got, status.code]).toEqual([["re a"], 4]);
  });

  test.each(["", "1", "1s", "123456789S", "-1S", "1.5S", "1S 2S"])("%j is no time: INTERNAL", async (text) => {
    expect(await statusOf("/echo.Echo/One", { "grpc-timeout": text })).toMatchObject({ code: 13 });
  });
});

describe("nodes with TLS", () => {
  let authority: Authority;
  let secure: GrpcServer;
  let mutual: GrpcServer;
  const named = (port: number, input: Partial<UpstreamInput>): UpstreamUnit =>
    upstreamOf([port], { scheme: "grpcs", passHost: "rewrite", upstreamHost: "a.test", ...input });

  beforeAll(async () => {
    authority = openAuthority();
    const pair = authority.issue(["a.test"]);
    secure = await openGrpcServer({}, pair);
    mutual = await openGrpcServer({}, { ...pair, ca: authority.cert });
  });

  afterAll(() => {
    secure.close();
    mutual.close();
    authority.close();
  });

  async function statusThrough(upstream: UpstreamUnit): Promise<number> {
    const own = await openTestGateway(routingOf({ "*": { upstream } }));
    const caller = openGrpcClient(own.port);
    const { status } = await caller.call("one", "x", metadata());
    caller.close();
    await own.close(0);
    return status.code;
  }

  test("are not verified by default, and refused when they are and nobody trusts them", async () => {
    const tls = { verify: false, cert: undefined, key: undefined };
    expect(await statusThrough(named(secure.port, { tls }))).toBe(0);
    expect(await statusThrough(named(secure.port, { tls: { ...tls, verify: true } }))).toBe(14);
  });

  test("that want a certificate of the client get it, and refuse who has none", async () => {
    const client = authority.issue(["gateway.test"]);
    const tls = { verify: false, cert: client.cert, key: client.key };
    expect(await statusThrough(named(mutual.port, { tls }))).toBe(0);
    const bare = { verify: false, cert: undefined, key: undefined };
    expect(await statusThrough(named(mutual.port, { tls: bare }))).toBe(14);
  });

  test("that agree on no HTTP/2 are ones that do not answer", async () => {
    const plain = createTls(authority.issue(["a.test"]), (socket) => socket.end("HTTP/1.1 200 OK\r\n\r\n"));
    await new Promise<void>((resolve) => void plain.listen(0, "127.0.0.1", resolve));
    const { port } = plain.address() as AddressInfo; // true: it listens on a port
    expect(await statusThrough(named(port, { tls: { verify: false, cert: undefined, key: undefined } }))).toBe(14);
    plain.close();
  });
});

test("a reader that is slow stops its stream at the source, and no other", async () => {
  let asked = 0;
  const source = createHttp2((request, response) => {
    if (request.url === "/quick") {
      response.end("quick");
      return;
    }
    const fill = (): void => {
      while (asked < 40_000_000) {
        asked += 65_536;
        if (!response.write(Buffer.alloc(65_536))) {
          response.once("drain", fill);
          return;
        }
      }
      response.end();
    };
    fill();
  });
  await new Promise<void>((resolve) => void source.listen(0, "127.0.0.1", resolve));
  const { port } = source.address() as AddressInfo; // true: it listens on a port
  const own = await openTestGateway(routingOf({ "*": { upstream: upstreamOf([port], { http2: true }) } }));
  const session = connect(`http://127.0.0.1:${own.port}`);
  const slow = session.request({ ":path": "/slow" });
  await new Promise((resolve) => slow.once("response", resolve));
  let last = -1;
  await waitFor(() => {
    const settled = asked === last;
    last = asked;
    return settled;
  });
  expect(asked).toBeLessThan(8_000_000);
  const quick = session.request({ ":path": "/quick" });
  let text = "";
  for await (const chunk of quick) text += chunk;
  expect(text).toBe("quick");
  let read = 0;
  for await (const chunk of slow) read += (chunk as Buffer).length;
  expect(read).toBe(asked);
  session.destroy();
  await own.close(0);
  source.close();
});

describe("a probe of an HTTP/2 node", () => {
  const never = new AbortController();
  const conf: ProbeConf = {
    ...{ type: "http", http2: true, timeoutMs: 2_000, method: "GET", path: "/health", body: "", verify: true },
    ...{ headers: ["X-Probe: 1", "Host: probe.test"], host: undefined, port: undefined },
  };
  const ask = (port: number, change: Partial<ProbeConf> = {}) =>
    makeProbe(systemClock)(
      { address: "127.0.0.1", port, host: "127.0.0.1", tls: undefined },
      { ...conf, ...change },
      never.signal,
    );

  test("asks for a page as over HTTP/1.1, and says what is no HTTP/2", async () => {
    const seen: unknown[] = [];
    const source = createHttp2((request, response) => {
      const { ":path": path, ":authority": host, "x-probe": probe } = request.headers;
      seen.push([path, host, probe]);
      response.statusCode = 404;
      response.end("x");
    });
    await new Promise<void>((resolve) => void source.listen(0, "127.0.0.1", resolve));
    const { port } = source.address() as AddressInfo; // true: it listens on a port
    expect(await ask(port)).toEqual({ kind: "status", status: 404 });
    expect(seen).toEqual([["/health", "probe.test", "1"]]);
    source.close();
    const plain = createTcp((socket) => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    await new Promise<void>((resolve) => void plain.listen(0, "127.0.0.1", resolve));
    const { port: other } = plain.address() as AddressInfo; // true: it listens on a port
    expect(["refused", "status"]).toContain((await ask(other)).kind);
    expect(await ask(other)).not.toEqual({ kind: "status", status: 200 });
    plain.close();
  });

  test("asks gRPC's health service for SERVING, of one service or the whole server", async () => {
    const bytes = (value: Buffer): Buffer => value;
    const asked: string[] = [];
    const texts = { requestSerialize: bytes, requestDeserialize: bytes };
    const method = { path: "/grpc.health.v1.Health/Check", requestStream: false, responseStream: false, ...texts };
    const source = new Server();
    source.addService(
      { check: { ...method, responseSerialize: bytes, responseDeserialize: bytes } },
      {
        check(call: ServerUnaryCall<Buffer, Buffer>, done: sendUnaryData<Buffer>) {
          const name = call.request.toString("latin1", 2);
          asked.push(name);
          if (name === "unknown") done({ code: 5 });
          else done(null, Buffer.from([0x08, name === "down" ? 2 : 1]));
        },
      },
    );
    const port = await new Promise<number>((resolve) =>
      source.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (_error, bound) => resolve(bound)),
    );
    const check = (body: string) => ask(port, { path: "/grpc.health.v1.Health/Check", body });
    expect(await check("")).toEqual({ kind: "status", status: 200 });
    expect(await check("echo.Echo")).toEqual({ kind: "status", status: 200 });
    expect(await check("down")).toEqual({ kind: "status", status: 503 });
    expect(await check("unknown")).toEqual({ kind: "status", status: 503 });
    expect(asked).toEqual(["", "echo.Echo", "down", "unknown"]);
    source.forceShutdown();
  });
});
