/**
 * 12: a store that is full. Callers notice nothing, whoever writes is told what to do, and after the runbook all is well.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdAvailable } from "../support/etcd.ts";
import { etcdctl, etcdctlAvailable } from "../support/etcdctl.ts";
import { recordOf } from "../support/ledger.ts";
import { allowTime, bounded } from "../support/long-run.ts";
import { admin, type Node, until } from "../support/process.ts";
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
        await until("the store is full", () => fillUp(), 30_000, 0);
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

/** @returns true once the store refuses */
async function fillUp(): Promise<boolean> {
  const name = `/fill/${Math.random()}`;
  return await write(world.store, put(name, "x".repeat(400_000))).then(
    () => false,
    () => true,
  );
}
