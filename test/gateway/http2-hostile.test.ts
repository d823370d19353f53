/**
 * What no client library sends: malformed requests, floods, stalls. A stream error stays with its stream; who floods is
 * closed with ENHANCE_YOUR_CALM. Source: RFC 9113 sections 5.4, 8.1.1 and 10.5.
 */
import { constants } from "node:http2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Authority, openAuthority, type Pair } from "../support/authority.ts";
import {
  ACK,
  END_HEADERS,
  END_STREAM,
  FRAME,
  type FrameClient,
  frame,
  headerBlock,
  openFrameClient,
  u32,
} from "../support/http2-frames.ts";
import { slack } from "../support/long-run.ts";
import { answering, OK, openRawUpstream, type RawUpstream, routingOf, upstreamOf, waitFor } from "./support.ts";
import { openTlsGateway, subjectOf, type TlsGateway, type TlsInput } from "./tls-support.ts";

let authority: Authority;
let pair: Pair;
let upstream: RawUpstream;
let silent: RawUpstream;
const opened: TlsGateway[] = [];
const clients: FrameClient[] = [];

beforeAll(async () => {
  authority = openAuthority();
  pair = authority.issue(["a.test"]);
  upstream = await openRawUpstream(answering(OK));
  silent = await openRawUpstream(() => {});
});

afterAll(async () => {
  for (const client of clients) client.socket.destroy();
  await Promise.all(opened.map((gateway) => gateway.close(0)));
  await Promise.all([upstream.close(), silent.close()]);
  authority.close();
});

async function open(input: TlsInput = {}): Promise<TlsGateway> {
  const routing = routingOf({
    silent: { upstream: upstreamOf([silent.port]) },
    "*": { upstream: upstreamOf([upstream.port]) },
  });
  const gateway = await openTlsGateway(routing, input);
  gateway.ssls.set("1", { ...pair, sni: "a.test" });
  opened.push(gateway);
  return gateway;
}

async function dial(gateway: TlsGateway): Promise<FrameClient> {
  const client = await openFrameClient(gateway.tlsPort, "a.test");
  clients.push(client);
  client.socket.on("error", () => {});
  return client;
}

type Fields = readonly (readonly [string, string])[];

const PSEUDO: Fields = [
  [":method", "GET"],
  [":scheme", "https"],
  [":authority", "a.test"],
  [":path", "/x"],
];
const POST: Fields = [[":method", "POST"], ...PSEUDO.slice(1)];

const replaced = (name: string, value: string): Fields =>
  PSEUDO.map(([one, before]) => [one, one === name ? value : before] as const);

function headers(stream: number, fields: Fields, flags = END_STREAM): Buffer {
  return frame(FRAME.HEADERS, flags | END_HEADERS, stream, headerBlock(fields));
}

/** Reset code of a stream; undefined when it was not reset. */
function resetOf(client: FrameClient, stream: number): number | undefined {
  return client.frames.find((one) => one.type === FRAME.RST_STREAM && one.stream === stream)?.payload.readUInt32BE(0);
}

function isAnswered(client: FrameClient, stream: number): boolean {
  return client.frames.some((one) => one.type === FRAME.HEADERS && one.stream === stream);
}

/** Error code of the last GOAWAY. */
function goawayOf(client: FrameClient): number | undefined {
  return client.frames.findLast((one) => one.type === FRAME.GOAWAY)?.payload.readUInt32BE(4);
}

