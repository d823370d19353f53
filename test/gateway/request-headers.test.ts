/** What the upstream sees of a client's header lines. Source: docs/spec/proxy.md section 1. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compileIpSet } from "../../src/base/net/ip.ts";
import { LANES } from "./lanes.ts";
import {
  answering,
  ask,
  OK,
  openRawUpstream,
  openTestGateway,
  type RawUpstream,
  routingOf,
  type TestGateway,
  upstreamOf,
} from "./support.ts";

let upstream: RawUpstream;

beforeAll(async () => {
  upstream = await openRawUpstream(answering(OK));
});

afterAll(() => upstream.close());

/** Sends lines after Host, returns the head the upstream got, as lines. */
async function relayed(gateway: TestGateway, lines: string, path = "/pass"): Promise<string[]> {
  const before = upstream.all.length;
  const answer = await ask(gateway.port, `GET ${path} HTTP/1.1\r\nHost: Api.Example.com:8080\r\n${lines}\r\n`);
  expect(answer.status).toBe(200);
  return upstream.all.slice(before).split("\r\n");
}

const routes = () =>
  ({
    pass: { upstream: upstreamOf([upstream.port]) },
    node: { upstream: upstreamOf([upstream.port], { passHost: "node" }) },
    rewrite: { upstream: upstreamOf([upstream.port], { passHost: "rewrite", upstreamHost: "in.example" }) },
    plugin: {
      upstream: upstreamOf([upstream.port]),
      plugins: [
        {
          rewrite: (view) => {
            view.upstreamHost = "other.example";
            view.headers.set("X-Bad", "a\r\nX-Evil: 1");
            view.headers.set("X-Wide", "ā");
            view.headers.set("Bad Name", "1");
            view.headers.set("Transfer-Encoding", "chunked");
            view.headers.set("Content-Length", "99");
            view.headers.set("Connection", "close");
            view.headers.set("X-Forwarded-Host", "plugin.example");
            view.headers.set("X-Good", "é");
            return undefined;
          },
        },
      ],
    },
    none: {
      upstream: upstreamOf([upstream.port]),
      plugins: [
        {
          rewrite: (view) => {
            for (const name of ["Proto", "Host", "Port"]) view.headers.set(`X-Forwarded-${name}`, "");
            return undefined;
          },
        },
      ],
    },
    path: {
      upstream: upstreamOf([upstream.port]),
      plugins: [
        {
          rewrite: (view) => {
            view.upstreamPath = "/a b\r\nX-Evil: 1";
            view.query = "q=ā\n";
            view.method = "PUT";
            return undefined;
          },
        },
      ],
    },
  }) satisfies Parameters<typeof routingOf>[0];

