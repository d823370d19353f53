/**
 * The caller's certificate as plugins see it: of our own handshake on every lane, or of a trusted proxy; of nobody else.
 * Sources: RFC 8705, RFC 9440, docs/spec/tokens.md sections 8 and 14.
 */
import { createHash, X509Certificate } from "node:crypto";
import { connect as connectHttp2 } from "node:http2";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compileIpSet } from "../../src/base/net/ip.ts";
import { clientCertificateOf } from "../../src/plugin/client-certificate.ts";
import { textAnswer } from "../../src/plugin/plugin-answer.ts";
import type { RequestView } from "../../src/plugin/request-view.ts";
import { type Authority, openAuthority, type Pair } from "../support/authority.ts";
import { LANES } from "./lanes.ts";
import { openTestGateway, routingOf, send, waitFor } from "./support.ts";
import { askTls, get, openTlsGateway, shake, type TlsGateway } from "./tls-support.ts";

let ours: Authority;
let other: Authority;
let server: Pair;
let client: Pair;
let stranger: Pair;
const opened: { close(ms: number): Promise<void> }[] = [];

beforeAll(() => {
  ours = openAuthority("clients' authority");
  other = openAuthority("other authority");
  server = other.issue(["server"]);
  client = ours.issue(["client"]);
  stranger = other.issue(["stranger"]);
});
afterAll(async () => {
  await Promise.all(opened.map((one) => one.close(0)));
  ours.close();
  other.close();
});

const thumbprint = ({ cert }: Pair): string =>
  createHash("sha256").update(new X509Certificate(cert).raw).digest("base64url");
const header = ({ cert }: Pair): string => `:${new X509Certificate(cert).raw.toString("base64")}:`;

/** Answers with what it sees: thumbprint and whether it is vouched for; and the header lines that came this far. */
const showing = {
  rewrite(view: RequestView) {
    const seen = clientCertificateOf(view);
    const lines = view.headers.lines.filter((_, at) => at % 2 === 0).filter((name) => /cert/i.test(name));
    const text = seen === undefined ? "none" : `${seen.thumbprint} ${seen.isVerified()}`;
    return textAnswer(200, `${text} [${lines.join()}]`, "shown", []);
  },
};

async function openTls(fastLane: boolean, trusted?: readonly string[]): Promise<TlsGateway> {
  const gateway = await openTlsGateway(routingOf({ "*": { plugins: [showing] } }), {
    settings: { fastLane, ...(trusted && { trustedAddresses: compileIpSet(trusted) }) },
    plain: "guarded",
  });
  opened.push(gateway);
  gateway.ssls.set("1", { ...server, sni: "strict.test", client: { ca: ours.cert } });
  gateway.ssls.set("2", { ...server, sni: "asks.test", client: { ca: ours.cert, optional: true } });
  gateway.ssls.set("3", { ...server, sni: "any.test", client: { optional: true } });
  gateway.ssls.set("4", { ...server, sni: "plain.test" });
  return gateway;
}

const bodyOf = (text: string): string => text.slice(text.indexOf("\r\n\r\n") + 4).trim();

