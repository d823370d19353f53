import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { type Metrics, metricsText, openMetrics } from "../../src/base/metrics.ts";
import { METADATA_ADDRESSES } from "../../src/base/net/ip.ts";
import type { VerifyKey } from "../../src/plugin/tokens.ts";
import { type LiveIssuers, openIssuers } from "../../src/token/issuers.ts";
import { type KeyFile, type KeyKeepers, openKeepers } from "../../src/token/key-keepers.ts";
import { type IssuerServer, makeKey, openIssuerServer } from "../support/issuer-server.ts";
import { type NameServer, openNameServer } from "../support/name-server.ts";

const K1 = makeKey("k1");
const K2 = makeKey("k2");

/** Within a cooldown of 1 s, and what a busy machine makes of it. */
const SOON = { timeout: 60_000 };

let server: IssuerServer;
let keepers: KeyKeepers;
let issuers: LiveIssuers;
let metrics: Metrics;
let kept: Buffer | undefined;
const file: KeyFile = {
  read: async () => kept,
  write: async (bytes) => {
    kept = bytes;
  },
};

async function start(
  denied: readonly string[] = METADATA_ADDRESSES,
  nameServers: readonly string[] = [],
): Promise<void> {
  metrics = openMetrics();
  const common = { nodeId: "n1", file, denied, nameServers, clock: systemClock, log: silentLog, metrics };
  keepers = await openKeepers(common);
  issuers = openIssuers(keepers, systemClock);
}
async function stop(): Promise<void> {
  issuers.close();
  await keepers.close();
}

beforeEach(async () => {
  kept = undefined;
  server = await openIssuerServer();
  server.keys = [K1.jwk];
  await start();
});
afterEach(async () => {
  await stop();
  await server.close();
});

const find = (iss = server.url, more: object = {}) => issuers.issuers({ issuers: ["a", "b"] }).find({ iss, ...more });

/** What a token with this kid finds, after it waited as a plugin does. */
async function keysOf(kid: string | undefined, iss?: string): Promise<readonly VerifyKey[] | string> {
  const issuer = find(iss);
  if (!issuer) return "unknown_issuer";
  const first = issuer.keys("ES256", kid);
  if (typeof first !== "string") return first;
  const wait = issuer.wanted(kid);
  await wait;
  return wait === undefined ? first : issuer.keys("ES256", kid);
}
const failureOf = async (): Promise<string | undefined> => {
  await find()?.wanted("k1");
  return keepers.problems()[0]?.reason;
};

