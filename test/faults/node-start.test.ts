/**
 * G8: how a gateway starts when etcd is away, with its last-known-good file whole, absent, cut off or tampered with.
 * Whatever the file is like, the node never serves what was not its configuration.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { reportFault } from "../support/fault-report.ts";
import { recordOf } from "../support/ledger.ts";
import { allowTime, bounded, slack } from "../support/long-run.ts";
import { admin, type Node, startNode, temporaryFolder, until } from "../support/process.ts";
import { configOf, type NodeConfig } from "../support/scrape.ts";

allowTime();

const ROUTES = 30;
let etcd: EtcdCluster;
let adminNode: Node;
/** The file as a gateway left it. */
let whole: Buffer;
let hash = "";
/** Where it lies in a data folder. */
const PLACE = "lkg/last-known-good";
const nodes: Node[] = [];

/** A gateway on a data folder that holds these bytes as its file. */
async function start(
  file: Buffer | undefined,
  ...flags: string[]
): Promise<{ node: Node; readyMs: number | undefined }> {
  const dataDir = temporaryFolder("lkg");
  const path = join(dataDir, PLACE);
  mkdirSync(dirname(path), { recursive: true });
  if (file) writeFileSync(path, file, { mode: 0o600 });
  const startMs = performance.now();
  const node = await startNode("gateway", {
    etcd: etcd.endpoints,
    args: ["--workers", "1", "--instance", "lkg", ...flags],
    dataDir,
    nowait: true,
  });
  nodes.push(node);
  let readyMs: number | undefined;
  await until(
    "it tried the store",
    async () => {
      // In this order: what is ready by its file was so before it tried the store.
      const { store_problem: problem } = await configOf(node);
      if ((await fetch(`${node.status}/ready`)).ok) readyMs ??= performance.now() - startMs;
      return problem;
    },
    undefined,
    10,
  );
  return { node, readyMs };
}

