/**
 * What the plain listener serves of hosts whose record demands client certificates, and a gateway without one.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Authority, openAuthority, type Pair } from "../support/authority.ts";
import { send } from "../support/raw-request.ts";
import { LANES } from "./lanes.ts";
import { answering, OK, openRawUpstream, type RawUpstream, routingOf, upstreamOf } from "./support.ts";
import { askTls, get, openTlsGateway, type TlsGateway, type TlsInput } from "./tls-support.ts";

let authority: Authority;
let server: Pair;
let upstream: RawUpstream;
const opened: TlsGateway[] = [];

beforeAll(async () => {
  authority = openAuthority("clients' authority");
  server = authority.issue(["server"]);
  upstream = await openRawUpstream(answering(OK));
});
afterAll(async () => {
  await Promise.all(opened.map((gateway) => gateway.close(0)));
  await upstream.close();
  authority.close();
});

async function open(input: TlsInput): Promise<TlsGateway> {
  const gateway = await openTlsGateway(routingOf({ "*": { upstream: upstreamOf([upstream.port]) } }), input);
  opened.push(gateway);
  return gateway;
}

describe.each(LANES)("$lane lane", ({ fastLane }) => {
  test("a host whose record verifies clients is not served without TLS, its open paths and all others are", async () => {
    const { port, ssls } = await open({ settings: { fastLane }, plain: "guarded" });
    const client = { ca: authority.cert };
    ssls.set("1", { ...server, snis: ["m.test", "*.m.test"], client });
    ssls.set("2", { ...server, snis: ["skip.test"], client: { ...client, skip_mtls_uri_regex: ["^/open/"] } });
    ssls.set("3", { ...server, snis: ["plain.test"] });
    ssls.set("4", { ...server, sni: "off.test", client, status: 0 });
    // Not usable for TLS, and for that reason not open either.
    ssls.set("5", {
      cert: "none",
      key: "none",
      sni: "broken.test",
      client: { ca: "none", skip_mtls_uri_regex: ["("] },
    });
    const status = async (host: string, path = "/"): Promise<number> => (await send(port, path, { Host: host })).status;
    for (const host of ["m.test", "M.TEST:80", "a.m.test", "skip.test", "broken.test"])
      expect([host, await status(host)]).toEqual([host, 421]);
    expect(await status("skip.test", "/open/x")).toBe(200);
    expect(await status("skip.test", "/open/../x")).toBe(421);
    for (const host of ["plain.test", "other.test", "off.test", "b.a.m.test"])
      expect([host, await status(host)]).toEqual([host, 200]);
    const { text } = await send(port, "/", { Host: "m.test" });
    expect(JSON.parse(text)).toEqual({ error_msg: "421 Misdirected Request" });
    ssls.set("1", undefined);
    expect(await status("m.test")).toBe(200);
  });

  test("without the guard, as a setting has it, they are", async () => {
    const { port, ssls } = await open({ settings: { fastLane } });
    ssls.set("1", { ...server, sni: "m.test", client: { ca: authority.cert } });
    expect((await send(port, "/", { Host: "m.test" })).status).toBe(200);
  });
});

test("a gateway can do without a plain listener", async () => {
  const gateway = await open({ plain: "off" });
  gateway.ssls.set("1", { ...server, sni: "plain.test" });
  expect(gateway.address).toBeUndefined();
  expect(await askTls(gateway.tlsPort, { servername: "plain.test" }, get("plain.test", "/"))).toContain(" 200 ");
});
