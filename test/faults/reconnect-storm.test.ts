/**
 * Many nodes on one etcd: nothing happens while nothing happens, and all of them come back at once without lists or a
 * storm: G1, G5, G10.
 */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdAvailable } from "../support/etcd.ts";
import { reportFault } from "../support/fault-report.ts";
import { allowTime, bounded } from "../support/long-run.ts";
import { until } from "../support/process.ts";
import { metricsOf, sampleOf } from "../support/scrape.ts";
import { openWorld, type World } from "../support/world.ts";

allowTime();

const NODES = bounded(4, 20);
const CALM_SECONDS = bounded(3, 600);
const TICKS_PER_SECOND = 100;
let world: World;

/** Of all nodes together. */
async function counts(): Promise<{ readonly lists: number; readonly epochs: number }> {
  const all = await Promise.all(world.gateways.map(metricsOf));
  const sum = (name: string): number => all.reduce((total, metrics) => total + (sampleOf(metrics, name) ?? 0), 0);
  return { lists: sum("jotgate_config_lists_total"), epochs: sum("jotgate_config_watch_epochs_total") };
}

/** Seconds of processor time that etcd has used. */
function etcdSeconds(): number {
  const fields =
    readFileSync(`/proc/${world.etcd.pid(0)}/stat`, "utf8")
      .split(") ")[1]
      ?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

describe.skipIf(!etcdAvailable())(`${NODES} nodes`, () => {
  beforeAll(async () => {
    world = await openWorld({ gateways: NODES, rate: bounded(20, 10), writeEveryMs: undefined });
  });

  afterAll(async () => {
    await world?.close();
  });

  test(`G5 G10: 26b in ${CALM_SECONDS} s of perfect calm no watch ends and nobody lists`, async () => {
    await world.inStep();
    const [before, seconds, sent] = [await counts(), etcdSeconds(), world.load.sent];
    await new Promise((resolve) => setTimeout(resolve, CALM_SECONDS * 1_000));
    const after = await counts();
    const percent = ((etcdSeconds() - seconds) / CALM_SECONDS) * 100;
    const held = after.epochs === before.epochs && after.lists === before.lists && world.load.failed === 0;
    reportFault({
      fault: `26b perfect calm for ${CALM_SECONDS} s, ${NODES} nodes`,
      how: "no write but the nodes' own",
      ...{ sent: world.load.sent - sent, failed: world.load.failed, freshMs: undefined, guarantees: "G5 G10", held },
      note: `${after.epochs - before.epochs} watches ended, ${after.lists - before.lists} lists, etcd at ${percent.toFixed(1)} % of a processor`,
    });
    expect(after).toEqual(before);
    expect(world.load.failures).toEqual([]);
  });

  test(`G1 G5 G10: 26 reconnect of ${NODES} nodes at once: in step soon, without a list`, async () => {
    const before = await counts();
    let listed = 0;
    const result = await world.run({
      name: `26 reconnect of ${NODES} nodes at once`,
      how: "etcd killed, started after 2 s",
      guarantees: "G1 G5 G10",
      note: () => `${listed} lists`,
      inject: async () => {
        await world.etcd.kill(0);
        await new Promise((resolve) => setTimeout(resolve, 2_000));
      },
      heal: async () => {
        await world.etcd.restart(0);
      },
    });
    listed = (await counts()).lists - before.lists;
    expect(result.failed).toEqual([]);
    expect(listed).toBe(0);
    // What reconnecting costs is over soon; nodes that went on trying would show here.
    await until(
      "etcd is quiet again",
      async () => {
        const [seconds, startMs] = [etcdSeconds(), performance.now()];
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        return etcdSeconds() - seconds < (performance.now() - startMs) / 2_000;
      },
      bounded(30_000, 10_000),
    );
  });

  test("G2 G3 G5: at the end every node holds the final list", async () => {
    expect(await world.judge()).toEqual([]);
  });
});
