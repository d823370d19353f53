/** What the client gets of an upstream's response, in every framing; what is no response at all. docs/spec/proxy.md section 2. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { LANES } from "./lanes.ts";
import {
  ask,
  cutResponse,
  openClient,
  openRawUpstream,
  openTestGateway,
  type RawUpstream,
  routingOf,
  send,
  type TestGateway,
  upstreamOf,
  waitFor,
} from "./support.ts";

interface Case {
  readonly says: string;
  readonly answer: string;
  readonly status: number;
  readonly body?: string;
  readonly method?: string;
  readonly reused?: boolean;
  readonly headers?: Readonly<Record<string, string | undefined>>;
}

const CASES: readonly Case[] = [
  {
    says: "Content-Length",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    status: 200,
    body: "hello",
    reused: true,
  },
  {
    says: "chunked",
    answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    status: 200,
    body: "hello",
    reused: true,
  },
  {
    says: "chunked with extensions and trailers",
    answer:
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n5;a=b\r\nhello\r\n0\r\nX-T: 1\r\n\r\n",
    status: 200,
    body: "hello",
    reused: true,
    headers: { trailer: undefined },
  },
  { says: "until close", answer: "HTTP/1.1 200 OK\r\n\r\nhello", status: 200, body: "hello", reused: false },
  { says: "HTTP/1.0 until close", answer: "HTTP/1.0 200 OK\r\n\r\nhello", status: 200, body: "hello", reused: false },
  {
    says: "HTTP/1.0 with keep-alive",
    answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
    status: 200,
    body: "hello",
    reused: true,
  },
  {
    says: "Connection: close",
    answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    status: 200,
    body: "hello",
    reused: false,
  },
  {
    says: "an empty body",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    status: 200,
    body: "",
    reused: true,
  },
  {
    says: "an empty chunked body",
    answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    status: 200,
    body: "",
    reused: true,
  },
  {
    says: "204",
    answer: "HTTP/1.1 204 No Content\r\n\r\n",
    status: 204,
    body: "",
    reused: true,
    headers: { "content-length": undefined },
  },
  {
    says: "204 with a body nobody may send",
    answer: "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello",
    status: 204,
    body: "",
    reused: false,
    headers: { "content-length": undefined },
  },
  {
    says: "304 with the length of what was not sent",
    answer: 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: "a"\r\n\r\n',
    status: 304,
    body: "",
    reused: true,
    headers: { etag: '"a"' },
  },
  {
    says: "HEAD with a length",
    method: "HEAD",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    status: 200,
    body: "",
    reused: true,
    headers: { "content-length": "5" },
  },
  {
    says: "HEAD of a chunked resource",
    method: "HEAD",
    answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    status: 200,
    body: "",
    reused: true,
  },
  {
    says: "HEAD with a body nobody may send",
    method: "HEAD",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    status: 200,
    body: "",
    reused: false,
  },
  {
    says: "100 Continue first",
    answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    status: 200,
    body: "hello",
    reused: true,
  },
  {
    says: "a status without phrase",
    answer: "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n",
    status: 299,
    body: "",
    reused: true,
  },
  {
    says: "a status line without the last blank",
    answer: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    status: 200,
    body: "",
    reused: true,
  },
  {
    says: "a status beyond 599",
    answer: "HTTP/1.1 799 Odd\r\nContent-Length: 0\r\n\r\n",
    status: 799,
    body: "",
    reused: true,
  },
  {
    says: "404 with its own body",
    answer: "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nmine",
    status: 404,
    body: "mine",
    reused: true,
    headers: { "x-apisix-upstream-status": undefined },
  },
  {
    says: "503 with its own body",
    answer: "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nmine",
    status: 503,
    body: "mine",
    reused: true,
    headers: { "x-apisix-upstream-status": "503" },
  },
  {
    says: "Server overwritten, Date and cookies kept",
    answer:
      "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n",
    status: 200,
    reused: true,
    headers: { server: "jotgate", date: "Mon, 01 Jan 2024 00:00:00 GMT", "set-cookie": "a=1, b=2" },
  },
  {
    says: "hop-by-hop headers and those named in Connection dropped",
    answer:
      "HTTP/1.1 200 OK\r\nConnection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nX-Stay: 1\r\nContent-Length: 0\r\n\r\n",
    status: 200,
    reused: true,
    headers: { "x-hop": undefined, "proxy-connection": undefined, upgrade: undefined, "x-stay": "1" },
  },
  {
    says: "one length said twice",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    status: 200,
    body: "hello",
    reused: true,
    headers: { "content-length": "5" },
  },
  {
    says: "one length said three times in two lines",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5 , 05\r\n\r\nhello",
    status: 200,
    body: "hello",
    reused: true,
    headers: { "content-length": "5" },
  },
  {
    says: "a chunk size with many zeros in front",
    answer: `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${"0".repeat(40)}5\r\nhello\r\n${"0".repeat(40)}\r\n\r\n`,
    status: 200,
    body: "hello",
    reused: true,
  },
  {
    says: "bytes above ASCII in a header",
    answer: "HTTP/1.1 200 OK\r\nX-A: \xe9\r\nContent-Length: 0\r\n\r\n",
    status: 200,
    reused: true,
    headers: { "x-a": "\xe9" },
  },

  {
    says: "length and coding",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    status: 502,
  },
  {
    says: "two lengths",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
    status: 502,
  },
  { says: "two lengths in one line", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello", status: 502 },
  { says: "an empty length beside one", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5,\r\n\r\nhello", status: 502 },
  { says: "a length that is none", answer: "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello", status: 502 },
  {
    says: "more bytes than its length",
    answer: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n",
    status: 502,
  },
  {
    says: "a coding beside chunked",
    answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    status: 502,
  },
  {
    says: "chunked in HTTP/1.0",
    answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    status: 502,
  },
  { says: "bare LF line ends", answer: "HTTP/1.1 200 OK\nContent-Length: 0\n\n", status: 502 },
  { says: "a folded line", answer: "HTTP/1.1 200 OK\r\nX-A: 1\r\n 2\r\nContent-Length: 0\r\n\r\n", status: 502 },
  { says: "a blank before the colon", answer: "HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", status: 502 },
  { says: "NUL in a header", answer: "HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 0\r\n\r\n", status: 502 },
  { says: "a status of two digits", answer: "HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", status: 502 },
  { says: "another protocol", answer: "SSH-2.0-OpenSSH\r\n\r\n", status: 502 },
  { says: "HTTP/2", answer: "HTTP/2 200\r\nContent-Length: 0\r\n\r\n", status: 502 },
  {
    says: "101 nobody asked for",
    answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    status: 502,
  },
  { says: "a head without end", answer: `HTTP/1.1 200 OK\r\nX-A: ${"a".repeat(70_000)}`, status: 502 },
  {
    says: "a thousand header lines",
    answer: `HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(1000)}Content-Length: 0\r\n\r\n`,
    status: 502,
  },
  { says: "endless interim responses", answer: "HTTP/1.1 102 Processing\r\n\r\n".repeat(40), status: 502 },
  { says: "nothing but a close", answer: "", status: 502 },
  { says: "half a head, then a close", answer: "HTTP/1.1 200 OK\r\nContent-Le", status: 502 },
];

describe.each(LANES)("$lane", ({ fastLane }) => {
  let answer = "";
  let split = false;
  let closeAfter = false;
  let upstream: RawUpstream;
  let gateway: TestGateway;

  beforeAll(async () => {
    upstream = await openRawUpstream((socket, seen) => {
      if (!seen.endsWith("\r\n\r\n")) return;
      const bytes = Buffer.from(answer, "latin1");
      if (split) {
        // One segment per byte: written in turns, so that none are joined.
        let at = 0;
        const next = (): void => {
          if (at < bytes.length) socket.write(bytes.subarray(at, ++at), () => setImmediate(next));
          else if (closeAfter) socket.end();
        };
        next();
      } else {
        socket.write(bytes);
        if (closeAfter) socket.end();
      }
    });
    gateway = await openTestGateway(routingOf({ "*": { upstream: upstreamOf([upstream.port], { retries: 0 }) } }), {
      fastLane,
    });
  });

  afterAll(async () => {
    await gateway.close(0);
    await upstream.close();
  });

  async function check(one: Case): Promise<void> {
    answer = one.answer;
    closeAfter = one.reused !== true;
    const method = one.method ?? "GET";
    const text = await send(gateway.port, `${method} /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n`, () => false);
    let got = cutResponse(text, method === "HEAD");
    while (got && got.status < 200) got = cutResponse(got.rest, method === "HEAD");
    expect(got?.status).toBe(one.status);
    expect(got?.rest).toBe("");
    if (one.body !== undefined) expect(got?.body).toBe(one.body);
    for (const [name, value] of Object.entries(one.headers ?? {})) expect(got?.headers[name]).toBe(value);
    const idle = one.reused === true ? 1 : 0;
    await waitFor(async () => (await gateway.scrape()).includes(`jotgate_upstream_connections{state="idle"} ${idle}`));
    await waitFor(async () => (await gateway.scrape()).includes('jotgate_upstream_connections{state="active"} 0'));
  }

  test.each(CASES)("G13: 46 $says is answered $status", async (one) => {
    split = false;
    await check(one);
  });

  test.each(CASES.filter((one) => one.answer.length < 1000 && !one.says.startsWith("more bytes")))(
    "G13: 46 byte by byte: $says is answered $status",
    async (one) => {
      split = true;
      await check(one);
    },
  );

  test.each([
    { says: "Content-Length", bytes: "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello" },
    { says: "chunked", bytes: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n32\r\nhello" },
    {
      says: "chunked without its last chunk",
      bytes: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    },
    {
      says: "malformed chunk in the middle",
      bytes: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
    },
  ])("G13: 44 46 a body that breaks off is never given a well-formed end: $says", async ({ bytes }) => {
    split = false;
    answer = bytes;
    closeAfter = true;
    const client = await openClient(gateway.port);
    client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    const text = await client.untilClosed();
    client.close();
    expect(cutResponse(text)).toBeUndefined();
  });

  test("an early hint reaches a client of HTTP/1.1", async () => {
    split = false;
    closeAfter = false;
    answer =
      "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    const text = await send(gateway.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n", (t) => t.endsWith("ok"));
    expect(text).toMatch(/^HTTP\/1\.1 103 /);
    expect(text.toLowerCase()).toContain("link: </a.css>; rel=preload");
    expect(cutResponse(cutResponse(text)?.rest ?? "")?.body).toBe("ok");
  });

  test("an early hint reaches its client while the answer is still being made", async () => {
    split = false;
    closeAfter = false;
    answer = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    const client = await openClient(gateway.port);
    client.send("GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    const text = await client.until((t) => t.endsWith("\r\n\r\n"));
    client.close();
    expect(text).toMatch(/^HTTP\/1\.1 103 /);
  });

  test("a long body arrives whole and in order", async () => {
    split = false;
    closeAfter = false;
    const body = Array.from({ length: 200_000 }, (_, i) => `${i};`).join("");
    answer = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const got = await ask(gateway.port, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    expect(got.body).toBe(body);
  });

  test("an HTTP/1.0 client gets no chunked coding", async () => {
    split = false;
    closeAfter = false;
    answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    const text = await send(gateway.port, "GET /x HTTP/1.0\r\nHost: h\r\n\r\n", () => false);
    expect(text).toMatch(/\r\n\r\nhello$/);
    expect(text.toLowerCase()).not.toContain("transfer-encoding");
  });
});
