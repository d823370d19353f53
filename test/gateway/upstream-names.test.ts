/** Server names of upstream connections: what callers make up must cost nobody else anything. */
import { createServer, type Server, type TLSSocket } from "node:tls";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openAuthority } from "../support/authority.ts";
import { LANES } from "./lanes.ts";
import {
  ask,
  openRawUpstream,
  openTestGateway,
  type RouteInput,
  routingOf,
  type UpstreamInput,
  upstreamOf,
  waitFor,
} from "./support.ts";

let pair: { cert: string; key: string };
beforeAll(() => {
  const authority = openAuthority();
  pair = authority.issue(["known.test"]);
  authority.close();
});

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

/** Answers everything; knows how many connections are open and which names they came with. */
async function openTlsUpstream() {
  const open = new Set<TLSSocket>();
  const names: string[] = [];
  const server: Server = createServer(pair, (socket) => {
    open.add(socket);
    names.push(socket.servername || "");
    socket.on("close", () => open.delete(socket));
    socket.on("error", () => socket.destroy());
    socket.on("data", (chunk: Buffer) => {
      if (chunk.toString("latin1").endsWith("\r\n\r\n")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  });
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  const address = server.address();
  return { port: typeof address === "object" && address ? address.port : 0, open, names };
}

const TLS = { verify: false, cert: undefined, key: undefined };

describe.each(LANES)("$lane", ({ fastLane }) => {
  let upstream: Awaited<ReturnType<typeof openTlsUpstream>>;
  beforeEach(async () => {
    upstream = await openTlsUpstream();
  });

  async function open(input: UpstreamInput = {}, limit = 16, route: Omit<RouteInput, "upstream"> = {}) {
    const unit = upstreamOf([upstream.port], { scheme: "https", tls: TLS, retries: 0, ...input });
    const gateway = await openTestGateway(routingOf({ "*": { upstream: unit, ...route } }), {
      fastLane,
      upstreamConnections: limit,
    });
    closing.push(() => gateway.close(0));
    const call = async (host: string) => (await ask(gateway.port, `GET /x HTTP/1.1\r\nHost: ${host}\r\n\r\n`)).status;
    const idle = async (count: number) => {
      await waitFor(async () =>
        (await gateway.scrape()).includes(`jotgate_upstream_connections{state="idle"} ${count}`),
      );
      await waitFor(() => upstream.open.size === count);
    };
    return { unit, gateway, call, idle };
  }

  test("a name that only the caller knows keeps no connection", async () => {
    const { call, idle } = await open();
    for (let n = 0; n < 50; n++) expect(await call(`n${n}.test`)).toBe(200);
    await idle(0);
  });

  test.each([
    { says: "of the upstream", input: { passHost: "rewrite", upstreamHost: "known.test" } as const },
    { says: "of the node", input: { passHost: "node" } as const },
    { says: "of the route's host", route: { matchedHost: "known.test" } },
    { says: "that is an address, which no handshake shows", host: "127.0.0.1" },
  ])("connections under a name $says are used again", async ({ input = {}, route = {}, host = "known.test" }) => {
    const { call, idle } = await open(input, 16, route);
    for (let n = 0; n < 5; n++) expect(await call(host)).toBe(200);
    await idle(1);
    expect(upstream.names).toHaveLength(1);
  });

  test("at the limit a connection that waits, of any pool, makes room", async () => {
    const other = await openTlsUpstream();
    const input: UpstreamInput = { scheme: "https", tls: TLS, retries: 0, passHost: "node" };
    const gateway = await openTestGateway(
      routingOf({
        a: { upstream: upstreamOf([upstream.port], input) },
        b: { upstream: upstreamOf([other.port], input) },
      }),
      { fastLane, upstreamConnections: 1 },
    );
    closing.push(() => gateway.close(0));
    for (const path of ["a", "b", "a", "b"]) {
      expect((await ask(gateway.port, `GET /${path} HTTP/1.1\r\nHost: h\r\n\r\n`)).status).toBe(200);
    }
    await waitFor(() => upstream.open.size + other.open.size === 1);
  });

  test("a certificate that nobody trusts is the target's failure, whoever made the name up", async () => {
    const { unit, call } = await open({ tls: { ...TLS, verify: true } });
    expect(await call("made-up.test")).toBe(502);
    expect(unit.outcomes).toEqual([{ kind: "refused" }]);
  });

  test.each([
    { says: "the caller's", passHost: "pass", outcome: "aborted" },
    { says: "the configured", passHost: "rewrite", outcome: "refused" },
  ] as const)("a server that has no host of $says name ends as $outcome", async ({ passHost, outcome }) => {
    // The alert unrecognized_name, with which nginx, HAProxy and OpenSSL answer a hello for a host they do not have.
    const strict = await openRawUpstream((socket) => socket.end(Buffer.from([21, 3, 3, 0, 2, 2, 112])));
    closing.push(() => strict.close());
    const input: UpstreamInput = { scheme: "https", tls: TLS, retries: 0, passHost, upstreamHost: "other.test" };
    const unit = upstreamOf([strict.port], input);
    const gateway = await openTestGateway(routingOf({ "*": { upstream: unit } }), { fastLane });
    closing.push(() => gateway.close(0));
    expect((await ask(gateway.port, "GET /x HTTP/1.1\r\nHost: made-up.test\r\n\r\n")).status).toBe(502);
    expect(unit.outcomes).toEqual([{ kind: outcome }]);
  });
});
