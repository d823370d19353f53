/**
 * One etcd member and the way to it, broken in all positions while callers call and a writer writes: G1, G3, G4, G5, G10,
 * G12. Each row of the table is one fault; the last test judges all that was written meanwhile.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdAvailable } from "../support/etcd.ts";
import { recordOf } from "../support/ledger.ts";
import { allowTime, bounded, numberFrom, slack } from "../support/long-run.ts";
import { admin, type Node, until } from "../support/process.ts";
import { configOf, metricsOf, sampleOf } from "../support/scrape.ts";
import { put, remove, write } from "../support/stores.ts";
import { type Fault, openWorld, type World } from "../support/world.ts";

allowTime();

let world: World;
const seed = numberFrom("SEED", 1);
/** How long a fault lasts. */
const last = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const relay = () => world.relays[0] ?? fail("no relay");

function fail(what: string): never {
  throw new Error(what);
}

const LISTS = "jotgate_config_lists_total";
const BIG = bounded(300, 5_000);
let slowNote = "";
/** About 1 kB, as routes with a few plugins are. */
const big = (n: number) => ({
  ...recordOf(`/big/${n}`),
  desc: "d".repeat(256),
  labels: { n: `${n}`, pad: "x".repeat(250), more: "y".repeat(250) },
});

const FAULTS: readonly Fault[] = [
  {
    name: "1 etcd killed, back after 1 s",
    how: "SIGKILL, same data",
    guarantees: "G1 G3 G5",
    inject: async () => {
      await world.etcd.kill(0);
      await last(1_000);
    },
    heal: () => world.etcd.restart(0),
  },
  ...bounded([3_000], [5_000, 30_000, 120_000]).map((ms) => ({
    name: `6 member paused ${ms / 1_000} s`,
    how: "SIGSTOP, SIGCONT",
    guarantees: "G1 G5",
    inject: async () => {
      world.etcd.pause(0);
      await last(ms);
    },
    heal: () => world.etcd.resume(0),
  })),
  {
    name: "9 compaction while connected",
    how: "compact to the head",
    guarantees: "G1",
    inject: async () => world.store.compact(await world.history.caughtUp()),
  },
  {
    name: "10 compaction while cut off",
    how: "connections refused, compact past the nodes, heal",
    guarantees: "G1 G3 G13",
    inject: async () => {
      relay().refuse();
      await last(500);
      await world.store.compact(await world.history.caughtUp());
    },
    heal: () => relay().heal(),
  },
  {
    name: `20 connection reset every second for ${bounded(3, 60)} s`,
    how: "relay",
    guarantees: "G3 G5",
    inject: async () => {
      for (let i = 0; i < bounded(3, 60); i++) {
        relay().cut();
        await last(1_000);
      }
    },
  },
  {
    name: `21 cut after random bytes for ${bounded(3, 60)} s`,
    how: `relay, seed ${seed}`,
    guarantees: "G3",
    inject: async () => {
      relay().cutAfter(randomBytes(seed));
      relay().cut();
      await last(bounded(3_000, 60_000));
    },
    heal: () => relay().cutAfter(undefined),
  },
  ...bounded([2_000], [5_000, 30_000]).map((ms) => ({
    name: `23 accepts and never answers for ${ms / 1_000} s`,
    how: "relay stalls both ways",
    guarantees: "G1 G5",
    inject: async () => {
      relay().stall();
      await last(ms);
    },
    heal: () => relay().heal(),
  })),
  ...bounded([2_000], [30_000]).map((ms) => ({
    name: `24 answers lost for ${ms / 1_000} s`,
    how: "relay swallows what etcd says",
    guarantees: "G3 G4",
    inject: async () => {
      relay().swallow();
      await last(ms);
    },
    heal: () => relay().heal(),
  })),
  {
    name: `25 a list of ${BIG} records over 200 ms and 1 Mbit/s`,
    how: "relay delays and trickles; compacted, so that a list is needed",
    guarantees: "G1 G5",
    note: () => slowNote,
    freshMs: 20_000,
    inject: async () => {
      relay().refuse();
      for (let i = 0; i < BIG; i += 100)
        await write(
          world.store,
          ...Array.from({ length: 100 }, (_, j) => put(`/apisix/routes/big-${i + j}`, big(i + j))),
        );
      await world.store.compact(await world.history.caughtUp());
      relay().trickle({ delayMs: 100, bytesPerSecond: 125_000 });
      const { revision } = await world.store.get("/");
      const startMs = performance.now();
      relay().heal();
      for (const node of world.gateways)
        await until("the list arrives", async () => (await configOf(node)).revision >= revision, 300_000, 100);
      const lists = await Promise.all(world.gateways.map(async (node) => sampleOf(await metricsOf(node), LISTS)));
      slowNote = `listed in ${((performance.now() - startMs) / 1_000).toFixed(1)} s, ${lists.join("+")} lists ever`;
    },
    heal: async () => {
      relay().trickle(undefined);
      relay().cut();
      for (let i = 0; i < BIG; i += 100)
        await write(world.store, ...Array.from({ length: 100 }, (_, j) => remove(`/apisix/routes/big-${i + j}`)));
    },
  },
];

