/** The two parts that talk to the world: name look-ups against a DNS server of our own, probes against real sockets. */
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { makeDnsLookup } from "../../src/base/net/dns-lookup.ts";
import { makeProbe } from "../../src/gateway/health-probe.ts";
import type { ProbeConf } from "../../src/runtime/upstream/health/health-conf.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

describe("looking a name up", () => {
  let hostsPath = "";
  beforeEach(() => {
    const folder = mkdtempSync(join(tmpdir(), "jotgate-hosts-"));
    closing.push(() => rmSync(folder, { recursive: true }));
    hostsPath = join(folder, "hosts");
  });

  test("the hosts file comes first, IPv4 before IPv6, and is read again when it changes", async () => {
    writeFileSync(hostsPath, "# c\n::1 a.test\n10.9.9.9\tA.test other.test # x\n10.9.9.8 a.test\nnonsense a.test\n");
    const lookup = makeDnsLookup({ hostsPath, servers: ["127.0.0.1:1"], timeoutMs: 100 });
    expect((await lookup("A.test.")).addresses).toEqual(["10.9.9.9", "10.9.9.8"]);
    expect((await lookup("other.test")).addresses).toEqual(["10.9.9.9"]);
    writeFileSync(hostsPath, "::7 a.test\n");
    utimesSync(hostsPath, 1, 1);
    expect((await lookup("a.test")).addresses).toEqual(["::7"]);
  });

  test.each([
    {
      says: "A records with their least TTL",
      name: "four.test",
      want: { addresses: ["10.1.1.1", "10.1.1.2"], ttlSeconds: 7 },
    },
    { says: "AAAA records where there is no A", name: "six.test", want: { addresses: ["fd00::1"], ttlSeconds: 9 } },
  ])("the servers give $says", async ({ name, want }) => {
    const server = await openDnsServer();
    const lookup = makeDnsLookup({ hostsPath, servers: [server.address], timeoutMs: 500 });
    expect(await lookup(name)).toEqual(want);
  });

  test("a name the servers do not have is asked of the system, then refused in the servers' words", async () => {
    const server = await openDnsServer();
    const lookup = makeDnsLookup({ hostsPath, servers: [server.address], timeoutMs: 500 });
    expect((await lookup("localhost")).addresses[0]).toMatch(/^(127\.0\.0\.1|::1)$/);
    await expect(lookup("none.invalid")).rejects.toMatchObject({ code: "ENOTFOUND", syscall: "queryA" });
  });

  test("a silent server is an error in time, and the system is not asked", async () => {
    const silent = await openUdp(() => {});
    const lookup = makeDnsLookup({ hostsPath, servers: [silent.address], timeoutMs: 150 });
    await expect(lookup("localhost.silent.test")).rejects.toMatchObject({ code: "ETIMEOUT" });
  });
});

