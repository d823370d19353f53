/** HTTP/2 with prior knowledge on the plain listener. */
import { type ClientHttp2Session, connect } from "node:http2";
import { afterEach, describe, expect, test } from "vitest";
import { FRAME, frame, PREFACE } from "../support/http2-frames.ts";
import { LANES } from "./lanes.ts";
import { answering, ask, OK, openClient, openRawUpstream, openTestGateway, routingOf, upstreamOf } from "./support.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

function statusOf(session: ClientHttp2Session, path: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":path": path });
    stream.on("response", (headers) => resolve(headers[":status"]));
    stream.on("error", reject);
    stream.resume();
  });
}

describe.each(LANES)("$lane", ({ fastLane }) => {
  async function open() {
    const upstream = await openRawUpstream(answering(OK));
    closing.push(() => upstream.close());
    const gateway = await openTestGateway(routingOf({ "*": { upstream: upstreamOf([upstream.port]) } }), {
      fastLane,
      headTimeoutMs: 400,
    });
    closing.push(() => gateway.close(0));
    return gateway;
  }

  test("clients of both protocols are served on one port", async () => {
    const gateway = await open();
    const session = connect(`http://127.0.0.1:${gateway.port}`);
    closing.push(() => session.destroy());
    expect(await Promise.all(["/x", "/y"].map((path) => statusOf(session, path)))).toEqual([200, 200]);
    expect((await ask(gateway.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n")).status).toBe(200);
    expect(await gateway.scrape()).toContain('jotgate_lane_requests_total{lane="http2"} 2');
  });

  test("a preface that comes in two pieces is one; one that never ends, or is none, is not waited for", async () => {
    const gateway = await open();
    const client = await openClient(gateway.port);
    client.send(PREFACE.subarray(0, 10));
    await new Promise((resolve) => setImmediate(resolve));
    client.send(Buffer.concat([PREFACE.subarray(10), frame(FRAME.SETTINGS, 0, 0)]));
    await client.until((text) => text.length > 9);
    expect(client.text.charCodeAt(3)).toBe(FRAME.SETTINGS);
    client.close();
    const slow = await openClient(gateway.port);
    slow.send(PREFACE.subarray(0, 10));
    await slow.untilClosed();
    const other = await openClient(gateway.port);
    other.send("PRI * HTTP/3.0\r\n\r\n");
    expect(await other.untilClosed()).toMatch(/^HTTP\/1\.1 400 /);
  });

  test("behind a request of HTTP/1.1 the preface is no protocol any more", async () => {
    const gateway = await open();
    const client = await openClient(gateway.port);
    client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    await client.until((text) => text.endsWith("ok"));
    client.send(Buffer.concat([PREFACE, frame(FRAME.SETTINGS, 0, 0)]));
    const text = await client.untilClosed();
    expect(text.slice(text.indexOf("ok") + 2)).toMatch(/^HTTP\/1\.1 400 |^\0/);
  });
});