describe.each(LANES)("$lane", ({ fastLane }) => {
  let gateway: TestGateway;
  let trusting: TestGateway;
  let distrusting: TestGateway;

  beforeAll(async () => {
    gateway = await openTestGateway(routingOf(routes()), { fastLane });
    trusting = await openTestGateway(routingOf(routes()), { fastLane, trustedAddresses: compileIpSet(["127.0.0.1"]) });
    distrusting = await openTestGateway(routingOf(routes()), {
      fastLane,
      trustedAddresses: compileIpSet(["10.9.9.9"]),
    });
  });

  afterAll(() => Promise.all([gateway.close(0), trusting.close(0), distrusting.close(0)]));

  test("end-to-end headers keep order, case, repetition and underscores", async () => {
    const lines = await relayed(
      gateway,
      "x-b: 1\r\nCookie: a=b\r\nX-A: 2\r\nX-A: 3\r\nx_under: 4\r\nAccept-Encoding: br\r\n",
    );
    expect(lines.slice(0, 8)).toEqual([
      "GET /pass HTTP/1.1",
      "Host: Api.Example.com:8080",
      "x-b: 1",
      "Cookie: a=b",
      "X-A: 2",
      "X-A: 3",
      "x_under: 4",
      "Accept-Encoding: br",
    ]);
  });

  test.each([
    {
      says: "TE, Keep-Alive, Proxy-Connection, Trailer",
      lines: "TE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTrailer: a\r\n",
    },
    { says: "Upgrade without Connection: upgrade", lines: "Upgrade: foo\r\n" },
    {
      says: "Upgrade to a protocol nobody enabled",
      lines: "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n",
    },
    { says: "headers named in Connection", lines: "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\n" },
    {
      says: "consumer headers in any spelling",
      lines:
        "X-Consumer-Username: a\r\nx_consumer_username: a\r\nX-Consumer_Custom-ID: a\r\nX-CONSUMER-ANYTHING: a\r\nX.Consumer.Username: a\r\n",
    },
    {
      says: "credential identifiers in any spelling",
      lines: "X-Credential-Identifier: a\r\nX_Credential_Identifier: a\r\n",
    },
    { says: "Forwarded", lines: "Forwarded: for=1.2.3.4\r\n" },
    {
      says: "other spellings of forwarding headers",
      lines: "X_Forwarded_For: 1.1.1.1\r\nX_Real_IP: 1.1.1.1\r\nX_Forwarded_Host: a\r\n",
    },
    { says: "other spellings of framing headers", lines: "Content_Length: 5\r\nTransfer_Encoding: chunked\r\n" },
  ])("are not passed on: $says", async ({ lines }) => {
    const got = await relayed(gateway, `${lines}X-Stay: 1\r\n`);
    expect(
      got.filter(
        (line) => !/^(?:GET|Host|X-Real-IP: 127|X-Forwarded-(?:For: 127|Proto: http$|Host: Api|Port))/.test(line),
      ),
    ).toEqual(["X-Stay: 1", "", ""]);
  });

  test("a client cannot name away the headers the gateway adds", async () => {
    const got = await relayed(gateway, "Connection: close, X-Real-IP, X-Forwarded-For, Host\r\n");
    expect(got).toContain("X-Real-IP: 127.0.0.1");
    expect(got).toContain("X-Forwarded-For: 127.0.0.1");
    expect(got).toContain("Host: Api.Example.com:8080");
  });

  test("a caller cannot name away what a proxy in front has said of it", async () => {
    const got = await relayed(
      trusting,
      "Connection: X-Real-IP, X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, Forwarded\r\n" +
        "X-Real-IP: 9.9.9.9\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.b\r\n" +
        "X-Forwarded-Port: 1\r\nForwarded: for=9.9.9.9\r\n",
    );
    expect(got.filter((line) => /^X-|^Forwarded/.test(line))).toEqual([
      "X-Forwarded-Proto: https",
      "X-Forwarded-Host: a.b",
      "X-Forwarded-Port: 1",
      "Forwarded: for=9.9.9.9",
      "X-Real-IP: 9.9.9.9",
      "X-Forwarded-For: 9.9.9.9, 9.9.9.9",
    ]);
  });

  test.each([
    { header: "x-real-ip", recursive: false, lines: "X-Real-IP: 6.6.6.6\r\nX-Real-IP: 1.1.1.1\r\n", want: "1.1.1.1" },
    {
      header: "x-real-ip",
      recursive: true,
      lines: "X-Real-IP: 6.6.6.6\r\nX-Real-IP: 127.0.0.1\r\n",
      want: "127.0.0.1",
    },
    { header: "x-real-ip", recursive: false, lines: "X-Real-IP: 6.6.6.6\r\nX-Real-IP: none\r\n", want: "127.0.0.1" },
    { header: "x-real-ip", recursive: false, lines: "X-Real-IP: ::ffff:1.1.1.1\r\n", want: "1.1.1.1" },
    { header: "x-client", recursive: false, lines: "Connection: X-Client\r\nX-Client: 1.1.1.1\r\n", want: "1.1.1.1" },
    {
      header: "x-forwarded-for",
      recursive: false,
      lines: "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 1.1.1.1\r\n",
      want: "1.1.1.1",
    },
    {
      header: "x-forwarded-for",
      recursive: true,
      lines: "X-Forwarded-For: 6.6.6.6, 1.1.1.1\r\nX-Forwarded-For: 127.0.0.1\r\n",
      want: "1.1.1.1",
    },
    {
      header: "x-forwarded-for",
      recursive: true,
      lines: "X-Forwarded-For: 6.6.6.6, x\r\nX-Forwarded-For: 127.0.0.1\r\n",
      want: "127.0.0.1",
    },
  ])("the client's address is read from the right: $header, recursive $recursive, $lines", async (row) => {
    const own = await openTestGateway(routingOf(routes()), {
      fastLane,
      realIpHeader: row.header,
      realIpRecursive: row.recursive,
    });
    try {
      expect(await relayed(own, row.lines)).toContain(`X-Real-IP: ${row.want}`);
    } finally {
      await own.close(0);
    }
  });

  test("without trusted addresses X-Forwarded-For is continued and the others are made anew", async () => {
    const got = await relayed(
      gateway,
      "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-Real-IP: 9.9.9.9\r\n",
    );
    expect(got).toContain("X-Forwarded-For: 1.2.3.4, 9.9.9.9");
    expect(got).toContain("X-Real-IP: 9.9.9.9");
    expect(got).toContain("X-Forwarded-Proto: http");
    expect(got).toContain("X-Forwarded-Host: Api.Example.com:8080");
    expect(got).toContain("X-Forwarded-Port: 8080");
  });

  test("a trusted peer's X-Forwarded-* are kept", async () => {
    const got = await relayed(
      trusting,
      "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.b\r\nX-Forwarded-Port: 1\r\n",
    );
    expect(got).toContain("X-Forwarded-For: 1.2.3.4, 127.0.0.1");
    expect(got).toContain("X-Forwarded-Proto: https");
    expect(got).toContain("X-Forwarded-Host: a.b");
    expect(got).toContain("X-Forwarded-Port: 1");
  });

  test("a trusted peer's Forwarded is kept, nobody else's", async () => {
    const line = "Forwarded: for=1.2.3.4;proto=https";
    expect(await relayed(trusting, `${line}\r\n`)).toContain(line);
    for (const other of [gateway, distrusting]) {
      expect((await relayed(other, `${line}\r\n`)).join("\n")).not.toContain("1.2.3.4");
    }
  });

  test("a trusted peer's empty X-Forwarded-* are made anew, as if it had sent none", async () => {
    const names = ["X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port", "Forwarded"];
    const got = await relayed(trusting, names.map((name) => `${name}:\r\n`).join(""));
    expect(got.filter((line) => /^(?:X-)?Forwarded/.test(line))).toEqual([
      "X-Forwarded-For: 127.0.0.1",
      "X-Forwarded-Proto: http",
      "X-Forwarded-Host: Api.Example.com:8080",
      "X-Forwarded-Port: 8080",
    ]);
  });

  test("of several X-Forwarded-Proto, -Host or -Port of a trusted peer the last counts, and it alone is sent", async () => {
    const got = await relayed(
      trusting,
      "X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\nX-A: 1\r\n" +
        "X-Forwarded-Proto: http\r\nX-Forwarded-Host: good\r\nX-Forwarded-Port: 2\r\n",
    );
    expect(got.filter((line) => /^X-Forwarded-(?:Proto|Host|Port)/.test(line))).toEqual([
      "X-Forwarded-Proto: http",
      "X-Forwarded-Host: good",
      "X-Forwarded-Port: 2",
    ]);
  });

  test.each(["", "X-Forwarded-For: 1.2.3.4\r\n"])("no Host, no X-Forwarded-Host: %j", async (lines) => {
    const before = upstream.all.length;
    expect((await ask(gateway.port, `GET /pass HTTP/1.0\r\n${lines}\r\n`)).status).toBe(200);
    const got = upstream.all.slice(before);
    expect(got).not.toContain("X-Forwarded-Host");
    expect(got).toContain(`X-Forwarded-Port: ${gateway.port}\r\n`);
  });

  test("a peer that is not among the trusted ones has nothing believed", async () => {
    const got = await relayed(distrusting, "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n");
    expect(got).toContain("X-Forwarded-For: 127.0.0.1");
    expect(got).toContain("X-Forwarded-Proto: http");
  });

  test.each([
    { says: "pass sends the client's Host as it came", path: "/pass", host: () => "Api.Example.com:8080" },
    { says: "node sends the target's", path: "/node", host: () => `127.0.0.1:${upstream.port}` },
    { says: "rewrite sends upstream_host", path: "/rewrite", host: () => "in.example" },
    { says: "a plugin's host wins", path: "/plugin", host: () => "other.example" },
  ])("pass_host: $says", async ({ path, host }) => {
    expect((await relayed(gateway, "", path)).filter((line) => line.startsWith("Host:"))).toEqual([`Host: ${host()}`]);
  });

  test("what a plugin puts into headers never splits the head and never frames it", async () => {
    const got = await relayed(gateway, "", "/plugin");
    expect(got.filter((line) => /evil|wide|bad|transfer|content-length|connection/i.test(line))).toEqual([]);
    expect(got).toContain("X-Good: é");
    expect(got).toContain("X-Forwarded-Host: plugin.example");
  });

  test("X-Forwarded-* that a plugin has emptied are not sent", async () => {
    const got = await relayed(gateway, "X-Forwarded-Host: evil\r\n", "/none");
    expect(got.filter((line) => line.startsWith("X-Forwarded-"))).toEqual(["X-Forwarded-For: 127.0.0.1"]);
  });

  test("what a plugin puts into the target is escaped", async () => {
    const got = await relayed(gateway, "", "/path");
    expect(got[0]).toBe("PUT /a%20b%0D%0AX-Evil:%201?q=%C4%81%0A HTTP/1.1");
  });

  test.each([
    { target: "/pass/x%2Fy%20z?q=%41%20", sent: "/pass/x/y%20z?q=%41%20" },
    { target: "/pass/a/../b", sent: "/pass/b" },
    { target: "/pass//b?", sent: "/pass/b?" },
    { target: "/pass?a=b=c&&d", sent: "/pass?a=b=c&&d" },
    { target: "http://Api.Example.com:8080/pass/abs?x", sent: "/pass/abs?x" },
  ])("target $target goes upstream as $sent", async ({ target, sent }) => {
    expect((await relayed(gateway, "", target))[0]).toBe(`GET ${sent} HTTP/1.1`);
  });

  test("the authority of an absolute target is the host for routing and forwarding", async () => {
    const got = await relayed(gateway, "", "http://inner.example/pass");
    expect(got.slice(0, 2)).toEqual(["GET /pass HTTP/1.1", "Host: inner.example"]);
    expect(got).toContain("X-Forwarded-Host: inner.example");
  });
});
