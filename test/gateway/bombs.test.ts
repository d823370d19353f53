/** Compressed bodies where a plugin reads them: what unpacks to more than the plugin takes is never unpacked. */
import { brotliCompressSync, deflateSync, gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { requestValidation } from "../../src/plugins/request-validation.ts";
import { responseRewrite } from "../../src/plugins/response-rewrite.ts";
import { LANES, openLane } from "./lanes.ts";
import { answering, ask, OK, routingOf, type TestGateway, upstreamOf } from "./support.ts";

const GET = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
const ZEROS = Buffer.alloc(64 * 1024 * 1024);
const LIMIT = 1024 * 1024;

const responseOf = (body: Buffer, encoding: string): string =>
  `HTTP/1.1 200 OK\r\nContent-Encoding: ${encoding}\r\nContent-Length: ${body.length}\r\n\r\n${body.toString("latin1")}`;

describe.each(LANES)("$lane", ({ fastLane }) => {
  const { openWith, raw } = openLane(fastLane);

  async function rewriting(answer: string): Promise<TestGateway> {
    const upstream = await raw(answering((request) => (request.startsWith("GET /y") ? OK : answer)));
    const filters = [{ regex: "old", replace: "new" }];
    const plugin = makeEnv().compile(responseRewrite, { filters, max_resp_body_size: LIMIT });
    const routes = {
      x: { upstream: upstreamOf([upstream.port]), plugins: [plugin] },
      y: { upstream: upstreamOf([upstream.port]) },
    };
    return openWith(routingOf(routes));
  }

  test.each([
    { encoding: "gzip", body: gzipSync(ZEROS) },
    { encoding: "deflate", body: deflateSync(ZEROS) },
    { encoding: "br", body: brotliCompressSync(ZEROS) },
  ])(
    "a response in $encoding that unpacks to 64 MiB: 502, and the next request is served",
    async ({ encoding, body }) => {
      expect(body.length).toBeLessThan(LIMIT / 2);
      const gateway = await rewriting(responseOf(body, encoding));
      const got = await ask(gateway.port, GET);
      expect([got.status, got.body]).toEqual([502, '{"error_msg":"502 Bad Gateway"}\n']);
      expect((await ask(gateway.port, GET.replace("/x", "/y"))).status).toBe(200);
    },
  );

  test.each([
    { says: "an encoding nobody reads", encoding: "zstd", body: Buffer.from("an old text") },
    { says: "gzip that is none", encoding: "gzip", body: Buffer.from("an old text") },
    { says: "gzip that ends early", encoding: "gzip", body: gzipSync("an old text").subarray(0, 15) },
  ])("$says arrives as the upstream sent it, and says so", async ({ encoding, body }) => {
    const gateway = await rewriting(responseOf(body, encoding));
    const got = await ask(gateway.port, GET);
    expect([got.status, got.headers["content-encoding"], got.body]).toEqual([200, encoding, body.toString("latin1")]);
  });

  test("gzip within gzip is unpacked once", async () => {
    const inner = gzipSync("an old text");
    const gateway = await rewriting(responseOf(gzipSync(inner), "gzip"));
    const got = await ask(gateway.port, GET);
    expect([got.headers["content-encoding"], got.body]).toEqual([undefined, inner.toString("latin1")]);
  });

  test("a compressed request body is no JSON to a plugin that reads it, and is never unpacked", async () => {
    const upstream = await raw(answering(OK));
    const plugin = makeEnv().compile(requestValidation, { body_schema: { type: "object" } });
    const route = { upstream: upstreamOf([upstream.port]), plugins: [plugin] };
    const gateway = await openWith(routingOf({ x: route }));
    const body = gzipSync(ZEROS);
    const head = `POST /x HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: ${body.length}\r\n\r\n`;
    expect((await ask(gateway.port, Buffer.concat([Buffer.from(head), body]))).status).toBe(400);
    expect(upstream.all).toBe("");
  });
});