describe("a probe", () => {
  const conf: ProbeConf = {
    type: "http",
    timeoutMs: 2000,
    method: "GET",
    path: "/health?x=1",
    body: "",
    headers: [],
    host: undefined,
    port: undefined,
    verify: true,
  };
  const ask = (port: number, change: Partial<ProbeConf> = {}, host = "check.test") =>
    makeProbe(systemClock)({ address: "127.0.0.1", port, host, tls: undefined }, { ...conf, ...change }, idle.signal);
  const idle = new AbortController();

  test.each([
    {
      says: "reads the status of an answer",
      reply: "HTTP/1.1 204 No Content\r\n",
      want: { kind: "status", status: 204 },
    },
    { says: "takes an old version", reply: "HTTP/1.0 500\r\n", want: { kind: "status", status: 500 } },
    { says: "takes a bare line end", reply: "HTTP/1.1 200 OK\n", want: { kind: "status", status: 200 } },
    { says: "knows what is no HTTP", reply: "SSH-2.0-OpenSSH_9\r\n", want: { kind: "status", status: 0 } },
    { says: "knows a bad status", reply: "HTTP/1.1 2000 OK\r\n", want: { kind: "status", status: 0 } },
    { says: "does not read a line without end", reply: "x".repeat(5000), want: { kind: "status", status: 0 } },
    { says: "takes an early end for a failure", reply: "", want: { kind: "refused" } },
  ] as const)("$says", async ({ reply, want }) => {
    const { port } = await openTcp((socket) => socket.once("data", () => socket.end(reply)));
    expect(await ask(port)).toEqual(want);
  });

  test.each([
    {
      says: "the plain request",
      change: { headers: ["X-Probe: yes", "User-Agent: me"] },
      want: "GET /health?x=1 HTTP/1.1\r\nConnection: close\r\nX-Probe: yes\r\nUser-Agent: me\r\nHost: check.test\r\n\r\n",
    },
    {
      says: "a Host of its own only once",
      change: { headers: ["host: mine.test"] },
      want: "GET /health?x=1 HTTP/1.1\r\nConnection: close\r\nhost: mine.test\r\n\r\n",
    },
    {
      says: "another method with a body",
      change: { method: "POST", path: "/", body: "{}" },
      want: "POST / HTTP/1.1\r\nConnection: close\r\nHost: check.test\r\nContent-Length: 2\r\n\r\n{}",
    },
  ])("sends $says", async ({ change, want }) => {
    let seen = "";
    const { port } = await openTcp((socket) => {
      socket.on("data", (bytes) => {
        seen += bytes;
        if (seen.length === want.length) socket.end("HTTP/1.1 200 OK\r\n\r\n");
      });
    });
    expect(await ask(port, change)).toEqual({ kind: "status", status: 200 });
    expect(seen).toBe(want);
  });

  test("tells a connection for tcp, a refusal and a silent target", async () => {
    const { port, close } = await openTcp(() => {});
    expect(await ask(port, { type: "tcp" })).toEqual({ kind: "connected" });
    expect(await ask(port, { timeoutMs: 30 })).toEqual({ kind: "timeout" });
    await close();
    expect(await ask(port)).toEqual({ kind: "refused" });
  });

  test("ends at once when it is no longer wanted", async () => {
    const { port } = await openTcp(() => {});
    const abort = new AbortController();
    const target = { address: "127.0.0.1", port, host: "h", tls: undefined };
    const asking = makeProbe(systemClock)(target, { ...conf, timeoutMs: 60_000 }, abort.signal);
    abort.abort();
    expect(await asking).toEqual({ kind: "refused" });
  });

  test.each([
    { says: "without verification", verify: false, want: { kind: "status", status: 200 } },
    { says: "with verification, which an unknown issuer fails", verify: true, want: { kind: "refused" } },
  ] as const)("speaks https $says", async ({ verify, want }) => {
    let sni: unknown;
    const server = createTlsServer({ cert: CERTIFICATE, key: PRIVATE_KEY }, (socket) => {
      sni = socket.servername;
      socket.on("error", () => {});
      socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\n\r\n"));
    });
    server.on("tlsClientError", () => {});
    const { port } = await listen(server);
    expect(await ask(port, { type: "https", verify })).toEqual(want);
    if (!verify) expect(sni).toBe("check.test");
  });
});

async function listen(server: Server): Promise<{ readonly port: number; close(): Promise<void> }> {
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => sockets.add(socket));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const close = (): Promise<void> =>
    new Promise((resolve) => {
      for (const socket of sockets) socket.destroy();
      server.close(() => resolve());
    });
  closing.push(close);
  return { port: (server.address() as AddressInfo).port, close };
}

function openTcp(serve: Parameters<typeof createServer>[1]): ReturnType<typeof listen> {
  return listen(
    createServer((socket) => {
      socket.on("error", () => {});
      serve?.(socket);
    }),
  );
}

async function openUdp(answer: (question: Buffer, socket: UdpSocket, port: number) => void) {
  const socket = createSocket("udp4");
  socket.on("message", (question, from) => answer(question, socket, from.port));
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve));
  closing.push(() => socket.close());
  return { address: `127.0.0.1:${socket.address().port}` };
}

/** Knows four.test (A, TTL 7 and 70) and six.test (AAAA, TTL 9); every other name does not exist. */
function openDnsServer() {
  const four = [
    [7, Buffer.from([10, 1, 1, 1])],
    [70, Buffer.from([10, 1, 1, 2])],
  ] as const;
  const six = [[9, Buffer.from("fd000000000000000000000000000001", "hex")]] as const;
  return openUdp((question, socket, port) => {
    const nameEnd = question.indexOf(0, 12) + 1;
    const type = question.readUInt16BE(nameEnd);
    const name = question.toString("latin1", 12, nameEnd);
    const known = name === "\x04four\x04test\0" ? 1 : name === "\x03six\x04test\0" ? 28 : 0;
    const records = known !== type ? [] : known === 1 ? four : six;
    const head = Buffer.from(question.subarray(0, 12));
    head.writeUInt16BE(known === 0 ? 0x8183 : 0x8180, 2);
    head.writeUInt16BE(records.length, 6);
    head.fill(0, 8, 12);
    const answers = records.map(([ttl, data]) => {
      const fixed = Buffer.from([0xc0, 12, 0, type, 0, 1, 0, 0, 0, ttl, 0, data.length]);
      return Buffer.concat([fixed, data]);
    });
    socket.send(Buffer.concat([head, question.subarray(12, nameEnd + 4), ...answers]), port, "127.0.0.1");
  });
}