describe("keys are fetched", () => {
  test("by discovery, and verify what the issuer signed", async () => {
    issuers.setRecord("a", { issuer: server.url });
    const [key] = (await keysOf("k1")) as VerifyKey[];
    const [head, payload, signature = ""] = server.token(K1).split(".");
    expect(key?.verify(`${head}.${payload}`, Buffer.from(signature, "base64url"))).toBe(true);
    expect(key?.verify(`${head}.${payload}x`, Buffer.from(signature, "base64url"))).toBe(false);
    expect(server).toMatchObject({ fetches: 1, discoveries: 1 });
    expect(find()?.keys("ES384", "k1")).toBe("unknown_kid");
    expect(find()?.keys("ES256", undefined)).toHaveLength(1);
  });

  test("where the OpenID form is 404, by the form of RFC 8414", async () => {
    server.discovery = (request, response) => {
      if (request.url !== "/.well-known/oauth-authorization-server") return response.writeHead(404).end();
      return response.end(JSON.stringify({ issuer: server.url, jwks_uri: `${server.url}/keys` }));
    };
    issuers.setRecord("a", { issuer: server.url });
    expect(await keysOf("k1")).toHaveLength(1);
  });

  test("at once when a token comes first, and by jwks_uri without discovery", async () => {
    issuers.setRecord("a", { issuer: "https://other.example", jwks_uri: `${server.url}/keys` });
    expect(await keysOf("k1", "https://other.example")).toHaveLength(1);
    expect(server.discoveries).toBe(0);
  });

  test("never where they are fixed", async () => {
    issuers.setRecord("a", { issuer: server.url, jwks: { keys: [K1.jwk] } });
    expect(await keysOf("k1")).toHaveLength(1);
    expect(await keysOf("k2")).toBe("unknown_kid");
    expect(server.fetches).toBe(0);
  });

  test("with the bearer token of a file that is read each time, and not for another origin", async () => {
    const folder = mkdtempSync(join(tmpdir(), "jotgate-issuer-"));
    const path = join(folder, "token");
    const other = await openIssuerServer();
    other.keys = [K1.jwk];
    try {
      writeFileSync(path, "first\n");
      const record = { issuer: server.url, bearer_token_file: path, cooldown: 1 };
      issuers.setRecord("a", record);
      await keysOf("k1");
      writeFileSync(path, "second\n");
      issuers.setRecord("a", { ...record, jwks_uri: `${server.url}/keys` });
      await keysOf("k1");
      const sent = server.seen.map(({ headers }) => headers.authorization);
      expect(sent).toEqual(["Bearer first", "Bearer first", "Bearer second"]);
      server.discovery = (_request, response) =>
        response.end(JSON.stringify({ issuer: server.url, jwks_uri: `${other.url}/keys` }));
      issuers.setRecord("a", { ...record, clock_skew: 1 });
      await keysOf("k1");
      expect(other.seen.map(({ headers }) => headers.authorization)).toEqual([undefined]);
    } finally {
      await other.close();
      rmSync(folder, { recursive: true });
    }
  });

  test("with an ETag, so that an unchanged set is not sent again", async () => {
    server.headers = { ETag: '"v1"' };
    const record = { issuer: server.url, cooldown: 1 };
    issuers.setRecord("a", record);
    const before = await keysOf("k1");
    server.failing = (request, response) =>
      response.writeHead(request.headers["if-none-match"] === '"v1"' ? 304 : 500).end();
    await expect.poll(() => keysOf("nobody").then(() => server.fetches), SOON).toBe(2);
    expect(find()?.keys("ES256", "k1")).toEqual(before);
    expect(keepers.problems()).toEqual([]);
  });
});

describe("a new set", () => {
  test("keeps the objects of keys that stay, and ends those that leave", async () => {
    issuers.setRecord("a", { issuer: server.url, cooldown: 1 });
    const [first] = (await keysOf("k1")) as VerifyKey[];
    server.keys = [K1.jwk, K2.jwk];
    await expect.poll(() => keysOf("k2"), SOON).toHaveLength(1);
    expect(((await keysOf("k1")) as VerifyKey[])[0]).toBe(first);
    server.keys = [K2.jwk];
    await expect.poll(() => keysOf("k3").then(() => first?.current), SOON).toBe(false);
    expect(find()?.keys("ES256", "k1")).toBe("unknown_kid");
  });

  test("is another one when the record changes, which ends every key of the former", async () => {
    issuers.setRecord("a", { issuer: server.url });
    const [first] = (await keysOf("k1")) as VerifyKey[];
    issuers.setRecord("a", { issuer: server.url });
    expect(first?.current).toBe(true);
    issuers.setRecord("a", { issuer: server.url, clock_skew: 0 });
    expect(first?.current).toBe(false);
    expect(find()?.keys("ES256", "k1")).toHaveLength(1);
    issuers.setRecord("a", undefined);
    expect(find()).toBeUndefined();
  });
});

