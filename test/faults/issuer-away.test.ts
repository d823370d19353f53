/**
 * G16: an issuer that is away refuses nobody it knew. It is ended, slow, behind a wrong certificate, or floods of unknown
 * kids arrive, at nodes of two workers each; at last etcd and the issuer are away and a node starts again.
 */
import { generateKeyPairSync } from "node:crypto";
import { request } from "node:http";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { openAuthority } from "../support/authority.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { reportFault } from "../support/fault-report.ts";
import { type IssuerKey, type IssuerServer, makeKey, openIssuerServer } from "../support/issuer-server.ts";
import { allowTime } from "../support/long-run.ts";
import { admin, type Node, startNode, temporaryFolder, until } from "../support/process.ts";
import { configOf, metricsOf, sampleOf } from "../support/scrape.ts";

allowTime();

const AUDIENCE = "https://api.example";
const K1 = makeKey("k1");
const K2 = makeKey("k2");
const ends: (() => unknown)[] = [];
const later: (() => unknown)[] = [];
let etcd: EtcdCluster;
let desk: Node;
let nodes: Node[] = [];
let issuer: IssuerServer;

const tokenOf = (key: IssuerKey, claims = {}, header = {}, server = issuer): string =>
  server.token(key, { aud: AUDIENCE, ...claims }, header);

/** On a connection of its own, so that any of a node's processes answers. */
function ask(node: Node, token: string, path = "/private"): Promise<number> {
  return new Promise((done, failed) => {
    const headers = { authorization: `Bearer ${token}`, connection: "close" };
    request(`${node.gateway}${path}`, { agent: false, headers }, (answer) => {
      answer.resume().on("end", () => done(answer.statusCode ?? 0));
    })
      .on("error", failed)
      .end();
  });
}

/** Statuses of so many new tokens, half of them at each node. */
async function statuses(key: IssuerKey, count: number, path?: string, server = issuer): Promise<readonly number[]> {
  const seen: number[] = [];
  for (let i = 0; i < count; i += 4)
    seen.push(
      ...(await Promise.all(
        [0, 1, 2, 3].map((n) => {
          const node = nodes[n % nodes.length];
          if (!node) throw new Error("no node");
          return ask(node, tokenOf(key, { jti: `${i}-${n}` }, {}, server), path);
        }),
      )),
    );
  return seen;
}

async function put(path: string, body: unknown): Promise<void> {
  const answer = await admin(desk, "PUT", `${path}?wait=all&timeout=30s`, body);
  expect([answer.status, JSON.stringify(answer.body)]).toEqual([expect.toBeOneOf([200, 201]), expect.any(String)]);
}

async function trust(id: string, record: object, uri = "/private"): Promise<void> {
  await put(`/token_issuers/${id}`, record);
  const plugin = { issuers: [id], audiences: [AUDIENCE], consumer_by: "none" };
  await put(`/routes/${id}`, { uri, plugins: { "access-token": plugin, mocking: { response_example: "in" } } });
}

const startGateway = (i: number, dataDir: string): Promise<Node> =>
  startNode("gateway", { etcd: etcd.endpoints, dataDir, args: ["--workers", "2", "--instance", `issuer-${i}`] });
const folders = [temporaryFolder("issuer-a"), temporaryFolder("issuer-b")];

const untilKnown = (key: IssuerKey, path?: string, server?: IssuerServer): Promise<unknown> =>
  until("every process knows the key", async () => (await statuses(key, 12, path, server)).every((one) => one === 200));

/** A cooldown of `seconds` has passed on every node. */
const untilAged = (id: string, seconds: number): Promise<unknown> =>
  until(`the keys of ${id} are ${seconds} s old`, async () => {
    const all = await Promise.all(nodes.map(metricsOf));
    return all.every((text) => (sampleOf(text, "jotgate_jwks_age_seconds", `issuer="${id}"`) ?? 0) > seconds);
  });

