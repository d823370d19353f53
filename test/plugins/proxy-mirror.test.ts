/** proxy-mirror on every lane: what the mirror is sent, and that one that hangs, refuses or is slow holds nobody up. */
import { createServer as createHttp2, type Http2Server } from "node:http2";
import { type AddressInfo, createServer as createTcp, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeEnv, metricValue, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView } from "../../src/plugin/testkit/testkit-view.ts";
import { proxyMirror } from "../../src/plugins/proxy-mirror/proxy-mirror.ts";
import { EVERY_LANE, type LaneClient, openEveryLane, openNodeUpstream } from "../gateway/any-lane.ts";
import { upstreamOf, waitFor } from "../gateway/support.ts";

interface Copy {
  readonly line: string;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: Buffer;
}

let upstream: Awaited<ReturnType<typeof openNodeUpstream>>;
let mirror: Awaited<ReturnType<typeof openNodeUpstream>>;
let copies: Copy[] = [];
/** Takes connections, and nothing from them. */
let hanging: Server;
let grpc: Http2Server;
let received = 0;
const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;

beforeAll(async () => {
  upstream = await openNodeUpstream((request, response) => {
    request.on("data", (piece: Buffer) => {
      received += piece.length;
    });
    request.on("end", () => response.end("from the upstream"));
  });
  mirror = await openNodeUpstream((request, response) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      copies.push({ line: `${request.method} ${request.url}`, headers: request.headers, body: Buffer.concat(pieces) });
      response.statusCode = 500;
      response.end("nobody reads this");
    });
  });
  hanging = createTcp((socket) => void socket.pause().on("error", () => undefined));
  grpc = createHttp2();
  grpc.on("stream", (stream, headers) => {
    const pieces: Buffer[] = [];
    stream.on("data", (piece: Buffer) => pieces.push(piece));
    stream.on("end", () => {
      copies.push({ line: `${headers[":method"]} ${headers[":path"]}`, headers, body: Buffer.concat(pieces) });
      stream.respond({ ":status": 200 });
      stream.end();
    });
  });
  for (const server of [hanging, grpc]) await new Promise<void>((done) => void server.listen(0, "127.0.0.1", done));
});
afterAll(() => {
  upstream.close();
  mirror.close();
  grpc.close();
  hanging.close();
});

const env = makeEnv({ plugins: [proxyMirror] });
const count = (result: string): Promise<number | undefined> =>
  metricValue(env, "jotgate_mirrored_requests_total", { result });