describe.skipIf(!etcdAvailable())("the store and the way to it", () => {
  beforeAll(async () => {
    world = await openWorld({ relay: true, rate: bounded(100, 300) });
  });

  afterAll(async () => {
    await world?.close();
  });

  for (const fault of FAULTS)
    test(`${fault.guarantees}: ${fault.name}`, async () => {
      expect((await world.run(fault)).failed).toEqual([]);
    });

  test(`G1 G10 G12: 2 etcd away for ${bounded(4, 60)} s is named by the nodes, refused by the admin, and not shouted`, async () => {
    const awayMs = bounded(4_000, 60_000);
    const linesBefore = world.gateways.map((node) => node.output().split("\n").length);
    const startMs = performance.now();
    let shownMs = 0;
    const result = await world.run({
      name: `2 etcd away ${awayMs / 1_000} s`,
      how: "SIGKILL",
      guarantees: "G1 G10 G12",
      note: () => `named after ${shownMs.toFixed(0)} ms`,
      inject: async () => {
        await world.etcd.kill(0);
        const killedMs = performance.now();
        await Promise.all(world.gateways.map(untilNamed));
        shownMs = performance.now() - killedMs;
        const refused = await admin(world.admins[0] as Node, "PUT", "/routes/while-away", { uri: "/away" });
        expect(refused.status).toBe(400); // wrong whatever the store does
        const answer = await admin(world.admins[0] as Node, "PUT", "/routes/while-away", recordOf("/away"));
        expect(answer.status).toBe(503);
        for (const node of world.gateways) {
          // A watch that lives has shown something within 2 s.
          const stale = async () => (await configOf(node)).staleness_seconds > 3;
          await until("staleness is visible", stale);
          expect((await configOf(node)).loaded).toBe(true);
          expect((await fetch(`${node.status}/ready`)).status).toBe(200);
        }
        await last(Math.max(0, awayMs - (performance.now() - killedMs)));
      },
      heal: () => world.etcd.restart(0),
    });
    expect(result.failed).toEqual([]);
    expect(shownMs).toBeLessThan(slack(2_000));
    for (const [i, node] of world.gateways.entries()) {
      const lines = node.output().split("\n").length - (linesBefore[i] ?? 0);
      expect(lines, node.output().slice(-4_000)).toBeLessThan(6 + (performance.now() - startMs) / 10_000);
      await until("the end of the fault is named", async () => {
        const metrics = await metricsOf(node);
        return sampleOf(metrics, "jotgate_etcd_reachable") === 1 && (await configOf(node)).store_problem === null;
      });
    }
  });

  test("G2 G3 G4 G5: at the end every node holds the final list, and the ledger agrees with it", async () => {
    expect(await world.judge()).toEqual([]);
    expect(world.ledger.done).toBeGreaterThan(50);
  });
});

async function untilNamed(node: Node): Promise<void> {
  await until("the fault is named", async () => {
    const metrics = await metricsOf(node);
    return sampleOf(metrics, "jotgate_etcd_reachable") === 0 && (await configOf(node)).store_problem !== null;
  });
}

/** Lengths after which a connection is cut: enough for a probe, not always for what follows. */
function randomBytes(first: number): () => number {
  let state = first;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return 500 + (state % 30_000);
  };
}