describe("malformed requests", () => {
  test.each([
    { says: "CR LF in :path", fields: replaced(":path", "/x HTTP/1.1\r\nX-Evil: 1\r\n") },
    { says: "a space in :path", fields: replaced(":path", "/x y") },
    { says: "an empty :path", fields: replaced(":path", "") },
    { says: "a :path without a slash", fields: replaced(":path", "x") },
    { says: "a URL as :path", fields: replaced(":path", "https://b.test/x") },
    { says: "`*` with GET", fields: replaced(":path", "*") },
    { says: "CR LF in :method", fields: replaced(":method", "GET / HTTP/1.1\r\nX: y") },
    { says: "a space in :authority", fields: replaced(":authority", "a.test b") },
    { says: "no :path", fields: PSEUDO.slice(0, 3) },
    { says: "no :method", fields: PSEUDO.slice(1) },
    { says: "no :authority and no Host", fields: PSEUDO.filter(([name]) => name !== ":authority") },
    { says: "no :scheme", fields: PSEUDO.filter(([name]) => name !== ":scheme") },
    { says: ":path twice", fields: [...PSEUDO, [":path", "/y"]] },
    { says: "an unknown pseudo header", fields: [...PSEUDO, [":evil", "1"]] },
    { says: ":status in a request", fields: [...PSEUDO, [":status", "200"]] },
    { says: "a pseudo header behind others", fields: [["x", "1"], ...PSEUDO] },
    { says: "an upper-case name", fields: [...PSEUDO, ["X-Up", "1"]] },
    { says: "transfer-encoding", fields: [...PSEUDO, ["transfer-encoding", "chunked"]] },
    { says: "connection", fields: [...PSEUDO, ["connection", "close, x-consumer-username"]] },
    { says: "upgrade", fields: [...PSEUDO, ["upgrade", "websocket"]] },
    { says: "proxy-connection", fields: [...PSEUDO, ["proxy-connection", "close"]] },
    { says: "keep-alive", fields: [...PSEUDO, ["keep-alive", "1"]] },
    { says: "te: gzip", fields: [...PSEUDO, ["te", "gzip"]] },
    { says: "a Host that is not :authority", fields: [...PSEUDO, ["host", "b.test"]] },
    { says: "two Hosts", fields: [...PSEUDO, ["host", "a.test"], ["host", "a.test"]] },
    { says: "extended CONNECT", fields: [[":method", "CONNECT"], [":protocol", "websocket"], ...PSEUDO.slice(1)] },
    { says: "content-length without a body", fields: [...PSEUDO, ["content-length", "5"]] },
    { says: "two content-lengths", fields: [...PSEUDO, ["content-length", "0"], ["content-length", "1"]] },
    { says: "content-length: +5", fields: [...PSEUDO, ["content-length", "+5"]] },
  ] as { says: string; fields: Fields }[])(
    "$says: a stream error, nothing goes upstream, the next request is served",
    async ({ fields }) => {
      const gateway = await open();
      const client = await dial(gateway);
      const before = upstream.all.length;
      client.send(headers(1, fields));
      await waitFor(() => resetOf(client, 1) !== undefined);
      expect(resetOf(client, 1)).toBe(constants.NGHTTP2_PROTOCOL_ERROR);
      expect(isAnswered(client, 1)).toBe(false);
      expect(upstream.all.length).toBe(before);
      client.send(headers(3, PSEUDO));
      await waitFor(() => isAnswered(client, 3));
    },
  );

  test.each([
    { says: "an empty name", field: ["", "evil"] },
    { says: "a colon in a name", field: ["a:b", "evil"] },
    { says: "a space in a name", field: ["a b", "evil"] },
    { says: "CR LF in a name", field: ["a\r\nb", "evil"] },
    { says: "CR LF in a value", field: ["x", "1\r\nevil: 2"] },
    { says: "NUL in a value", field: ["x", "evil\0"] },
  ] as const)("$says: nghttp2 leaves the line out, nothing of it goes upstream", async ({ field }) => {
    const gateway = await open();
    const client = await dial(gateway);
    const before = upstream.all.length;
    client.send(headers(1, [...PSEUDO, field, ["x-good", "1"]]));
    await waitFor(() => isAnswered(client, 1));
    expect(upstream.all.slice(before)).toContain("\r\nx-good: 1\r\n");
    expect(upstream.all.slice(before)).not.toContain("evil");
  });

  test.each([{ says: "two authorizations", fields: [...PSEUDO, ["authorization", "a"], ["authorization", "b"]] }] as {
    says: string;
    fields: Fields;
  }[])("$says: answered 400, nothing goes upstream", async ({ fields }) => {
    const gateway = await open();
    const client = await dial(gateway);
    const before = upstream.all.length;
    client.send(headers(1, fields));
    await waitFor(() => isAnswered(client, 1));
    expect(upstream.all.length).toBe(before);
    expect(await gateway.scrape()).toContain('jotgate_http_requests_total{route="none",status="400"} 1');
  });

  test.each([
    { says: "more DATA than content-length", length: "3", data: "abcdef" },
    { says: "less DATA than content-length", length: "9", data: "abcdef" },
  ])("$says: a stream error, the upstream never sees a whole request", async ({ length, data }) => {
    const gateway = await open();
    const client = await dial(gateway);
    const before = upstream.all.length;
    client.send(
      headers(1, [...POST, ["content-length", length]], 0),
      frame(FRAME.DATA, END_STREAM, 1, Buffer.from(data)),
    );
    await waitFor(() => resetOf(client, 1) === constants.NGHTTP2_PROTOCOL_ERROR);
    client.send(headers(3, PSEUDO));
    await waitFor(() => isAnswered(client, 3));
    expect(upstream.all.slice(before)).not.toContain("POST");
  });

  test("a streamed upload that ends short never looks complete upstream", async () => {
    let ended = false;
    const sink = await openRawUpstream((socket) => {
      socket.on("close", () => {
        ended = true;
      });
    });
    const gateway = await openTlsGateway(routingOf({ "*": { upstream: upstreamOf([sink.port]) } }));
    gateway.ssls.set("1", { ...pair, sni: "a.test" });
    opened.push(gateway);
    const client = await dial(gateway);
    const piece = frame(FRAME.DATA, 0, 1, Buffer.alloc(16_000, "x"));
    client.send(headers(1, POST, 0), piece, piece, piece, piece);
    await waitFor(() => client.frames.some((one) => one.type === FRAME.WINDOW_UPDATE && one.stream === 1));
    client.send(piece, piece);
    await waitFor(() => sink.all.includes("xxx"));
    client.send(frame(FRAME.RST_STREAM, 0, 1, u32(constants.NGHTTP2_CANCEL)));
    await waitFor(() => ended);
    expect(sink.all).not.toContain("\r\n0\r\n\r\n");
    await sink.close();
  });
});

