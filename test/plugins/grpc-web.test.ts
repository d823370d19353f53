/** grpc-web in front of a gRPC server: binary and text, unary and server streams, and what is refused. */
import { connect, createServer as createHttp2 } from "node:http2";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { makeResponse, makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { cors } from "../../src/plugins/cors.ts";
import { grpcWeb } from "../../src/plugins/grpc-web.ts";
import { openTestGateway, type RouteInput, routeOf, type TestGateway, upstreamOf } from "../gateway/support.ts";
import { type GrpcServer, openGrpcServer } from "../support/grpc.ts";

let server: GrpcServer;
/** Breaks off behind its first message. */
const broken = createHttp2();
let gateway: TestGateway;

beforeAll(async () => {
  server = await openGrpcServer();
  broken.on("stream", (stream) => {
    stream.on("error", () => {});
    stream.respond({ ":status": 200, "content-type": "application/grpc" });
    stream.write(frameOf("half"), () => stream.session?.destroy());
  });
  await new Promise<void>((resolve) => broken.listen(0, "127.0.0.1", resolve));
  const env = makeEnv();
  const compiled = (conf: object, ...more: PluginPhases[]): RouteInput => ({
    upstream: upstreamOf([server.port], { scheme: "grpc" }),
    plugins: [...more, env.compile(grpcWeb, conf)],
  });
  const routes: Record<string, RouteInput & { readonly uri: string }> = {
    web: { uri: "/web/*", ...compiled({}) },
    "echo.Echo": { uri: "/echo.Echo/One", ...compiled({ max_req_body_size: 40, cors_allow_headers: "x-own" }) },
    cors: { uri: "/cors/*", ...compiled({}, env.compile(cors, { allow_origins: "http://a.test" })) },
    half: {
      ...{ uri: "/half/*", ...compiled({}) },
      upstream: upstreamOf([(broken.address() as AddressInfo).port], { scheme: "grpc" }),
    },
    away: { uri: "/away/*", ...compiled({}), upstream: upstreamOf([1], { scheme: "grpc" }) },
  };
  const nothing = routeOf("", {}).pipeline;
  gateway = await openTestGateway({
    match: (view) => {
      const input = routes[view.path.split("/")[1] ?? ""];
      const unit = input && routeOf("r", input);
      return unit && { unit, facts: { ...unit.facts, matchedUri: input.uri } };
    },
    globalPipeline: () => nothing,
  });
});

afterAll(async () => {
  await gateway.close(0);
  server.close();
  broken.close();
});

const frameOf = (text: string, kind = 0): Buffer => {
  const head = Buffer.alloc(5);
  head[0] = kind;
  head.writeUInt32BE(text.length, 1);
  return Buffer.concat([head, Buffer.from(text, "latin1")]);
};

function framesOf(bytes: Buffer): [number, string][] {
  const frames: [number, string][] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 5 + bytes.readUInt32BE(at + 1);
    frames.push([bytes[at] as number, bytes.toString("latin1", at + 5, end)]);
    at = end;
  }
  return frames;
}

async function call(path: string, body: Buffer | string, type = "application/grpc-web+proto", more: RequestInit = {}) {
  const headers = { "content-type": type, ...(more.headers as Record<string, string>) };
  const response = await fetch(`http://127.0.0.1:${gateway.port}${path}`, { method: "POST", body, ...more, headers });
  const raw = Buffer.from(await response.arrayBuffer());
  const pieces = type.includes("text") ? raw.toString("latin1").match(/[A-Za-z0-9+/]+=*/g) : undefined;
  const bytes = pieces ? Buffer.concat(pieces.map((piece) => Buffer.from(piece, "base64"))) : raw;
  return { status: response.status, headers: response.headers, bytes };
}

describe.each([
  { kind: "binary", type: "application/grpc-web+proto", send: (bytes: Buffer) => bytes },
  { kind: "text", type: "application/grpc-web-text", send: (bytes: Buffer) => bytes.toString("base64") },
])("$kind", ({ type, send }) => {
  test("a unary call, with trailers in its body", async () => {
    const got = await call("/web/echo.Echo/One", send(frameOf("hi")), type);
    expect([got.status, got.headers.get("content-type")]).toEqual([200, type]);
    expect(got.headers.get("access-control-allow-origin")).toBe("*");
    expect(got.headers.get("access-control-expose-headers")).toBe("grpc-message,grpc-status");
    const all = framesOf(got.bytes);
    expect(all[0]).toEqual([0, "hi!"]);
    expect(all[1]?.[0]).toBe(0x80);
    expect(all[1]?.[1]).toMatch(/^grpc-status:0\r\ngrpc-message:(?:OK)?\r\n(?:.*\r\n)*x-trailer:t\r\n/);
  });

  test("a server stream", async () => {
    const got = await call("/web/echo.Echo/Many", send(frameOf("300 50")), type);
    expect(framesOf(got.bytes).slice(0, -1)).toEqual(Array.from({ length: 300 }, () => [0, "m".repeat(50)]));
  });

  test("a call that fails says so where browsers read it", async () => {
    const got = await call("/web/echo.Echo/Fail", send(frameOf("x")), type);
    const inHead = got.headers.get("grpc-status");
    const inBody = framesOf(got.bytes).find(([frame]) => frame === 0x80)?.[1];
    expect(inHead === "9" ? inBody === undefined : inBody?.includes("grpc-status:9\r\n")).toBe(true);
  });
});

