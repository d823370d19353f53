/** Every wait has an end: connect, send, read, request head, request body, slow readers, idle connections. */
import { describe, expect, test } from "vitest";
import { LANES, openLane } from "./lanes.ts";
import { answering, ask, cutResponse, OK, openClient, upstreamOf, waitFor } from "./support.ts";

const GET = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

describe.each(LANES)("$lane", ({ fastLane }) => {
  const { open, raw } = openLane(fastLane);

  test("an upstream that never answers: 504 at the read time-out", async () => {
    const upstream = await raw(() => {});
    const gateway = await open({ upstream: upstreamOf([upstream.port], { timeouts: { readMs: 200 } }) });
    const startedMs = performance.now();
    const got = await ask(gateway.port, GET);
    expect([got.status, got.body]).toEqual([504, '{"error_msg":"504 Gateway Time-out"}\n']);
    expect(performance.now() - startedMs).toBeGreaterThan(190);
  });

  test("the route's time-outs go before the upstream's", async () => {
    const upstream = await raw(() => {});
    const timeouts = { connectMs: 1000, sendMs: 1000, readMs: 100 };
    const gateway = await open({ upstream: upstreamOf([upstream.port], { timeouts: { readMs: 60_000 } }), timeouts });
    expect((await ask(gateway.port, GET)).status).toBe(504);
  });

  test("the read time-out counts between two reads, not in all", async () => {
    const upstream = await raw((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
      for (let i = 0; i < 6; i++) setTimeout(() => socket.write(String(i)), 120 * (i + 1));
    });
    const gateway = await open({ upstream: upstreamOf([upstream.port], { timeouts: { readMs: 400 } }) });
    expect((await ask(gateway.port, GET)).body).toBe("012345");
  });

  test("an upstream that stalls inside the body: the connection breaks", async () => {
    const upstream = await raw((socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
    const gateway = await open({ upstream: upstreamOf([upstream.port], { timeouts: { readMs: 150 } }) });
    const client = await openClient(gateway.port);
    client.send(GET);
    const text = await client.untilClosed();
    expect(text).toMatch(/half$/);
    expect(cutResponse(text)).toBeUndefined();
    client.close();
  });

  test("a request head that takes too long: 408 and close", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { headTimeoutMs: 300 });
    const client = await openClient(gateway.port);
    client.send("GET /x HTTP/1.1\r\nHo");
    const text = await client.untilClosed();
    expect(cutResponse(text)?.status).toBe(408);
    client.close();
  });

  test("a request head that comes drop by drop, never quite still: 408 and close all the same", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { headTimeoutMs: 500 });
    const client = await openClient(gateway.port);
    client.send("GET /x HTTP/1.1\r\nHost: h\r\n");
    const drops = setInterval(() => client.send("X-Drop: 1\r\n"), 50);
    const text = await client.untilClosed();
    clearInterval(drops);
    expect(cutResponse(text)?.status).toBe(408);
    expect(upstream.all).toBe("");
    client.close();
  });

  test("a request body that stalls: 408 and close", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { bodyTimeoutMs: 200 });
    const client = await openClient(gateway.port);
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc");
    const text = await client.until((t) => cutResponse(t) !== undefined);
    expect(cutResponse(text)?.status).toBe(408);
    expect(cutResponse(text)?.headers["connection"]).toBe("close");
    expect(upstream.all).toBe("");
    client.close();
  });

  test("a large body that stalls while it is streamed: 408 and the upstream is let go", async () => {
    const upstream = await raw(() => {});
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { bodyTimeoutMs: 200 });
    const client = await openClient(gateway.port);
    client.send(`POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n${"a".repeat(100_000)}`);
    const text = await client.until((t) => cutResponse(t) !== undefined);
    expect(cutResponse(text)?.status).toBe(408);
    client.close();
  });

  test("a client that does not read is dropped, and the upstream is not read ahead of it", async () => {
    let written = 0;
    const upstream = await raw((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
      const block = `10000\r\n${"x".repeat(65_536)}\r\n`;
      const pump = (): void => {
        while (!socket.destroyed && written < 2000) {
          written++;
          if (!socket.write(block)) {
            socket.once("drain", pump);
            return;
          }
        }
      };
      pump();
    });
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { sendTimeoutMs: 300 });
    const client = await openClient(gateway.port);
    client.socket.pause();
    client.send(GET);
    await new Promise<void>((resolve) => {
      const timer = setInterval(() => {
        void gateway.scrape().then((text) => {
          if (!text.includes('jotgate_upstream_connections{state="active"} 0') || written === 0) return;
          clearInterval(timer);
          resolve();
        });
      }, 50);
    });
    expect(written).toBeLessThan(1000);
    client.close();
  });

  test("an unused connection of a client is closed after the idle time", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { idleTimeoutMs: 200 });
    const client = await openClient(gateway.port);
    client.send(GET);
    const text = await client.untilClosed();
    expect(cutResponse(text)?.status).toBe(200);
    client.close();
  });

  test("an unused connection to an upstream is closed after the pool's idle time", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port], { pool: { idleMs: 1_000 } }) });
    await ask(gateway.port, GET);
    expect(await gateway.scrape()).toContain('jotgate_upstream_connections{state="idle"} 1');
    await waitFor(async () => (await gateway.scrape()).includes('state="idle"} 0'));
  });
});
