/**
 * G7 on real processes: what a wiped, rewritten or restored store may do to a table that serves. Nothing, until the
 * operator says so.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { hashOf } from "../support/checker.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { etcdctl } from "../support/etcdctl.ts";
import { injectable, reportFault } from "../support/fault-report.ts";
import { listAll } from "../support/history.ts";
import { recordOf } from "../support/ledger.ts";
import { allowTime, bounded, slack } from "../support/long-run.ts";
import { adminInTime, type Node, startNode, temporaryFolder, until } from "../support/process.ts";
import { configOf, metricsOf, sampleOf } from "../support/scrape.ts";
import { put, write } from "../support/stores.ts";
import { openWorld, type World, type WorldOptions } from "../support/world.ts";

const IDENTITY = "/apisix/jotgate/store";
allowTime();

let world: World | undefined;
let etcd: EtcdCluster | undefined;
let node: Node | undefined;

afterEach(async () => {
  await world?.close();
  await node?.stop("SIGKILL");
  await etcd?.stop();
});

const hashes = async (world: World): Promise<string[]> =>
  (await Promise.all(world.gateways.map(configOf))).map(({ hash }) => hash);

async function opened(options: WorldOptions): Promise<World> {
  world = await openWorld(options);
  return world;
}

/** Every node says that this is another store, and goes on as if nothing was. */
async function untilRefused(world: World, held: string): Promise<void> {
  for (const node of world.gateways) {
    const config = await until(
      `${node.status} refuses the store`,
      async () => {
        const now = await configOf(node);
        return now.store_problem?.code === "store-changed" ? now : undefined;
      },
      slack(15_000),
    );
    expect(config).toMatchObject({ fresh: false, loaded: true, hash: held });
    expect((await fetch(`${node.status}/ready`)).status).toBe(200);
  }
}

/** How often the first gateway has found another store. */
async function refusals(world: World): Promise<number> {
  const metrics = await metricsOf(world.gateways[0] as Node);
  return sampleOf(metrics, "jotgate_config_watch_epochs_total", 'end="foreign"') ?? 0;
}

async function untilTaken(world: World): Promise<void> {
  for (const node of world.gateways)
    await until(
      `${node.status} takes the store`,
      async () => {
        const config = await configOf(node);
        return config.fresh && config.store_problem === null && config.hash === hashOf(await listAll(world.store));
      },
      slack(10_000),
    );
}

async function epochByAdmin(node: Node): Promise<void> {
  const answer = await adminInTime(node, "POST", "/store/epoch");
  expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
}

