/** Request bodies: buffered, streamed, awaited, refused; early answers; nothing of a body is ever taken for a request. */
import { describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { textAnswer } from "../../src/plugin/plugin-answer.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { clientControl } from "../../src/plugins/client-control.ts";
import { LANES, openLane } from "./lanes.ts";
import { answering, ask, cutResponse, OK, openClient, send, upstreamOf, waitFor } from "./support.ts";

const DENY: PluginPhases = { rewrite: () => textAnswer(401, "no", "denied") };

describe.each(LANES)("$lane", ({ fastLane }) => {
  const { open, raw } = openLane(fastLane);

  const post = (body: string, lines = ""): string =>
    `POST /x HTTP/1.1\r\nHost: h\r\n${lines}Content-Length: ${body.length}\r\n\r\n${body}`;
  const chunked = (...pieces: string[]): string =>
    `POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n${pieces.map((piece) => `${piece.length.toString(16)}\r\n${piece}\r\n`).join("")}0\r\n\r\n`;

  test("beyond what all bodies may hold, those on their way are streamed and those a plugin wants whole are 503", async () => {
    const upstream = await raw(answering(OK));
    const whole: PluginPhases = {
      access: async (view) => {
        if (view.path === "/whole") await view.body.read(1_000_000);
        return undefined;
      },
    };
    const gateway = await open(
      { upstream: upstreamOf([upstream.port]), plugins: [whole] },
      { bodiesBytes: 30_000, bufferedBodyBytes: 1_000_000 },
    );
    const body = "a".repeat(300_000);
    const wanted = post(body).replace("/x", "/whole");
    for (const _again of [1, 2]) {
      expect((await ask(gateway.port, post(body))).status).toBe(200);
      expect((await ask(gateway.port, wanted)).status).toBe(503);
      expect((await ask(gateway.port, post("small").replace("/x", "/whole"))).status).toBe(200);
    }
  });

  test("client-control bounds bodies with and without an announced length, small and large ones", async () => {
    const upstream = await raw(answering(OK));
    const statuses = async (most: number, bodyBytes = 0): Promise<number[]> => {
      const plugins = [makeEnv().compile(clientControl, { max_body_size: most })];
      const gateway = await open({ upstream: upstreamOf([upstream.port]), plugins }, { bodyBytes });
      const bodies = [post("12345"), post("123456"), chunked("123", "45"), chunked("123", "456")];
      const asked = [];
      for (const body of bodies) asked.push((await ask(gateway.port, body)).status);
      return asked;
    };
    expect(await statuses(5)).toEqual([200, 413, 200, 413]);
    expect(await statuses(100, 5)).toEqual([200, 413, 200, 413]); // the node's own bound stays
    const silent = await raw(() => undefined);
    const large = await open({
      upstream: upstreamOf([silent.port]),
      plugins: [makeEnv().compile(clientControl, { max_body_size: 200_000 })],
    });
    expect((await ask(large.port, chunked("a".repeat(150_000), "a".repeat(150_000)))).status).toBe(413);
    expect(silent.all).not.toContain("\r\n0\r\n\r\n"); // it never sees an end
  });

  test("a body that never pauses and never ends has its total time", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { bodyTotalMs: 700 });
    const client = await openClient(gateway.port);
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
    const drops = setInterval(() => client.send("a"), 100);
    try {
      expect(await client.untilClosed()).toMatch(/^HTTP\/1\.1 408 /);
    } finally {
      clearInterval(drops);
    }
  });

  test.each([
    { says: "a small one", bytes: post("hello"), want: "\r\nContent-Length: 5\r\n\r\nhello" },
    { says: "an empty POST", bytes: post(""), want: "\r\nContent-Length: 0\r\n\r\n" },
    {
      says: "one of 64 KiB",
      bytes: post("a".repeat(65_536)),
      want: `\r\nContent-Length: 65536\r\n\r\n${"a".repeat(65_536)}`,
    },
    {
      says: "one of 300 kB",
      bytes: post("a".repeat(300_000)),
      want: `\r\nContent-Length: 300000\r\n\r\n${"a".repeat(300_000)}`,
    },
    {
      says: "a small chunked one gets a length",
      bytes: chunked("piece-one ", "piece-two"),
      want: "\r\nContent-Length: 19\r\n\r\npiece-one piece-two",
    },
  ])("goes upstream whole: $says", async ({ bytes, want }) => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) });
    expect((await ask(gateway.port, bytes)).status).toBe(200);
    expect(upstream.all.endsWith(want)).toBe(true);
    expect(upstream.all.toLowerCase()).not.toContain("transfer-encoding");
  });

  test("a chunked one beyond 64 KiB is streamed chunked", async () => {
    const upstream = await raw((socket, seen) => void (seen.endsWith("0\r\n\r\n") && socket.write(OK)));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) });
    const pieces = Array.from({ length: 10 }, (_, i) => String(i).repeat(20_000));
    expect((await ask(gateway.port, chunked(...pieces))).status).toBe(200);
    const [head, body] = [
      upstream.all.slice(0, upstream.all.indexOf("\r\n\r\n")),
      upstream.all.slice(upstream.all.indexOf("\r\n\r\n") + 4),
    ];
    expect(head).toContain("Transfer-Encoding: chunked");
    expect(head).not.toContain("Content-Length");
    const decoded = cutResponse(`HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${body}`);
    expect(decoded?.body).toBe(pieces.join(""));
  });

  test("in slices of one byte it arrives the same", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) });
    const client = await openClient(gateway.port);
    for (const byte of `${post("hello")}${post("again")}`) {
      client.send(byte);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await client.until((text) => text.split("HTTP/1.1 200").length === 3);
    expect(upstream.all).toMatch(/hello[\s\S]*again$/);
    client.close();
  });

  test("an upload is not read faster than the upstream takes it", async () => {
    const upstream = await raw((socket) => void socket.pause());
    const gateway = await open({ upstream: upstreamOf([upstream.port], { timeouts: { sendMs: 60_000 } }) });
    const client = await openClient(gateway.port);
    client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
    const block = Buffer.alloc(1_000_000);
    let sent = 0;
    const pump = (): void => {
      while (sent < 100) {
        sent++;
        if (!client.socket.write(block)) return void client.socket.once("drain", pump);
      }
    };
    pump();
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(sent).toBeLessThan(60);
    client.close();
  });

  test("plugins read the body, and it still goes upstream; replaced bytes go instead", async () => {
    const seen: string[] = [];
    const upstream = await raw(answering(OK));
    const reader: PluginPhases = {
      access: async (view) => {
        seen.push((await view.body.read(1000)).toString());
        return undefined;
      },
    };
    const replacer: PluginPhases = {
      access: (view) => {
        view.body.replace(Buffer.from("other"));
        return undefined;
      },
    };
    const gateway = await open({ upstream: upstreamOf([upstream.port]), plugins: [reader] });
    expect((await ask(gateway.port, post("hello"))).status).toBe(200);
    expect(upstream.all.endsWith("\r\n\r\nhello")).toBe(true);
    const second = await open({ upstream: upstreamOf([upstream.port]), plugins: [reader, replacer] });
    expect((await ask(second.port, post("hello"))).status).toBe(200);
    expect(upstream.all.endsWith("Content-Length: 5\r\n\r\nother")).toBe(true);
    expect(seen).toEqual(["hello", "hello"]);
  });

  test.each([
    { says: "by Content-Length", bytes: post("a".repeat(2000)) },
    { says: "chunked", bytes: chunked("a".repeat(900), "a".repeat(900)) },
  ])("one beyond the limit is refused with 413: $says", async ({ bytes }) => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { bodyBytes: 1000 });
    const got = await ask(gateway.port, bytes);
    expect([got.status, got.headers["connection"]]).toEqual([413, "close"]);
    expect(upstream.all).toBe("");
  });

  describe("an answer before the body was read", () => {
    test("a short rest is read and the connection goes on; the body is no request", async () => {
      const upstream = await raw(answering(OK));
      const gateway = await open({ upstream: upstreamOf([upstream.port]), plugins: [DENY] });
      const client = await openClient(gateway.port);
      const body = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
      client.send(`${post(body)}${post("")}`);
      const text = await client.until((t) => t.split("HTTP/1.1 401").length === 3);
      expect(text.split("HTTP/1.1 ").length).toBe(3);
      client.close();
    });

    test.each([
      { says: "a long rest", bytes: `POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n` },
      { says: "a chunked rest", bytes: "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" },
    ])("$says: the answer arrives, the connection closes, nothing reaches the upstream", async ({ bytes }) => {
      const upstream = await raw(answering(OK));
      const gateway = await open({ upstream: upstreamOf([upstream.port]), plugins: [DENY] });
      const client = await openClient(gateway.port);
      client.send(bytes);
      const block = Buffer.from("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n".repeat(1000));
      for (let i = 0; i < 10; i++) client.send(block);
      const text = await client.until((t) => cutResponse(t) !== undefined);
      expect(cutResponse(text)?.status).toBe(401);
      expect(cutResponse(text)?.headers["connection"]).toBe("close");
      client.socket.end();
      await client.untilClosed(8000);
      expect(client.text.split("HTTP/1.1").length).toBe(2);
      expect(upstream.all).toBe("");
      client.close();
    });

    test("an upstream that answers early: its answer is relayed and both connections end", async () => {
      const upstream = await raw((socket, seen) => {
        if (seen.includes("\r\n\r\n") && seen.length < 100_000)
          socket.write("HTTP/1.1 413 Too Big\r\nContent-Length: 3\r\n\r\nbig");
      });
      const gateway = await open({ upstream: upstreamOf([upstream.port]) });
      const client = await openClient(gateway.port);
      client.send(`POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5000000\r\n\r\n${"a".repeat(50_000)}`);
      const text = await client.until((t) => cutResponse(t) !== undefined);
      expect([cutResponse(text)?.status, cutResponse(text)?.body]).toEqual([413, "big"]);
      expect(cutResponse(text)?.headers["connection"]).toBe("close");
      await waitFor(async () => (await gateway.scrape()).includes('jotgate_upstream_connections{state="active"} 0'));
      client.close();
    });
  });

  describe("Expect: 100-continue", () => {
    test("100 is sent when somebody wants the body", async () => {
      const upstream = await raw(answering(OK));
      const gateway = await open({ upstream: upstreamOf([upstream.port]) });
      const client = await openClient(gateway.port);
      client.send("POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
      await client.until((t) => t.includes("HTTP/1.1 100 Continue\r\n\r\n"));
      expect(upstream.all).toBe("");
      client.send("hello");
      const text = await client.until((t) => t.includes("200 OK") && t.endsWith("ok"));
      expect(text).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
      expect(upstream.all).not.toMatch(/expect/i);
      client.close();
    });

    test("a refused request never sees 100", async () => {
      const gateway = await open({ upstream: upstreamOf([1]), plugins: [DENY] });
      const got = await send(
        gateway.port,
        "POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
      );
      expect(got).toMatch(/^HTTP\/1\.1 401 /);
      expect(cutResponse(got)?.headers["connection"]).toBe("close");
    });
  });
});