describe.each(LANES)("$lane", ({ fastLane }) => {
  let gateway: TlsGateway;
  beforeAll(async () => {
    gateway = await openTls(fastLane);
  });
  const ask = async (sni: string, pair: Partial<Pair> = {}): Promise<string> =>
    bodyOf(await askTls(gateway.tlsPort, { servername: sni, ...pair }, get(sni)));

  test("a verified one is told, and that it is verified", async () => {
    expect(await ask("strict.test", client)).toBe(`${thumbprint(client)} true []`);
    expect(await ask("asks.test", client)).toBe(`${thumbprint(client)} true []`);
  });

  test("where it is optional, one that nobody vouches for is told too, and none is no hindrance", async () => {
    expect(await ask("asks.test", stranger)).toBe(`${thumbprint(stranger)} false []`);
    expect(await ask("any.test", client)).toBe(`${thumbprint(client)} false []`);
    expect(await ask("asks.test")).toBe("none []");
    expect(await ask("plain.test", client)).toBe("none []");
    expect(await ask("strict.test", stranger)).toContain("400");
  });

  test("no header says it, in whatever spelling", async () => {
    const names = [
      "Client-Cert",
      "client-cert",
      "Client_Cert",
      "CLIENT.CERT",
      "Client-Cert-Chain",
      "Client_Cert-Chain",
    ];
    for (const name of names) {
      const request = `GET / HTTP/1.1\r\nHost: asks.test\r\n${name}: ${header(client)}\r\nConnection: close\r\n\r\n`;
      expect(bodyOf(await askTls(gateway.tlsPort, { servername: "asks.test" }, request))).toBe("none []");
    }
  });

  test.each(["TLSv1.2", "TLSv1.3"] as const)(
    "a resumed %s session shows no certificate that was not sent again",
    async (version) => {
      const options = { servername: "asks.test", minVersion: version, maxVersion: version } as const;
      const first = await shake(gateway.tlsPort, { ...options, ...client });
      if (!first.ok) throw new Error(first.code);
      let session = first.socket.getSession();
      first.socket.on("session", (newer) => {
        session = newer;
      });
      first.socket.resume();
      first.socket.write(get("asks.test"));
      await waitFor(() => first.socket.closed);
      expect(bodyOf(await askTls(gateway.tlsPort, { ...options, session }, get("asks.test")))).toBe("none []");
      const again = await askTls(gateway.tlsPort, { ...options, session, ...client }, get("asks.test"));
      expect(bodyOf(again)).toBe(`${thumbprint(client)} true []`);
    },
  );

  test("a host that only asks is served on the plain listener as well, one that demands is not", async () => {
    expect(await send(gateway.port, get("asks.test"))).toContain("none []");
    expect(await send(gateway.port, get("strict.test"))).toMatch(/^HTTP\/1.1 421/);
  });

  test("a withdrawn authority counts at the next request", async () => {
    const mine = await openTls(fastLane);
    const done = await shake(mine.tlsPort, { servername: "asks.test", ...client });
    if (!done.ok) throw new Error(done.code);
    let text = "";
    done.socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    const next = async (want: string): Promise<void> => {
      text = "";
      done.socket.write("GET /x HTTP/1.1\r\nHost: asks.test\r\n\r\n");
      await waitFor(() => text.includes("[]"));
      expect(text).toContain(`${thumbprint(client)} ${want}`);
    };
    await next("true");
    mine.ssls.set("2", { ...server, sni: "asks.test", client: { ca: other.cert, optional: true } });
    await next("false");
  });

  describe("of a peer in trusted_addresses", () => {
    let trusting: { readonly port: number; close(ms: number): Promise<void> };
    beforeAll(async () => {
      const settings = { fastLane, trustedAddresses: compileIpSet(["127.0.0.1"]) };
      trusting = await openTestGateway(routingOf({ "*": { plugins: [showing] } }), settings);
      opened.push(trusting);
    });
    const say = async (...lines: readonly string[]): Promise<string> =>
      bodyOf(
        await send(
          trusting.port,
          `GET / HTTP/1.1\r\nHost: a.test\r\n${lines.map((one) => `${one}\r\n`).join("")}Connection: close\r\n\r\n`,
        ),
      );

    test("the header counts, written as RFC 9440 has it", async () => {
      expect(await say(`Client-Cert: ${header(client)}`)).toBe(`${thumbprint(client)} true [Client-Cert]`);
      expect(await say("X: y")).toBe("none []");
    });

    test.each([
      { says: "twice", lines: () => [`Client-Cert: ${header(client)}`, `Client-Cert: ${header(client)}`] },
      { says: "without colons", lines: () => [`Client-Cert: ${header(client).slice(1, -1)}`] },
      { says: "as a list", lines: () => [`Client-Cert: ${header(client)}, ${header(client)}`] },
      { says: "with parameters", lines: () => [`Client-Cert: ${header(client)};a=1`] },
      { says: "as PEM, escaped", lines: () => [`Client-Cert: ${encodeURIComponent(client.cert)}`] },
      { says: "in another spelling", lines: () => [`Client_Cert: ${header(client)}`] },
      { says: "as bits that no encoder writes", lines: () => ["Client-Cert: :AB==:"] },
    ])("$says it is none", async ({ lines }) => {
      expect(await say(...lines())).toMatch(/^none /);
    });

    test("and its own certificate is nobody else's", async () => {
      const mine = await openTls(fastLane, ["127.0.0.1"]);
      const text = await askTls(mine.tlsPort, { servername: "asks.test", ...client }, get("asks.test"));
      expect(bodyOf(text)).toBe("none []");
    });
  });
});

test("HTTP/2 shows the certificate of its connection, and no header does", async () => {
  const gateway = await openTls(true);
  const ask = async (pair: Partial<Pair>, headers: Record<string, string>): Promise<string> => {
    const session = connectHttp2(`https://127.0.0.1:${gateway.tlsPort}`, {
      ...{ servername: "asks.test", rejectUnauthorized: false },
      ...pair,
    });
    const text = await new Promise<string>((resolve, reject) => {
      let body = "";
      const stream = session.request({ ":path": "/", ":authority": "asks.test", ...headers });
      stream.setEncoding("utf8");
      stream.on("data", (chunk) => {
        body += chunk;
      });
      stream.on("end", () => resolve(body));
      stream.on("error", reject);
      session.on("error", reject);
    });
    session.destroy();
    return text;
  };
  expect(await ask(client, {})).toBe(`${thumbprint(client)} true []`);
  expect(await ask(stranger, {})).toBe(`${thumbprint(stranger)} false []`);
  expect(await ask({}, { "client-cert": header(client), client_cert: header(client) })).toBe("none []");
});