test("a text may come in pieces with padding; what is no base64 is 400", async () => {
  const [a, b] = [frameOf("hello").subarray(0, 4), frameOf("hello").subarray(4)];
  const pieces = a.toString("base64") + b.toString("base64");
  expect(framesOf((await call("/web/echo.Echo/One", pieces, "application/grpc-web-text")).bytes)[0]).toEqual([
    0,
    "hello!",
  ]);
  for (const bad of ["!", "abc", "ab=c", "YQ==="])
    expect((await call("/web/echo.Echo/One", bad, "application/grpc-web-text")).status).toBe(400);
  const long = frameOf("m".repeat(3_000_000)).toString("base64").repeat(3);
  expect((await call("/web/echo.Echo/One", `${long}!`, "application/grpc-web-text")).status).toBe(400);
});

test("an exact route keeps its path; longer bodies than may be are 400", async () => {
  const got = await call("/echo.Echo/One", frameOf("hi"));
  expect(framesOf(got.bytes)[0]).toEqual([0, "hi!"]);
  expect((await call("/echo.Echo/One", frameOf("x".repeat(40)))).status).toBe(400);
  const preflight = await fetch(`http://127.0.0.1:${gateway.port}/echo.Echo/One`, { method: "OPTIONS" });
  expect(preflight.headers.get("access-control-allow-headers")).toBe("x-own");
});

test("a call that ends without a status is one of status 2", () => {
  const view = makeView({ target: "/a", method: "POST", headers: ["Content-Type", "application/grpc-web"] });
  const phases = makeEnv().compile(grpcWeb, {});
  view.setNote("grpc_web_mime", "application/grpc-web");
  const response = makeResponse();
  phases.headerFilter?.(view, response);
  const [stage] = response.stages;
  const sent: Buffer[] = [];
  const out = { write: (piece: Buffer) => sent.push(piece) > 0, flush() {}, end() {}, ready() {}, fail() {} };
  if (stage && !("apply" in stage)) stage.open(out, undefined).end();
  expect(framesOf(Buffer.concat(sent))).toEqual([
    [0x80, "grpc-status:2\r\ngrpc-message:upstream grpc status not received\r\n"],
  ]);
});

test("a preflight is answered; other methods are 405 and types 400, all with CORS", async () => {
  const preflight = await fetch(`http://127.0.0.1:${gateway.port}/web/a.A/M`, { method: "OPTIONS" });
  expect([preflight.status, preflight.headers.get("access-control-allow-methods")]).toEqual([204, "POST"]);
  expect(preflight.headers.get("access-control-allow-headers")).toContain("x-grpc-web");
  const get = await fetch(`http://127.0.0.1:${gateway.port}/web/a.A/M`);
  expect([get.status, get.headers.get("access-control-allow-origin")]).toEqual([405, "*"]);
  const json = await call("/web/a.A/M", "{}", "application/json");
  expect(json.status).toBe(400);
});

test("an origin that cors has set stays; an upstream that is away is a status in the head", async () => {
  const got = await call("/cors/echo.Echo/One", frameOf("x"), undefined, { headers: { origin: "http://a.test" } });
  expect([got.status, got.headers.get("access-control-allow-origin")]).toEqual([200, "http://a.test"]);
  const away = await call("/away/echo.Echo/One", frameOf("x"));
  expect([away.status, away.headers.get("grpc-status"), away.headers.get("content-type")]).toEqual([
    200,
    "14",
    "application/grpc-web+proto",
  ]);
});

test("a stream that breaks off upstream breaks off for browsers, too: they read no trailers of HTTP/2", async () => {
  const session = connect(`http://127.0.0.1:${gateway.port}`);
  const type = "application/grpc-web+proto";
  const stream = session.request({ ":method": "POST", ":path": "/half/echo.Echo/One", "content-type": type });
  const seen: unknown[] = [];
  stream.on("response", (headers) => seen.push(headers["content-type"]));
  stream.on("trailers", () => seen.push("trailers"));
  stream.on("error", () => seen.push("reset"));
  stream.resume();
  stream.end(frameOf("x"));
  await new Promise((resolve) => stream.on("close", resolve));
  session.destroy();
  expect(seen).toEqual([type, "reset"]);
});
