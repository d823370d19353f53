/**
 * Both stores, each opened twice, as two admin nodes have it.
 */
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import type { Store } from "../../src/store/store.ts";
import { startEtcd } from "./etcd.ts";
import { openTemporaryStore } from "./stores.ts";

export interface OpenedStores {
  readonly stores: readonly [Store, Store];
  stop(): Promise<void>;
}

interface StoreWorld {
  readonly says: string;
  open(): Promise<OpenedStores>;
}

export const STORE_WORLDS: readonly StoreWorld[] = [
  {
    says: "the embedded store",
    async open() {
      const temporary = await openTemporaryStore();
      return { stores: [temporary.store, temporary.store], stop: () => temporary.stop() };
    },
  },
  {
    says: "etcd",
    async open() {
      const etcd = await startEtcd();
      const source = () => openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog }).open();
      const stores = [source(), source()] as const;
      return {
        stores,
        async stop() {
          for (const store of stores) await store.close();
          await etcd.stop();
        },
      };
    },
  },
];
