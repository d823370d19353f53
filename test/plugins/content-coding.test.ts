/** gzip and brotli on every lane: what is compressed for whom, how events go through, and what happens when a side is slow or breaks off. */
import { randomBytes } from "node:crypto";
import { brotliDecompressSync, createGunzip, gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeEnv, metricValue } from "../../src/plugin/testkit/testkit.ts";
import { brotli } from "../../src/plugins/brotli.ts";
import { gzip } from "../../src/plugins/gzip.ts";
import { mocking } from "../../src/plugins/mocking.ts";
import { responseRewrite } from "../../src/plugins/response-rewrite.ts";
import { type Asked, EVERY_LANE, type LaneClient, openEveryLane, openNodeUpstream } from "../gateway/any-lane.ts";
import { upstreamOf, waitFor } from "../gateway/support.ts";

const TEXT = "a line of a page that says much the same as all the others\n".repeat(40);
/** Does not fit into any buffer on the way, packed or not. */
const BIG = randomBytes(24 * 1024 * 1024);

let upstream: Awaited<ReturnType<typeof openNodeUpstream>>;
/** Bytes that the endless answer has sent. */
let sent = 0;
let events: import("node:http").ServerResponse | undefined;

beforeAll(async () => {
  upstream = await openNodeUpstream((request, response) => {
    const url = new URL(request.url ?? "/", "http://h");
    const headers = Object.fromEntries(url.searchParams);
    const type = headers["content-type"] ?? "text/html; charset=utf-8";
    switch (url.pathname.split("/")[2]) {
      case "events":
        events = response;
        response.writeHead(200, { "Content-Type": "text/event-stream" }).flushHeaders();
        return;
      case "broken":
        response.writeHead(200, { "Content-Type": type, "Transfer-Encoding": "chunked" });
        response.write(TEXT);
        events = response;
        return;
      case "big":
        response.writeHead(200, {
          "Content-Type": type,
          ...(headers["chunked"] ? {} : { "Content-Length": BIG.length }),
        });
        sent = 0;
        for (let at = 0; at < BIG.length; at += 1_048_576)
          response.write(BIG.subarray(at, at + 1_048_576), (error) => {
            if (!error) sent += 1_048_576;
          });
        response.end();
        return;
      case "status":
        response.writeHead(Number(headers["status"]), { "Content-Type": type, ...headers });
        response.end(request.method === "HEAD" ? undefined : TEXT);
        return;
      default:
        response.writeHead(200, { "Content-Type": type, "Content-Length": TEXT.length, ...headers });
        response.end(request.method === "HEAD" ? undefined : TEXT);
    }
  });
});
afterAll(() => upstream.close());

const env = makeEnv({ plugins: [gzip, brotli, mocking, responseRewrite] });

