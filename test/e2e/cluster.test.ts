/**
 * A real cluster: etcd with three members, one admin, three gateways, all as processes of their own.
 */
import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { bounded } from "../support/long-run.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";

const WRITES = bounded(400, 1_000);

let etcd: EtcdCluster;
let adminNode: Node;
let gateways: Node[] = [];
let upstream: Server;
let upstreamPort = 0;

describe.skipIf(!etcdAvailable())("a cluster on etcd", () => {
  beforeAll(async () => {
    upstream = createServer((request, response) =>
      response.end(JSON.stringify({ url: request.url, headers: request.headers })),
    );
    await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
    const address = upstream.address();
    upstreamPort = address && typeof address === "object" ? address.port : 0;
    etcd = await startEtcd({ members: 3 });
    const options = { etcd: etcd.endpoints, args: ["--workers", "1"] };
    adminNode = await startNode("admin", { etcd: etcd.endpoints });
    gateways = await Promise.all([
      startNode("gateway", options),
      startNode("gateway", options),
      startNode("gateway", options),
    ]);
  });

  afterAll(async () => {
    for (const node of [...gateways, adminNode]) await node?.stop();
    await etcd?.stop();
    upstream?.close();
  });

  test("a consumer written at the admin signs at node A and calls through node B", async () => {
    const nodes = { [`127.0.0.1:${upstreamPort}`]: 1 };
    await put("/routes/sign", { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } });
    await put("/routes/hello", { uri: "/hello", plugins: { "jwt-auth": {} }, upstream: { type: "roundrobin", nodes } });
    await put("/consumers", { username: "jack", plugins: { "jwt-auth": { key: "jack-key", exp: 60 } } });
    for (const signer of gateways) {
      const token = await until("a token", async () => {
        const answer = await fetch(`${signer.gateway}/apisix/plugin/jwt/sign?key=jack-key`);
        return answer.ok ? answer.text() : undefined;
      });
      for (const caller of gateways) {
        const answer = await until("200", async () => {
          const got = await fetch(`${caller.gateway}/hello`, { headers: { authorization: `Bearer ${token}` } });
          return got.ok ? got : undefined;
        });
        const seen = (await answer.json()) as { headers: Record<string, string> };
        expect(seen.headers["x-consumer-username"]).toBe("jack");
      }
    }
  });

  test("the admin tells of every node by asking it", async () => {
    const nodes = await until("three nodes", async () => {
      const { list } = (await admin(adminNode, "GET", "/nodes")).body as { list: { id: string; hash: string }[] };
      return list.length === 3 ? list : undefined;
    });
    for (const { id } of nodes) {
      const config = await admin(adminNode, "GET", `/nodes/${id}/config`);
      expect(config.body).toMatchObject({ loaded: true, problems_total: 0 });
      expect((await admin(adminNode, "GET", `/nodes/${id}/status`)).body).toMatchObject({ id, role: "gateway" });
    }
  });

  test(`none of ${WRITES} writes is lost and every node answers by it`, async () => {
    const delays: number[] = [];
    for (let i = 0; i < WRITES; i++) {
      const mark = `w${i}`;
      const answer = await admin(adminNode, "PUT", "/routes/probe", {
        uri: "/probe",
        plugins: { mocking: { response_example: JSON.stringify({ mark }), content_type: "application/json" } },
      });
      expect(answer.status).toBeLessThan(300);
      const written = performance.now();
      await Promise.all(gateways.map((node) => sees(node, mark)));
      delays.push(performance.now() - written);
    }
    delays.sort((a, b) => a - b);
    const at = (share: number): string => (delays[Math.floor((delays.length - 1) * share)] ?? 0).toFixed(1);
    process.stdout.write(
      `\n${WRITES} writes, 3 gateways: all nodes answer by the new configuration after p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms\n`,
    );
  });

  test("the others go on when a gateway or the admin is killed, and a new node serves after its first sync", {
    timeout: 300_000,
  }, async () => {
    const [first, second, third] = gateways as [Node, Node, Node];
    await first.stop("SIGKILL");
    await adminNode.stop("SIGKILL");
    for (const node of [second, third]) expect((await fetch(`${node.gateway}/probe`)).status).toBe(200);
    const fresh = await startNode("gateway", { etcd: etcd.endpoints, args: ["--workers", "1"] });
    gateways = [second, third, fresh];
    expect((await fetch(`${fresh.gateway}/probe`)).status).toBe(200);
    adminNode = await startNode("admin", { etcd: etcd.endpoints });
    await put("/routes/probe2", { uri: "/probe2", plugins: { mocking: { response_example: "{}" } } });
    for (const node of gateways) await until("the new route", async () => (await fetch(`${node.gateway}/probe2`)).ok);
  });

  async function put(path: string, body: unknown): Promise<void> {
    const answer = await admin(adminNode, "PUT", path, body);
    expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
  }

  async function sees(node: Node, mark: string): Promise<void> {
    await until(
      `${mark} at ${node.gateway}`,
      async () => {
        const answer = await fetch(`${node.gateway}/probe`);
        const text = await answer.text();
        return answer.ok && text.includes(`"${mark}"`);
      },
      10_000,
      1,
    );
  }
});