describe.skipIf(!etcdAvailable())("an issuer that is away", () => {
  beforeAll(async () => {
    etcd = await startEtcd();
    ends.push(() => etcd.stop());
    desk = await startNode("admin", { etcd: etcd.endpoints });
    ends.push(() => desk.stop("SIGKILL"));
    nodes = await Promise.all(folders.map((folder, i) => startGateway(i, folder)));
    ends.push(() => Promise.all(nodes.map((node) => node.stop("SIGKILL"))));
    issuer = await openIssuerServer();
    issuer.keys = [K1.jwk];
    await trust("main", { issuer: issuer.url, cooldown: 2, refresh_interval: 60 });
    await untilKnown(K1);
  });
  afterEach(async () => {
    for (const end of later.splice(0).reverse()) await end();
  });
  afterAll(async () => {
    for (const end of ends.splice(0).reverse()) await end();
  });

  test("G16: fetches are one for each node, though four processes ask", () => {
    expect(issuer.fetches).toBeLessThanOrEqual(nodes.length);
  });

  test("G15: a key that is new at once refuses nobody, and costs a fetch for each node", async () => {
    await untilAged("main", 2);
    const before = issuer.fetches;
    issuer.keys = [K1.jwk, K2.jwk];
    const seen = await statuses(K2, 40);
    expect(new Set(seen)).toEqual(new Set([200]));
    expect(issuer.fetches - before).toBeLessThanOrEqual(nodes.length);
    expect(new Set(await statuses(K1, 12))).toEqual(new Set([200]));
  });

  test("an operator has keys fetched now, and sees which every node has", async () => {
    const K3 = makeKey("k3");
    const weak = generateKeyPairSync("rsa", { modulusLength: 1_024 }).publicKey.export({ format: "jwk" });
    issuer.keys = [K1.jwk, K2.jwk, K3.jwk, { ...weak, kid: "weak" }];
    const before = issuer.fetches;
    const asked = await admin(desk, "POST", "/token_issuers/main/refresh?wait=all&timeout=30s");
    expect([asked.status, JSON.stringify(asked.body)]).toEqual([200, expect.stringContaining("token_issuers/main")]);
    await until("each node has fetched once", () => issuer.fetches === before + nodes.length);
    const status = await until("and says so", async () => {
      const { body } = await admin(desk, "GET", "/token_issuers/main/status");
      const shown = body as { kids: object[]; nodes: { age: number | null }[] };
      return shown.kids.length === 3 && shown.nodes.every(({ age }) => age !== null) ? shown : undefined;
    });
    expect(status).toMatchObject({
      kids: [{ kid: "k1", kty: "EC", algorithms: ["ES256"] }, { kid: "k2" }, { kid: "k3" }],
      skipped: [{ kid: "weak", why: "RSA key of 1024 bits" }],
      source: `${issuer.url}/keys`,
      by: expect.stringContaining("issuer-"),
      nodes: [{ problem: null }, { problem: null }],
    });
    expect(new Set(await statuses(K3, 12))).toEqual(new Set([200]));
    issuer.keys = [K1.jwk, K2.jwk];
    await admin(desk, "POST", "/token_issuers/main/refresh?wait=all&timeout=30s");
    await until("a key that left is refused everywhere, remembered or not", async () =>
      (await statuses(K3, 12)).every((one) => one === 401),
    );
  });

  test("G16: random kids cost one fetch a cooldown and node, and refuse nobody else", async () => {
    const before = issuer.fetches;
    const startedMs = performance.now();
    let sent = 0;
    for (let round = 0; round < 100; round++) {
      const flood = Array.from({ length: 16 }, (_, i) => {
        const node = nodes[i % nodes.length] as Node;
        return ask(node, tokenOf(K1, {}, { kid: `random-${round}-${i}` }));
      });
      const [good, ...bad] = await Promise.all([ask(nodes[round % 2] as Node, tokenOf(K1)), ...flood]);
      expect(good).toBe(200);
      expect(new Set(bad)).toEqual(new Set([401]));
      sent += 17;
    }
    const seconds = (performance.now() - startedMs) / 1_000;
    const fetches = issuer.fetches - before;
    expect(fetches).toBeLessThanOrEqual(nodes.length * (seconds / 2 + seconds / 54 + 2));
    reportFault({
      fault: "an issuer, flooded",
      how: "1,600 tokens with random kids",
      ...{ sent, failed: 0, freshMs: undefined, guarantees: "G16", held: true },
      note: `${fetches} fetches in ${seconds.toFixed(1)} s`,
    });
  });

  test("G16: slow, it keeps nobody waiting: not those it knew, and not those of another", async () => {
    const slow = await openIssuerServer();
    later.push(() => slow.close());
    slow.keys = [K1.jwk];
    await trust("slow", { issuer: slow.url, cooldown: 1, timeout: 30 }, "/slow");
    await untilKnown(K1, "/slow", slow);
    slow.failing = () => undefined; // never answers
    await untilAged("slow", 1);
    const waiting = statuses(K2, 4, "/slow", slow);
    expect(new Set(await statuses(K1, 40, "/slow", slow))).toEqual(new Set([200]));
    expect(new Set(await statuses(K1, 40))).toEqual(new Set([200]));
    expect(new Set(await waiting)).toEqual(new Set([401]));
  });

  test("G16: behind a certificate of somebody else it is not asked, and its keys go on", async () => {
    const [right, wrong] = [openAuthority("right"), openAuthority("wrong")];
    const first = await openIssuerServer({ tls: right.issue(["IP:127.0.0.1"]) });
    first.keys = [K1.jwk];
    await trust("tls", { issuer: first.url, ca: right.cert, cooldown: 1 }, "/tls");
    await untilKnown(K1, "/tls", first);
    await first.close();
    const second = await openIssuerServer({ port: first.port, tls: wrong.issue(["IP:127.0.0.1"]) });
    later.push(
      () => second.close(),
      () => right.close(),
      () => wrong.close(),
    );
    second.keys = [K2.jwk];
    await until("nodes have asked and say why not", async () => {
      const seen = await statuses(K2, 4, "/tls", second);
      expect(new Set(seen)).toEqual(new Set([401]));
      const configs = await Promise.all(nodes.map(configOf));
      return configs.every(({ problems }) =>
        problems.some(
          ({ key, reason }) => key.endsWith("/token_issuers/tls") && /^keys are .* old: .*certificate/.test(reason),
        ),
      );
    });
    expect(second.seen).toEqual([]);
    expect(new Set(await statuses(K1, 20, "/tls", second))).toEqual(new Set([200]));
  });

  test("G16: ended, then etcd ended, then the nodes started again: 0 refused", async () => {
    const discovery = `${issuer.url}/.well-known/openid-configuration`;
    await put("/routes/openid", {
      uri: "/openid",
      plugins: {
        "openid-connect": { discovery, client_id: "x", bearer_only: true, use_jwks: true },
        mocking: { response_example: "in" },
      },
    });
    await untilKnown(K1, "/openid");
    await issuer.close();
    let sent = 0;
    const judge = async (): Promise<void> => {
      const seen = [...(await statuses(K1, 60)), ...(await statuses(K2, 60)), ...(await statuses(K1, 60, "/openid"))];
      expect(new Set(seen)).toEqual(new Set([200]));
      sent += seen.length;
    };
    await judge();
    await etcd.kill(0);
    await judge();
    for (const [i, node] of nodes.entries()) {
      await node.stop("SIGKILL");
      nodes[i] = await startGateway(i, folders[i] ?? "");
    }
    await judge();
    await until("the problem is said", async () => {
      const [first] = nodes;
      const { problems } = await configOf(first as Node);
      return problems.some(({ key, blocks }) => key.endsWith("/token_issuers/main") && !blocks);
    });
    const metrics = await metricsOf(nodes[0] as Node);
    expect(sampleOf(metrics, "jotgate_jwks_fetches_total", 'issuer="main",result="failed"')).toBeGreaterThan(0);
    expect(sampleOf(metrics, "jotgate_jwks_keys", 'issuer="main"')).toBe(2);
    const stranger: IssuerKey = { ...K1, privateKey: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey };
    expect(new Set(await statuses(stranger, 4))).toEqual(new Set([401]));
    reportFault({
      fault: "an issuer, etcd and the nodes ended",
      how: "server closed, SIGKILL, started again",
      ...{ sent, failed: 0, freshMs: undefined, guarantees: "G16", held: true },
    });
  });
});
