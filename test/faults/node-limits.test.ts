/**
 * Gateways whose event loop stands still or whose memory is too small for what the store holds: G1, G8, G13.
 */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import type { Store } from "../../src/store/store.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { reportFault } from "../support/fault-report.ts";
import { recordOf } from "../support/ledger.ts";
import { percentile, startLoad } from "../support/load.ts";
import { openLone, seed } from "../support/lone.ts";
import { allowTime, bounded, LONG } from "../support/long-run.ts";
import { type Node, startNode, temporaryFolder, until } from "../support/process.ts";
import { configOf, metricsOf, sampleOf } from "../support/scrape.ts";
import { put, write } from "../support/stores.ts";

allowTime();

let etcd: EtcdCluster;
let store: Store;

describe.skipIf(!etcdAvailable())("a node with too little", () => {
  beforeAll(async () => {
    etcd = await startEtcd();
    store = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog }).open();
    await seed(store);
  });

  afterAll(async () => {
    await store?.close();
    await etcd?.stop();
  });

  test("G1 G13: 37 the event loop of one worker stands still: no watch ends for it, the other serves, it catches up", async () => {
    const blockMs = bounded(2_500, 5_000);
    const folder = temporaryFolder("blocked");
    const order = join(folder, "block");
    writeFileSync(order, "");
    const over = join(folder, "over");
    const shim = join(folder, "block.mjs");
    // Blocks the process whose id stands in the file, once.
    writeFileSync(
      shim,
      `import { readFileSync, writeFileSync } from "node:fs";
let done = false;
setInterval(() => {
  if (done || readFileSync(${JSON.stringify(order)}, "utf8") !== String(process.pid)) return;
  done = true;
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ${blockMs});
  writeFileSync(${JSON.stringify(over)}, "");
}, 20).unref();
`,
    );
    const env = { NODE_OPTIONS: `--import ${shim}` };
    const lone = await openLone({ etcd: etcd.endpoints, store, env, workers: 2, rate: bounded(50, 200) });
    try {
      const status = await (
        await fetch(`${lone.node.status}/status`, { headers: { Accept: "application/json" } })
      ).json();
      const { workers } = status as { workers: readonly { pid: number }[] };
      expect(workers).toHaveLength(2);
      const ended = async (): Promise<number> =>
        sampleOf(await metricsOf(lone.node), "jotgate_config_watch_epochs_total") ?? 0;
      await lone.inStep();
      const before = await ended();
      let note = "";
      await lone.run({
        name: `37 event loop of one of two workers blocked ${blockMs / 1_000} s`,
        how: "a hook in the process that waits",
        guarantees: "G1 G13",
        note: () => note,
        inject: async () => {
          const from = lone.load.records.length;
          writeFileSync(order, String(workers[0]?.pid));
          await new Promise((resolve) => setTimeout(resolve, blockMs / 2));
          await write(store, put("/apisix/routes/meanwhile", recordOf("/meanwhile"))); // it has to catch up on this
          await until("it stood still and goes on", () => existsSync(over));
          await until("all are answered", () => lone.load.answered > from + 10);
          const took = lone.load.records.slice(from).map(({ tookMs }) => tookMs);
          note = `callers p50 ${percentile(took, 0.5).toFixed(0)} ms, slowest ${Math.max(...took).toFixed(0)} ms`;
        },
      });
      for (let i = 0; i < 20; i++) expect((await fetch(`${lone.node.gateway}/meanwhile`)).status).toBe(200);
      expect(await ended()).toBe(before);
    } finally {
      await lone.close();
    }
  });

  test.skipIf(!LONG)(
    "G8: 42 more records than its memory takes: another node is not touched, and with more memory it serves again, from its file on",
    async () => {
      const dataDir = temporaryFolder("small");
      const args = ["--workers", "1", "--instance", "small"];
      const env = { NODE_OPTIONS: "--max-old-space-size=40" };
      const small = { etcd: etcd.endpoints, dataDir, args, env };
      let node: Node = await startNode("gateway", small);
      const beside = await startNode("gateway", { etcd: etcd.endpoints, args: ["--workers", "1"] });
      try {
        await until("its file", async () => {
          const { last_known_good: copy } = (await configOf(node)) as unknown as {
            last_known_good: { revision: number | null };
          };
          return copy.revision !== null;
        });
        const load = startLoad({
          targets: [{ name: "beside", origin: beside.gateway }],
          rate: 50,
          request: (n) => ({ path: `/load/${n}` }),
        });
        let died = false;
        void node.exited.then(() => {
          died = true;
        });
        const count = 8_000;
        const value = (n: number) => ({
          ...recordOf(`/fat/${n}`),
          desc: "d".repeat(250),
          labels: { a: "x".repeat(250), b: `${n}` },
        });
        let head = 0n;
        for (let i = 0; i < count && !died; i += 100)
          head = await write(
            store,
            ...Array.from({ length: 100 }, (_, j) => put(`/apisix/routes/fat-${i + j}`, value(i + j))),
          );
        let held = false;
        await until(
          "it holds all, or has died",
          async () => {
            held = !died && BigInt((await configOf(node)).revision) >= head;
            return died || held;
          },
          60_000,
        );
        const said = node.output().slice(-3_000);
        if (died) expect(said).toMatch(/heap|memory/i); // reported before it died
        // The operator's remedy. The file it left lets it serve at once, before it has read what was too much.
        const more = { ...small, env: { NODE_OPTIONS: "--max-old-space-size=400" } };
        if (died) node = await startNode("gateway", more);
        const backMs = performance.now();
        await until(
          "it serves and holds all",
          async () => (await fetch(`${node.gateway}/load/again`)).ok && BigInt((await configOf(node)).revision) >= head,
          30_000,
        );
        const freshMs = performance.now() - backMs;
        await load.stop();
        reportFault({
          fault: `42 memory limit of 40 MiB, ${count} records`,
          how: "--max-old-space-size",
          ...{ sent: load.sent, failed: load.failed, freshMs, guarantees: "G8", held: load.failed === 0 },
          note: held
            ? "it took them all"
            : "the node died with V8's report and came back from its file with more memory",
        });
        expect(load.failures).toEqual([]);
      } finally {
        await node.stop("SIGKILL");
        await beside.stop("SIGKILL");
      }
    },
  );
});
