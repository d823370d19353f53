/**
 * G9: what cannot be enforced is closed: a record whose guard is not loaded, or that is refused while nothing older serves.
 * Nothing else is touched, `/config` says why, and `/ready` where the operator wants it to.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Store } from "../../src/store/store.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { openDirect } from "../support/history.ts";
import { recordOf } from "../support/ledger.ts";
import { allowTime } from "../support/long-run.ts";
import { type Node, startNode, until } from "../support/process.ts";
import { configOf } from "../support/scrape.ts";
import { put, remove, write } from "../support/stores.ts";

allowTime();

let etcd: EtcdCluster;
let store: Store;
let calm: Node;
let strict: Node;

const status = async (path: string): Promise<number> => (await fetch(`${calm.gateway}${path}`)).status;
const ready = async (node: Node): Promise<number> => (await fetch(`${node.status}/ready`)).status;

describe.skipIf(!etcdAvailable())("what cannot be enforced", () => {
  beforeAll(async () => {
    etcd = await startEtcd();
    store = openDirect(etcd.endpoints);
    await write(store, put("/apisix/jotgate/store", { id: "closed", epoch: 1 }));
    await write(store, put("/apisix/routes/free", recordOf("/*")));
    await write(store, put("/apisix/routes/of-service", { uri: "/of-service", service_id: "guarded" }));
    calm = await startNode("gateway", { etcd: etcd.endpoints, args: ["--workers", "2"] });
    strict = await startNode("gateway", {
      etcd: etcd.endpoints,
      args: ["--workers", "1", "--status-ready-problems", "blocking"],
    });
    await until("the route", async () => (await status("/free")) === 200);
  });

  afterAll(async () => {
    await calm?.stop("SIGKILL");
    await strict?.stop("SIGKILL");
    await store?.close();
    await etcd?.stop();
  });

  const NOT_LOADED = { "wolf-rbac": {} };
  const REFUSED = { "limit-count": { count: -1 } };
  test.each([
    { says: "a route whose guard is not loaded", key: "routes/guarded", plugins: NOT_LOADED },
    { says: "a route that is refused", key: "routes/guarded", plugins: REFUSED },
    { says: "a service whose guard is not loaded", key: "services/guarded", plugins: NOT_LOADED },
    { says: "a service that is refused", key: "services/guarded", plugins: REFUSED },
    { says: "a global rule whose guard is not loaded", key: "global_rules/guard", plugins: NOT_LOADED },
    { says: "a global rule that is refused", key: "global_rules/guard", plugins: REFUSED },
  ])("G9: $says is closed, and said", async ({ key, plugins }) => {
    const storeKey = `/apisix/${key}`;
    const isRoute = key.startsWith("routes");
    const others = key.startsWith("global") ? 503 : 200;
    const path = isRoute ? "/guarded" : others === 503 ? "/free" : "/of-service";
    await write(store, put(storeKey, { ...(isRoute ? { uri: "/guarded" } : {}), plugins }));
    await until("it is closed", async () => (await status(path)) === 503 && (await status("/free")) === others);
    const found = await until("it is listed", async () =>
      (await configOf(calm)).problems.find((problem) => problem.key === storeKey),
    );
    expect(found.blocks).toBe(true);
    await until("the strict node is not ready", async () => (await ready(strict)) === 503);
    expect(await ready(calm)).toBe(200);
    await write(store, remove(storeKey));
    await until("it is over", async () => (await status("/free")) === 200 && (await ready(strict)) === 200);
  });
});