describe("what an issuer does wrong is a failure with a reason, and the old set stays", () => {
  const answer =
    (body: string | Buffer, status = 200, headers = {}) =>
    () => {
      server.failing = (_request, response) => response.writeHead(status, headers).end(body);
    };
  test.each<[string, () => void, RegExp]>([
    ["a status", answer("", 500), /status 500 for the keys/],
    ["a redirect, which is not followed", answer("", 302, { Location: "http://169.254.169.254/" }), /status 302/],
    ["an empty set", answer('{"keys":[]}'), /no good set of keys: it has no keys/],
    ["no JSON", answer("<html>"), /no good set of keys/],
    ["compressed bytes", answer(gzipSync('{"keys":[]}'), 200, { "Content-Encoding": "gzip" }), /no good set of keys/],
    ["more than a mebibyte", answer(Buffer.alloc(1_100_000, 32)), /answer above 1048576 bytes/],
    [
      "a slow drip",
      () => {
        server.failing = (_request, response) => {
          response.writeHead(200);
          const timer = setInterval(() => response.write(" "), 50);
          response.on("close", () => clearInterval(timer));
        };
      },
      /no answer within 1000 ms/,
    ],
    [
      "a connection that is cut",
      () => {
        server.failing = (request) => request.socket.destroy();
      },
      /socket hang up|ECONNRESET/,
    ],
    [
      "metadata of another issuer",
      () => {
        server.discovery = (_request, response) =>
          response.end(JSON.stringify({ issuer: `${server.url}/`, jwks_uri: `${server.url}/keys` }));
      },
      /the metadata is of another issuer/,
    ],
    [
      "keys at an address without TLS",
      () => {
        server.discovery = (_request, response) =>
          response.end(JSON.stringify({ issuer: server.url, jwks_uri: "http://keys.example/" }));
      },
      /its jwks_uri must be https/,
    ],
    [
      "keys at the metadata service of a cloud",
      () => {
        server.discovery = (_request, response) =>
          response.end(JSON.stringify({ issuer: server.url, jwks_uri: "https://169.254.169.254/keys" }));
      },
      /address 169\.254\.169\.254 is not allowed/,
    ],
  ])("%s", async (_name, fail, why) => {
    issuers.setRecord("a", { issuer: server.url, cooldown: 1, timeout: 1 });
    const [key] = (await keysOf("k1")) as VerifyKey[];
    fail();
    await expect.poll(failureOf, SOON).toMatch(why);
    expect(keepers.problems()[0]).toMatchObject({ id: "a", blocks: false });
    expect(keepers.problems()[0]?.reason).toMatch(/^keys are \d+ seconds old: /);
    expect(find()?.keys("ES256", "k1")).toEqual([key]);
    expect(key?.current).toBe(true);
  });

  test("an issuer that was never reached has no keys, and says why", async () => {
    await server.close();
    issuers.setRecord("a", { issuer: server.url });
    expect(await keysOf("k1")).toBe("keys_unavailable");
    expect(keepers.problems()).toMatchObject([
      { id: "a", blocks: true, reason: /^there are no keys yet: .*ECONNREFUSED/ },
    ]);
  });

  test("a name that resolves to a denied address is not called, nor is the number", async () => {
    for (const host of ["localhost", "127.0.0.1"]) {
      await stop();
      await start(["127.0.0.0/8", "::1/128"]);
      issuers.setRecord("a", { issuer: server.url.replace("127.0.0.1", host) });
      await find(server.url.replace("127.0.0.1", host))?.wanted("k1");
      expect(keepers.problems()[0]?.reason).toMatch(/is not allowed/);
    }
    expect(server.seen).toHaveLength(0);
  });

  describe("a name that means", () => {
    const name = "idp.test";
    const record = () => ({
      ...{ issuer: `http://${name}:${server.port}`, allow_http: true },
      cooldown: 1,
      timeout: 2,
    });
    let nameServer: NameServer;
    beforeEach(async () => {
      nameServer = await openNameServer();
      await stop();
      server.discovery = (_request, response) =>
        response.end(JSON.stringify({ issuer: record().issuer, jwks_uri: `http://${name}:${server.port}/keys` }));
      await start(["127.0.0.2", ...METADATA_ADDRESSES], [nameServer.address]);
      return () => nameServer.close();
    });
    const wanted = () => keysOf("k1", record().issuer);

    test.each([
      ["the metadata service of a cloud", ["169.254.169.254"]],
      ["it as IPv6", ["fd00:ec2::254"]],
      ["it in IPv4 within IPv6", ["::ffff:a9fe:a9fe"]],
      ["it beside a good address", ["127.0.0.1", "169.254.169.254"]],
    ])("%s is not called", async (_says, addresses) => {
      nameServer.set(name, addresses);
      issuers.setRecord("a", record());
      expect(await wanted()).toBe("keys_unavailable");
      expect(keepers.problems()[0]?.reason).toMatch(/address \S+ is not allowed/);
      expect(server.seen).toHaveLength(0);
    });

    test("a good address and then another: each connection is made to what was judged for it", async () => {
      nameServer.set(name, ["127.0.0.1"], ["127.0.0.2"]);
      issuers.setRecord("a", record());
      expect(await wanted()).toBe("keys_unavailable");
      expect(keepers.problems()[0]?.reason).toMatch(/address 127\.0\.0\.2 is not allowed/);
      expect([server.discoveries, server.fetches]).toEqual([1, 0]);
      nameServer.set(name, ["127.0.0.1"]);
      await expect.poll(wanted, SOON).toHaveLength(1);
      const [key] = (await wanted()) as VerifyKey[];
      nameServer.set(name, ["169.254.169.254"]);
      const told = () => keysOf("k2", record().issuer).then(() => keepers.problems()[0]?.reason);
      await expect.poll(told, SOON).toMatch(/keys are \d+ seconds old: .*169\.254\.169\.254 is not allowed/);
      expect([await wanted(), key?.current]).toEqual([[key], true]);
    });
  });

  test.each([
    ["announced", { "Content-Length": "1000000000" }],
    ["in chunks", {}],
  ])("a gigabyte, %s, is read up to the bound and no further", async (_says, headers) => {
    let sent = 0;
    let ended = false;
    server.failing = (_request, response) => {
      response.writeHead(200, headers);
      response.on("close", () => {
        ended = true;
      });
      const chunk = Buffer.alloc(65_536, 32);
      const pour = (): void => {
        while (!response.destroyed && sent < 1_000_000_000) {
          sent += chunk.length;
          if (!response.write(chunk)) return void response.once("drain", pour);
        }
      };
      pour();
    };
    issuers.setRecord("a", { issuer: server.url });
    expect(await keysOf("k1")).toBe("keys_unavailable");
    expect(keepers.problems()[0]?.reason).toMatch(/answer above 1048576 bytes/);
    await expect.poll(() => ended, SOON).toBe(true);
    expect(sent).toBeLessThan(32_000_000);
  });

  test("one that does not answer keeps nobody waiting for another", async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as { port: number };
    issuers.setRecord("b", { issuer: `http://127.0.0.1:${port}`, timeout: 1 });
    issuers.setRecord("a", { issuer: server.url });
    const slow = keysOf("k1", `http://127.0.0.1:${port}`);
    expect(await keysOf("k1")).toHaveLength(1);
    expect(await slow).toBe("keys_unavailable");
    silent.close();
  });
});

