/**
 * Three etcd members under load, of which some fail: G1, G3, G4, G5, G12.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdAvailable } from "../support/etcd.ts";
import { etcdctl } from "../support/etcdctl.ts";
import { recordOf } from "../support/ledger.ts";
import { percentile } from "../support/load.ts";
import { allowTime, bounded, slack } from "../support/long-run.ts";
import { admin, type Node, until } from "../support/process.ts";
import { configOf } from "../support/scrape.ts";
import { type Fault, openWorld, type World } from "../support/world.ts";

allowTime();

let world: World;
const last = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const MEMBERS = [0, 1, 2];
let leader = 0;
let slowNote = "";

const FAULTS: readonly Fault[] = [
  {
    name: "3 leader killed",
    how: "SIGKILL, back after 2 s",
    guarantees: "G1 G3 G4",
    inject: async () => {
      leader = await world.etcd.leader();
      await world.etcd.kill(leader);
      await last(bounded(2_000, 10_000));
    },
    heal: () => world.etcd.restart(leader),
  },
  {
    name: "4 7 every member killed and started, one after the other",
    how: `SIGKILL, ${bounded(0.5, 3)} s apart`,
    guarantees: "G1 G3 G5",
    inject: async () => {
      for (const member of MEMBERS) {
        await world.etcd.kill(member);
        await last(bounded(500, 3_000));
        await world.etcd.restart(member);
        await last(bounded(0, 3_000));
      }
    },
  },
  ...bounded([2_000], [5_000, 30_000, 120_000]).map((ms) => ({
    name: `6 one of three members paused ${ms / 1_000} s`,
    how: "SIGSTOP of the leader",
    guarantees: "G1 G3 G5",
    inject: async () => {
      leader = await world.etcd.leader();
      world.etcd.pause(leader);
      await last(ms);
    },
    heal: () => world.etcd.resume(leader),
  })),
  {
    name: "8 member replaced by an empty one",
    how: "member remove and add, catches up by snapshot",
    guarantees: "G1 G2 G3",
    inject: async () => {
      const doomed = ((await world.etcd.leader()) + 1) % 3;
      await world.etcd.kill(doomed);
      const living = world.etcd.endpoints.filter((_, i) => i !== doomed);
      const line = (await etcdctl(living, ["member", "list"]))
        .split("\n")
        .find((one) => one.includes(`, m${doomed}, `));
      const [id = "", , name = "", peer = ""] = (line ?? "").split(", ");
      await etcdctl(living, ["member", "remove", id]);
      await until(
        "it may be added",
        () => etcdctl(living, ["member", "add", name, `--peer-urls=${peer}`]),
        20_000,
        200,
      );
      await world.etcd.restart(doomed, { wipe: true, joins: true });
      await last(bounded(500, 5_000));
    },
  },
  {
    name: `17 slow store for ${bounded(3, 60)} s`,
    how: "each member stopped for 4 of 5 moments of 25 ms",
    guarantees: "G1",
    note: () => slowNote,
    inject: async () => {
      const before = world.ledger.entries.length;
      const endMs = performance.now() + bounded(3_000, 60_000);
      const isDone = (): boolean => world.ledger.entries.slice(before).some(({ outcome }) => outcome === "done");
      while (performance.now() < endMs || !isDone()) {
        for (const member of MEMBERS) world.etcd.pause(member);
        await last(100);
        for (const member of MEMBERS) world.etcd.resume(member);
        await last(25);
      }
      const writes = world.ledger.entries.slice(before);
      const took = percentile(
        writes.map(({ sentMs, answeredMs }) => answeredMs - sentMs),
        0.5,
      );
      slowNote = `${writes.length} writes, p50 ${took.toFixed(0)} ms`;
    },
  },
];

describe.skipIf(!etcdAvailable())("three members", () => {
  beforeAll(async () => {
    world = await openWorld({ members: 3, rate: bounded(100, 300), etcdArgs: ["--snapshot-count", "50"] });
  });

  afterAll(async () => {
    await world?.close();
  });

  for (const fault of FAULTS)
    test(`${fault.guarantees}: ${fault.name}`, async () => {
      expect((await world.run(fault)).failed).toEqual([]);
    });

  test("G1 G12: 5 without a majority every node says so, serves on, and no write is accepted", async () => {
    let namedMs = 0;
    const result = await world.run({
      name: "5 two of three members paused",
      how: "SIGSTOP",
      guarantees: "G1 G12",
      note: () => `named after ${namedMs.toFixed(0)} ms`,
      inject: async () => {
        world.etcd.pause(0);
        world.etcd.pause(1);
        const startMs = performance.now();
        const refused = admin(world.admins[0] as Node, "PUT", "/routes/minority", recordOf("/m"));
        for (const node of world.gateways)
          await until(
            `${node.status} names the fault`,
            async () => (await configOf(node)).store_problem,
            slack(15_000),
          );
        namedMs = performance.now() - startMs;
        expect((await refused).status).toBe(503);
        for (const node of world.gateways) expect((await fetch(`${node.status}/ready`)).status).toBe(200);
      },
      heal: () => {
        world.etcd.resume(0);
        world.etcd.resume(1);
      },
    });
    expect(result.failed).toEqual([]);
  });

  test("G2 G3 G4 G5: at the end every node holds the final list, and the ledger agrees with it", async () => {
    expect(await world.judge()).toEqual([]);
    expect(world.ledger.done).toBeGreaterThan(20);
  });
});
