/** Which certificate a server name gets, and what becomes of it when records change. Source: docs/spec/resources.md "SSL". */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Authority, openAuthority, type Pair } from "../support/authority.ts";
import { openSecretServer, sendJson } from "../support/secret-server.ts";
import { answering, OK, openRawUpstream, type RawUpstream, routingOf, upstreamOf, waitFor } from "./support.ts";
import { openTlsGateway, shake, subjectOf, type TlsGateway, type TlsInput } from "./tls-support.ts";

let authority: Authority;
let upstream: RawUpstream;
const opened: TlsGateway[] = [];
const made = new Map<string, Pair>();

beforeAll(async () => {
  authority = openAuthority();
  upstream = await openRawUpstream(answering(OK));
});

afterAll(async () => {
  await Promise.all(opened.map((gateway) => gateway.close(0)));
  await upstream.close();
  authority.close();
});

async function open(input: TlsInput = {}): Promise<TlsGateway> {
  const gateway = await openTlsGateway(routingOf({ "*": { upstream: upstreamOf([upstream.port]) } }), input);
  opened.push(gateway);
  return gateway;
}

/** A certificate whose subject is `name`, made once. */
function pair(name: string, days = 30): Pair {
  const key = `${name} ${days}`;
  const known = made.get(key) ?? authority.issue([name], { days });
  made.set(key, known);
  return known;
}

