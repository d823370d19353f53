/**
 * When credentials were used last: an etcd with users, two admins that put together at once, two gateways, one of them with
 * workers, every second instead of every hour.
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { etcdctl, etcdctlAvailable } from "../support/etcdctl.ts";
import { type IssuerServer, makeKey, openIssuerServer } from "../support/issuer-server.ts";
import { makeToken, SECRET } from "../support/jwt.ts";
import { admin, adminInTime, type Node, startNode, until, VIEWER_KEY } from "../support/process.ts";

const API = "https://api.example.com";
const OFTEN = ["--usage-interval", "1s"];
const KEY = makeKey("k1");

interface Row {
  readonly consumer?: string;
  readonly credential?: string;
  readonly issuer?: string;
  readonly kid?: string;
  readonly last_used: number | null;
  readonly nodes: readonly string[];
}

let etcd: EtcdCluster;
let admins: Node[];
let gateways: Node[];
let issuer: IssuerServer;
let upstream: Server;
const root = (...args: string[]): Promise<string> => etcdctl(etcd.endpoints, ["--user", "root:rootpw", ...args]);

const start = (role: "admin" | "gateway", args: readonly string[]): Promise<Node> =>
  startNode(role, {
    etcd: etcd.endpoints,
    args: [...args, "--etcd-user", role],
    env: { JOTGATE_ETCD_PASSWORD: `${role}pw` },
  });
const put = async (path: string, body: object): Promise<void> => {
  const { status, body: said } = await adminInTime(admins[0] as Node, "PUT", path, body);
  if (status >= 300) throw new Error(`PUT ${path}: ${status} ${JSON.stringify(said)}`);
};
const usage = async (query = "", at = admins[1] as Node): Promise<readonly Row[]> => {
  const { status, body } = await adminInTime(at, "GET", `/usage${query}`);
  expect(status, JSON.stringify(body)).toBe(200);
  return (body as { list: readonly Row[] }).list;
};
const call = async (node: Node | undefined, headers: Record<string, string>): Promise<number> =>
  (await fetch(`${node?.gateway}/x`, { headers })).status;
/** Once every use so far is seen. */
const used = (credential: string): Promise<Row> =>
  until(`the use of ${credential}`, async () => {
    const [row] = await usage(`?consumer=jack&credential=${credential}`);
    return row?.last_used ? row : undefined;
  });
const hourNow = (): number => Math.floor(Date.now() / 3_600_000) * 3_600;

