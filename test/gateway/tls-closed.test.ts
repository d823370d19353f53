/**
 * A record that verifies clients and cannot be used closes its names, rather than leave them to a record that verifies nobody.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Authority, openAuthority, type Pair } from "../support/authority.ts";
import { send } from "../support/raw-request.ts";
import { LANES } from "./lanes.ts";
import { answering, OK, openRawUpstream, type RawUpstream, routingOf, upstreamOf } from "./support.ts";
import { askTls, get, openTlsGateway, subjectOf, type TlsGateway } from "./tls-support.ts";

let authority: Authority;
let server: Pair;
let client: Pair;
let upstream: RawUpstream;
const opened: TlsGateway[] = [];

beforeAll(async () => {
  authority = openAuthority("clients' authority");
  server = authority.issue(["server"]);
  client = authority.issue(["client"]);
  upstream = await openRawUpstream(answering(OK));
});
afterAll(async () => {
  await Promise.all(opened.map((gateway) => gateway.close(0)));
  await upstream.close();
  authority.close();
});

async function open(fastLane = true): Promise<TlsGateway> {
  const routing = routingOf({ "*": { upstream: upstreamOf([upstream.port]) } });
  const gateway = await openTlsGateway(routing, { settings: { fastLane }, plain: "guarded" });
  opened.push(gateway);
  gateway.ssls.set("all", { ...server, snis: ["*.m.test"] });
  return gateway;
}

const UNUSABLE: readonly (readonly [string, (ca: string, pair: Pair) => object])[] = [
  ["a certificate without its key", (ca) => ({ cert: server.cert, key: client.key, client: { ca } })],
  ["protocols that are too old", (ca) => ({ ...server, ssl_protocols: ["TLSv1.1"], client: { ca } })],
  ["an authority that is none", () => ({ ...server, client: { ca: "none" } })],
  ["an authority that nobody can find", () => ({ ...server, client: { ca: "$ENV://NO_SUCH_AUTHORITY" } })],
  ["a pattern that is none", (ca) => ({ ...server, client: { ca, skip_mtls_uri_regex: ["("] } })],
  ["what is left of a refused record", () => ({ client: {} })],
];

describe.each(LANES)("$lane lane", ({ fastLane }) => {
  test.each(UNUSABLE)("%s closes the name until it is mended", async (_says, make) => {
    const { tlsPort, port, ssls, certificates } = await open(fastLane);
    const other = { servername: "b.m.test", ...client };
    const ask = async (host: string): Promise<string> => (await askTls(tlsPort, other, get(host))).slice(0, 12);
    expect(await subjectOf(tlsPort, { servername: "a.m.test" })).toBe("server");
    ssls.set("1", { ...make(authority.cert, server), snis: ["a.m.test"] });
    expect(await subjectOf(tlsPort, { servername: "a.m.test", ...client })).toMatch(/UNRECOGNIZED_NAME/);
    expect(await ask("a.m.test")).toBe("HTTP/1.1 421");
    expect((await send(port, "/", { Host: "a.m.test" })).status).toBe(421);
    expect(await ask("b.m.test")).toBe("HTTP/1.1 200");
    for (const { key, blocks, reason } of certificates.problems()) {
      expect([key, blocks]).toEqual(["/apisix/ssls/1", true]);
      expect(reason).toMatch(/so its names are closed until/);
    }

    ssls.set("1", { ...server, snis: ["a.m.test"], client: { ca: authority.cert } });
    expect(await subjectOf(tlsPort, { servername: "a.m.test" })).toBe("server");
    expect(certificates.problems()).toEqual([]);
    ssls.set("1", undefined);
    expect(await ask("a.m.test")).toBe("HTTP/1.1 200");
  });
});

test("what serves goes on: an older version, another record of the name that verifies clients too", async () => {
  const { tlsPort, ssls, certificates } = await open();
  const good = { ...server, snis: ["a.m.test"], client: { ca: authority.cert } };
  const status = async (): Promise<string> =>
    (await askTls(tlsPort, { servername: "a.m.test", ...client }, get("a.m.test"))).slice(0, 12);
  ssls.set("1", good);
  ssls.set("1", { ...good, key: client.key });
  expect(await status()).toBe("HTTP/1.1 200");
  expect(certificates.problems()).toMatchObject([{ key: "/apisix/ssls/1", blocks: false }]);
  ssls.set("1", undefined);
  ssls.set("2", { ...good, key: client.key });
  ssls.set("3", good);
  expect(await status()).toBe("HTTP/1.1 200");
  expect(certificates.verifiesClients).toBe(true);
  ssls.set("2", { ...server, snis: ["a.m.test"], key: client.key });
  expect(certificates.problems().filter(({ blocks }) => blocks)).toEqual([]);
});

test("a record that verifies nobody closes nothing", async () => {
  const { tlsPort, ssls } = await open();
  ssls.set("1", { cert: server.cert, key: client.key, snis: ["a.m.test"] });
  expect(await subjectOf(tlsPort, { servername: "a.m.test" })).toBe("server");
});