describe.each(EVERY_LANE)("$lane", (lane) => {
  const lanes = openEveryLane(lane);
  let client: LaneClient;

  beforeAll(async () => {
    const to = upstreamOf([upstream.port]);
    const all = { types: "*" };
    client = await lanes.open({
      gzip: { upstream: to, plugins: [env.compile(gzip, { vary: true })] },
      all: { upstream: to, plugins: [env.compile(gzip, all)] },
      both: { upstream: to, plugins: [env.compile(brotli, { ...all, vary: true }), env.compile(gzip, all)] },
      brotli: { upstream: to, plugins: [env.compile(brotli, all)] },
      slow: { upstream: to, plugins: [env.compile(brotli, { ...all, comp_level: 9 })] },
      long: { upstream: to, plugins: [env.compile(gzip, { min_length: 10_000, vary: true })] },
      own: { plugins: [env.compile(gzip, all), env.compile(mocking, { response_example: TEXT })] },
      rewritten: {
        upstream: to,
        plugins: [
          env.compile(gzip, {}),
          env.compile(responseRewrite, { filters: [{ regex: "line", replace: "row", scope: "global" }] }),
        ],
      },
      replaced: {
        upstream: to,
        plugins: [
          env.compile(gzip, {}),
          env.compile(responseRewrite, { body: BIG.toString("base64", 0, 2 ** 21), body_base64: true }),
        ],
      },
    });
  });

  const ask = (path: string, accept?: string, asked: Asked = {}) =>
    client.ask({
      path,
      ...asked,
      headers: { ...(accept === undefined ? {} : { "Accept-Encoding": accept }), ...asked.headers },
    });

  test.each([
    { path: "/gzip/a", accept: "gzip", coding: "gzip" },
    { path: "/gzip/a", accept: "br, gzip;q=0.1", coding: "gzip" },
    { path: "/gzip/a", accept: "GZIP ; Q=1.0", coding: "gzip" },
    { path: "/gzip/a", accept: "*", coding: "gzip" },
    { path: "/gzip/a", accept: undefined, coding: undefined },
    { path: "/gzip/a", accept: "", coding: undefined },
    { path: "/gzip/a", accept: "br", coding: undefined },
    { path: "/gzip/a", accept: "gzip;q=0", coding: undefined },
    { path: "/gzip/a", accept: "gzip;q=0.000, *", coding: undefined },
    { path: "/gzip/a", accept: "*;q=0", coding: undefined },
    { path: "/gzip/a", accept: "gzipped, notgzip", coding: undefined },
    { path: "/gzip/a", accept: "gzip;q=0.5, identity", coding: undefined },
    { path: "/gzip/a", accept: "gzip;q=1.5", coding: undefined },
    { path: "/both/a", accept: "gzip, br", coding: "br" },
    { path: "/both/a", accept: "gzip, br;q=0.9", coding: "gzip" },
    { path: "/both/a", accept: "gzip", coding: "gzip" },
    { path: "/both/a", accept: "*", coding: "br" },
    { path: "/both/a", accept: "*;q=0.5, br;q=0", coding: "gzip" },
    { path: "/brotli/a", accept: "gzip, *", coding: "br" },
    { path: "/slow/a", accept: "br", coding: "br" },
  ])("Accept-Encoding $accept on $path: $coding", async ({ accept, coding, path }) => {
    const got = await ask(path, accept);
    expect([got.status, got.headers["content-encoding"]]).toEqual([200, coding]);
    expect(unpacked(got.body, coding)).toBe(TEXT);
    expect(got.headers["content-length"]).toBe(coding === undefined ? String(TEXT.length) : undefined);
    if (!path.startsWith("/brotli") && !path.startsWith("/slow")) expect(got.headers["vary"]).toBe("Accept-Encoding");
  });

  test.each([
    { says: "another type", query: "content-type=text/css", vary: undefined },
    { says: "already coded", query: "content-encoding=br", vary: undefined },
    { says: "no-transform", query: "cache-control=max-age=1, no-transform", vary: undefined },
    { says: "a range", query: "content-range=bytes 0-9/100", vary: undefined },
    { says: "shorter than min_length", path: "/long/a", query: "", vary: "Accept-Encoding" },
  ])("left alone: $says", async ({ path, query }) => {
    const got = await ask(`${path ?? "/gzip/a"}?${encodeURI(query)}`, "gzip");
    expect(got.headers["content-encoding"]).toBe(query.includes("encoding") ? "br" : undefined);
    expect([got.body.toString(), got.headers["vary"]]).toEqual([TEXT, undefined]);
  });

  test("a part of a body (206) is left alone, an error page is not", async () => {
    const part = await ask("/all/status?status=206&content-range=bytes 0-1/2".replaceAll(" ", "%20"), "gzip");
    expect([part.status, part.headers["content-encoding"], part.body.toString()]).toEqual([206, undefined, TEXT]);
    const failed = await ask("/all/status?status=404", "gzip");
    expect([failed.status, failed.headers["content-encoding"], unpacked(failed.body, "gzip")]).toEqual([
      404,
      "gzip",
      TEXT,
    ]);
  });

  test("what describes the bytes of the upstream goes or is weakened", async () => {
    const query = 'etag="a"&accept-ranges=bytes&content-digest=x&vary=Origin&last-modified=then';
    const got = await ask(`/gzip/a?${encodeURI(query)}`, "gzip");
    expect(got.headers).toMatchObject({ etag: 'W/"a"', vary: "Origin, Accept-Encoding", "last-modified": "then" });
    expect([got.headers["accept-ranges"], got.headers["content-digest"]]).toEqual([undefined, undefined]);
    expect((await ask(`/gzip/a?${encodeURI('etag=W/"a"&vary=accept-encoding')}`, "gzip")).headers).toMatchObject({
      etag: 'W/"a"',
      vary: "accept-encoding",
    });
    expect((await ask("/gzip/a?etag=a", "gzip")).headers["etag"]).toBeUndefined();
    expect((await ask(`/gzip/a?${encodeURI('etag="a"')}`)).headers["etag"]).toBe('"a"');
  });

  test("HEAD shows the head of the GET, without a length; 204 and 304 stay without a body", async () => {
    const head = await ask(`/gzip/a?${encodeURI('etag="a"')}`, "gzip", { method: "HEAD" });
    expect(head.headers).toMatchObject({ "content-encoding": "gzip", etag: 'W/"a"', vary: "Accept-Encoding" });
    expect([head.headers["content-length"], head.body.length]).toEqual([undefined, 0]);
    for (const status of [204, 304]) {
      const got = await ask(`/gzip/status?status=${status}`, "gzip");
      expect([got.status, got.headers["content-encoding"], got.body.length]).toEqual([status, undefined, 0]);
      expect(got.headers["vary"]).toBe(status === 304 ? "Accept-Encoding" : undefined);
    }
  });

  test("answers of the gateway, filtered and replaced bodies are compressed as the client gets them", async () => {
    const own = await ask("/own/a", "gzip");
    expect([own.headers["content-encoding"], unpacked(own.body, "gzip")]).toEqual(["gzip", TEXT]);
    const filtered = await ask("/rewritten/a", "gzip");
    expect(unpacked(filtered.body, "gzip")).toBe(TEXT.replaceAll("line", "row"));
    const kept = await ask("/rewritten/a?content-encoding=gzip", "gzip");
    expect(kept.headers["content-encoding"]).toBe("gzip, gzip"); // what says gzip and is none is passed on as it came
    expect(unpacked(kept.body, "gzip")).toBe(TEXT);
    const replaced = await ask("/replaced/a", "gzip");
    expect(gunzipSync(replaced.body).equals(BIG.subarray(0, 2 ** 21))).toBe(true);
  });

  test.each(["gzip", "br"])("events arrive one by one in %s", async (coding) => {
    const coming = await client.begin({
      path: `/${coding === "gzip" ? "all" : "brotli"}/events`,
      headers: { "Accept-Encoding": coding },
    });
    expect(coming.headers["content-encoding"]).toBe(coding);
    let text = "";
    for (let at = 0; at < 3; at++) {
      events?.write(`data: ${at}\n\n`);
      text += `data: ${at}\n\n`;
      const all = text;
      await waitFor(async () => coding !== "gzip" || (await soFar(coming.seen())) === all);
      if (coding === "br") await waitFor(() => coming.seen().length > at * 10);
    }
    events?.end();
    const got = await coming.end;
    expect([got.complete, unpacked(got.body, coding)]).toEqual([true, text]);
  });

  test("an upstream that breaks off breaks the response off", async () => {
    const coming = await client.begin({ path: "/all/broken", headers: { "Accept-Encoding": "gzip" } });
    await waitFor(() => coming.seen().length > 0);
    events?.destroy();
    const got = await coming.end;
    expect([got.headers["content-encoding"], got.complete]).toEqual(["gzip", false]);
  });

  test.each(["/all/big", "/all/big?chunked=1"])(
    "%s: a client that reads slowly holds the upstream back, and gets all of it",
    async (path) => {
      const coming = await client.begin({ path, headers: { "Accept-Encoding": "gzip" } });
      coming.pause();
      await waitForStand(() => sent);
      expect(sent).toBeLessThan(BIG.length);
      coming.resume();
      const got = await coming.end;
      expect(got.complete).toBe(true);
      expect(gunzipSync(got.body).equals(BIG)).toBe(true);
    },
  );

  test("a client that leaves frees the codec, and the next one is served", async () => {
    const coming = await client.begin({ path: "/all/big", headers: { "Accept-Encoding": "gzip" } });
    coming.destroy();
    const { state, release } = env.states.hold("content coding", () => ({ bytes: 0 }));
    await waitFor(() => state.bytes === 0);
    release();
    expect(unpacked((await ask("/all/a", "gzip")).body, "gzip")).toBe(TEXT);
  });
});

