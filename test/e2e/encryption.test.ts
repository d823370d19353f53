/**
 * Secrets at rest on a real etcd: sealed there, usable at gateways with the keyring, and at no other.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { admin, type Node, startNode } from "../support/process.ts";
import { contents } from "../support/stores.ts";

const KEYRING = { JOTGATE_KEYRING: "0123456789abcdef0123456789abcdef" };
const WRONG = { JOTGATE_KEYRING: "fedcba9876543210fedcba9876543210" };

describe.skipIf(!etcdAvailable())("a cluster with a keyring", () => {
  let etcd: EtcdCluster;
  let adminNode: Node;
  let right: Node;
  let wrong: Node;
  const nodes: Node[] = [];

  beforeAll(async () => {
    etcd = await startEtcd();
    const start = async (role: "admin" | "gateway", env: Record<string, string>): Promise<Node> => {
      const args = role === "gateway" ? ["--workers", "1"] : [];
      const node = await startNode(role, { etcd: etcd.endpoints, env, args });
      nodes.push(node);
      return node;
    };
    adminNode = await start("admin", KEYRING);
    right = await start("gateway", KEYRING);
    wrong = await start("gateway", WRONG);
  });

  afterAll(async () => {
    for (const node of nodes) await node.stop();
    await etcd?.stop();
  });

  const put = async (path: string, body: object): Promise<void> => {
    const answer = await admin(adminNode, "PUT", `${path}?wait=all&timeout=10s`, body);
    expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(202);
  };
  const sign = (node: Node) => fetch(`${node.gateway}/sign?key=jack-key`);

  test("signs and verifies with secrets that etcd never sees", async () => {
    await put("/routes/sign", { uri: "/sign", plugins: { "public-api": { uri: "/apisix/plugin/jwt/sign" } } });
    const mocking = { response_example: "served" };
    await put("/routes/guarded", { uri: "/guarded", plugins: { "jwt-auth": {}, mocking } });
    const jack = { username: "jack", plugins: { "jwt-auth": { key: "jack-key" } } };
    const written = await admin(adminNode, "PUT", "/consumers?wait=all&timeout=10s", jack);
    // Everybody has applied it; who cannot open it says that it does not serve it.
    expect([written.status, (written.body as { applied: unknown[] }).applied.length]).toEqual([202, 1]);
    const why = expect.stringContaining("which is not in the keyring");
    expect(written.body).toMatchObject({
      waiting: [],
      left: [],
      refused: [{ key: "/apisix/consumers/jack", reason: why }],
    });
    const read = await admin(adminNode, "GET", "/consumers/jack");
    const { secret } = (read.body as { value: { plugins: { "jwt-auth": { secret: string } } } }).value.plugins[
      "jwt-auth"
    ];
    expect(secret.length).toBeGreaterThan(20);

    const token = await (await sign(right)).text();
    const answer = await fetch(`${right.gateway}/guarded`, { headers: { authorization: `Bearer ${token}` } });
    expect(answer.status).toBe(200);

    const store = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog }).open();
    const dump = [...(await contents(store, { start: "\0", end: "~" }))].map((pair) => pair.join(" ")).join("\n");
    await store.close();
    expect(dump).toContain("jotgate:1:");
    expect(dump).not.toContain(secret);
  });

  test("a gateway with another keyring says so and lets nobody in", async () => {
    expect((await sign(wrong)).status).not.toBe(200);
    const token = await (await sign(right)).text();
    const answer = await fetch(`${wrong.gateway}/guarded`, { headers: { authorization: `Bearer ${token}` } });
    expect(answer.status).toBe(401);
    const config = await (await fetch(`${wrong.status}/config`)).text();
    expect(config).toContain("/apisix/consumers/jack");
    expect(config).toContain("which is not in the keyring");
  });
});