describe.skipIf(!etcdAvailable() || !etcdctlAvailable())("the use of credentials", () => {
  beforeAll(async () => {
    upstream = createServer((_request, response) => response.end("hello"));
    await new Promise<void>((done) => upstream.listen(0, "127.0.0.1", done));
    issuer = await openIssuerServer();
    issuer.keys = [KEY.jwk];
    etcd = await startEtcd();
    const plain = (...args: string[]): Promise<string> => etcdctl(etcd.endpoints, args);
    await plain("user", "add", "root:rootpw");
    await plain("user", "grant-role", "root", "root").catch(() => plain("role", "add", "root"));
    // As docs/cluster.md has it.
    for (const role of ["gateway", "admin"]) {
      await plain("role", "add", role);
      await plain("user", "add", `${role}:${role}pw`);
      await plain("user", "grant-role", role, role);
    }
    const grant = (role: string, ...rest: string[]): Promise<string> =>
      plain("role", "grant-permission", role, ...rest);
    await grant("gateway", "--prefix=true", "read", "/apisix/");
    for (const dir of ["nodes", "acks", "usage/in"])
      await grant("gateway", "--prefix=true", "readwrite", `/apisix-jotgate/${dir}/`);
    await grant("gateway", "read", "/apisix-jotgate/node-key");
    await grant("admin", "--prefix=true", "readwrite", "/apisix");
    await plain("auth", "enable");
    admins = await Promise.all([start("admin", OFTEN), start("admin", OFTEN)]);
    gateways = await Promise.all([
      start("gateway", [...OFTEN, "--workers", "2"]),
      start("gateway", ["--usage-interval", "1h", "--workers", "1"]),
    ]);
    await put("/token_issuers/idp", { issuer: issuer.url, jwks_uri: `${issuer.url}/keys` });
    await put("/consumers/jack", { username: "jack" });
    await put("/consumers/jill", { username: "jill" });
    for (const id of ["one", "two", "three", "gone", "never"])
      await put(`/consumers/jack/credentials/${id}`, { plugins: { "key-auth": { key: `key-${id}` } } });
    await put("/consumers/jack/credentials/jwt", {
      plugins: { "jwt-auth": { key: "jack-jwt", secret: SECRET } },
    });
    await put("/consumers/jack/credentials/token", { plugins: { "access-token": { identity: "idp/orders" } } });
    const nodes = { [`127.0.0.1:${(upstream.address() as AddressInfo).port}`]: 1 };
    const access = { "access-token": { issuers: ["idp"], audiences: [API] } };
    await put("/routes/x?wait=all", {
      ...{ uri: "/x", upstream: { nodes } },
      plugins: { "multi-auth": { auth_plugins: [{ "key-auth": {} }, { "jwt-auth": { header: "x-jwt" } }, access] } },
    });
  });

  afterAll(async () => {
    await Promise.all([...(admins ?? []), ...(gateways ?? [])].map((node) => node.stop("SIGKILL")));
    await etcd?.stop();
    await issuer?.close();
    upstream?.close();
  });

  test("is seen at both admins, with the hour and the node, whichever worker had the call", async () => {
    const [before] = await usage("?consumer=jack&credential=one");
    expect(before).toEqual({ consumer: "jack", credential: "one", last_used: null, nodes: [] });
    const hour = hourNow();
    for (let i = 0; i < 8; i++) expect(await call(gateways[0], { apikey: "key-one" })).toBe(200);
    const { last_used: last, nodes } = await used("one");
    expect([hour, hourNow()]).toContain(last);
    expect(nodes).toEqual([expect.stringMatching(/^gateway-/)]);
    expect(await usage("?consumer=jack&credential=one", admins[0])).toEqual([
      { consumer: "jack", credential: "one", last_used: last, nodes },
    ]);
    // The consumer was used as one of its credentials was.
    const ofJack = await usage("?consumer=jack");
    expect(ofJack.find(({ credential }) => credential === undefined)?.last_used).toBe(last);
    expect(ofJack.map(({ last_used: at }) => at ?? 0)).toEqual(ofJack.map(({ last_used: at }) => at ?? 0).sort());
    const { body } = await admin(admins[1] as Node, "GET", "/consumers/jack/credentials/one?usage=1");
    expect((body as { usage: object }).usage).toEqual({ last_used: last, resolution: 3_600, nodes });
  });

  test("of tokens: the credential, the issuer and its key", async () => {
    const claims = { sub: "orders", aud: API, exp: 4_000_000_000 };
    expect(await call(gateways[0], { authorization: `Bearer ${issuer.token(KEY, claims)}` })).toBe(200);
    const jwt = makeToken({ payload: { key: "jack-jwt", exp: 4_000_000_000 } });
    expect(await call(gateways[0], { "x-jwt": jwt })).toBe(200);
    const { last_used: last } = await used("token");
    await used("jwt");
    const rows = await until("the key", async () => {
      const found = await usage("?issuer=idp");
      return found.length === 2 ? found : undefined;
    });
    expect(rows.map(({ issuer: id, kid, last_used: at }) => ({ id, kid, at }))).toEqual([
      { id: "idp", kid: undefined, at: last },
      { id: "idp", kid: "k1", at: last },
    ]);
    expect(await usage("?issuer=idp&kid=k1")).toHaveLength(1);
  });

  test("is not what is refused, nor what is only explained", async () => {
    expect(await call(gateways[0], { apikey: "key-none" })).toBe(401);
    const request = { uri: "/x", headers: { apikey: "key-never" } };
    expect((await admin(admins[0] as Node, "POST", "/explain", { request })).body).toMatchObject({
      verdict: "forwarded",
      consumer: "jack",
    });
    await call(gateways[0], { apikey: "key-two" });
    await used("two");
    expect((await usage("?consumer=jack&credential=never"))[0]?.last_used).toBeNull();
    expect((await usage("?consumer=jill"))[0]?.last_used).toBeNull();
  });

  test("goes with its credential, and does not come back with another of its name", async () => {
    await call(gateways[0], { apikey: "key-gone" });
    await used("gone");
    await admin(admins[0] as Node, "DELETE", "/consumers/jack/credentials/gone");
    expect(await usage("?consumer=jack&credential=gone")).toEqual([]);
    await put("/consumers/jack/credentials/gone", { plugins: { "key-auth": { key: "key-gone" } } });
    expect((await usage("?consumer=jack&credential=gone"))[0]?.last_used).toBeNull();
  });

  test("is handed in by a node that stops in order, long before it is due", async () => {
    await call(gateways[1], { apikey: "key-three" });
    expect(await gateways[1]?.stop("SIGTERM")).toBe(0);
    await used("three");
    await until("nothing is left to take in", async () => {
      const left = await root("get", "--prefix", "--keys-only", "/apisix-jotgate/usage/in/");
      return left.trim() === "";
    });
  });

  test("tells what nobody has used, younger things left out, to viewers too", async () => {
    // Nothing here is older than an hour.
    expect(await usage("?unused_since=1h")).toEqual([]);
    const old = { id: "old", create_time: 1, plugins: { "key-auth": { key: "key-old" } } };
    await root("put", "/apisix/consumers/jack/credentials/old", JSON.stringify(old));
    expect(await usage("?unused_since=30d")).toEqual([
      { consumer: "jack", credential: "old", last_used: null, nodes: [] },
    ]);
    const viewer = await admin(admins[0] as Node, "GET", "/usage?page_size=1&page=2", undefined, {
      "X-API-KEY": VIEWER_KEY,
    });
    expect(viewer.status).toBe(200);
    expect(viewer.body).toMatchObject({ list: [expect.anything()], resolution: 3_600 });
    expect((viewer.body as { recorded_since: number }).recorded_since).toBeLessThanOrEqual(hourNow());
  });

  test.each([
    ["?unused_since=30", "invalid argument unused_since: should be hours or days such as 12h or 30d"],
    ["?page=0", "invalid argument page: should be a number from 1"],
    ["?page_size=501", "invalid argument page_size: should be from 1 to 500"],
    ["?credential=a", "argument credential needs consumer"],
    ["?kid=a", "argument kid needs issuer"],
    ["?consumer=a&issuer=b", "give consumer or issuer, not both"],
    ["?comsumer=a", "unknown argument comsumer"],
  ])("%s is refused: %s", async (query, error) => {
    const { status, body } = await admin(admins[0] as Node, "GET", `/usage${query}`);
    expect([status, body]).toEqual([400, { error_msg: error }]);
  });

  test("a gateway that may not write it serves on and says so; then etcd is away: 503", async () => {
    await root("role", "revoke-permission", "gateway", "--prefix=true", "/apisix-jotgate/usage/in/");
    await put("/consumers/jack/credentials/late?wait=all", { plugins: { "key-auth": { key: "key-late" } } });
    expect(await call(gateways[0], { apikey: "key-late" })).toBe(200);
    await until("it says so", () => gateways[0]?.output().includes("uses of credentials could not be written"));
    await root("role", "grant-permission", "gateway", "--prefix=true", "readwrite", "/apisix-jotgate/usage/in/");
    await used("late"); // nothing was lost
    await etcd.kill(0);
    expect(await call(gateways[0], { apikey: "key-one" })).toBe(200);
    const { status } = await admin(admins[0] as Node, "GET", "/usage");
    expect(status).toBe(503);
  });
});

test("on the embedded store, by workers that have no store of their own", async () => {
  const node = await startNode("start", { args: [...OFTEN, "--workers", "2"] });
  try {
    await admin(node, "PUT", "/consumers/jack", { username: "jack", plugins: { "key-auth": { key: "key-jack" } } });
    const upstreamNodes = { nodes: { "127.0.0.1:1": 1 } };
    await admin(node, "PUT", "/routes/x?wait=all", { uri: "/x", plugins: { "key-auth": {} }, upstream: upstreamNodes });
    expect(await call(node, { apikey: "key-jack" })).toBe(502); // let in; nobody answers behind it
    const [row] = await until("the use", async () => {
      const rows = await usage("?consumer=jack", node);
      return rows[0]?.last_used ? rows : undefined;
    });
    expect(row).toMatchObject({ consumer: "jack", nodes: [expect.any(String)] });
  } finally {
    await node.stop();
  }
});
