/** The TLS listener: what requests over it carry, changes under load, clients that are slow or talk nonsense. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request as requestHttps } from "node:https";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { RequestView } from "../../src/plugin/request-view.ts";
import { type Authority, openAuthority, type Pair } from "../support/authority.ts";
import { slack } from "../support/long-run.ts";
import { LANES } from "./lanes.ts";
import {
  answering,
  cutResponse,
  OK,
  openClient,
  openRawUpstream,
  type RawUpstream,
  routingOf,
  upstreamOf,
  waitFor,
} from "./support.ts";
import {
  askTls,
  get,
  openTlsGateway,
  recordHello,
  shake,
  subjectOf,
  type TlsGateway,
  type TlsInput,
} from "./tls-support.ts";

/** A fatal alert. */
const DECODE_ERROR = "\x15\x03\x03\x00\x02\x02\x32";

let authority: Authority;
let upstream: RawUpstream;
let pair: Pair;
const opened: TlsGateway[] = [];

beforeAll(async () => {
  authority = openAuthority();
  pair = authority.issue(["a.test"]);
  upstream = await openRawUpstream(answering(OK));
});

afterAll(async () => {
  await Promise.all(opened.map((gateway) => gateway.close(0)));
  await upstream.close();
  authority.close();
});

async function open(input: TlsInput = {}, note: (view: RequestView) => void = () => {}): Promise<TlsGateway> {
  const plugin = {
    rewrite: (view: RequestView) => {
      note(view);
      return undefined;
    },
  };
  const route = { upstream: upstreamOf([upstream.port]), plugins: [plugin], websocket: true };
  const gateway = await openTlsGateway(routingOf({ "*": route }), input);
  gateway.ssls.set("1", { ...pair, snis: ["a.test", "*.b.test"] });
  opened.push(gateway);
  return gateway;
}

const result = async (gateway: TlsGateway, name: string): Promise<number> =>
  Number(new RegExp(`jotgate_tls_handshakes_total\\{result="${name}"\\} (\\d+)`).exec(await gateway.scrape())?.[1]);

describe.each(LANES)("$lane", ({ fastLane }) => {
  test("requests say https, the server name and the listener's port, upstream and to plugins", async () => {
    const seen: unknown[] = [];
    const gateway = await open({ settings: { fastLane } }, ({ connection }) =>
      seen.push([connection.scheme, connection.sni, connection.localPort === gateway.tlsPort]),
    );
    upstream.clear();
    const text = await askTls(gateway.tlsPort, { servername: "X.b.test" }, get("x.b.test"));
    expect(cutResponse(text)).toMatchObject({ status: 200, body: "ok" });
    expect(seen).toEqual([["https", "x.b.test", true]]);
    expect(upstream.all).toContain("\r\nX-Forwarded-Proto: https\r\n");
    expect(upstream.all).toContain(`\r\nX-Forwarded-Port: ${gateway.tlsPort}\r\n`);
    expect(await result(gateway, "ok")).toBe(1);
  });

  test("requests follow each other on one connection, with bodies", async () => {
    const gateway = await open({ settings: { fastLane } });
    const post = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello";
    const text = await askTls(gateway.tlsPort, { servername: "a.test" }, post + post + get("a.test"));
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(3);
  });

  test("what the fast lane does not take is served as well", async () => {
    const gateway = await open({ settings: { fastLane } });
    const chunked = "POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    upstream.clear();
    const text = await askTls(gateway.tlsPort, { servername: "a.test" }, chunked + get("a.test"));
    expect(text.match(/HTTP\/1\.1 200/g)).toHaveLength(2);
    expect(upstream.all).toContain("X-Forwarded-Proto: https");
    expect(upstream.all).toContain("\r\n\r\nabc");
  });

  test("100 changes of the certificate under load fail no request and drop no connection", async () => {
    const gateway = await open({ settings: { fastLane } });
    const pairs = [pair, authority.issue(["a.test"]), authority.issue(["a.test"], { kind: "rsa" })];
    let running = true;
    let asked = 0;
    const failed: string[] = [];
    const fresh = async (): Promise<void> => {
      while (running) {
        const text = await askTls(gateway.tlsPort, { servername: "a.test" }, get("a.test"));
        asked++;
        if (!text.startsWith("HTTP/1.1 200")) failed.push(text);
      }
    };
    const kept = async (): Promise<void> => {
      const done = await shake(gateway.tlsPort, { servername: "a.test" });
      if (!done.ok) throw new Error(done.code);
      let text = "";
      done.socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
      });
      done.socket.on("close", () => running && failed.push("closed"));
      for (let count = 1; running; count++) {
        done.socket.write("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
        asked++;
        await waitFor(() => (text.match(/\r\n\r\nok/g) ?? []).length === count);
      }
      done.socket.destroy();
    };
    const load = [fresh(), fresh(), kept(), kept()];
    for (let turn = 0; turn < 100; turn++) {
      gateway.ssls.set("1", { ...(pairs[turn % 3] as Pair), snis: ["a.test"] });
      const before = asked;
      await waitFor(() => asked > before || failed.length > 0);
    }
    running = false;
    await Promise.all(load);
    expect(failed).toEqual([]);
    expect(await result(gateway, "failed")).toBe(0);
  });

  test("a WebSocket handshake over TLS becomes a tunnel", async () => {
    const echo = await openRawUpstream((socket, seen) => {
      if (seen.endsWith("\r\n\r\n")) {
        socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
      } else socket.end("pong");
    });
    const route = { upstream: upstreamOf([echo.port]), websocket: true };
    const gateway = await openTlsGateway(routingOf({ "*": route }), { settings: { fastLane } });
    opened.push(gateway);
    gateway.ssls.set("1", { ...pair, sni: "a.test" });
    const done = await shake(gateway.tlsPort, { servername: "a.test" });
    if (!done.ok) throw new Error(done.code);
    let text = "";
    done.socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (text.endsWith("\r\n\r\n")) done.socket.write("ping");
    });
    done.socket.write("GET /x HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    await waitFor(() => text.endsWith("pong"));
    expect(text).toMatch(/^HTTP\/1\.1 101 /);
    done.socket.destroy();
    await echo.close();
  });

  test("while draining, responses over TLS close and idle connections are let go", async () => {
    const gateway = await open({ settings: { fastLane } });
    const agentless = { port: gateway.tlsPort, servername: "a.test", rejectUnauthorized: false } as const;
    const idle = await shake(gateway.tlsPort, { servername: "a.test" });
    if (!idle.ok) throw new Error(idle.code);
    idle.socket.write("GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n");
    await once(idle.socket, "data");
    gateway.beginDrain();
    const asked = requestHttps({ ...agentless, host: "127.0.0.1", path: "/x", headers: { host: "a.test" } }).end();
    const [response] = await once(asked, "response");
    expect(response.headers.connection).toBe("close");
    response.resume();
    const startMs = Date.now();
    await gateway.close(60_000);
    expect(Date.now() - startMs).toBeLessThan(slack(2_500));
  });
});

