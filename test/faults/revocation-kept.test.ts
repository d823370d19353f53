/**
 * What was acknowledged stays: neither a worker that replaces another nor a node that starts again with etcd away brings a
 * revoked credential back. G3, G6.
 */
import { afterAll, describe, expect, test } from "vitest";
import { etcdAvailable, startEtcd } from "../support/etcd.ts";
import { reportFault } from "../support/fault-report.ts";
import { allowTime } from "../support/long-run.ts";
import { admin, startNode, temporaryFolder, until } from "../support/process.ts";

allowTime();

const ends: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const keyOf = (name: string): string => `key-of-${name}-0123456789`;

describe.skipIf(!etcdAvailable())("a credential that was revoked with wait=all", () => {
  test("G3 G6: stays revoked when etcd goes, then a worker, then the node", async () => {
    const etcd = await startEtcd();
    ends.push(() => etcd.stop());
    const desk = await startNode("admin", { etcd: etcd.endpoints });
    ends.push(() => desk.stop("SIGKILL"));
    const dataDir = temporaryFolder("revocation");
    const start = () =>
      startNode("gateway", { etcd: etcd.endpoints, dataDir, args: ["--workers", "2", "--instance", "kept"] });
    const node = await start();
    ends.push(() => node.stop("SIGKILL"));
    const statusOf = async (origin: string, name: string): Promise<number> => {
      const headers = { apikey: keyOf(name), connection: "close" };
      return (await fetch(`${origin}/private`, { headers })).status;
    };
    const put = async (path: string, body: unknown): Promise<void> =>
      expect((await admin(desk, "PUT", path, body)).status).toBeLessThan(300);
    await put("/routes/private", { uri: "/private", plugins: { "key-auth": {}, mocking: { response_example: "in" } } });
    const consumer = (name: string) => ({ username: name, plugins: { "key-auth": { key: keyOf(name) } } });
    for (const name of ["stays", "goes"]) await put("/consumers", consumer(name));
    await until("both may come in", async () => {
      const seen = await Promise.all(
        Array.from({ length: 8 }, (_, i) => statusOf(node.gateway, i % 2 ? "stays" : "goes")),
      );
      return seen.every((status) => status === 200);
    });
    // The file is current; what is revoked now is newer than it.
    for (let i = 0; i < 5; i++) await put("/consumers", consumer(`other${i}`));
    const revoked = await admin(desk, "DELETE", "/consumers/goes?wait=all&timeout=20s");
    expect([revoked.status, revoked.body]).toMatchObject([200, { applied: [expect.any(String)], waiting: [] }]);
    await etcd.kill(0);

    const workers = async (): Promise<readonly { pid: number; state: string }[]> =>
      ((await (await fetch(`${node.status}/status`)).json()) as { workers: { pid: number; state: string }[] }).workers;
    const before = await workers();
    process.kill(before[0]?.pid ?? 0, "SIGKILL");
    await until("it is replaced", async () => {
      const now = await workers();
      const isNew = now.some(({ pid, state }) => state === "serving" && before.every((old) => old.pid !== pid));
      return isNew && now.filter(({ state }) => state === "serving").length === 2;
    });
    let sent = 0;
    const judge = async (origin: string): Promise<void> => {
      for (let i = 0; i < 40; i++, sent += 2) {
        expect(await statusOf(origin, "goes")).toBe(401);
        expect(await statusOf(origin, "stays")).toBe(200);
      }
    };
    await judge(node.gateway);

    await node.stop("SIGKILL");
    const again = await start();
    ends.push(() => again.stop("SIGKILL"));
    await judge(again.gateway);
    reportFault({
      fault: "2b etcd, a worker and the node killed after a revocation",
      how: "SIGKILL right after DELETE consumers/x?wait=all",
      ...{ sent, failed: 0, freshMs: undefined, guarantees: "G3 G6", held: true },
    });
  });
});
