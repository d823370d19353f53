/**
 * One gateway under load on a store that the test opens and breaks itself: what world.ts is for whole clusters.
 * Promise: a fault's row is reported whatever happens, as not held when an expectation in it failed.
 */
import type { Revision, Store } from "../../src/store/store.ts";
import { reportFault } from "./fault-report.ts";
import { recordOf } from "./ledger.ts";
import { type Load, startLoad } from "./load.ts";
import { slack } from "./long-run.ts";
import { type Node, type NodeOptions, startNode, until } from "./process.ts";
import { configOf } from "./scrape.ts";
import { put, write } from "./stores.ts";

export interface LoneOptions extends NodeOptions {
  /** Straight to the store, past whatever is broken. */
  readonly store: Store;
  /** Requests per second. */
  readonly rate: number;
  readonly workers?: number;
}

export interface LoneFault {
  /** With its number. */
  readonly name: string;
  readonly how: string;
  readonly guarantees: string;
  /** Breaks, looks, and heals; what follows is measured as time to fresh. */
  readonly inject: () => Promise<unknown>;
  readonly note?: () => string;
  readonly freshMs?: number;
}

export interface Lone {
  readonly node: Node;
  readonly load: Load;
  run(fault: LoneFault): Promise<void>;
  /** Writes a record of the test's and waits until the node has it. */
  inStep(limitMs?: number): Promise<void>;
  close(): Promise<void>;
}

/** The records that a store needs to be believed, and the route of the load. */
export async function seed(store: Store): Promise<Revision> {
  return await write(
    store,
    put("/apisix/jotgate/store", { id: "lone", epoch: 1 }),
    put("/apisix/routes/load", recordOf("/load/*")),
  );
}

export async function openLone(options: LoneOptions): Promise<Lone> {
  const { store, rate, workers = 1, args = [], ...rest } = options;
  const node = await startNode("gateway", { ...rest, args: ["--workers", String(workers), ...args] });
  const load = startLoad({
    targets: [{ name: "gateway", origin: node.gateway }],
    rate,
    request: (n) => ({ path: `/load/${n}` }),
  });
  let writes = 0;
  const inStep = async (limitMs = 30_000): Promise<void> => {
    const record = put("/apisix/routes/probe", { ...recordOf("/probe"), desc: `${++writes}` });
    // The store may have been started again a moment ago, and the handle may still wait to connect.
    const revision = await until("a write after the fault", () => write(store, record), limitMs);
    await until(
      "the node is in step",
      async () => {
        const config = await configOf(node);
        return BigInt(config.revision) >= revision && config.fresh && config.store_problem === null;
      },
      limitMs,
      10,
    );
  };
  return {
    ...{ node, load, inStep },
    async run({ name, how, guarantees, inject, note, freshMs: bound = 5_000 }) {
      const before = { sent: load.sent, failed: load.failed };
      let freshMs: number | undefined;
      let wrong: unknown;
      try {
        await inject();
        const healedMs = performance.now();
        await inStep();
        freshMs = performance.now() - healedMs;
        if (freshMs > slack(bound)) wrong = new Error(`in step after ${freshMs.toFixed(0)} ms, not ${slack(bound)}`);
        const [first] = load.failures.slice(before.failed);
        if (first) wrong = new Error(`${load.failed - before.failed} requests failed, first: ${first.wrong}`);
      } catch (error) {
        wrong = error;
      }
      reportFault({
        ...{ fault: name, how, guarantees, freshMs, held: wrong === undefined },
        ...{ sent: load.sent - before.sent, failed: load.failed - before.failed },
        ...(note ? { note: note() } : {}),
      });
      if (wrong !== undefined) throw wrong;
    },
    async close() {
      await load.stop();
      await node.stop("SIGKILL");
    },
  };
}
