/**
 * What is remembered of heads, against reading each of them anew: sequences of heads that are the same, nearly the same or
 * not alike, on connections and pools that share one bounded memory. Whoever takes a head changes its lines afterwards.
 */
import { expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { ClientConnection } from "../../src/gateway/client-connection.ts";
import { FastWriter } from "../../src/gateway/fast/fast-writer.ts";
import { HeadReader } from "../../src/gateway/fast/head-reader.ts";
import { DEFAULT_GATEWAY_SETTINGS, type GatewaySettings } from "../../src/gateway/gateway-settings.ts";
import { HeadMemory } from "../../src/gateway/http/remembered-bytes.ts";
import { IncomingBody } from "../../src/gateway/http/request-body.ts";
import { readRequest } from "../../src/gateway/http/request-head.ts";
import { SentHead } from "../../src/gateway/http/response-head.ts";
import { DateLine } from "../../src/gateway/http/response-text.ts";
import type { ResponseSink, UpstreamCall, UpstreamLink } from "../../src/gateway/upstream/upstream-call.ts";
import { writeUpstreamHead } from "../../src/gateway/upstream/upstream-head.ts";
import { RememberedHead, ResponseReader } from "../../src/gateway/upstream/upstream-response.ts";
import { Dice, damage, makeRequest, seeds } from "./http-input.ts";

const STEPS_A_SEED = 50;
/** Reads of heads, on either side: 20,000 here, a million in `npm run fuzz`. */
const STEPS = 20_000;

const settings: GatewaySettings = { ...DEFAULT_GATEWAY_SETTINGS, headBytes: 600, headerLines: 8 };

function connectionOf(trust: "yes" | "no" | "unset"): ClientConnection {
  const trusted = trust === "unset" ? undefined : () => trust === "yes";
  // True: of a socket only the addresses are read.
  const socket = { remoteAddress: "10.0.0.1", remotePort: 1, localAddress: "10.0.0.2", localPort: 80 } as never;
  return new ClientConnection(socket, "http", { ...settings, trustedAddresses: trusted }, undefined);
}

const LINES = [
  "GET /a HTTP/1.1",
  "GET /b HTTP/1.1",
  "POST /a HTTP/1.1",
  "GET /a?b=c HTTP/1.1",
  "GET /a%2fb/../c HTTP/1.1",
  "HEAD /a HTTP/1.1",
  "GET /../a HTTP/1.1",
];
const BLOCKS = [
  ["Host: h", "Authorization: Bearer aaaa.bbbb.cccc", "Accept: */*"],
  ["Host: h", "Authorization: Bearer aaaa.bbbb.cccd", "Accept: */*"],
  ["Host: h:81", "Authorization: bearer aaaa.bbbb.cccc", "X-Forwarded-For: 1.2.3.4"],
  ["Host: h", "X-Forwarded-Proto: https", "X-Real-IP: 9.9.9.9", "x-consumer-username: root"],
  ["Host: h", "Connection: close"],
  ["Host: h", "Connection: X-A", "X-A: 1", "X-B: 2"],
  ["Host: h", "Content-Length: 3", "X-B: 2"],
  ["Host: h", "Content-Length: 4", "X-B: 2"],
  ["Host: h", "Transfer-Encoding: chunked"],
  ["Host: h", "Expect: 100-continue"],
  ["Host: h", "Connection: Upgrade", "Upgrade: websocket"],
  ["Host: h", `X-Long: ${"x".repeat(560)}`],
];

/** A head like one before, mostly, and what follows it. */
function nextHead(dice: Dice, before: string): string {
  if (before !== "" && !dice.chance(3)) return before;
  if (dice.chance(12)) return damage(dice, makeRequest(dice));
  const block = dice.pick(BLOCKS);
  const head = `${dice.pick(LINES)}\r\n${block.slice(dice.chance(9) ? 1 : 0).join("\r\n")}\r\n\r\n`;
  if (dice.chance(10)) return damage(dice, head);
  // One letter in another case, or another letter.
  const at = dice.under(head.length);
  if (!dice.chance(4)) return head;
  return `${head.slice(0, at)}${String.fromCharCode(head.charCodeAt(at) ^ dice.pick([1, 0x20]))}${head.slice(at + 1)}`;
}

/** Everything that a head is taken for. */
function read(heads: HeadReader, bytes: Buffer, connection: ClientConnection, edit: number): unknown {
  const end = heads.read(bytes);
  if (end < 0 || heads.target === undefined) return end < 0 ? end : "refused";
  const { method, received, scan, target } = heads;
  const { length } = scan;
  const body = new IncomingBody(0, undefined, 0);
  const head = { method, target: target.target, httpVersion: "1.1", scan, connection, body, startedMs: 0 } as const;
  const made = readRequest({ ...head, read: target, received }, settings);
  if (!("view" in made)) return [end, made.reason];
  const { view, matchPath } = made;
  const { host, hostHeader, path, query, upgrade } = view.head;
  const lines = view.headers.lines.slice();
  const known = view.headers.only("authorization");
  // Names are remembered for all connections, so a fresh one says nothing about them.
  const text = bytes.toString("latin1");
  for (let i = 0; i < lines.length; i += 2) expect(text).toContain(`\r\n${lines[i]}:`);
  const rest = view.headers.restOf(view.header("host") ?? "", 7);
  const token = typeof known === "string" ? view.headers.restOf(known, edit & 4 ? 7 : 6) : known;
  // What plugins do to lines: nothing, name the caller, take the token away, write over a line.
  if (edit & 1) view.headers.set("X-Consumer-Username", "jack");
  if (edit & 2) view.headers.remove("authorization");
  if (edit & 8) view.headers.set("Accept", "text/plain");
  if (edit & 16) view.headers.set("X-Forwarded-Host", "other");
  const sent = writeUpstreamHead(view, hostHeader, length, undefined, { inc: () => {} });
  return {
    end,
    method,
    matchPath,
    host,
    hostHeader,
    path,
    query,
    upgrade,
    length,
    close: scan.close,
    lines,
    token,
    rest,
    sent,
  };
}

test("a head is taken for the same on a connection that had others before", ({ task }) => {
  const { from, to } = seeds(STEPS / STEPS_A_SEED, task.timeout);
  let recurred = 0;
  let accepted = 0;
  for (let seed = from; seed < to; seed++) {
    const dice = new Dice(seed);
    const room = dice.pick([0, 1_000, 4_000, 100_000]);
    const memory = new HeadMemory(room);
    const kept = (["yes", "no", "unset"] as const).map((trust) => {
      const connection = connectionOf(trust);
      return { trust, connection, heads: new HeadReader(connection, settings, memory), before: "" };
    });
    for (let step = 0; step < STEPS_A_SEED; step++) {
      const one = dice.pick(kept);
      if (dice.chance(40)) one.heads.forget();
      const head = nextHead(dice, one.before);
      const bytes = Buffer.from(head + (dice.chance(4) ? dice.pick(["abc", "GET / HT", head]) : ""), "latin1");
      const edit = dice.under(32);
      if (dice.chance(5)) one.heads.read(bytes.subarray(0, dice.under(bytes.length)));
      if (dice.chance(9)) one.heads.read(Buffer.from(nextHead(dice, ""), "latin1").subarray(0, 40));
      const fresh = connectionOf(one.trust);
      const want = read(new HeadReader(fresh, settings, new HeadMemory(0)), bytes, fresh, edit);
      const got = read(one.heads, bytes, one.connection, edit);
      expect(got, `FUZZ_SEED=${seed}, step ${step}: ${JSON.stringify(bytes.toString("latin1"))}`).toEqual(want);
      if (typeof want === "object") accepted++;
      if (one.before === head) recurred++;
      one.before = head;
      bytes.fill(0); // what was read is nobody's any more
    }
    for (const one of kept) one.heads.forget();
    expect(memory.take(room / 4), `FUZZ_SEED=${seed}: everything was given back`).toBe(true);
    expect(memory.take(1)).toBe(false);
  }
  if (to - from > 1) expect(Math.min(recurred, accepted)).toBeGreaterThan(((to - from) * STEPS_A_SEED) / 8);
});

test("a date that the gateway adds is not kept with the text of a head", () => {
  const written: string[] = [];
  // True: a writer uses nothing else of a socket.
  const socket = { write: (text: string) => written.push(text) > 0, writableNeedDrain: false } as never;
  const clock = new FakeClock();
  const writer = new FastWriter(socket, new DateLine(clock));
  const sent = new SentHead(["X-A", "1"]);
  for (const [hasDate, close] of [
    [false, false],
    [true, false],
    [true, true],
    [false, false],
    [true, false],
  ] as const) {
    writer.head(200, sent.lines, 2, hasDate, close, sent);
    writer.flush();
    clock.advance(2_000);
  }
  expect(new Set(written).size).toBe(4);
  expect(written[4]).toBe(written[1]);
});

const STARTS = [
  "HTTP/1.1 200 OK",
  "HTTP/1.0 200 OK",
  "HTTP/1.1 204 No Content",
  "HTTP/1.1 304 Not",
  "HTTP/1.1 103 Early",
];
const ANSWERS = [
  ["Content-Length: 2", "Date: x"],
  ["Content-Length: 3", "Date: x"],
  ["Content-Length: 2", "Date: y", "Connection: close"],
  ["Transfer-Encoding: chunked", "Date: x"],
  ["Content-Length: 0"],
  ["Connection: X-A", "X-A: 1", "Content-Length: 2", "Keep-Alive: timeout=3"],
  ["Content-Length: 2", "Content-Length: 3"],
  [`X-Long: ${"y".repeat(560)}`, "Content-Length: 2"],
];
const BODIES = ["", "ok", "oks", "2\r\nok\r\n0\r\n\r\n", "ok!more"];

/** What a call is told of the pieces of an answer, and where the reader stands then. */
function hear(reader: ResponseReader, method: string, pieces: readonly Buffer[]): unknown[] {
  const heard: unknown[] = [];
  const response: ResponseSink = {
    onInterim: ({ status, lines }) => void heard.push(["interim", status, lines]),
    onHead({ status, lines, length, chunked, keepAlive, hasDate, upgrade, idleMs }) {
      heard.push(["head", status, lines.slice(), length, chunked, keepAlive, hasDate, upgrade, idleMs]);
    },
    onData: (chunk, start, end) => void heard.push(chunk.toString("latin1", start, end)),
    onEnd: () => {},
    onFlush: () => {},
  };
  // True: a reader looks at nothing else of a call.
  reader.begin({ method, response, upgrade: undefined } as UpstreamCall);
  for (const piece of pieces) heard.push(["now", reader.read(piece, "call", true), reader.endsWithClose]);
  reader.stop();
  return heard;
}

test("a response is taken for the same from a pool that gave others before", ({ task }) => {
  const { from, to } = seeds(STEPS / STEPS_A_SEED, task.timeout);
  const limits = { headBytes: 500, headerLines: 4 };
  const link = {} as UpstreamLink; // nobody calls it
  let heads = 0;
  for (let seed = from; seed < to; seed++) {
    const dice = new Dice(seed);
    const pool = new RememberedHead(new HeadMemory(dice.pick([0, 500, 100_000])));
    const kept = [new ResponseReader(limits, pool, link), new ResponseReader(limits, pool, link)];
    let before = "";
    for (let step = 0; step < STEPS_A_SEED; step++) {
      const head = `${dice.chance(4) ? dice.pick(STARTS) : STARTS[0]}\r\n${dice.pick(ANSWERS).join("\r\n")}\r\n\r\n`;
      const again = !dice.chance(3) ? before : dice.chance(12) ? damage(dice, head) : head;
      before = again;
      const bytes = Buffer.from(again + dice.pick(BODIES), "latin1");
      const cut = dice.chance(4) ? dice.under(bytes.length + 1) : bytes.length;
      const method = dice.pick(["GET", "GET", "HEAD"]);
      const pieces = () =>
        [bytes.subarray(0, cut), bytes.subarray(cut)].filter((one) => one.length > 0).map((one) => Buffer.from(one));
      const want = hear(new ResponseReader(limits, new RememberedHead(new HeadMemory(0)), link), method, pieces());
      const got = hear(dice.pick(kept), method, pieces());
      expect(got, `FUZZ_SEED=${seed}, step ${step}, ${method}: ${JSON.stringify(bytes.toString("latin1"))}`).toEqual(
        want,
      );
      if (want.some((one) => Array.isArray(one) && one[0] === "head")) heads++;
    }
  }
  if (to - from > 1) expect(heads).toBeGreaterThan(((to - from) * STEPS_A_SEED) / 3);
});
