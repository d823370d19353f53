/**
 * `jotgate backup` and `restore`: a running embedded store, into etcd, under traffic; what is refused.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { ADMIN_KEY, admin, type Node, run, startNode, temporaryFolder, until } from "../support/process.ts";

const PASSPHRASE = "correct horse battery staple";
const folder = temporaryFolder("backup");
const file = join(folder, "gateway.backup");
const upstream = createServer((_request, response) => response.end("here"));
let etcd: EtcdCluster;
const nodes: Node[] = [];

describe.runIf(etcdAvailable())("backup and restore", () => {
  beforeAll(async () => {
    await new Promise<void>((done) => upstream.listen(0, "127.0.0.1", done));
    etcd = await startEtcd();
  });
  afterAll(async () => {
    for (const node of nodes) await node.stop("SIGKILL");
    await etcd?.stop();
    upstream.close();
  });

  async function started(options: Parameters<typeof startNode>[1]): Promise<Node> {
    const node = await startNode("start", options);
    nodes.push(node);
    return node;
  }

  async function jotgate(args: readonly string[], env: Record<string, string> = {}) {
    const child = run(process.execPath, ["bin/jotgate.mjs", ...args], {
      env: { JOTGATE_PASSPHRASE: PASSPHRASE, ...env },
    });
    const code = await child.exited;
    return { code, text: child.output() };
  }

  async function exported(node: Node): Promise<readonly unknown[]> {
    const answer = await fetch(`${node.admin}/apisix/admin/configs/export`, { headers: { "X-API-KEY": ADMIN_KEY } });
    const lines = (await answer.text()).trim().split("\n").slice(0, -1);
    return lines.map((line) => ({ ...JSON.parse(line), revision: 0 }));
  }

  test("a running embedded store moves to etcd under traffic: nothing fails, records, history and signing keys are there", async () => {
    const dataDir = temporaryFolder("backup-data");
    const first = await started({ dataDir });
    const { port } = upstream.address() as { port: number };
    const target = { nodes: { [`127.0.0.1:${port}`]: 1 } };
    expect((await admin(first, "POST", "/routes", { uri: "/here", upstream: target })).status).toBe(201);
    await admin(first, "PUT", "/consumers", { username: "jack", plugins: { "key-auth": { key: "jacks-key" } } });
    await admin(first, "PUT", "/authorization_servers/main", { issuer: "https://own.example.com" });
    await admin(first, "PUT", "/routes/temporary?ttl=600", { uri: "/temporary", upstream: target });

    let base = first.gateway;
    let isOver = false;
    const statuses: number[] = [];
    const traffic = (async () => {
      while (!isOver) statuses.push((await fetch(`${base}/here`).catch(() => ({ status: 0 }))).status);
    })();
    await until("traffic", () => statuses.includes(200));

    const backup = await jotgate(["backup", file, "--data-dir", dataDir]);
    expect([backup.code, backup.text]).toMatchObject([
      0,
      expect.stringMatching(/\d+ keys of revision \d+, sealed by the passphrase, 1 with a lifetime left out/),
    ]);
    for (const secret of ["jacks-key", "PRIVATE KEY", "/here"])
      expect(readFileSync(file, "latin1")).not.toContain(secret);
    const restored = await jotgate(["restore", file, "--etcd", etcd.endpoints.join(",")]);
    expect([restored.code, restored.text]).toMatchObject([0, expect.stringContaining("keys restored")]);

    const second = await started({ etcd: etcd.endpoints });
    base = second.gateway;
    const calls = statuses.length;
    await until("the other node serves", () => statuses.length > calls + 20);
    const before = (await exported(first)).filter((one) => (one as { id: string }).id !== "temporary");
    expect(await exported(second)).toEqual(before);
    const history = async (node: Node) =>
      (
        (await admin(node, "GET", "/history?page_size=500")).body as { list: { path: string; time: number }[] }
      ).list.map(({ path, time }) => [path, time]);
    expect((await history(second)).slice(-4)).toEqual((await history(first)).slice(-4));
    const { body } = await admin(second, "POST", "/routes", { uri: "/new", upstream: target });
    expect((await exported(second)).length, JSON.stringify(body)).toBe(before.length + 1);
    await first.stop();
    isOver = true;
    await traffic;
    expect(statuses.filter((status) => status !== 200)).toEqual([]);

    const again = await jotgate(["restore", file, "--etcd", etcd.endpoints.join(",")]);
    expect([again.code, again.text]).toMatchObject([
      1,
      expect.stringMatching(/is not empty, it has .*delete what is under.*nothing was written/s),
    ]);
    const back = await jotgate(["backup", join(folder, "etcd.backup"), "--etcd", etcd.endpoints.join(",")]);
    expect(back.code, back.text).toBe(0);
  });

  test("from a backup into an empty embedded store; a damaged file, another passphrase, no key and no store are refused", async () => {
    const dataDir = temporaryFolder("restore-data");
    const bytes = readFileSync(file);
    const changed = join(folder, "changed.backup");
    bytes[bytes.length - 30] = (bytes[bytes.length - 30] ?? 0) ^ 1;
    writeFileSync(changed, bytes);
    const cut = join(folder, "cut.backup");
    writeFileSync(cut, readFileSync(file).subarray(0, bytes.length - 100));
    const other = join(folder, "other");
    writeFileSync(other, "{}\n");
    for (const [args, env, wanted] of [
      [["restore", changed, "--data-dir", dataDir], {}, "cannot be opened at piece 1"],
      [["restore", cut, "--data-dir", dataDir], {}, "cannot be opened at piece 1"],
      [["restore", other, "--data-dir", dataDir], {}, "is no backup of Jotgate"],
      [
        ["restore", file, "--data-dir", dataDir],
        { JOTGATE_PASSPHRASE: "another passphrase" },
        "the key or passphrase is another",
      ],
      [["restore", file, "--data-dir", dataDir], { JOTGATE_PASSPHRASE: "" }, "it is sealed by a passphrase"],
      [["restore", file, "--data-dir", dataDir, "--prefix", "/other"], {}, "is of prefix /apisix, not /other"],
      [["backup", changed, "--data-dir", dataDir], {}, "there is no store in"],
      [["backup", changed, "--etcd", etcd.endpoints.join(",")], { JOTGATE_PASSPHRASE: "" }, "a backup is sealed"],
      [
        ["backup", changed, "--etcd", etcd.endpoints.join(","), "--prefix", "/none"],
        {},
        "there is nothing under /none",
      ],
    ] as const) {
      const { code, text } = await jotgate(args, env);
      expect([code, text]).toEqual([1, expect.stringContaining(wanted)]);
    }
    const restored = await jotgate(["restore", file, "--data-dir", dataDir]);
    expect(restored.code, restored.text).toBe(0);
    const node = await started({ dataDir });
    await until("it serves", async () => (await fetch(`${node.gateway}/here`)).ok);
  });
});
