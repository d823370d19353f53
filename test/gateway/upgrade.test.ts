/** WebSocket and other upgrades: tunnelled where the route allows, plain HTTP everywhere else. docs/spec/proxy.md section 7. */
import { describe, expect, test } from "vitest";
import { textAnswer } from "../../src/plugin/plugin-answer.ts";
import { LANES, openLane } from "./lanes.ts";
import { answering, cutResponse, OK, openClient, type openRawUpstream, send, upstreamOf, waitFor } from "./support.ts";

const SHAKE =
  "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: a\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: b\r\n\r\n";

describe.each(LANES)("$lane", ({ fastLane }) => {
  const { open, raw } = openLane(fastLane);

  /** Switches, then sends every byte back in upper case. */
  const echoing: Parameters<typeof openRawUpstream>[0] = (socket, seen) => {
    const end = seen.indexOf("\r\n\r\n") + 4;
    const state = socket as unknown as { at?: number };
    if (state.at === undefined) {
      socket.write(`${SWITCH}hello`);
      state.at = end;
    }
    if (seen.length > state.at) socket.write(seen.slice(state.at).toUpperCase());
    state.at = seen.length;
  };

  test("a handshake runs through the pipeline, then bytes flow both ways", async () => {
    const upstream = await raw(echoing);
    const phases: string[] = [];
    const plugin = {
      rewrite: () => void phases.push("rewrite"),
      headerFilter: () => void phases.push("filter"),
      log: () => void phases.push("log"),
    };
    const gateway = await open({ upstream: upstreamOf([upstream.port]), websocket: true, plugins: [plugin] });
    const client = await openClient(gateway.port);
    client.send(`${SHAKE}early`);
    await client.until((t) => t.endsWith("EARLY"));
    expect(client.text).toMatch(/^HTTP\/1\.1 101 Switching Protocols\r\n/);
    expect(client.text).toContain("Sec-WebSocket-Accept: b\r\n");
    expect(client.text).toContain("Upgrade: websocket\r\n");
    expect(client.text).toMatch(/\r\n\r\nhelloEARLY$/);
    expect(upstream.all).toContain("Connection: Upgrade\r\nUpgrade: websocket\r\n");
    expect(upstream.all).toContain("Sec-WebSocket-Key: a\r\n");
    const block = "z".repeat(500_000);
    client.send(block);
    await client.until((t) => t.endsWith("Z") && t.length > 500_000, 8000);
    expect(phases).toEqual(["rewrite", "filter"]);
    client.close();
    await waitFor(() => phases.length === 3);
    await waitFor(async () => (await gateway.scrape()).includes('jotgate_upstream_connections{state="active"} 0'));
  });

  /** Answers plain requests, and switches when it is asked to. */
  const both: (held?: Promise<unknown>) => Parameters<typeof openRawUpstream>[0] = (held) => (socket, seen) => {
    const state = socket as unknown as { tunnel?: boolean; at?: number };
    const at = state.at ?? 0;
    state.at = seen.length;
    if (state.tunnel) socket.write(seen.slice(at).toUpperCase());
    else if (seen.includes("Upgrade: websocket")) {
      state.tunnel = true;
      socket.write(`${SWITCH}${seen.slice(seen.indexOf("\r\n\r\n") + 4).toUpperCase()}`);
    } else void Promise.resolve(held).then(() => socket.write(OK));
  };
  const PLAIN = "GET /plain HTTP/1.1\r\nHost: h\r\n\r\n";
  /** Only the general lane reads it; from then on the connection is there. */
  const GENERAL = "GET /plain HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

  test.each([1, 2, 5])("a handshake pipelined behind %i requests comes after their answers", async (before) => {
    let go = (): void => {};
    const held = new Promise<void>((resolve) => {
      go = resolve;
    });
    const upstream = await raw(both(held));
    const gateway = await open({ upstream: upstreamOf([upstream.port]), websocket: true });
    const client = await openClient(gateway.port);
    client.send(`${GENERAL.repeat(before)}${SHAKE}early`);
    await waitFor(() => upstream.all.includes("/plain"));
    client.send(" and more");
    go();
    const text = await client.until((t) => t.endsWith("EARLY AND MORE"));
    expect(text.match(/HTTP\/1\.1 (?:200|101) /g)).toEqual([...Array(before).fill("HTTP/1.1 200 "), "HTTP/1.1 101 "]);
    client.send(" and last");
    await client.until((t) => t.endsWith(" AND LAST"));
    client.close();
  });

  test("a pipelined upgrade that is no handshake is served as plain HTTP in its turn, and what follows it", async () => {
    const upstream = await raw(both());
    const gateway = await open({ upstream: upstreamOf([upstream.port]) });
    const client = await openClient(gateway.port);
    const h2c =
      "GET /h2c HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n\r\n";
    client.send(`${GENERAL}${h2c}${PLAIN}`);
    const text = await client.until((t) => (t.match(/HTTP\/1\.1 200 /g) ?? []).length === 3);
    expect(text).not.toContain(" 101 ");
    client.close();
  });

  test("a long answer that a slow client takes arrives whole in front of a pipelined handshake", async () => {
    const long = "x".repeat(20_000_000);
    const upstream = await raw((socket, seen) => {
      if (seen.includes("Upgrade: websocket")) socket.write(SWITCH);
      else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${long.length}\r\n\r\n${long}`);
    });
    const gateway = await open({ upstream: upstreamOf([upstream.port]), websocket: true });
    const client = await openClient(gateway.port);
    client.socket.pause();
    client.send(`${GENERAL}${SHAKE}`);
    await waitFor(() => upstream.all.includes("/plain"));
    client.socket.resume();
    await waitFor(() => client.socket.bytesRead > long.length); // looking at the text after each piece would take minutes
    const text = await client.until((t) => t.includes(" 101 "));
    expect(text.indexOf(" 101 ")).toBeGreaterThan(long.length);
    client.close();
  });

  test("a client that leaves while its handshake waits takes nothing else with it", async () => {
    const upstream = await raw(both(new Promise(() => {})));
    const gateway = await open({ upstream: upstreamOf([upstream.port]), websocket: true });
    const client = await openClient(gateway.port);
    client.send(`${GENERAL}${SHAKE}`);
    await waitFor(() => upstream.all.includes("/plain"));
    client.close();
    await waitFor(async () => (await gateway.scrape()).includes("jotgate_client_connections 0"));
    await waitFor(async () => (await gateway.scrape()).includes("jotgate_http_requests_in_flight 0"));
  });

  test("the upstream's close ends the tunnel", async () => {
    const upstream = await raw((socket) => void socket.end(`${SWITCH}bye`));
    const gateway = await open({ upstream: upstreamOf([upstream.port]), websocket: true });
    const client = await openClient(gateway.port);
    client.send(SHAKE);
    expect(await client.untilClosed()).toMatch(/bye$/);
    client.close();
  });

  test("the client's end ends the upstream's side, also when the upstream keeps talking", async () => {
    const closed: boolean[] = [];
    const upstream = await raw((socket, seen) => {
      if (seen.endsWith("\r\n\r\n")) socket.write(SWITCH);
      const talking = setInterval(() => socket.write("still here"), 50);
      socket.on("close", () => {
        clearInterval(talking);
        closed.push(true);
      });
    });
    const gateway = await open({ upstream: upstreamOf([upstream.port]), websocket: true });
    const client = await openClient(gateway.port);
    client.send(SHAKE);
    await client.until((t) => t.includes("still here"));
    client.socket.end();
    await waitFor(() => closed.length > 0, 8000);
  });

  test("a tunnel in which nothing moves is closed by the read time-out", async () => {
    const upstream = await raw((socket) => void socket.write(SWITCH));
    const gateway = await open({
      upstream: upstreamOf([upstream.port], { timeouts: { readMs: 200 } }),
      websocket: true,
    });
    const client = await openClient(gateway.port);
    client.send(SHAKE);
    await client.untilClosed();
    client.close();
  });

  test("an upstream that does not switch is answered as it answers", async () => {
    const upstream = await raw(answering("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"));
    const gateway = await open({ upstream: upstreamOf([upstream.port]), websocket: true });
    const got = cutResponse(await send(gateway.port, SHAKE, () => false));
    expect([got?.status, got?.body]).toEqual([403, "no"]);
  });

  test("a handshake that is refused never reaches the upstream", async () => {
    const upstream = await raw(echoing);
    const gateway = await open({
      upstream: upstreamOf([upstream.port]),
      websocket: true,
      plugins: [{ rewrite: () => textAnswer(401, "no", "r") }],
    });
    const got = cutResponse(await send(gateway.port, SHAKE, () => false));
    expect([got?.status, got?.body]).toEqual([401, "no"]);
    expect(upstream.all).toBe("");
  });

  test("on a route without websocket the request goes on as plain HTTP", async () => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]) });
    const got = cutResponse(await send(gateway.port, SHAKE, () => false));
    expect(got?.status).toBe(200);
    expect(upstream.all).not.toMatch(/upgrade/i);
  });

  test.each([
    {
      says: "h2c with a body",
      bytes:
        "POST /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nContent-Length: 5\r\n\r\nhello",
      want: /\r\n\r\nhello$/,
    },
    {
      says: "h2c with a chunked body",
      bytes:
        "POST /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
      want: /\r\n\r\nhello$/,
    },
    {
      says: "websocket by POST",
      bytes: "POST /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
      want: /\r\n\r\nhi$/,
    },
    {
      says: "several protocols",
      bytes: "GET /x HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: a/1, b\r\n\r\n",
      want: /^GET/,
    },
  ])("an upgrade nobody offers is ignored, and the connection goes on: $says", async ({ bytes, want }) => {
    const upstream = await raw(answering(OK));
    const gateway = await open({ upstream: upstreamOf([upstream.port]), websocket: true });
    const client = await openClient(gateway.port);
    client.send(`${bytes}GET /next HTTP/1.1\r\nHost: h\r\n\r\n`);
    await client.until((t) => t.split("200 OK").length === 3);
    const [first = ""] = upstream.all.split("GET /next");
    expect(first).toMatch(want);
    expect(upstream.all).not.toMatch(/upgrade|http2/i);
    client.close();
  });
});