describe("with the issuer away", () => {
  test("a node that starts again serves the keys it had, until stale_for is over", async () => {
    issuers.setRecord("a", { issuer: server.url });
    await keysOf("k1");
    await stop();
    await server.close();
    await start();
    issuers.setRecord("a", { issuer: server.url });
    expect(find()?.keys("ES256", "k1")).toHaveLength(1);
    const document = JSON.parse(kept?.toString() ?? "");
    document.sets.a.fetchedAtMs -= 3_600_000; // G16: away for an hour, then the node is started again
    kept = Buffer.from(JSON.stringify(document));
    await stop();
    await start();
    issuers.setRecord("a", { issuer: server.url });
    expect(find()?.keys("ES256", "k1")).toHaveLength(1);
    document.sets.a.fetchedAtMs -= 86_400_000 - 3_600_000 + 345_000;
    kept = Buffer.from(JSON.stringify(document));
    await stop();
    await start();
    issuers.setRecord("a", { issuer: server.url });
    expect(find()?.keys("ES256", "k1")).toBe("keys_too_old");
    await find()?.wanted("k1");
    expect(keepers.problems()).toMatchObject([{ blocks: true, reason: /24 hours old, too old to serve/ }]);
  });

  test("a file that cannot be read is none", async () => {
    kept = Buffer.from("{");
    await stop();
    await start();
    issuers.setRecord("a", { issuer: server.url });
    expect(await keysOf("k1")).toHaveLength(1);
  });
});

