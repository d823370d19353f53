/**
 * `max_stale` bounds how long a revoked credential works on a node that is cut off: beyond it authenticated traffic is
 * refused, while routes without authentication go on.
 */
import { createServer } from "node:http";
import { expect, onTestFinished, test } from "vitest";
import { etcdAvailable, startEtcd } from "../support/etcd.ts";
import { admin, startNode, until } from "../support/process.ts";

test.skipIf(!etcdAvailable())(
  "a node that is cut off for longer than max_stale refuses authenticated traffic until its store is back",
  { timeout: 300_000 },
  async () => {
    const upstream = createServer((_request, response) => response.end("ok"));
    await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
    onTestFinished(() => void upstream.close());
    const address = upstream.address();
    const nodes = { [`127.0.0.1:${address && typeof address === "object" ? address.port : 0}`]: 1 };
    const etcd = await startEtcd({ members: 1 });
    onTestFinished(() => etcd.stop());
    const adminNode = await startNode("admin", { etcd: etcd.endpoints });
    onTestFinished(async () => void (await adminNode.stop()));
    const node = await startNode("gateway", { etcd: etcd.endpoints, args: ["--workers", "1", "--max-stale", "3s"] });
    onTestFinished(async () => void (await node.stop()));

    await admin(adminNode, "PUT", "/consumers", { username: "jack", plugins: { "key-auth": { key: "jack-key" } } });
    const upstreamConf = { type: "roundrobin", nodes };
    await admin(adminNode, "PUT", "/routes/open", { uri: "/open", upstream: upstreamConf });
    await admin(adminNode, "PUT", "/routes/closed", {
      uri: "/closed",
      plugins: { "key-auth": {} },
      upstream: upstreamConf,
    });
    const status = async (path: string): Promise<number> =>
      (await fetch(node.gateway + path, { headers: { apikey: "jack-key" } })).status;
    const ready = async (): Promise<number> => (await fetch(`${node.status}/ready`)).status;
    await until("both routes", async () => (await status("/open")) === 200 && (await status("/closed")) === 200);

    await etcd.kill(0);
    expect(await status("/closed")).toBe(200);
    await until("authenticated traffic is refused", async () => (await status("/closed")) === 503);
    expect(await status("/open")).toBe(200);
    expect(await ready()).toBe(503);

    await etcd.restart(0);
    await until("authenticated traffic is served again", async () => (await status("/closed")) === 200);
    await until("ready", async () => (await ready()) === 200);
  },
);
