/**
 * Client certificates: who may reach a host whose record verifies clients. Source: docs/spec/proxy.md section 3, APISIX's
 * verify_https_client.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import type { ConnectionOptions } from "node:tls";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Authority, openAuthority, type Pair } from "../support/authority.ts";
import { LANES } from "./lanes.ts";
import { answering, OK, openRawUpstream, type RawUpstream, routingOf, upstreamOf, waitFor } from "./support.ts";
import { askTls, get, openTlsGateway, shake, type TlsGateway } from "./tls-support.ts";

let authority: Authority;
let other: Authority;
let client: Pair;
let stranger: Pair;
let below: Pair;
let deep: Pair;
let server: Pair;
let upstream: RawUpstream;
const opened: TlsGateway[] = [];

beforeAll(async () => {
  authority = openAuthority("clients' authority");
  other = openAuthority("other authority");
  server = other.issue(["server"]);
  client = authority.issue(["client"]);
  stranger = other.issue(["stranger"]);
  const one = authority.below("one");
  const leaf = one.issue(["below"]);
  below = { cert: leaf.cert + one.cert, key: leaf.key };
  const two = one.below("two");
  const far = two.issue(["deep"]);
  deep = { cert: far.cert + two.cert + one.cert, key: far.key };
  upstream = await openRawUpstream(answering(OK));
});

afterAll(async () => {
  await Promise.all(opened.map((gateway) => gateway.close(0)));
  await upstream.close();
  authority.close();
  other.close();
});

async function open(fastLane = true): Promise<TlsGateway> {
  const routing = routingOf({ "*": { upstream: upstreamOf([upstream.port]) } });
  const gateway = await openTlsGateway(routing, { settings: { fastLane } });
  opened.push(gateway);
  const { ssls } = gateway;
  const verified = (names: readonly string[], rules = {}): object => ({
    ...{ ...server, snis: names },
    client: { ca: authority.cert, ...rules },
  });
  ssls.set("1", { ...verified(["m.test", "*.m.test"]) });
  ssls.set("2", { ...verified(["flat.test"], { depth: 0 }) });
  ssls.set("3", { ...verified(["deep.test"], { depth: 2 }) });
  ssls.set("4", { ...verified(["skip.test"], { skip_mtls_uri_regex: ["^/open/", "^/health$"] }) });
  ssls.set("5", { ...server, snis: ["plain.test"] });
  return gateway;
}

type Who = "nobody" | "client" | "stranger" | "below" | "deep";

function optionsOf(who: Who): ConnectionOptions {
  const pairs = { nobody: {}, client, stranger, below, deep };
  return pairs[who];
}

const RULES = [
  { says: "without a certificate", who: "nobody", sni: "m.test", status: 400 },
  { says: "with a certificate of the authority", who: "client", sni: "m.test", status: 200 },
  { says: "with a certificate of another authority", who: "stranger", sni: "m.test", status: 400 },
  { says: "with one intermediate, depth 1", who: "below", sni: "m.test", status: 200 },
  { says: "with two intermediates, depth 1", who: "deep", sni: "m.test", status: 400 },
  { says: "with two intermediates, depth 2", who: "deep", sni: "deep.test", status: 200 },
  { says: "with one intermediate, depth 0", who: "below", sni: "flat.test", status: 400 },
  { says: "directly under the authority, depth 0", who: "client", sni: "flat.test", status: 200 },
  { says: "Host in other case and with a port", who: "client", sni: "m.test", host: "M.test:9443", status: 200 },
  { says: "by the name of a host that verifies nobody", who: "nobody", sni: "plain.test", host: "m.test", status: 400 },
  {
    says: "the same with a certificate that nobody asked for",
    who: "client",
    sni: "plain.test",
    host: "m.test",
    status: 400,
  },
  { says: "by another name of the same record", who: "client", sni: "a.m.test", host: "b.m.test", status: 400 },
  {
    says: "a host that verifies nobody by a name that does",
    who: "nobody",
    sni: "m.test",
    host: "plain.test",
    status: 200,
  },
  { says: "a host without a record", who: "nobody", sni: "plain.test", host: "unknown.test", status: 200 },
  { says: "a path that is open", who: "nobody", sni: "skip.test", path: "/open/a", status: 200 },
  {
    says: "a path that is open, by another name",
    who: "nobody",
    sni: "plain.test",
    host: "skip.test",
    path: "/health",
    status: 200,
  },
  { says: "a path that is not open", who: "nobody", sni: "skip.test", path: "/closed", status: 400 },
  { says: "a path that only looks open", who: "nobody", sni: "skip.test", path: "/open/../closed", status: 400 },
  {
    says: "a path that only looks open, encoded",
    who: "nobody",
    sni: "skip.test",
    path: "/open/%2e%2e/closed",
    status: 400,
  },
  { says: "a path that is open, to somebody verified", who: "client", sni: "skip.test", path: "/open/a", status: 200 },
] as const satisfies readonly { says: string; who: Who; sni: string; host?: string; path?: string; status: number }[];

describe.each(LANES)("$lane", ({ fastLane }) => {
  let gateway: TlsGateway;

  beforeAll(async () => {
    gateway = await open(fastLane);
  });

  test.each(RULES)("$says: $status", async (rule) => {
    const { sni, who, status } = rule;
    const host = "host" in rule ? rule.host : sni;
    const path = "path" in rule ? rule.path : "/x";
    const before = upstream.all.length;
    const text = await askTls(gateway.tlsPort, { servername: sni, ...optionsOf(who) }, get(host, path));
    expect(text.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
    expect(upstream.all.length === before).toBe(status === 400);
  });

  test("an absolute target cannot name another host than the one that is judged", async () => {
    const request = "GET https://m.test/x HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n";
    const text = await askTls(gateway.tlsPort, { servername: "plain.test" }, request);
    expect(text.slice(0, 12)).toBe("HTTP/1.1 400");
  });
});

describe("HTTP/2", () => {
  let gateway: TlsGateway;

  beforeAll(async () => {
    gateway = await open();
  });

  test.each(RULES)("$says: $status", async (rule) => {
    const { sni, who, status } = rule;
    const host = "host" in rule ? rule.host : sni;
    const path = "path" in rule ? rule.path : "/x";
    const options = { servername: sni, rejectUnauthorized: false, ...optionsOf(who) };
    const session = connectHttp2(`https://127.0.0.1:${gateway.tlsPort}`, options);
    const got = await new Promise<unknown>((resolve, reject) => {
      session.on("error", reject);
      const stream = session.request({ ":path": path, ":authority": host });
      stream.on("response", (headers) => resolve(headers[":status"]));
      stream.on("error", reject);
    });
    session.destroy();
    expect(got).toBe(status);
  });
});

describe("sessions and changes", () => {
  test.each(["TLSv1.2", "TLSv1.3"] as const)(
    "a resumed %s session without a certificate proves nothing",
    async (version) => {
      const gateway = await open();
      const options = { servername: "m.test", minVersion: version, maxVersion: version } as const;
      const first = await shake(gateway.tlsPort, options);
      if (!first.ok) throw new Error(first.code);
      let session = first.socket.getSession();
      first.socket.on("session", (newer) => {
        session = newer;
      });
      first.socket.resume();
      first.socket.write(get("m.test"));
      await waitFor(() => first.socket.closed);
      const text = await askTls(gateway.tlsPort, { ...options, session }, get("m.test"));
      expect(text.slice(0, 12)).toBe("HTTP/1.1 400");
    },
  );

  test("a withdrawn authority counts at the next request, a kept one does not break connections", async () => {
    const gateway = await open();
    const done = await shake(gateway.tlsPort, { servername: "m.test", ...client });
    if (!done.ok) throw new Error(done.code);
    let text = "";
    done.socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    const next = async (status: number): Promise<void> => {
      text = "";
      done.socket.write("GET /x HTTP/1.1\r\nHost: m.test\r\n\r\n");
      await waitFor(() => text.includes("\r\n\r\n"));
      expect(text.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
    };
    await next(200);
    gateway.ssls.set("1", { ...server, sni: "m.test", client: { ca: other.cert + authority.cert } });
    await next(200);
    gateway.ssls.set("1", { ...server, sni: "m.test", client: { ca: other.cert } });
    await next(400);
  });

  test("a record that begins to verify clients counts for connections that are open", async () => {
    const gateway = await open();
    const done = await shake(gateway.tlsPort, { servername: "plain.test", ...client });
    if (!done.ok) throw new Error(done.code);
    gateway.ssls.set("5", { ...server, sni: "plain.test", client: { ca: authority.cert } });
    let text = "";
    done.socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
    });
    done.socket.write("GET /x HTTP/1.1\r\nHost: plain.test\r\n\r\n");
    await waitFor(() => text.startsWith("HTTP/1.1 400"));
  });

  test("of two records with one name the one that verifies clients comes first", async () => {
    const gateway = await open();
    gateway.ssls.set("0", { ...other.issue(["long"], { days: 100 }), sni: "m.test" });
    const text = await askTls(gateway.tlsPort, { servername: "m.test" }, get("m.test"));
    expect(text.slice(0, 12)).toBe("HTTP/1.1 400");
  });

  test.each([
    { says: "clients of a host that verifies them are told its authority", sni: "m.test", asked: true },
    { says: "clients of other hosts are asked for nothing", sni: "plain.test", asked: false },
  ])("$says", async ({ sni, asked }) => {
    const gateway = await open();
    const args = ["s_client", "-connect", `127.0.0.1:${gateway.tlsPort}`, "-servername", sni, "-tls1_2"];
    const child = spawn("openssl", args, { stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await once(child, "close");
    expect(text.includes("clients' authority")).toBe(asked);
    expect(text.includes("No client certificate CA names sent")).toBe(!asked);
  });
});