describe("whose token it is", () => {
  const tid = "72f988bf-86f1-41af-91ab-2d7cd011db47";
  test.each([
    ["/", undefined],
    [" ", undefined],
    ["\0", undefined],
    ["", "a"],
  ])("is told byte for byte: issuer and %j", (more, id) => {
    issuers.setRecord("a", { issuer: server.url });
    expect(find(`${server.url}${more}`)?.id).toBe(id);
  });

  test("is told by texts only", () => {
    issuers.setRecord("a", { issuer: server.url });
    for (const iss of [[server.url], { 0: server.url }, 1, null, undefined, true])
      expect(issuers.issuers({ issuers: ["a"] }).find({ iss })).toBeUndefined();
    expect(issuers.issuers({ issuers: ["b"] }).find({ iss: server.url })).toBeUndefined();
  });

  test("is named by its record, until that is another", () => {
    const group = issuers.issuers({ issuers: ["a", "b"] });
    issuers.setRecord("b", { issuer: server.url, valid_issuers: ["https://sts.example/"] });
    issuers.setRecord("other", { issuer: "https://other.example" });
    const names = group.names();
    expect(names).toEqual([server.url]);
    expect(group.names()).toBe(names);
    issuers.setRecord("a", { issuer: "https://a.example" });
    expect(group.names()).toEqual(["https://a.example", server.url]);
    issuers.setRecord("b", undefined);
    expect(group.names()).toEqual(["https://a.example"]);
  });

  test.each<[string, object, string | undefined]>([
    ["its tenant", { iss: `https://sts.example/${tid}/`, tid }, "a"],
    ["its tenant in capitals", { iss: `https://sts.example/${tid.toUpperCase()}/`, tid: tid.toUpperCase() }, "a"],
    ["another tenant", { iss: `https://sts.example/${tid.replace("7", "8")}/`, tid: tid.replace("7", "8") }, undefined],
    ["iss of one tenant, tid of another", { iss: `https://sts.example/${tid.replace("7", "8")}/`, tid }, undefined],
    ["no tid", { iss: `https://sts.example/${tid}/` }, undefined],
    ["a tid that is a path", { iss: "https://sts.example/../", tid: ".." }, undefined],
    ["the template itself", { iss: "https://sts.example/{tid}/", tid: "{tid}" }, undefined],
  ])("with {tid}: %s", (_name, claims, id) => {
    const record = { issuer: server.url, valid_issuers: [server.url, "https://sts.example/{tid}/"], tenants: [tid] };
    issuers.setRecord("a", record);
    expect(issuers.issuers({ issuers: ["a"] }).find({ ...claims })?.id).toBe(id);
  });

  test("a key of one issuer never serves another with the same kid", async () => {
    const other = await openIssuerServer();
    other.keys = [{ ...K2.jwk, kid: "k1" }];
    issuers.setRecord("a", { issuer: server.url });
    issuers.setRecord("b", { issuer: other.url });
    const [[mine], [theirs]] = [await keysOf("k1"), await keysOf("k1", other.url)] as [VerifyKey[], VerifyKey[]];
    const [head, payload, signature = ""] = server.token(K1).split(".");
    const bytes = Buffer.from(signature, "base64url");
    expect(mine?.verify(`${head}.${payload}`, bytes)).toBe(true);
    expect(theirs?.verify(`${head}.${payload}`, bytes)).toBe(false);
    await other.close();
  });
});

test("what happens is counted, by record and fixed words", async () => {
  issuers.setRecord("a", { issuer: server.url });
  await keysOf("k1");
  await keysOf("k2");
  const text = await metricsText(metrics);
  expect(text).toContain('jotgate_jwks_fetches_total{issuer="a",result="ok"} 1');
  expect(text).toContain('jotgate_jwks_forced_total{issuer="a",result="fetched"} 1');
  expect(text).toContain('jotgate_jwks_forced_total{issuer="a",result="cooldown"} 1');
  expect(text).toContain('jotgate_jwks_keys{issuer="a"} 1');
  expect(text).toMatch(/jotgate_jwks_age_seconds\{issuer="a"\} \d/);
  expect(text).toContain("jotgate_jwks_waiting 0");
});
