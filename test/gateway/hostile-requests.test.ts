/** Framing and heads that two readers could take differently: refused, closed, never seen by an upstream. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { LANES } from "./lanes.ts";
import {
  answering,
  cutResponse,
  OK,
  openClient,
  openRawUpstream,
  openTestGateway,
  type RawUpstream,
  routingOf,
  send,
  type TestGateway,
  upstreamOf,
} from "./support.ts";

const post = (lines: string, body = ""): string => `POST /x HTTP/1.1\r\nHost: h\r\n${lines}\r\n${body}`;
const get = (lines: string): string => `GET /x HTTP/1.1\r\nHost: h\r\n${lines}\r\n`;
const line = (target: string, version = "HTTP/1.1"): string => `GET ${target} ${version}\r\nHost: h\r\n\r\n`;
const many = (count: number): string => Array.from({ length: count }, (_, i) => `X-${i}: 1\r\n`).join("");

const REFUSED: readonly { says: string; bytes: string; status?: number | number[] }[] = [
  { says: "length and coding", bytes: post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n") },
  { says: "coding and length", bytes: post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n") },
  { says: "TE xchunked", bytes: post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n") },
  { says: "TE chunked, identity", bytes: post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n") },
  { says: "TE gzip, chunked", bytes: post("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"), status: [400, 501] },
  { says: "TE identity", bytes: post("Transfer-Encoding: identity\r\n", "0\r\n\r\n") },
  { says: "two TE lines", bytes: post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n") },
  { says: "space before the colon", bytes: post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n") },
  { says: "vertical tab before chunked", bytes: post("Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n") },
  { says: "folded coding", bytes: post("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n") },
  { says: "chunked in HTTP/1.0", bytes: "POST /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" },
  { says: "the same length twice", bytes: post("Content-Length: 1\r\nContent-Length: 1\r\n", "a") },
  { says: "differing lengths", bytes: post("Content-Length: 1\r\nContent-Length: 2\r\n", "ab") },
  { says: "a list of lengths", bytes: post("Content-Length: 1, 1\r\n", "a") },
  { says: "length +1", bytes: post("Content-Length: +1\r\n", "a") },
  { says: "length 0x1", bytes: post("Content-Length: 0x1\r\n", "a") },
  { says: "length -1", bytes: post("Content-Length: -1\r\n", "a") },
  { says: "length of 20 digits", bytes: post(`Content-Length: ${"9".repeat(20)}\r\n`, "a") },
  { says: "empty length", bytes: post("Content-Length:\r\n", "a") },
  { says: "chunk size 0x5", bytes: post("Transfer-Encoding: chunked\r\n", "0x5\r\nhello\r\n0\r\n\r\n") },
  { says: "bare LF in a chunk", bytes: post("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n") },
  { says: "bytes after a chunk", bytes: post("Transfer-Encoding: chunked\r\n", "5\r\nhelloX\r\n0\r\n\r\n") },
  {
    says: "a chunk extension of 20 kB",
    bytes: post("Transfer-Encoding: chunked\r\n", `5;${"x".repeat(20_480)}\r\nhello\r\n0\r\n\r\n`),
    status: [400, 413],
  },
  {
    says: "a trailer named Content-Length",
    bytes: post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nContent-Length: 9\r\n\r\n"),
  },
  {
    says: "a trailer named Transfer-Encoding",
    bytes: post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
  },
  {
    says: "a trailer with a bare line feed",
    bytes: post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-T: 1\nX: 2\r\n\r\n"),
  },
  { says: "bare LF line ends", bytes: "GET /x HTTP/1.1\nHost: h\n\n" },
  { says: "a bare LF inside", bytes: get("X-A: 1\nX-B: 2\r\n") },
  { says: "a bare CR in a value", bytes: get("X-A: 1\rX-B: 2\r\n") },
  { says: "NUL in a value", bytes: get("X-A: \0\r\n") },
  { says: "a folded line", bytes: get("X-A: 1\r\n 2\r\n") },
  { says: "a name with a space", bytes: get("X A: 1\r\n") },
  { says: "a line without colon", bytes: get("X-A\r\n") },
  { says: "an empty name", bytes: get(": 1\r\n") },
  { says: "a space in the target", bytes: line("/a b") },
  { says: "no Host", bytes: "GET /x HTTP/1.1\r\n\r\n" },
  { says: "two Host lines", bytes: get("Host: h\r\n") },
  { says: "a Host with a path", bytes: "GET /x HTTP/1.1\r\nHost: a/../b\r\n\r\n" },
  { says: "a Host with userinfo", bytes: "GET /x HTTP/1.1\r\nHost: u@h\r\n\r\n" },
  { says: "port 99999", bytes: "GET /x HTTP/1.1\r\nHost: h:99999\r\n\r\n" },
  { says: "an empty Host", bytes: "GET /x HTTP/1.1\r\nHost:\r\n\r\n" },
  { says: "two Authorization lines", bytes: get("Authorization: Bearer a\r\nAuthorization: Bearer b\r\n") },
  { says: "a fragment", bytes: line("/x#f") },
  { says: "%00", bytes: line("/x%00") },
  { says: "%zz", bytes: line("/x%zz") },
  { says: "a path that is not UTF-8", bytes: line("/x%ff%fe") },
  { says: "overlong UTF-8", bytes: line("/x%c0%af") },
  { says: "raw bytes above ASCII in the path", bytes: line("/x\xc3\xa9") },
  { says: "a path above the root", bytes: line("/../x") },
  { says: "authority-form", bytes: line("h:80") },
  { says: "an absolute target of another scheme", bytes: line("ftp://h/x") },
  { says: "an absolute target with userinfo", bytes: line("http://u@h/x") },
  { says: "* for GET", bytes: line("*") },
  { says: "HTTP/1.2", bytes: line("/x", "HTTP/1.2") },
  { says: "HTTP/2.0 in text", bytes: line("/x", "HTTP/2.0") },
  { says: "HTTP/0.9", bytes: "GET /x\r\n\r\n" },
  { says: "a method nobody knows", bytes: "FOO /x HTTP/1.1\r\nHost: h\r\n\r\n" },
  { says: "a method in lower case", bytes: "get /x HTTP/1.1\r\nHost: h\r\n\r\n" },
  { says: "TRACE", bytes: "TRACE /x HTTP/1.1\r\nHost: h\r\n\r\n", status: 405 },
  { says: "CONNECT", bytes: "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", status: 405 },
  { says: "more than 100 header lines", bytes: get(many(101)), status: 431 },
  { says: "2,500 header lines", bytes: get(Array.from({ length: 2500 }, () => "a:b\r\n").join("")), status: 431 },
  { says: "a head of 20 kB", bytes: get(`X-A: ${"a".repeat(20_000)}\r\n`), status: 431 },
  { says: "a head of 200 kB", bytes: get(`X-A: ${"a".repeat(200_000)}\r\n`), status: 431 },
  { says: "a target of 17 kB", bytes: line(`/${"a".repeat(17_000)}`), status: 414 },
  { says: "a target of 100 kB", bytes: line(`/${"a".repeat(100_000)}`), status: 414 },
  { says: "an expectation nobody knows", bytes: get("Expect: 200-foo\r\n"), status: 417 },
  { says: "garbage", bytes: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", status: 400 },
];

const ACCEPTED: readonly { says: string; bytes: string; upstream: RegExp }[] = [
  {
    says: "TE CHUNKED is framed anew",
    bytes: post("Transfer-Encoding: CHUNKED\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    upstream: /\r\nContent-Length: 5\r\n\r\nhello$/,
  },
  {
    says: "a small chunk extension is dropped",
    bytes: post("Transfer-Encoding: chunked\r\n", "5;a=b\r\nhello\r\n0\r\n\r\n"),
    upstream: /\r\n\r\nhello$/,
  },
  {
    says: "trailers are dropped",
    bytes: post("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n"),
    upstream: /\r\n\r\nhello$/,
  },
  {
    says: "trailers that name who calls are dropped",
    bytes: post(
      "Transfer-Encoding: chunked\r\nTrailer: X-Consumer-Username\r\n",
      "5\r\nhello\r\n0\r\nX-Consumer-Username: admin\r\nAuthorization: Bearer x\r\nHost: evil\r\n\r\n",
    ),
    upstream: /^(?![\s\S]*(?:admin|Bearer|evil))[\s\S]*\r\n\r\nhello$/,
  },
  {
    says: "GET with a body",
    bytes: "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi",
    upstream: /\r\nContent-Length: 2\r\n\r\nhi$/,
  },
  { says: "empty lines before a request", bytes: `\r\n${get("")}`, upstream: /^GET \/x HTTP\/1\.1\r\n/ },
  { says: "100 header lines", bytes: get(many(99)), upstream: /X-98: 1/ },
  {
    says: "a Host with trailing dot and port",
    bytes: "GET /x HTTP/1.1\r\nHost: h.example.:80\r\n\r\n",
    upstream: /Host: h\.example\.:80\r\n/,
  },
  { says: "an IPv6 Host", bytes: "GET /x HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", upstream: /Host: \[::1\]:80\r\n/ },
  { says: "HTTP/1.0 without Host", bytes: "GET /x HTTP/1.0\r\n\r\n", upstream: /^GET \/x HTTP\/1\.1\r\nHost: 127/ },
  { says: "blanks around a value", bytes: get("X-A:\t 1 \t\r\n"), upstream: /X-A: 1\r\n/ },
  { says: "bytes above ASCII in a value", bytes: get("X-A: \xe9\xff\r\n"), upstream: /X-A: \xe9\xff\r\n/ },
  { says: "a head of 15 kB", bytes: get(`X-A: ${"a".repeat(15_000)}\r\n`), upstream: /X-A: a{15000}\r\n/ },
  { says: "a method of WebDAV", bytes: "PROPFIND /x HTTP/1.1\r\nHost: h\r\n\r\n", upstream: /^PROPFIND \/x / },
];

describe.each(LANES)("$lane", ({ fastLane }) => {
  let upstream: RawUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await openRawUpstream(answering(OK));
    // One request per connection, so that each test sees its own bytes.
    gateway = await openTestGateway(
      routingOf({ "*": { upstream: upstreamOf([upstream.port], { pool: { size: 0 } }) } }),
      { fastLane },
    );
  });

  beforeEach(() => {
    upstream.clear();
  });

  afterAll(async () => {
    await gateway.close(0);
    await upstream.close();
  });

  test.each(REFUSED)("refused and closed: $says", async ({ bytes, status = 400 }) => {
    const client = await openClient(gateway.port);
    client.send(`${bytes}GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n`);
    const text = await client.untilClosed();
    client.close();
    const answer = cutResponse(text);
    expect([status].flat()).toContain(answer?.status);
    expect(answer?.rest).toBe("");
    expect(upstream.all).not.toContain("smuggled");
    expect(upstream.all).toBe("");
  });

  test.each(ACCEPTED)("accepted: $says", async ({ bytes, upstream: want }) => {
    const text = await send(gateway.port, bytes);
    expect(cutResponse(text)?.status).toBe(200);
    expect(upstream.all).toMatch(want);
  });

  test("OPTIONS * is answered by the gateway", async () => {
    const text = await send(gateway.port, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(cutResponse(text)?.status).toBe(200);
    expect(upstream.all).toBe("");
  });

  test("a HEAD that is refused has no body", async () => {
    const text = await send(gateway.port, "HEAD /x#f HTTP/1.1\r\nHost: h\r\n\r\n", (t) => t.includes("\r\n\r\n"));
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toMatch(/\r\n\r\n$/);
  });

  test("pipelined requests are answered in order, also when the last one is refused", async () => {
    const client = await openClient(gateway.port);
    client.send(`${line("/one")}${line("/two")}${get("Host: again\r\n")}`);
    const text = await client.untilClosed();
    client.close();
    const first = cutResponse(text);
    const second = cutResponse(first?.rest ?? "");
    const third = cutResponse(second?.rest ?? "");
    expect([first?.status, second?.status, third?.status]).toEqual([200, 200, 400]);
  });
});