describe("hostile clients", () => {
  test("a silent client is closed when its time is over, others are served meanwhile", async () => {
    const gateway = await open({ settings: { handshakeTimeoutMs: 300 } });
    const silent = await openClient(gateway.tlsPort);
    const slow = await openClient(gateway.tlsPort);
    slow.send(Buffer.from([22, 3, 1, 2, 0, 1]));
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("a.test");
    expect(silent.closed).toBe(false);
    await Promise.all([silent.untilClosed(2000), slow.untilClosed(2000)]);
    expect(await result(gateway, "timeout")).toBe(2);
  });

  test("a client that leaves inside the handshake is forgotten at once", async () => {
    const gateway = await open();
    const hello = await recordHello("a.test");
    const client = await openClient(gateway.tlsPort);
    client.send(hello);
    await client.until((text) => text.length > 500);
    client.socket.end();
    await client.untilClosed(2000);
    expect((await result(gateway, "failed")) + (await result(gateway, "closed"))).toBe(1);
  });

  test("a client that stops inside the handshake is closed when its time is over", async () => {
    const gateway = await open({ settings: { handshakeTimeoutMs: 300 } });
    const hello = await recordHello("a.test");
    const client = await openClient(gateway.tlsPort);
    client.send(hello);
    await client.untilClosed(2000);
    expect(client.text.length).toBeGreaterThan(500); // the server's half
    expect(await result(gateway, "timeout")).toBe(1);
  });

  test("handshakes under way are capped; the cap is free again when they end", async () => {
    const gateway = await open({ settings: { handshakes: 3 } });
    const waiting = await Promise.all([1, 2, 3].map(() => openClient(gateway.tlsPort)));
    await waitFor(async () => (await subjectOf(gateway.tlsPort, { servername: "a.test" })) !== "a.test");
    expect(await result(gateway, "too_many")).toBeGreaterThan(0);
    for (const client of waiting) client.close();
    await waitFor(async () => (await subjectOf(gateway.tlsPort, { servername: "a.test" })) === "a.test");
    expect(await result(gateway, "closed")).toBe(3);
  });

  test.each([
    { says: "plain HTTP", bytes: get("a.test"), answer: "HTTP/1.1 400 Bad Request\r\n" },
    { says: "noise", bytes: "\x01\x02\x03\x04\x05\x06\x07", answer: DECODE_ERROR },
    { says: "a record that is no handshake", bytes: "\x17\x03\x03\x00\x01x", answer: DECODE_ERROR },
    {
      says: "an endless hello",
      bytes: `\x16\x03\x01\x40\x00\x01\x00\xff\xff${"x".repeat(40_000)}`,
      answer: DECODE_ERROR,
    },
  ])("$says is refused and closed", async ({ bytes, answer }) => {
    const gateway = await open();
    const client = await openClient(gateway.tlsPort);
    client.send(bytes);
    const text = await client.untilClosed(2000);
    expect(text.slice(0, answer.length)).toBe(answer);
    expect(await result(gateway, "broken")).toBe(1);
  });

  test("a hello that comes byte by byte is understood", async () => {
    const gateway = await open();
    const hello = await recordHello("a.test");
    const client = await openClient(gateway.tlsPort);
    for (const byte of hello) {
      client.send(Buffer.from([byte]));
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(await client.until((text) => text.length > 500)).toContain("\x16\x03\x03");
    client.close();
  });

  test("a client cannot renegotiate", async () => {
    const gateway = await open();
    const args = ["s_client", "-connect", `127.0.0.1:${gateway.tlsPort}`, "-servername", "a.test", "-tls1_2"];
    const client = spawn("openssl", args, { stdio: "pipe" });
    let text = "";
    for (const stream of [client.stdout, client.stderr]) {
      stream.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
    }
    await waitFor(() => text.includes("Verify return code"));
    client.stdin.write("R\n");
    await once(client, "exit");
    expect(text).toMatch(/no renegotiation|closed|unexpected eof/i);
  });
});