describe("floods", () => {
  /** Sends until the connection is closed. @returns how often it was sent */
  async function flood(client: FrameClient, make: (turn: number) => Buffer, limit: number): Promise<number> {
    let turn = 0;
    while (!client.closed && turn < limit) {
      for (let i = 0; i < 50; i++) client.send(make(turn++));
      await new Promise((resolve) => setImmediate(resolve));
    }
    await waitFor(() => client.closed);
    return turn;
  }

  test.each([
    {
      says: "streams that are reset at once",
      make: (turn: number) =>
        Buffer.concat([
          headers(turn * 2 + 1, replaced(":path", "/silent"), END_STREAM),
          frame(FRAME.RST_STREAM, 0, turn * 2 + 1, u32(constants.NGHTTP2_CANCEL)),
        ]),
      limit: 20_000,
      reason: "http2_resets",
    },
    {
      says: "PING",
      make: () => frame(FRAME.PING, 0, 0, Buffer.alloc(8)),
      limit: 50_000,
      reason: "http2_control_frames",
    },
    { says: "SETTINGS", make: () => frame(FRAME.SETTINGS, 0, 0), limit: 50_000, reason: "http2_control_frames" },
    {
      says: "SETTINGS that change something",
      make: (turn: number) => frame(FRAME.SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, 4]), u32(1000 + turn)])),
      limit: 50_000,
    },
    {
      says: "empty DATA",
      make: (turn: number) => (turn === 0 ? headers(1, POST, 0) : frame(FRAME.DATA, 0, 1)),
      limit: 20_000,
    },
    {
      says: "malformed requests",
      make: (turn: number) => headers(turn * 2 + 1, replaced(":path", "x")),
      limit: 20_000,
    },
  ])("$says: the connection is closed, others are served", async ({ make, limit, reason }) => {
    const gateway = await open();
    const client = await dial(gateway);
    const sent = await flood(client, make, limit);
    expect(sent).toBeLessThan(limit);
    if (reason !== undefined) {
      // Who writes faster than it reads may lose the last frame to a TCP reset.
      expect([undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM]).toContain(goawayOf(client));
      expect(await gateway.scrape()).toContain(`jotgate_gateway_errors_total{reason="${reason}"} 1`);
    }
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("a.test");
    const other = await dial(gateway);
    other.send(headers(1, PSEUDO));
    await waitFor(() => isAnswered(other, 1));
  });

  test("a header block without end: the connection is closed", async () => {
    const gateway = await open();
    const client = await dial(gateway);
    client.send(frame(FRAME.HEADERS, END_STREAM, 1, headerBlock(PSEUDO)));
    const more = frame(FRAME.CONTINUATION, 0, 1, headerBlock([["x-more", "x".repeat(1000)]]));
    const sent = await flood(client, () => more, 5_000);
    expect(sent).toBeLessThan(1_000);
  });

  test("a small block that unpacks to much: no more than the limits is held", async () => {
    const gateway = await open();
    const client = await dial(gateway);
    // One entry of 3,900 bytes into the dynamic table, then thousands of references to it.
    const value = Buffer.alloc(3_900, "v");
    const entry = Buffer.concat([Buffer.from([0x40, 1, 0x78, 127, 0xbd, 0x1d]), value]);
    const bomb = Buffer.concat([headerBlock(PSEUDO), entry, Buffer.alloc(8_000, 0xbe)]);
    client.send(frame(FRAME.HEADERS, END_STREAM | END_HEADERS, 1, bomb));
    await waitFor(() => resetOf(client, 1) !== undefined || client.closed);
    expect(isAnswered(client, 1)).toBe(false);
  });

  test.each([
    { says: "before the limit is acknowledged: refused, the others stay", acked: false },
    { says: "after the limit was acknowledged: the connection is closed", acked: true },
  ])("streams beyond 100 at a time, $says", async ({ acked }) => {
    const gateway = await open();
    const client = await dial(gateway);
    const streams = Array.from({ length: 110 }, (_, at) => at * 2 + 1);
    await waitFor(() => client.frames.some((one) => one.type === FRAME.SETTINGS));
    if (acked) client.send(frame(FRAME.SETTINGS, ACK, 0));
    client.send(...streams.map((stream) => headers(stream, replaced(":path", "/silent"))));
    const refused = (): readonly number[] => streams.filter((stream) => resetOf(client, stream) !== undefined);
    await waitFor(() => client.closed || refused().length === 10);
    expect(client.closed).toBe(acked);
    if (acked) return;
    expect(refused()).toEqual(streams.slice(100));
    expect(resetOf(client, 201)).toBe(constants.NGHTTP2_REFUSED_STREAM);
  });

  test("a client that opens no window for its answer loses the stream, not more", async () => {
    const gateway = await open({ settings: { sendTimeoutMs: 200 } });
    const client = await dial(gateway);
    client.send(frame(FRAME.SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, 4]), u32(0)])));
    client.send(headers(1, PSEUDO));
    await waitFor(() => resetOf(client, 1) !== undefined);
    client.send(frame(FRAME.SETTINGS, 0, 0, Buffer.concat([Buffer.from([0, 4]), u32(65_535)])), headers(3, PSEUDO));
    await waitFor(() => client.frames.some((one) => one.type === FRAME.DATA && one.stream === 3));
  });

  test("a body that stops is answered 408", async () => {
    const gateway = await open({ settings: { bodyTimeoutMs: 200 } });
    const client = await dial(gateway);
    client.send(headers(1, POST, 0), frame(FRAME.DATA, 0, 1, Buffer.from("abc")));
    await waitFor(() => isAnswered(client, 1));
    expect(await gateway.scrape()).toContain('jotgate_http_requests_total{route="*",status="408"} 1');
    await waitFor(() => resetOf(client, 1) !== undefined);
    expect(resetOf(client, 1)).toBe(constants.NGHTTP2_NO_ERROR);
  });

  test.each([
    { says: "nothing after the handshake", bytes: Buffer.alloc(0) },
    { says: "half a request head", bytes: frame(FRAME.HEADERS, END_STREAM, 1, headerBlock(PSEUDO)) },
  ])("a client that sends $says is closed when idle", async ({ bytes }) => {
    const gateway = await open({ settings: { headTimeoutMs: 200, idleTimeoutMs: 200 } });
    const client = await dial(gateway);
    client.send(bytes);
    await waitFor(() => client.closed);
  });

  test("what is no HTTP/2 closes the connection", async () => {
    const gateway = await open({ settings: { headTimeoutMs: 200, idleTimeoutMs: 200 } });
    const client = await dial(gateway);
    client.send(Buffer.from("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(10)));
    await waitFor(() => client.closed);
    expect(goawayOf(client)).toBe(constants.NGHTTP2_FRAME_SIZE_ERROR);
  });

  test("a drain waits for a quiet moment, then says which streams were seen", async () => {
    const gateway = await open();
    const client = await dial(gateway);
    client.send(headers(1, POST, 0));
    await waitFor(() => client.frames.some((one) => one.type === FRAME.SETTINGS && one.flags === ACK));
    gateway.beginDrain();
    client.send(headers(3, PSEUDO));
    await waitFor(() => isAnswered(client, 3));
    expect(goawayOf(client)).toBeUndefined();
    client.send(frame(FRAME.DATA, END_STREAM, 1, Buffer.from("abc")));
    await waitFor(() => goawayOf(client) !== undefined);
    expect(isAnswered(client, 1)).toBe(true);
    expect(goawayOf(client)).toBe(constants.NGHTTP2_NO_ERROR);
    const goaway = client.frames.find((one) => one.type === FRAME.GOAWAY);
    expect(goaway?.payload.readUInt32BE(0)).toBe(3);
    await waitFor(() => client.closed);
  });

  test("a drain does not wait for a client that never answers", async () => {
    const gateway = await open();
    const client = await dial(gateway);
    client.send(headers(1, PSEUDO));
    await waitFor(() => isAnswered(client, 1));
    const startMs = Date.now();
    await gateway.close(60_000);
    expect(Date.now() - startMs).toBeLessThan(slack(2_500));
    expect(goawayOf(client)).toBe(constants.NGHTTP2_NO_ERROR);
  });
});
