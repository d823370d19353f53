/**
 * An etcd with users: tokens that expire, permissions and passwords that are taken away and given back: G1, G3, G12.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import type { Store } from "../../src/store/store.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { etcdctl, etcdctlAvailable } from "../support/etcdctl.ts";
import { type Lone, openLone, seed } from "../support/lone.ts";
import { allowTime, bounded, slack } from "../support/long-run.ts";
import { admin, startNode, until } from "../support/process.ts";
import { type Relay, startRelay } from "../support/relay.ts";
import { configOf } from "../support/scrape.ts";

allowTime();

const TOKEN_SECONDS = 2;
let etcd: EtcdCluster;
let relay: Relay;
let store: Store;
let lone: Lone;
const ctl = (...args: string[]): Promise<string> => etcdctl(etcd.endpoints, ["--user", "root:rootpw", ...args]);

describe.skipIf(!etcdAvailable() || !etcdctlAvailable())("an etcd with users", () => {
  beforeAll(async () => {
    etcd = await startEtcd({ extraArgs: ["--auth-token-ttl", String(TOKEN_SECONDS)] });
    const plain = (...args: string[]): Promise<string> => etcdctl(etcd.endpoints, args);
    await plain("user", "add", "root:rootpw");
    await plain("user", "grant-role", "root", "root").catch(() => plain("role", "add", "root"));
    await plain("user", "add", "gateway:gatewaypw");
    await plain("role", "add", "reader"); // reading is all that a gateway needs
    await plain("role", "grant-permission", "reader", "read", "/apisix/", "/apisix0");
    await plain("user", "grant-role", "gateway", "reader");
    await plain("auth", "enable");
    const access = { user: "root", password: "rootpw" };
    store = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog, ...access }).open();
    await seed(store);
    relay = await startRelay(etcd.endpoints[0] ?? "");
    lone = await openLone({
      etcd: [relay.endpoint],
      args: ["--etcd-user", "gateway"],
      env: { JOTGATE_ETCD_PASSWORD: "gatewaypw" },
      ...{ store, rate: bounded(50, 300) },
    });
  });

  afterAll(async () => {
    await lone?.close();
    await store?.close();
    await relay?.stop();
    await etcd?.stop();
  });

  const untilRefused = async (): Promise<void> => {
    await until(
      "the node says that it is refused",
      async () => (await configOf(lone.node)).store_problem?.code === "store-refused",
      slack(15_000),
    );
    expect((await fetch(`${lone.node.status}/ready`)).status).toBe(200);
  };

  test("G1 G3: 19 its token expired, then the connection is cut: a new one is fetched and nothing missed", async () => {
    await lone.run({
      name: "19 token expired, then connection cut",
      how: `--auth-token-ttl ${TOKEN_SECONDS}, relay cut after twice that`,
      guarantees: "G1 G3",
      freshMs: 2_000,
      inject: async () => {
        // The server's own clock: there is no fact to wait for.
        await new Promise((resolve) => setTimeout(resolve, bounded(1.3, 2) * TOKEN_SECONDS * 1_000));
        relay.cut();
      },
    });
  });

  test("G1 G12: 18 its permission is revoked: it serves, says so, and heals without a restart when it is given back", async () => {
    await lone.run({
      name: "18 permission revoked, given back",
      how: "etcdctl role revoke-permission, connection cut",
      guarantees: "G1 G12",
      inject: async () => {
        await ctl("role", "revoke-permission", "reader", "/apisix/", "/apisix0");
        relay.cut();
        await untilRefused();
        await ctl("role", "grant-permission", "reader", "read", "/apisix/", "/apisix0");
      },
    });
  });

  test("G1 G12: 18 its password is changed: it serves, says so, and heals without a restart when it fits again", async () => {
    const change = (password: string): Promise<string> =>
      etcdctl(
        etcd.endpoints,
        ["--user", "root:rootpw", "user", "passwd", "gateway", "--interactive=false"],
        `${password}\n`,
      );
    await lone.run({
      name: "18 password changed, changed back",
      how: "etcdctl user passwd, connection cut",
      guarantees: "G1 G12",
      inject: async () => {
        await change("another");
        relay.cut();
        await untilRefused();
        await change("gatewaypw");
      },
    });
    const said = lone.node.output();
    for (const secret of ["gatewaypw", "rootpw"]) expect(said).not.toContain(secret);
  });

  test("a client cannot end its token where its node may only read, and is told so, as is the operator; then it may", async () => {
    const access = { args: ["--etcd-user", "root"], env: { JOTGATE_ETCD_PASSWORD: "rootpw" } };
    const adminNode = await startNode("admin", { etcd: etcd.endpoints, ...access });
    try {
      const origin = lone.node.gateway;
      const put = async (path: string, body: object): Promise<Record<string, unknown>> => {
        const answer = await admin(adminNode, "PUT", `${path}?wait=all`, body);
        expect([path, answer.status]).toEqual([path, 201]);
        return answer.body as Record<string, unknown>;
      };
      await put("/authorization_servers/main", { issuer: origin });
      await put("/routes/auth", { uri: "/oauth2/*", plugins: { "authorization-server": { id: "main" } } });
      const { generated } = await put("/consumers/shop", {
        ...{
          username: "shop",
          plugins: { "oauth2-client": { client_id: "batch", audiences: ["https://api.example"] } },
        },
      });
      const { client_secret: secret } = generated as { readonly client_secret: string };
      const ask = (path: string, body: string): Promise<Response> =>
        fetch(`${origin}${path}`, {
          ...{ method: "POST", body: new URLSearchParams(body) },
          headers: { authorization: `Basic ${Buffer.from(`batch:${secret}`).toString("base64")}` },
        });
      const given = await ask("/oauth2/token", "grant_type=client_credentials");
      const { access_token: token } = (await given.json()) as { readonly access_token: string };
      const end = (): Promise<Response> => ask("/oauth2/revoke", `token=${token}`);
      const problems = async (): Promise<string> => JSON.stringify((await configOf(lone.node)).problems);

      const denied = await end();
      expect([denied.status, denied.headers.get("retry-after"), await denied.text()]).toEqual([
        ...[503, "2", '{"error":"temporarily_unavailable"}'],
      ]);
      expect(await problems()).toMatch(/token_revocations.*readwrite/);
      const directory = ["/apisix/token_revocations/", "/apisix/token_revocations0"];
      await ctl("role", "grant-permission", "reader", "readwrite", ...directory);
      await until("it is written", async () => (await end()).status === 200);
      expect(await problems()).toBe("[]");
      expect((await configOf(lone.node)).store_problem).toBeNull();
    } finally {
      await adminNode.stop();
    }
  });
});