describe.each(EVERY_LANE)("$lane", (lane) => {
  const lanes = openEveryLane(lane);
  let client: LaneClient;
  const closing: (() => void)[] = [];
  beforeAll(async () => {
    const to = upstreamOf([upstream.port]);
    const mirrored = (conf: object) => {
      const phases = env.compile(proxyMirror, { host: `http://127.0.0.1:${mirror.port}`, ...conf });
      closing.push(() => phases.close?.());
      return { upstream: to, plugins: [phases] };
    };
    client = await lanes.open({
      same: mirrored({}),
      path: mirrored({ path: "/a" }),
      prefix: mirrored({ path: "/a", path_concat_mode: "prefix" }),
      hanging: mirrored({ host: `http://127.0.0.1:${portOf(hanging)}` }),
      refused: mirrored({ host: "http://127.0.0.1:1" }),
      grpc: mirrored({ host: `grpc://127.0.0.1:${portOf(grpc)}` }),
      answered: {
        plugins: [...mirrored({}).plugins, { access: () => ({ status: 403, headers: [], body: "", reason: "r" }) }],
      },
    });
  });
  afterAll(() => {
    for (const close of closing) close();
  });

  const copied = async (): Promise<Copy> => {
    await waitFor(() => copies.length > 0);
    expect(copies).toHaveLength(1);
    return copies.pop() as Copy;
  };

  test.each([
    { path: "/same/x?a=1&b", line: "GET /same/x?a=1&b" },
    { path: "/path/x?a=1", line: "GET /a?a=1" },
    { path: "/prefix/x?a=1", line: "GET /a/prefix/x?a=1" },
  ])("$path: $line", async ({ line, path }) => {
    copies = [];
    const got = await client.ask({ path, headers: { "X-One": "1", Cookie: "a=b" } });
    expect([got.status, got.body.toString()]).toEqual([200, "from the upstream"]);
    const copy = await copied();
    expect(copy.line).toBe(line);
    expect(copy.headers).toMatchObject({ "x-one": "1", cookie: "a=b", "x-real-ip": "127.0.0.1" });
    expect(String(copy.headers["host"])).toMatch(/^a\.test/);
  });

  test.each([
    { says: "with a length", size: 10, chunked: false },
    { says: "without a length", size: 10, chunked: true },
    { says: "that is streamed", size: 3_000_000, chunked: false },
  ])("a body $says arrives at both", async ({ chunked, size }) => {
    copies = [];
    received = 0;
    const body = Buffer.alloc(size, "0123456789");
    const headers = chunked ? {} : { "Content-Length": size };
    const got = await client.ask({ method: "POST", path: "/same/x", body, headers });
    expect([got.status, received]).toEqual([200, size]);
    const copy = await copied();
    expect([copy.line, copy.body.equals(body)]).toEqual(["POST /same/x", true]);
  });

  test("gRPC is mirrored over HTTP/2", async () => {
    copies = [];
    await client.ask({
      method: "POST",
      path: "/grpc/x",
      body: "frame",
      headers: { "Content-Type": "application/grpc" },
    });
    const copy = await copied();
    expect([copy.line, copy.body.toString()]).toEqual(["POST /grpc/x", "frame"]);
    expect(copy.headers).toMatchObject({
      "content-type": "application/grpc",
      ":authority": expect.stringMatching(/^a\.test/),
    });
  });

  test("what a plugin answers is not mirrored", async () => {
    copies = [];
    expect((await client.ask({ path: "/answered/x" })).status).toBe(403);
    await client.ask({ path: "/same/after" });
    expect((await copied()).line).toBe("GET /same/after");
  });

  test("a mirror that hangs or refuses holds nobody up, and what it does not take is dropped", async () => {
    const dropped = (await count("dropped")) ?? 0;
    const failed = (await count("failed")) ?? 0;
    received = 0;
    const body = Buffer.alloc(24_000_000);
    const got = await client.ask({
      method: "POST",
      path: "/hanging/x",
      body,
      headers: { "Content-Length": body.length },
    });
    expect([got.status, received]).toEqual([200, body.length]);
    await waitFor(async () => ((await count("dropped")) ?? 0) > dropped);
    expect((await client.ask({ path: "/refused/x" })).status).toBe(200);
    await waitFor(async () => ((await count("failed")) ?? 0) > failed);
  });

  test("only so many copies wait for a mirror; callers notice nothing", async () => {
    const dropped = (await count("dropped")) ?? 0;
    const all = await Promise.all(Array.from({ length: 140 }, () => client.ask({ path: "/hanging/x" })));
    expect(all.every(({ status }) => status === 200)).toBe(true);
    expect(((await count("dropped")) ?? 0) - dropped).toBeGreaterThanOrEqual(12);
  });
});

test("metadata services of clouds are never called", async () => {
  const failed = (await count("failed")) ?? 0;
  const phases = env.compile(proxyMirror, { host: "http://169.254.169.254" });
  const view = makeView();
  await runPhases(phases, view);
  phases.beforeProxy?.(view);
  expect(await count("failed")).toBe(failed + 1);
  phases.close?.();
});

test("a part of the requests is mirrored, and each once, however often it is tried", async () => {
  copies = [];
  const phases = env.compile(proxyMirror, { host: `http://127.0.0.1:${mirror.port}`, sample_ratio: 0.5 });
  for (let at = 0; at < 100; at++) {
    const view = makeView({ target: `/${at}` });
    await runPhases(phases, view);
    phases.beforeProxy?.(view);
    phases.beforeProxy?.(view);
  }
  const { size } = await new Promise<Set<string>>((resolve) => {
    const look = (): void => {
      if (copies.length < 20) setTimeout(look, 10);
      else resolve(new Set(copies.map(({ line }) => line)));
    };
    look();
  });
  expect(size).toBe(copies.length);
  expect(copies.length).toBeLessThan(80);
  phases.close?.();
});

test.each(["ftp://127.0.0.1:1999", "http://127.0.0.1::1999", "127.0.0.1:1999", "http://127.0.0.1:1999/uri"])(
  "host %s is refused",
  (host) => {
    expect(() => env.compile(proxyMirror, { host })).toThrow(
      'property "host" validation failed: failed to match pattern',
    );
  },
);
