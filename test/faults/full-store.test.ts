/**
 * 12: a store that is full. Callers notice nothing, whoever writes is told what to do, and after the runbook all is well.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import type { Store } from "../../src/store/store.ts";
import { etcdAvailable, startEtcd } from "../support/etcd.ts";
import { etcdctl, etcdctlAvailable } from "../support/etcdctl.ts";
import { recordOf } from "../support/ledger.ts";
import { allowTime, bounded } from "../support/long-run.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";
import { put, write } from "../support/stores.ts";
import { openWorld, type World } from "../support/world.ts";

allowTime();

let world: World;

describe.skipIf(!etcdAvailable() || !etcdctlAvailable())("a store that is full", () => {
  beforeAll(async () => {
    world = await openWorld({
      gateways: 2,
      rate: bounded(50, 300),
      etcdArgs: ["--quota-backend-bytes", String(4 * 1024 * 1024)],
    });
  });

  afterAll(async () => {
    await world?.close();
  });

  test("G1 G4 G12: 12 the admin says so with the way out, deletes work, nodes serve and even start; after it all works", async () => {
    const node = world.admins[0] as Node;
    expect((await admin(node, "PUT", "/routes/spare", recordOf("/spare"))).status).toBe(201);
    await world.inStep(); // also the last known revision of the history before space is made
    const result = await world.run({
      name: "12 store full",
      how: "--quota-backend-bytes 4 MiB, filled",
      guarantees: "G1 G4 G12",
      inject: async () => {
        await until("the store is full", () => fillUp(world.store), 30_000, 0);
        const refused = await until("a write is refused", async () => {
          const answer = await admin(node, "PUT", "/routes/one-more", recordOf("/one-more"));
          return answer.status >= 300 ? answer : undefined;
        });
        expect(refused.status).toBe(507);
        expect(JSON.stringify(refused.body)).toMatch(/space exceeded.*compact and defragment.*alarm/);
        expect((await admin(node, "DELETE", "/routes/spare")).status).toBe(200);
        for (const gateway of world.gateways)
          await until("the delete arrives", async () => (await fetch(`${gateway.gateway}/spare`)).status === 404);
        world.load.leave("gateway 1");
        await until("nothing is on its way to it", () => world.load.answered === world.load.sent, 10_000, 1);
        expect(await (world.gateways[1] as Node).stop()).toBe(0);
        await world.startGateway(1); // without a lease in the registry, which a full store refuses
        expect((await fetch(`${world.gateways[1]?.gateway}/load/x`)).status).toBe(200);
      },
      heal: async () => {
        await etcdctl(world.etcd.endpoints, ["del", "--prefix", "/fill/"]);
        const { revision } = await world.store.get("/");
        await etcdctl(world.etcd.endpoints, ["compact", String(revision)]);
        await etcdctl(world.etcd.endpoints, ["defrag"]);
        await etcdctl(world.etcd.endpoints, ["alarm", "disarm"]);
      },
    });
    expect(result.failed).toEqual([]);
    expect(await world.judge()).toEqual([]);
  });
});

describe.skipIf(!etcdAvailable())("a store that is just becoming full", () => {
  test("G3 G4: of many writes under way, those answered by 201 are there and those refused are not", async () => {
    const etcd = await startEtcd({ extraArgs: ["--quota-backend-bytes", String(4 * 1024 * 1024)] });
    const store = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog }).open();
    for (let i = 0; i < 7; i++) await fillUp(store);
    await store.close();
    const node = await startNode("admin", { etcd: etcd.endpoints });
    const answers = new Map<string, number>();
    let refused = 0;
    const writer = async (name: number): Promise<void> => {
      for (let i = 0; refused === 0; i++) {
        const id = `${name}-${i}`;
        const { status } = await admin(node, "PUT", `/routes/${id}`, { ...recordOf(`/${id}`), desc: "x".repeat(250) });
        answers.set(id, status);
        if (status === 507) refused++;
      }
    };
    await Promise.all(Array.from({ length: 16 }, (_, name) => writer(name)));
    const wrong: string[] = [];
    for (const [id, status] of answers) {
      const there = (await admin(node, "GET", `/routes/${id}`)).status === 200;
      if (there !== (status === 201)) wrong.push(`${id} was answered by ${status} and is ${there ? "" : "not "}there`);
    }
    await node.stop();
    await etcd.stop();
    expect(refused).toBeGreaterThan(0);
    expect(wrong).toEqual([]);
  });
});

/** @returns true once the store refuses */
async function fillUp(store: Store): Promise<boolean> {
  const name = `/fill/${Math.random()}`;
  return await write(store, put(name, "x".repeat(400_000))).then(
    () => false,
    () => true,
  );
}
