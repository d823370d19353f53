/** Clients that go away, connections that are too many, a node that stops. */
import { connect } from "node:net";
import { describe, expect, test } from "vitest";
import type { PluginPhases } from "../../src/plugin/plugin.ts";
import { slack } from "../support/long-run.ts";
import { LANES, openLane } from "./lanes.ts";
import { answering, ask, cutResponse, OK, openClient, type RawClient, upstreamOf, waitFor } from "./support.ts";

const GET = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

describe.each(LANES)("$lane", ({ fastLane }) => {
  const { open, raw } = openLane(fastLane);

  const large = `HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n${"x".repeat(300_000)}`;
  const ABORTS: readonly { says: string; leave: (client: RawClient) => void }[] = [
    {
      says: "reset after the request",
      leave: (client) => {
        client.send(GET);
        setImmediate(() => client.socket.resetAndDestroy());
      },
    },
    {
      says: "half-close after the request",
      leave: (client) => {
        client.socket.end(GET);
      },
    },
    {
      says: "half a head",
      leave: (client) => {
        client.send(GET.slice(0, 20));
        client.socket.end();
      },
    },
    {
      says: "destroyed as soon as bytes come",
      leave: (client) => {
        client.socket.once("data", () => client.socket.destroy());
        client.send(GET);
      },
    },
    {
      says: "inside a body",
      leave: (client) => {
        client.send("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nabc");
        setTimeout(() => client.socket.destroy(), 5);
      },
    },
  ];

  test("waves of clients that go away leave nothing behind, and the next 50 requests are answered", async () => {
    const upstream = await raw((socket, seen) => {
      if (seen.endsWith("\r\n\r\n")) setTimeout(() => socket.write(large), 3);
    });
    const logged: string[] = [];
    const plugin: PluginPhases = { log: (view) => void logged.push(view.reason) };
    const unit = upstreamOf([upstream.port]);
    const gateway = await open({ upstream: unit, plugins: [plugin] });
    for (let wave = 0; wave < 6; wave++) {
      const clients = await Promise.all(Array.from({ length: 20 }, () => openClient(gateway.port)));
      for (const [i, client] of clients.entries()) ABORTS[i % ABORTS.length]?.leave(client);
      await waitFor(() => clients.every((client) => client.closed || client.socket.destroyed), 8000);
      for (const client of clients) client.close();
    }
    for (let i = 0; i < 50; i++) expect((await ask(gateway.port, GET)).body.length).toBe(300_000);
    await waitFor(async () => {
      const text = await gateway.scrape();
      return (
        text.includes("jotgate_http_requests_in_flight 0") &&
        text.includes('state="active"} 0') &&
        text.includes("jotgate_client_connections 0")
      );
    });
    expect(logged).toContain("client_aborted");
    expect(unit.outcomes.some((outcome) => outcome.kind === "aborted")).toBe(true);
    expect(await gateway.scrape()).toContain('status="499"');
  });

  test("more connections than allowed are refused, and served again when others left", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { connections: 2 });
    const first = await openClient(gateway.port);
    const second = await openClient(gateway.port);
    first.send(GET);
    second.send(GET);
    await Promise.all([first.until((t) => t.endsWith("ok")), second.until((t) => t.endsWith("ok"))]);
    const third = await openClient(gateway.port);
    await third.untilClosed();
    expect(third.text).toBe("");
    first.close();
    await waitFor(async () => (await gateway.scrape()).includes("jotgate_client_connections 1"));
    expect((await ask(gateway.port, GET)).status).toBe(200);
    second.close();
    third.close();
  });

  test("a flood of silent connections from one address: those beyond its share are closed, other addresses are served", async () => {
    const upstream = await raw(answering(OK));
    const limits = { connections: 200, connectionsPerAddress: 100 };
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, limits);
    const before = process.memoryUsage().rss;
    const flood = await Promise.all(Array.from({ length: 1_000 }, () => openClient(gateway.port)));
    await waitFor(() => flood.filter(({ closed }) => closed).length === 900);
    const other = connect({ host: "127.0.0.1", port: gateway.port, localAddress: "127.0.0.2" });
    let text = "";
    other.on("data", (chunk) => {
      text += chunk;
    });
    other.write(GET);
    await waitFor(() => text.endsWith("ok"));
    other.destroy();
    const grownMiB = (process.memoryUsage().rss - before) / 1_048_576;
    process.stdout.write(`1,000 silent connections, both ends in this process: ${grownMiB.toFixed(1)} MiB more\n`);
    for (const client of flood) client.close();
    await waitFor(async () => (await gateway.scrape()).includes("jotgate_client_connections 0"));
    expect((await ask(gateway.port, GET)).status).toBe(200);
  });

  test("one address may not take all connections", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) }, { connectionsPerAddress: 1 });
    const first = await openClient(gateway.port);
    first.send(GET);
    await first.until((t) => t.endsWith("ok"));
    const second = await openClient(gateway.port);
    await second.untilClosed();
    expect(await gateway.scrape()).toContain('jotgate_gateway_errors_total{reason="address_connections"} 1');
    first.close();
    second.close();
  });

  describe("a gateway that stops", () => {
    test("finishes what runs, says close, and lets idle connections go", async () => {
      const waiting: (() => void)[] = [];
      const upstream = await raw((socket) => void waiting.push(() => socket.write(OK)));
      const gateway = await open({ upstream: upstreamOf([upstream.port]) });
      const idle = await openClient(gateway.port);
      const busy = await openClient(gateway.port);
      busy.send(GET);
      await waitFor(() => waiting.length === 1);
      const closed = gateway.close(5000);
      for (const answer of waiting) answer();
      const text = await busy.untilClosed();
      expect(cutResponse(text)?.status).toBe(200);
      expect(cutResponse(text)?.headers["connection"]).toBe("close");
      await idle.untilClosed();
      await closed;
      await expect(openClient(gateway.port)).rejects.toThrow(/ECONNREFUSED/);
    });

    test("serves a request that was already on its way on an idle connection", async () => {
      const upstream = await raw(answering(OK));
      const gateway = await open({ upstream: upstreamOf([upstream.port]) });
      const client = await openClient(gateway.port);
      client.send(GET);
      await client.until((t) => t.endsWith("ok"));
      const closed = gateway.close(5000);
      client.send(GET);
      const text = await client.untilClosed();
      expect(text.split("HTTP/1.1 200 OK").length).toBe(3);
      await closed;
    });

    test("does not wait longer than it was told", async () => {
      const upstream = await raw(() => {});
      const gateway = await open({ upstream: upstreamOf([upstream.port], { timeouts: { readMs: 60_000 } }) });
      const client = await openClient(gateway.port);
      client.send(GET);
      await waitFor(() => upstream.all !== "");
      const startedMs = performance.now();
      await gateway.close(300);
      expect(performance.now() - startedMs).toBeLessThan(slack(1_500)); // not the minute of the upstream
      await client.untilClosed();
      client.close();
    });

    test("while draining it still serves new connections, each for one answer", async () => {
      const upstream = await raw(answering(OK));
      const gateway = await open({ upstream: upstreamOf([upstream.port]) });
      gateway.beginDrain();
      const got = await ask(gateway.port, GET);
      expect([got.status, got.headers["connection"]]).toEqual([200, "close"]);
    });
  });
});
