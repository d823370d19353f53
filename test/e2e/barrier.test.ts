/**
 * The write barrier with real processes: after a 2xx no node answers by what was before. Also on one machine.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import { prefixRange, type Store } from "../../src/store/store.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";

// The full measure is 5 gateways and 1,000 writes: JOTGATE_TEST_GATEWAYS=5 JOTGATE_TEST_WRITES=1000.
const GATEWAYS = Number(process.env["JOTGATE_TEST_GATEWAYS"] ?? 3);
const WRITES = Number(process.env["JOTGATE_TEST_WRITES"] ?? 200);

interface Applied {
  readonly applied: readonly string[];
  readonly waiting: readonly string[];
}

/** What no barrier on this etcd can be faster than: a write is seen, and one that answers it is seen. */
interface Floor {
  once(): Promise<number>;
  stop(): Promise<void>;
}

async function openFloor(store: Store): Promise<Floor> {
  const stopping = new AbortController();
  let seen: () => void = () => undefined;
  let created: () => void = () => undefined;
  const established = new Promise<void>((resolve) => {
    created = resolve;
  });
  const { revision } = await store.get("/floor/a");
  const sink = { created: () => created(), batch: () => seen(), progress: () => undefined };
  const watch = store.watch(prefixRange("/floor/"), revision, sink, stopping.signal);
  await established;
  const writeAndSee = async (key: string): Promise<void> => {
    const event = new Promise<void>((resolve) => {
      seen = resolve;
    });
    await store.txn({ compare: [], then: [{ op: "put", key, value: Buffer.from("x") }] });
    await event;
  };
  return {
    async once() {
      const begun = performance.now();
      await writeAndSee("/floor/a");
      await writeAndSee("/floor/b");
      return performance.now() - begun;
    },
    async stop() {
      stopping.abort();
      await watch;
      await store.close();
    },
  };
}

function spread(tookMs: readonly number[]): string {
  const sorted = [...tookMs].sort((a, b) => a - b);
  const at = (share: number): string => (sorted[Math.floor((sorted.length - 1) * share)] ?? 0).toFixed(1);
  return `p50 ${at(0.5)} ms, p90 ${at(0.9)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`;
}

const route = (mark: string) => ({
  uri: "/marked",
  plugins: { mocking: { response_example: mark, content_type: "text/plain" } },
});

describe.skipIf(!etcdAvailable())("gateways on etcd", () => {
  let etcd: EtcdCluster;
  let adminNode: Node;
  let gateways: Node[] = [];

  beforeAll(async () => {
    etcd = await startEtcd();
    adminNode = await startNode("admin", { etcd: etcd.endpoints });
    const options = { etcd: etcd.endpoints, args: ["--workers", "1"] };
    gateways = await Promise.all(Array.from({ length: GATEWAYS }, () => startNode("gateway", options)));
    await until("all are registered", async () => {
      const { body } = await admin(adminNode, "GET", "/nodes");
      return (body as { total: number }).total === GATEWAYS;
    });
  });

  afterAll(async () => {
    for (const node of [...gateways, adminNode]) await node?.stop();
    await etcd?.stop();
  });

  test(`of ${WRITES} writes that waited, none is answered by what was before`, { timeout: 300_000 }, async () => {
    const tookMs: number[] = [];
    const floorMs: number[] = [];
    const source = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog });
    const floor = await openFloor(source.open());
    let stale = 0;
    for (let n = 0; n < WRITES; n++) {
      const begun = performance.now();
      const answer = await admin(adminNode, "PUT", "/routes/marked?wait=all&timeout=10s", route(`m${n}`));
      tookMs.push(performance.now() - begun);
      expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(202);
      expect((answer.body as Applied).applied).toHaveLength(GATEWAYS);
      const node = gateways[Math.floor(Math.random() * GATEWAYS)] as Node;
      const text = await (await fetch(`${node.gateway}/marked`)).text();
      if (text.trim() !== `m${n}`) stale++;
      if (n % 4 === 0) floorMs.push(await floor.once());
    }
    await floor.stop();
    process.stdout.write(
      `\n?wait=all, ${GATEWAYS} gateways, ${WRITES} writes: ${spread(tookMs)}, ${stale} stale\n` +
        `put, watch, put, watch on the same etcd meanwhile: ${spread(floorMs)}\n`,
    );
    expect(stale).toBe(0);
  });

  test("a node that stands still makes it 202 that names the node", async () => {
    const [held] = gateways as [Node];
    held.signal("SIGSTOP");
    try {
      const answer = await admin(adminNode, "PUT", "/routes/marked?wait=all&timeout=500ms", route("held"));
      expect(answer.status).toBe(202);
      const body = answer.body as Applied & { key: string };
      expect(body.key).toBe("/apisix/routes/marked");
      expect(body.waiting).toHaveLength(1);
      expect(body.applied).toHaveLength(GATEWAYS - 1);
    } finally {
      held.signal("SIGCONT");
    }
    await until("it caught up", async () => {
      const answer = await admin(adminNode, "PUT", "/routes/marked?wait=all&timeout=2s", route("again"));
      return answer.status === 200;
    });
  });

  test("a node that is told to stop leaves the list at once", async () => {
    await gateways.pop()?.stop();
    const answer = await admin(adminNode, "PUT", "/routes/marked?wait=all&timeout=5s", route("fewer"));
    expect(answer.status).toBe(200);
    expect((answer.body as Applied).applied).toHaveLength(gateways.length);
  });
});

test("on one machine a write that waited is served by the next request", async () => {
  const node = await startNode("start");
  await until("it is registered", async () => {
    const { body } = await admin(node, "GET", "/nodes");
    return (body as { total: number }).total === 1;
  });
  for (let n = 0; n < 50; n++) {
    const answer = await admin(node, "PUT", "/routes/marked?wait=all&timeout=5s", route(`m${n}`));
    expect(answer.status).toBeLessThan(202);
    expect((await (await fetch(`${node.gateway}/marked`)).text()).trim()).toBe(`m${n}`);
  }
  await node.stop();
});