test("codecs are counted, and beyond their memory bodies go out plain", async () => {
  const full = makeEnv({ plugins: [gzip] });
  full.states.hold("content coding", () => ({ bytes: 268_435_456 }));
  const lanes = { phases: full.compile(gzip, { types: "*" }) };
  const { makeResponse, makeView } = await import("../../src/plugin/testkit/testkit-view.ts");
  const { chooseCoding } = await import("../../src/gateway/http/content-coding.ts");
  const response = makeResponse({ headers: { "Content-Type": "a/b" } });
  const view = makeView({ headers: { "Accept-Encoding": "gzip" } });
  lanes.phases.headerFilter?.(view, response);
  chooseCoding(view, response, 1_000);
  expect([response.headers.get("content-encoding"), response.stages.length]).toEqual([undefined, 0]);
  expect(await metricValue(full, "jotgate_coded_responses_total", { coding: "gzip", result: "no_memory" })).toBe(1);
});

test("a client of HTTP/1.0 is served plain unless the configuration says otherwise", () => {
  const decide = (conf: object): boolean => {
    let offered: import("../../src/plugin/body-stages.ts").ContentCoding | undefined;
    const response = {
      offerCoding: (coding: typeof offered) => {
        offered = coding;
      },
    };
    const view = viewOf("1.0");
    env.compile(gzip, conf).headerFilter?.(view, response as never);
    return offered?.isFor(view, { headers: { get: () => "text/html" } } as never, 100) ?? false;
  };
  expect([decide({}), decide({ http_version: 1.0 })]).toEqual([false, true]);
});

function viewOf(httpVersion: "1.0") {
  return { head: { httpVersion } } as never;
}

function unpacked(body: Buffer, coding: string | undefined): string {
  if (coding === "gzip") return gunzipSync(body).toString();
  return coding === "br" ? brotliDecompressSync(body).toString() : body.toString();
}

/** What can be unpacked of the beginning of a body. */
function soFar(packed: Buffer): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const gunzip = createGunzip();
    gunzip.on("data", (piece: Buffer) => {
      text += piece.toString();
    });
    gunzip.on("error", () => {});
    gunzip.write(packed, () =>
      setImmediate(() => {
        gunzip.destroy();
        resolve(text);
      }),
    );
  });
}

/** Until a number has not moved for twenty looks. */
async function waitForStand(read: () => number): Promise<void> {
  let before = -1;
  let looks = 0;
  await waitFor(() => {
    looks = read() === before ? looks + 1 : 0;
    before = read();
    return looks >= 20;
  }, 20_000);
}