describe("names", () => {
  let gateway: TlsGateway;

  beforeAll(async () => {
    gateway = await open();
    const { ssls } = gateway;
    ssls.set("1", { ...pair("exact"), snis: ["a.test.com", "B.Test.com."] });
    ssls.set("2", { ...pair("wild"), sni: "*.test.com" });
    ssls.set("3", { ...pair("deep"), sni: "*.in.test.com" });
    ssls.set("4", { ...pair("inside"), sni: "*st.org" });
    ssls.set("5", { ...pair("off"), sni: "off.org", status: 0 });
    ssls.set("6", { ...pair("client"), type: "client" });
  });

  test.each([
    { says: "an exact name comes before a wildcard", name: "a.test.com", want: "exact" },
    { says: "names of records and clients compare in lower case", name: "b.TEST.com", want: "exact" },
    { says: "a wildcard stands for one label", name: "c.test.com", want: "wild" },
    {
      says: "a wildcard stands for no more than one label",
      name: "c.d.test.com",
      want: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME",
    },
    { says: "a wildcard stands for no less than one label", name: "test.com", want: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME" },
    { says: "the longest wildcard counts", name: "x.in.test.com", want: "deep" },
    { says: "a wildcard may begin inside a label", name: "best.org", want: "inside" },
    { says: "a wildcard inside a label may stand for nothing", name: "st.org", want: "inside" },
    { says: "a wildcard inside a label ends at the dot", name: "a.best.org", want: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME" },
    { says: "status 0 is not served", name: "off.org", want: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME" },
    { says: "an unknown name fails the handshake", name: "other.net", want: "ERR_SSL_TLSV1_UNRECOGNIZED_NAME" },
  ])("$says: $name", async ({ name, want }) => {
    expect(await subjectOf(gateway.tlsPort, { servername: name })).toBe(want);
  });

  test("a client without a name fails when no fallback is set", async () => {
    expect((await shake(gateway.tlsPort)).ok).toBe(false);
    expect(await gateway.scrape()).toMatch(/jotgate_tls_handshakes_total\{result="no_name"\} 1/);
  });

  test("`*` serves what nobody else does, however many labels", async () => {
    const star = await open();
    star.ssls.set("1", { ...pair("star"), sni: "*" });
    star.ssls.set("2", { ...pair("wild"), sni: "*.test.com" });
    expect(await subjectOf(star.tlsPort, { servername: "a.b.c.d" })).toBe("star");
    expect(await subjectOf(star.tlsPort, { servername: "localhost" })).toBe("star");
    expect(await subjectOf(star.tlsPort, { servername: "x.y.test.com" })).toBe("star");
    expect(await subjectOf(star.tlsPort, { servername: "y.test.com" })).toBe("wild");
  });

  test("a client without a name gets the fallback's certificate", async () => {
    const fallback = await open({ fallbackSni: "A.test.com" });
    fallback.ssls.set("1", { ...pair("exact"), sni: "a.test.com" });
    expect(await subjectOf(fallback.tlsPort)).toBe("exact");
    expect(await subjectOf(fallback.tlsPort, { servername: "b.test.com" })).toBe("ERR_SSL_TLSV1_UNRECOGNIZED_NAME");
  });

  test("of two records with one name the later expiry serves, the other is listed", async () => {
    const two = await open();
    two.ssls.set("1", { ...pair("short", 5), sni: "a.test.com" });
    two.ssls.set("2", { ...pair("long", 50), sni: "a.test.com" });
    expect(await subjectOf(two.tlsPort, { servername: "a.test.com" })).toBe("long");
    expect(two.certificates.problems()).toMatchObject([
      { key: "/apisix/ssls/1", revision: 7n, reason: "sni a.test.com: ssl 2 comes first" },
    ]);
    two.ssls.set("2", undefined);
    expect(await subjectOf(two.tlsPort, { servername: "a.test.com" })).toBe("short");
    expect(two.certificates.problems()).toEqual([]);
  });

  test("the expiry of what is served is a metric, by name", async () => {
    const two = await open();
    two.ssls.set("1", { ...pair("short", 5), sni: "a.test.com" });
    two.ssls.set("2", { ...pair("wild"), sni: "*.test.com" });
    const line = /jotgate_tls_certificate_expiry_seconds\{sni="a.test.com"\} (\d+)/.exec(await two.scrape());
    expect(Number(line?.[1])).toBeGreaterThan(Date.now() / 1000 + 4 * 86_400);
    expect(Number(line?.[1])).toBeLessThan(Date.now() / 1000 + 6 * 86_400);
    expect(await two.scrape()).toContain('jotgate_tls_certificate_expiry_seconds{sni="*.test.com"}');
  });
});

describe("pairs and versions", () => {
  const rsaOnly = { maxVersion: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-GCM-SHA256" } as const;
  const ecOnly = { maxVersion: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" } as const;

  test("a record may hold one certificate per type of key", async () => {
    const gateway = await open();
    const rsa = authority.issue(["rsa"], { kind: "rsa" });
    gateway.ssls.set("1", { ...pair("ec"), certs: [rsa.cert], keys: [rsa.key], sni: "a.test" });
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test", ...rsaOnly })).toBe("rsa");
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test", ...ecOnly })).toBe("ec");
  });

  test("the last certificate of a type counts", async () => {
    const gateway = await open();
    const { cert, key } = pair("second");
    gateway.ssls.set("1", { ...pair("first"), certs: [cert], keys: [key], sni: "a.test" });
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("second");
  });

  test.each([
    { says: "a record narrows the versions from above", listed: ["TLSv1.2"], offered: "TLSv1.3", want: "TLSv1.2" },
    { says: "a record narrows the versions from below", listed: ["TLSv1.3"], offered: "TLSv1.2", want: "refused" },
    {
      says: "older versions than the setting are left out",
      listed: ["TLSv1.1", "TLSv1.2"],
      offered: "TLSv1.3",
      want: "TLSv1.2",
    },
  ] as const)("$says", async ({ listed, offered, want }) => {
    const gateway = await open();
    gateway.ssls.set("1", { ...pair("a.test"), sni: "a.test", ssl_protocols: listed });
    gateway.ssls.set("2", { ...pair("b.test"), sni: "b.test" });
    const done = await shake(gateway.tlsPort, { servername: "a.test", maxVersion: offered });
    expect(done.ok ? done.protocol : "refused").toBe(want);
    if (done.ok) done.socket.destroy();
    const other = await shake(gateway.tlsPort, { servername: "b.test", maxVersion: offered });
    expect(other).toMatchObject({ ok: true, protocol: offered });
    if (other.ok) other.socket.destroy();
  });

  test("the setting is the oldest version for all records", async () => {
    const gateway = await open({ minVersion: "TLSv1.3" });
    gateway.ssls.set("1", { ...pair("a.test"), sni: "a.test" });
    expect((await shake(gateway.tlsPort, { servername: "a.test", maxVersion: "TLSv1.2" })).ok).toBe(false);
    await waitFor(async () => /jotgate_tls_handshakes_total\{result="failed"\} 1/.test(await gateway.scrape()));
    gateway.ssls.set("2", { ...pair("b.test"), sni: "b.test", ssl_protocols: ["TLSv1.2"] });
    expect(gateway.certificates.problems()).toMatchObject([
      {
        key: "/apisix/ssls/2",
        revision: 7n,
        reason: "ssl_protocols: none of TLSv1.2 is allowed, the oldest accepted is TLSv1.3",
      },
    ]);
  });
});

describe("changes", () => {
  test.each([
    {
      says: "a key of another certificate",
      value: () => ({ cert: pair("new").cert, key: pair("old").key, sni: "a.test" }),
    },
    {
      says: "a certificate that is none",
      value: () => ({
        cert: "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
        key: pair("old").key,
        sni: "a.test",
      }),
    },
    { says: "a key that is none", value: () => ({ cert: pair("new").cert, key: "secret-key-text", sni: "a.test" }) },
    {
      says: "fewer keys than certificates",
      value: () => ({ ...pair("new"), certs: [pair("old").cert], keys: [], sni: "a.test" }),
    },
    { says: "an authority that is none", value: () => ({ ...pair("new"), sni: "a.test", client: { ca: "nonsense" } }) },
    {
      says: "a pattern that cannot be compiled",
      value: () => ({ ...pair("new"), sni: "a.test", client: { ca: authority.cert, skip_mtls_uri_regex: ["(a"] } }),
    },
    {
      says: "an unresolved reference",
      value: () => ({ cert: "$ENV://MISSING", key: "$ENV://ALSO_MISSING", sni: "a.test" }),
    },
  ])("$says is a problem, and the certificate before it serves on", async ({ value }) => {
    const gateway = await open();
    gateway.ssls.set("1", { ...pair("old"), sni: "a.test" });
    gateway.ssls.set("1", value());
    await waitFor(() => gateway.certificates.problems().length === 1);
    const [problem] = gateway.certificates.problems();
    expect(problem?.key).toBe("/apisix/ssls/1");
    expect(problem?.reason).not.toContain("BEGIN");
    expect(problem?.reason).not.toContain("secret-key-text");
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("old");
    gateway.ssls.set("1", { ...pair("new"), sni: "a.test" });
    expect(gateway.certificates.problems()).toEqual([]);
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("new");
  });

  test("what a record refers to is waited for, for a bounded time, before it counts as taken", async () => {
    const vault = await openSecretServer();
    try {
      const waiting: (() => void)[] = [];
      const data = { cert: pair("one").cert, key: pair("other").key };
      vault.answer = (_request, response) => void waiting.push(() => sendJson(response, 200, { data }));
      const gateway = await open();
      gateway.secrets.setConf("vault", "1", { uri: vault.url, prefix: "kv/apisix", token: "root" });
      const [cert, key] = ["$secret://vault/1/tls/cert", "$secret://vault/1/tls/key"];
      gateway.ssls.set("1", { cert, key, sni: "a.test" });
      await waitFor(() => waiting.length > 0);
      await gateway.certificates.settled(10);
      expect(gateway.certificates.refusals()).toEqual([]);
      const settled = gateway.certificates.settled(60_000);
      const answered = setInterval(() => waiting.splice(0).map((answer) => answer()), 10);
      await settled;
      clearInterval(answered);
      expect(gateway.certificates.refusals()).toMatchObject([
        { key: "/apisix/ssls/1", revision: 7n, reason: expect.stringContaining("does not belong") },
      ]);
    } finally {
      await vault.close();
    }
  });

  test("a record without any good certificate fails its handshakes and no others", async () => {
    const gateway = await open();
    gateway.ssls.set("1", { cert: "$ENV://MISSING", key: "$ENV://MISSING", sni: "a.test" });
    gateway.ssls.set("2", { ...pair("good"), sni: "b.test" });
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("ERR_SSL_TLSV1_UNRECOGNIZED_NAME");
    expect(await subjectOf(gateway.tlsPort, { servername: "b.test" })).toBe("good");
    expect(gateway.certificates.problems()[0]?.reason).toBe("unresolved: $ENV://MISSING");
  });

  test.each([
    { says: "EC over RSA", before: "rsa", after: "ec", key: "rsa" },
    { says: "RSA over EC", before: "ec", after: "rsa", key: "ec" },
    { says: "another key of the same kind", before: "ec", after: "ec", key: "ec" },
  ] as const)("a certificate with a key that is not its own changes nothing: $says", async ({ before, after, key }) => {
    const gateway = await open();
    const good = authority.issue(["good.test"], { kind: before });
    const next = authority.issue(["next.test"], { kind: after });
    const other = authority.issue(["other.test"], { kind: key });
    gateway.ssls.set("1", { ...good, sni: "a.test" });
    const wrong = { cert: next.cert, key: key === before ? good.key : other.key };
    for (const ssl of [wrong, { ...good, certs: [wrong.cert], keys: [wrong.key] }]) {
      gateway.ssls.set("1", { ...ssl, sni: "a.test" });
      expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("good.test");
      expect(gateway.certificates.problems()).toMatchObject([
        { reason: expect.stringContaining("the private key does not belong to the certificate") },
      ]);
    }
    gateway.ssls.set("1", { ...next, sni: "a.test" });
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("next.test");
    expect(gateway.certificates.problems()).toEqual([]);
  });

  test("references to the environment are resolved at once, the problem goes with the record", async () => {
    const { cert, key } = pair("env");
    const gateway = await open({ environment: { CERT: cert, PAIR: JSON.stringify({ key }), NUMBER: '{"n":1}' } });
    gateway.ssls.set("1", { cert: "$env://CERT", key: "$ENV://PAIR/key", sni: "a.test" });
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("env");
    gateway.ssls.set("1", { cert: "$env://CERT", key: "$ENV://NUMBER/n", sni: "a.test" });
    expect(gateway.certificates.problems()[0]?.reason).toBe("a secret is no text");
    gateway.ssls.set("1", undefined);
    expect(gateway.certificates.problems()).toEqual([]);
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("ERR_SSL_TLSV1_UNRECOGNIZED_NAME");
  });

  test("a name moves from one record to another without a gap", async () => {
    const gateway = await open();
    gateway.ssls.set("1", { ...pair("one"), snis: ["a.test", "b.test"] });
    gateway.ssls.set("1", { ...pair("one"), snis: ["b.test", "c.test"] });
    gateway.ssls.set("2", { ...pair("two"), sni: "a.test" });
    expect(await subjectOf(gateway.tlsPort, { servername: "a.test" })).toBe("two");
    expect(await subjectOf(gateway.tlsPort, { servername: "b.test" })).toBe("one");
    expect(await subjectOf(gateway.tlsPort, { servername: "c.test" })).toBe("one");
    gateway.ssls.set("1", { ...pair("one"), snis: ["b.test"], type: "client" });
    expect(await subjectOf(gateway.tlsPort, { servername: "b.test" })).toBe("ERR_SSL_TLSV1_UNRECOGNIZED_NAME");
  });
});
