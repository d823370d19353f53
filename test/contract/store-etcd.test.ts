import { describe } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import { etcdAvailable, startEtcd } from "../support/etcd.ts";
import { storeContract } from "./store.ts";

describe.skipIf(!etcdAvailable())("etcd", () => {
  storeContract("etcd", async () => {
    const cluster = await startEtcd();
    const source = openEtcdSource({ hosts: cluster.endpoints, clock: systemClock, log: silentLog });
    return { source, stop: () => cluster.stop() };
  });
});
