/**
 * Three requests in one packet, the middle one odd, cut at every byte: whichever lane serves which of them, answers and
 * what the upstream sees are those of the general lane given the whole packet.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  answering,
  cutResponse,
  openClient,
  openRawUpstream,
  openTestGateway,
  type RawUpstream,
  routingOf,
  type TestGateway,
  upstreamOf,
} from "../gateway/support.ts";
import { bounded } from "../support/long-run.ts";

/** Of the places where a packet can be cut, so many are tried; each turn of the long form tries them all. */
const CUTS = bounded(40, Number.POSITIVE_INFINITY);
const AT_ONCE = 8;

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
const post = (lines: string, body = ""): string => `POST /odd HTTP/1.1\r\nHost: h\r\n${lines}\r\n${body}`;
const get = (lines: string): string => `GET /odd HTTP/1.1\r\nHost: h\r\n${lines}\r\n`;
const hex = (text: string): string => text.length.toString(16);

interface Odd {
  readonly says: string;
  readonly bytes: string;
  /** The connection ends when it comes while another request runs, which a cut decides: answers are not compared. */
  readonly endsEarly?: boolean;
}

const ODD: readonly Odd[] = [
  { says: "a body that looks like a request", bytes: post(`Content-Length: ${SMUGGLED.length}\r\n`, SMUGGLED) },
  { says: "a GET with such a body", bytes: get(`Content-Length: ${SMUGGLED.length}\r\n`) + SMUGGLED },
  { says: "an empty body", bytes: post("Content-Length: 0\r\n") },
  { says: "a chunked body", bytes: post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n") },
  {
    says: "chunks that look like requests, and trailers",
    bytes: post("Transfer-Encoding: chunked\r\n", `${hex(SMUGGLED)};x=y\r\n${SMUGGLED}\r\n0\r\nX-T: 1\r\n\r\n`),
  },
  {
    says: "length and coding",
    bytes: post("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", `0\r\n\r\n${SMUGGLED}`),
  },
  {
    says: "two codings",
    bytes: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", `0\r\n\r\n${SMUGGLED}`),
  },
  { says: "two lengths", bytes: post(`Content-Length: 0\r\nContent-Length: ${SMUGGLED.length}\r\n`, SMUGGLED) },
  { says: "an alias of the coding", bytes: post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n") },
  { says: "a coding after a tab", bytes: post("Transfer-Encoding:\tchunked\r\n", "0\r\n\r\n") },
  { says: "Expect: 100-continue", bytes: post("Expect: 100-continue\r\nContent-Length: 3\r\n", "abc") },
  { says: "an expectation nobody knows", bytes: get("Expect: x\r\n") },
  { says: "an upgrade nobody speaks", bytes: get("Connection: Upgrade\r\nUpgrade: h2c\r\n"), endsEarly: true },
  {
    says: "such an upgrade with a body",
    bytes: post(`Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: ${SMUGGLED.length}\r\n`, SMUGGLED),
    endsEarly: true,
  },
  { says: "HTTP/1.0", bytes: "GET /odd HTTP/1.0\r\nHost: h\r\n\r\n" },
  { says: "HTTP/1.0 that stays", bytes: "GET /odd HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n" },
  { says: "an absolute target", bytes: "GET http://h/odd HTTP/1.1\r\nHost: other\r\n\r\n" },
  { says: "OPTIONS *", bytes: "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n" },
  { says: "a method of WebDAV", bytes: "PROPFIND /odd HTTP/1.1\r\nHost: h\r\n\r\n" },
  { says: "empty lines in front", bytes: `\r\n\r\n${get("")}` },
  { says: "bare line feeds", bytes: "GET /odd HTTP/1.1\nHost: h\n\n" },
  { says: "a bare line feed inside", bytes: get("X-A: 1\nX-B: 2\r\n") },
  { says: "a bare carriage return inside", bytes: get("X-A: 1\rTransfer-Encoding: chunked\r\n") },
  { says: "a folded line", bytes: get("X-A: 1\r\n 2\r\n") },
  { says: "a blank before the colon", bytes: post("Content-Length : 5\r\n", "hello") },
  { says: "two hosts", bytes: get("Host: other\r\n") },
  { says: "a path that is none", bytes: "GET /../odd HTTP/1.1\r\nHost: h\r\n\r\n" },
  { says: "Connection: close", bytes: get("Connection: close\r\n") },
  { says: "HEAD", bytes: "HEAD /odd HTTP/1.1\r\nHost: h\r\n\r\n" },
  { says: "a body longer than is read ahead", bytes: post("Content-Length: 70000\r\n", "b".repeat(70_000)) },
];

interface Outcome {
  /** Statuses of the answers in order, those before 200 left out. */
  readonly answers: readonly number[];
  /** Requests the upstream saw, with their bodies. */
  readonly seen: readonly string[];
}

describe("three requests, the second odd", () => {
  let upstream: RawUpstream;
  let fast: TestGateway;
  let general: TestGateway;
  let count = 0;
  const seen = new Map<string, string[]>();

  beforeAll(async () => {
    upstream = await openRawUpstream(
      answering((request) => {
        const mark = /^X-Case: (\d+)\r$/m.exec(request)?.[1] ?? "none";
        const body = request.slice(request.indexOf("\r\n\r\n") + 4);
        const line = request.slice(0, request.indexOf(" HTTP/1.1"));
        seen.set(mark, [...(seen.get(mark) ?? []), `${line} ${body.slice(0, 100).replaceAll(mark, "n")}`]);
        return request.startsWith("HEAD ")
          ? "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
          : "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
      }),
    );
    // The mark goes to each request, also to one that the client did not mean to send.
    const routing = (): ReturnType<typeof routingOf> => routingOf({ "*": { upstream: upstreamOf([upstream.port]) } });
    [fast, general] = await Promise.all([
      openTestGateway(routing(), { fastLane: true }),
      openTestGateway(routing(), { fastLane: false }),
    ]);
  });

  afterAll(async () => {
    await fast.close(0);
    await general.close(0);
    await upstream.close();
  });

  /** Sends the packet in two parts. @param cut 0: in one */
  async function play(port: number, odd: string, cut: number): Promise<Outcome> {
    const mark = String(100_000 + count++);
    const packet = [
      `GET /one HTTP/1.1\r\nHost: h\r\n\r\n`,
      odd,
      `GET /three HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`,
    ]
      .join("")
      .replaceAll(" HTTP/1.1\r\n", ` HTTP/1.1\r\nX-Case: ${mark}\r\n`)
      .replaceAll(" HTTP/1.0\r\n", ` HTTP/1.0\r\nX-Case: ${mark}\r\n`);
    const client = await openClient(port);
    if (cut > 0) {
      client.send(packet.slice(0, cut));
      for (let turn = 0; turn < 3; turn++) await new Promise((next) => setImmediate(next));
    }
    client.send(packet.slice(cut));
    const text = await client.untilClosed(10_000);
    client.close();
    return { answers: statusesOf(text, odd.startsWith("HEAD")), seen: seen.get(mark) ?? [] };
  }

  test.each(ODD)("$says", async ({ bytes, endsEarly = false }) => {
    const odd = fixLengths(bytes);
    const wanted = await play(general.port, odd, 0);
    const onlyMeant = ({ seen: all }: Outcome): void => {
      for (const one of all) expect(one).toMatch(/^(?:GET \/one|[A-Z]+ \/odd|GET \/three) /);
    };
    onlyMeant(wanted);
    if (!endsEarly) expect(wanted.answers[0]).toBe(200);
    const length = odd.length + 150;
    const step = Math.max(1, Math.floor(Math.min(length, 700) / CUTS));
    const cuts = [0];
    for (let cut = 1 + (odd.length % step); cut < Math.min(length, 700); cut += step) cuts.push(cut);
    while (cuts.length > 0) {
      const some = cuts.splice(0, AT_ONCE);
      const got = await Promise.all(some.map((cut) => play(fast.port, odd, cut)));
      for (const one of got) onlyMeant(one);
      if (endsEarly) continue;
      expect(Object.fromEntries(some.map((cut, i) => [cut, got[i]]))).toEqual(
        Object.fromEntries(some.map((cut) => [cut, wanted])),
      );
    }
  });
});

/** The marks that go into each head are longer than what was counted: bodies that hold a head grow by them. */
function fixLengths(bytes: string): string {
  if (!bytes.includes(SMUGGLED)) return bytes;
  const grown = SMUGGLED.length + "X-Case: 100000\r\n".length;
  return bytes
    .replace(`Content-Length: ${SMUGGLED.length}\r\n`, `Content-Length: ${grown}\r\n`)
    .replace(`${hex(SMUGGLED)};`, `${grown.toString(16)};`);
}

function statusesOf(text: string, secondIsHead: boolean): number[] {
  const statuses: number[] = [];
  for (let rest = text; rest !== ""; ) {
    const answer = cutResponse(rest, secondIsHead && statuses.length === 1);
    if (!answer) throw new Error(`no response: ${JSON.stringify(rest.slice(0, 500))}`);
    if (answer.status >= 200) statuses.push(answer.status);
    rest = answer.rest;
  }
  return statuses;
}
