/**
 * 22: packets between the nodes and etcd vanish without a word, for 5, 30 and 120 s: G1, G3, G5, G10, G12.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdAvailable } from "../support/etcd.ts";
import { injectable } from "../support/fault-report.ts";
import { allowTime, bounded, slack } from "../support/long-run.ts";
import { type Netns, openNetns, whyNoNetns } from "../support/netns.ts";
import { until } from "../support/process.ts";
import { configOf, metricsOf, sampleOf } from "../support/scrape.ts";
import { openWorld, type World } from "../support/world.ts";

allowTime();

const possible = etcdAvailable() && injectable("22 silent drop 5, 30, 120 s", whyNoNetns());
let netns: Netns | undefined;
let world: World;

describe.skipIf(!possible)("packets that vanish", () => {
  beforeAll(async () => {
    netns = openNetns();
    world = await openWorld({ netns, rate: bounded(50, 300) });
  });

  afterAll(async () => {
    await world?.close();
    netns?.close();
  });

  for (const seconds of bounded([4], [5, 30, 120]))
    test(`G1 G5 G10: 22 silent drop for ${seconds} s: callers do not notice, nodes do, and are in step soon after`, async () => {
      const before = world.gateways.map(({ pid }) => connections(pid));
      expect(Math.min(...before)).toBeGreaterThan(0);
      let namedMs: number | undefined;
      const result = await world.run({
        name: `22 silent drop for ${seconds} s`,
        how: "iptables DROP in a network namespace",
        guarantees: "G1 G5 G10",
        note: () =>
          `${namedMs === undefined ? "over before it was noticed" : `noticed after ${namedMs.toFixed(0)} ms`}, connections ${before.join("+")} before, ${world.gateways.map(({ pid }) => connections(pid)).join("+")} after`,
        inject: async () => {
          const startMs = performance.now();
          netns?.drop();
          const endMs = startMs + seconds * 1_000;
          while (performance.now() < endMs) {
            const named = await Promise.all(world.gateways.map(async (node) => (await configOf(node)).store_problem));
            if (namedMs === undefined && named.every(Boolean)) namedMs = performance.now() - startMs;
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
          const visible = async (node: { readonly status: string }): Promise<boolean> =>
            (sampleOf(await metricsOf(node), "jotgate_config_staleness_seconds") ?? 0) > seconds - 3;
          for (const node of world.gateways)
            await until("staleness is visible, whether named yet or not", () => visible(node), slack(1_000));
        },
        heal: () => netns?.heal(),
      });
      expect(result.failed).toEqual([]);
      if (seconds > 15) expect(namedMs).toBeLessThan(slack(15_000));
      for (const [i, { pid }] of world.gateways.entries())
        await until(
          "connections are back to what they were",
          () => connections(pid) <= (before[i] ?? 0) + 2,
          bounded(100_000, 180_000),
          500,
        );
    });

  test("G2 G3 G4 G5: at the end every node holds the final list, and the ledger agrees with it", async () => {
    expect(await world.judge()).toEqual([]);
  });
});

/** Sockets of a process to etcd; those of its callers come and go with the load. */
function connections(pid: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = (netns?.address ?? "").split(".").map(Number);
  const remote = Buffer.from([d, c, b, a]).toString("hex").toUpperCase(); // as /proc shows it on a little-endian machine
  const ours = new Set<string>();
  for (const fd of readdirSync(`/proc/${pid}/fd`))
    try {
      ours.add(readlinkSync(`/proc/${pid}/fd/${fd}`));
    } catch {
      // closed meanwhile
    }
  const rows = ["tcp", "tcp6"].flatMap((name) => readFileSync(`/proc/${pid}/net/${name}`, "utf8").split("\n"));
  const fields = rows.map((row) => row.trim().split(/\s+/));
  return fields.filter(([, , peer = "", , , , , , , inode]) => {
    const host = peer.split(":")[0] ?? "";
    return host.endsWith(remote) && ours.has(`socket:[${inode}]`);
  }).length;
}
