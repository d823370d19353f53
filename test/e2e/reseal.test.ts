/**
 * A key is rotated on a running cluster, as docs/encryption.md says: callers notice nothing, and the old key can go.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { freePort } from "../support/ports.ts";
import { adminInTime, type Node, startNode, temporaryFolder, until } from "../support/process.ts";
import { contents } from "../support/stores.ts";

const OLD = "0123456789abcdef0123456789abcdef";
const NEW = "fedcba9876543210fedcba9876543210";
const CONSUMERS = 120; // more than one page, more than one transaction

interface Place {
  readonly role: "admin" | "gateway";
  readonly dataDir: string;
  readonly ports: { readonly admin?: number; readonly gateway?: number };
  node: Node;
}

describe.skipIf(!etcdAvailable())("a cluster whose key is rotated", () => {
  let etcd: EtcdCluster;
  const gateways: Place[] = [];
  let adminPlace: Place;

  async function start(place: Omit<Place, "node">, keyring: string): Promise<Node> {
    const args = place.role === "gateway" ? ["--workers", "1"] : [];
    const env = { JOTGATE_KEYRING: keyring };
    return startNode(place.role, { etcd: etcd.endpoints, args, env, dataDir: place.dataDir, ports: place.ports });
  }

  async function open(role: "admin" | "gateway"): Promise<Place> {
    const place = { role, dataDir: temporaryFolder("reseal"), ports: { [role]: await freePort() } };
    return { ...place, node: await start(place, OLD) };
  }

  beforeAll(async () => {
    etcd = await startEtcd();
    adminPlace = await open("admin");
    for (let n = 0; n < 2; n++) gateways.push(await open("gateway"));
  });

  afterAll(async () => {
    for (const { node } of [...gateways, adminPlace]) await node?.stop();
    await etcd?.stop();
  });

  /** Callers of the gateways that a balancer would choose; a node that is told to stop gets no more of them. */
  const serving = new Set<Place>();
  let asked = 0;
  const wrong: string[] = [];
  const ask = async (place: Place, n: number): Promise<number> =>
    (await fetch(`${place.node.gateway}/guarded`, { headers: { apikey: `key-of-${n}` } })).status;

  async function keepAsking(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      for (const place of [...serving]) {
        const n = asked++ % CONSUMERS;
        const status = await ask(place, n).catch((error) => String(error));
        if (status !== 200 && serving.has(place)) wrong.push(`${status} for u${n}`);
      }
      await new Promise((next) => setTimeout(next, 2)); // leaves the nodes a processor
    }
  }

  async function restart(place: Place, keyring: string): Promise<void> {
    serving.delete(place);
    await place.node.stop();
    place.node = await start(place, keyring);
    if (place.role === "gateway") serving.add(place);
  }

  const call = async (method: string, path: string, body?: object) => {
    const answer = await adminInTime(adminPlace.node, method, path, body);
    expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(202);
    // biome-ignore lint/suspicious/noExplicitAny: answers of any shape
    return answer.body as any;
  };

  test("no call fails from the first step to the last, and the old key is needed nowhere", async () => {
    const mocking = { response_example: "served" };
    await call("PUT", "/routes/guarded", { uri: "/guarded", plugins: { "key-auth": {}, mocking } });
    for (let n = 0; n < CONSUMERS; n++) {
      const plugins = { "key-auth": { key: `key-of-${n}` } };
      await call("PUT", `/consumers/u${n}${n === CONSUMERS - 1 ? "?wait=all&timeout=30s" : ""}`, {
        ...{ username: `u${n}`, plugins },
      });
    }
    for (const place of gateways) serving.add(place);
    const asking = new AbortController();
    const asker = keepAsking(asking.signal);
    try {
      // 1. the new key in front, on gateways first; 2. re-seal; 3. the old key goes.
      for (const place of [...gateways, adminPlace]) await restart(place, `${NEW},${OLD}`);
      await until("both gateways are registered", async () => (await call("GET", "/nodes")).total === 2);
      expect(await call("POST", "/encryption/reseal?dry_run=1")).toMatchObject({ resealed: CONSUMERS, failed: [] });
      const report = await call("POST", "/encryption/reseal?wait=all&timeout=30s");
      expect(report).toMatchObject({ total: CONSUMERS + 1, resealed: CONSUMERS, unchanged: 1, failed: [] });
      expect(report.applied).toHaveLength(2);
      for (const place of [...gateways, adminPlace]) await restart(place, NEW);
      const before = asked;
      await until("all were asked for again", () => asked > before + 4 * CONSUMERS);
    } finally {
      asking.abort();
      await asker;
    }
    expect(wrong).toEqual([]);
    for (const { node } of gateways) {
      const config = await (await fetch(`${node.status}/config`)).text();
      expect(config).not.toContain("cannot be opened");
    }
    expect((await call("GET", "/consumers/u7")).value.plugins["key-auth"].key).toBe("key-of-7");
    expect(await call("POST", "/encryption/reseal")).toMatchObject({ resealed: 0, failed: [] });
  }, 300_000);

  test("nothing in etcd is under the old key", async () => {
    const store = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog }).open();
    const dump = [...(await contents(store, { start: "\0", end: "~" })).values()].join("\n");
    await store.close();
    const keys = new Set([...dump.matchAll(/jotgate:1:([0-9a-f]{8}):/g)].map(([, key]) => key));
    expect(keys.size).toBe(1);
  });

  test("a gateway starts from its own file with etcd away and the old key gone", async () => {
    const [place] = gateways as [Place];
    await place.node.stop();
    await etcd.stop();
    place.node = await start(place, NEW);
    expect(await ask(place, 7)).toBe(200);
  });
});