describe.skipIf(!etcdAvailable())("a gateway that starts while etcd is away", () => {
  beforeAll(async () => {
    etcd = await startEtcd();
    adminNode = await startNode("admin", { etcd: etcd.endpoints });
    for (let i = 0; i < ROUTES; i++)
      expect((await admin(adminNode, "PUT", `/routes/${i}`, recordOf(`/r/${i}`))).status).toBe(201);
    const dataDir = temporaryFolder("first");
    const first = await startNode("gateway", {
      etcd: etcd.endpoints,
      args: ["--workers", "1", "--instance", "lkg"],
      dataDir,
    });
    hash = (await configOf(first)).hash;
    // A change more, so that the file has a base and something appended.
    const path = join(dataDir, PLACE);
    await until("the file", () => existsSync(path));
    expect((await admin(adminNode, "PUT", "/routes/0", recordOf("/r/zero"))).status).toBe(200);
    await until("the change", async () => (await fetch(`${first.gateway}/r/zero`)).ok);
    hash = (await configOf(first)).hash;
    expect(await first.stop()).toBe(0);
    whole = readFileSync(path);
    await etcd.kill(0);
  });

  // Whatever became of a test: the next one finds etcd away.
  afterEach(() => etcd.kill(0));

  afterAll(async () => {
    for (const node of [...nodes, adminNode]) await node?.stop("SIGKILL");
    await etcd?.stop();
  });

  test("G8: 33 with its file it is ready and serves within 2 s, says that the store is away, and is in step when it is back", async () => {
    const { node, readyMs = Number.NaN } = await start(whole);
    expect(readyMs).toBeLessThan(slack(2_000));
    expect((await fetch(`${node.gateway}/r/zero`)).status).toBe(200);
    expect((await fetch(`${node.gateway}/r/${ROUTES - 1}`)).status).toBe(200);
    expect(await configOf(node)).toMatchObject({ hash, loaded: true, fresh: false });
    await etcd.restart(0);
    const backMs = performance.now();
    expect((await until("a write", () => written("/routes/0", "/r/later"), 20_000)).status).toBe(200);
    await until("the change made while it was alone", async () => (await fetch(`${node.gateway}/r/later`)).ok);
    const freshMs = performance.now() - backMs;
    await etcd.kill(0);
    reportFault({
      fault: "33 node starts with etcd away, with its file",
      how: "SIGKILL of etcd",
      ...{ sent: 2, failed: 0, freshMs, guarantees: "G8 G12", held: true },
      note: `ready after ${readyMs.toFixed(0)} ms`,
    });
  });

  test("G8 G12: 33 without a file it is up, not ready, and says why; it is ready by itself when etcd is back", async () => {
    const { node, readyMs } = await start(undefined);
    expect(readyMs).toBeUndefined();
    expect((await fetch(`${node.status}/live`)).status).toBe(200);
    expect((await fetch(`${node.gateway}/r/zero`)).ok).toBe(false);
    await etcd.restart(0);
    const backMs = performance.now();
    await until("ready", async () => (await fetch(`${node.status}/ready`)).ok);
    reportFault({
      fault: "33 node starts with etcd away, without a file",
      how: "SIGKILL of etcd",
      ...{ sent: 0, failed: 0, freshMs: performance.now() - backMs, guarantees: "G8 G12", held: true },
    });
    await etcd.kill(0);
  });

  test("G8 G12: 33 without any configuration every path is 503 in both lanes, and 404 only once there is one", async () => {
    const started = await Promise.all([start(undefined, "--fast-lane"), start(undefined, "--no-fast-lane")]);
    const paths = ["/", "/r/zero", "/never/was", "/apisix/status"];
    for (const { node } of started) {
      for (const path of paths) {
        const answer = await fetch(`${node.gateway}${path}`);
        expect(answer.status, path).toBe(503);
        expect(answer.headers.get("content-type")).toBe("application/json");
        expect(await answer.json()).toEqual({ error_msg: "503 Service Temporarily Unavailable" });
      }
      expect((await fetch(`${node.status}/ready`)).status).toBe(503);
      const told = async () => (await errorsOf(node, "configuration_not_loaded")) === paths.length;
      await until("its metrics name the reason", told);
      expect(await errorsOf(node, "route_not_found")).toBe(0);
    }
    await etcd.restart(0);
    for (const { node } of started) {
      await until("ready", async () => (await fetch(`${node.status}/ready`)).ok);
      expect((await fetch(`${node.gateway}/never/was`)).status).toBe(404);
      expect((await fetch(`${node.gateway}/r/${ROUTES - 1}`)).status).toBe(200);
    }
    await etcd.kill(0);
    for (const { node } of started) expect((await fetch(`${node.gateway}/never/was`)).status).toBe(404);
  });

  test("G8: 33 a file that was cut off or changed anywhere is one of its commits or is ignored, and the log says so", async () => {
    const cuts = bounded([0.5], [0, 0.1, 0.3, 0.7, 0.9, 0.99]).map((share) => ({
      says: `cut off at ${share * 100} %`,
      bytes: whole.subarray(0, Math.floor(whole.length * share)),
    }));
    const flips = bounded([0.2, 0.98], [0, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99]).map((share) => ({
      says: `a bit changed at ${share * 100} %`,
      bytes: flipped(Math.floor((whole.length - 1) * share)),
    }));
    const started = await Promise.all(
      [...cuts, ...flips].map(async (row) => ({ ...row, ...(await start(row.bytes)) })),
    );
    for (const { says, node, readyMs } of started) {
      const config: NodeConfig = await configOf(node);
      if (readyMs === undefined) expect(config, says).toMatchObject({ loaded: false, records: 0 });
      else expect([ROUTES], says).toContain(config.records); // the base, or the base and the change
      expect(node.output(), says).toMatch(/last-known-good file/);
      expect((await fetch(`${node.status}/live`)).status).toBe(200);
    }
  });

  async function written(path: string, uri: string): Promise<{ status: number } | undefined> {
    const answer = await admin(adminNode, "PUT", path, recordOf(uri));
    return answer.status < 300 ? answer : undefined;
  }
});

/** How many errors of this reason the node counted. */
async function errorsOf(node: Node, reason: string): Promise<number> {
  const text = await (await fetch(`${node.status}/metrics`)).text();
  const line = text.split("\n").find((one) => one.startsWith(`jotgate_gateway_errors_total{reason="${reason}"}`));
  return Number(line?.split(" ").at(-1) ?? 0);
}

function flipped(at: number): Buffer {
  const copy = Buffer.from(whole);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
}