describe.skipIf(!etcdAvailable())("another store behind the same address", () => {
  test("G7 G12: 13 14 16 wiped, rewritten past our revision, seen by a restarted node: refused until the epoch is raised", async () => {
    const world = await opened({ gateways: 2, rate: bounded(100, 300), writeEveryMs: undefined });
    for (let i = 0; i < 20; i++) await adminInTime(world.admins[0] as Node, "PUT", `/routes/${i}`, recordOf(`/r/${i}`));
    await world.inStep();
    const [held = ""] = await hashes(world);
    const identity = (await world.store.get(IDENTITY)).kv?.value.toString() ?? "";
    const revision = (await configOf(world.gateways[0] as Node)).revision;

    await world.etcd.restart(0, { wipe: true });
    await untilRefused(world, held);

    const count = bounded(500, 10_000);
    for (let i = 0; i < count || (await world.store.get("/")).revision < revision; i += 100)
      await write(
        world.store,
        ...Array.from({ length: 100 }, (_, j) => put(`/apisix/routes/n${i + j}`, { uri: "/n" })),
      );
    await untilRefused(world, held);

    // The copy on disk holds whose records they are.
    world.load.leave("gateway 1");
    await until("nothing is on its way to it", () => world.load.answered === world.load.sent, 5_000, 1);
    await (world.gateways[1] as Node).stop("SIGTERM");
    await world.startGateway(1);
    await untilRefused(world, held);
    expect(await hashes(world)).toEqual([held, held]);
    expect((await fetch(`${world.gateways[1]?.gateway}/load/1`)).status).toBe(200);

    const { id, epoch } = JSON.parse(identity) as { id: string; epoch: number };
    const { sent, failed } = world.load;
    expect(world.load.failures).toEqual([]);
    await write(world.store, put(IDENTITY, { id, epoch: epoch + 1 })); // now the load's own route goes
    const raisedMs = performance.now();
    await untilTaken(world);
    reportFault({
      fault: "13 14 store wiped, rewritten, epoch raised",
      how: "data deleted, same flags",
      sent,
      failed,
      freshMs: performance.now() - raisedMs,
      guarantees: "G7 G12",
      held: true,
    });
  });

  test("G7 G12: 14 wiped and begun anew by an admin: refused, and taken when the operator puts it in the place of the old one", async () => {
    const world = await opened({ gateways: 2, rate: bounded(50, 300), writeEveryMs: undefined });
    await adminInTime(world.admins[0] as Node, "PUT", "/routes/before", recordOf("/before"));
    await world.inStep();
    const [held = ""] = await hashes(world);
    const { id } = (await adminInTime(world.admins[0] as Node, "GET", "/store")).body as { id: string };

    await world.etcd.restart(0, { wipe: true });
    await world.restartAdmin(0);
    const adminNode = world.admins[0] as Node;
    expect((await adminInTime(adminNode, "GET", "/store")).body).not.toMatchObject({ id });
    await untilRefused(world, held);
    await adminInTime(adminNode, "PUT", "/routes/after", recordOf("/after"));
    await epochByAdmin(adminNode);
    await untilRefused(world, held);
    expect(world.load.failures).toEqual([]);

    const replaced = await adminInTime(adminNode, "POST", `/store/epoch?replaces=${id}`);
    expect(replaced).toMatchObject({ status: 200, body: { epoch: 3, replaces: [id] } });
    await untilTaken(world);
    const gateway = world.gateways[0]?.gateway;
    expect((await fetch(`${gateway}/after`)).status).toBe(200);
    expect((await fetch(`${gateway}/before`)).status).toBe(404);
  });

  test("G7: 15 restored from an older backup without new revisions: refused, and taken when the operator raises the epoch", async () => {
    const world = await opened({ gateways: 1, rate: bounded(50, 300), writeEveryMs: undefined });
    const adminNode = world.admins[0] as Node;
    const route = (i: number) =>
      adminInTime(adminNode, "PUT", `/routes/${i}`, recordOf(`/r/${i}`)).then(({ status }) =>
        expect([200, 201]).toContain(status),
      );
    for (let i = 0; i < 5; i++) await route(i);
    const file = join(temporaryFolder("backup"), "snapshot");
    await etcdctl(world.etcd.endpoints, ["snapshot", "save", file]);
    for (let i = 5; i < 15; i++) await route(i);
    await world.inStep();
    const [held = ""] = await hashes(world);

    const members = await etcdctl(world.etcd.endpoints, ["member", "list"]);
    const [, , name = "", peer = ""] = members.trim().split(", ");
    await world.etcd.kill(0);
    const data = join(world.etcd.folder, name);
    rmSync(data, { recursive: true });
    const restore = ["snapshot", "restore", file, "--data-dir", data, "--name", name];
    restore.push("--initial-cluster", `${name}=${peer}`, "--initial-advertise-peer-urls", peer);
    restore.push("--initial-cluster-token", world.etcd.folder);
    await etcdctl([], restore);
    await world.etcd.restart(0);
    await untilRefused(world, held);

    // Beats, registrations and others' writes carry a restored store past what nodes have applied.
    const applied = (await configOf(world.gateways[0] as Node)).revision;
    while ((await world.store.get("/")).revision <= applied + 5) await write(world.store, put("/elsewhere", "grows"));
    const grownAt = await refusals(world);
    await until("it is still refused", async () => (await refusals(world)) >= grownAt + 2, slack(15_000));
    await untilRefused(world, held);
    expect(world.load.failures).toEqual([]);

    await epochByAdmin(adminNode);
    const raisedMs = performance.now();
    await untilTaken(world);
    expect(world.load.failures).toEqual([]);
    expect((await fetch(`${world.gateways[0]?.gateway}/r/14`)).status).toBe(404);
    expect((await fetch(`${world.gateways[0]?.gateway}/r/4`)).status).toBe(200);
    reportFault({
      fault: "15 restored from an older backup, epoch raised",
      how: "etcdctl snapshot restore",
      sent: world.load.sent,
      failed: world.load.failed,
      freshMs: performance.now() - raisedMs,
      guarantees: "G7",
      held: true,
    });
  });

  test("G7 G8: 16 a fresh node that finds nothing under its prefix is up, not ready, and says so", async () => {
    etcd = await startEtcd();
    node = await startNode("gateway", { etcd: etcd.endpoints, args: ["--workers", "1"], nowait: true });
    const status = node;
    const config = await until("the node names it", async () => {
      const now = await configOf(status);
      return now.store_problem ? now : undefined;
    });
    expect(config.store_problem?.text).toContain("nothing under /apisix/");
    expect((await fetch(`${node.status}/ready`)).status).toBe(503);
    expect((await fetch(`${node.status}/live`)).status).toBe(200);
  });
});

// Newer etcd can give restored records new revisions; the list that this asks for is the one of 13 and 14.
injectable("15 restored with new revisions", "etcdctl of etcd 3.4.27, 3.5.10 or newer has --bump-revision");
