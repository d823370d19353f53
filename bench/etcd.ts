/**
 * One member of etcd for the cases that need big tables or a store apart from the gateway, and how it is filled.
 */
import { mkdtempSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { openEtcdSource } from "../src/store/etcd/etcd.ts";
import type { Operation, Store } from "../src/store/store.ts";
import { freePort, has, LOAD_CORE, launch, type Server } from "./servers.ts";

const PER_TXN = 100;
const UNDER_WAY = 4;

/** Why it cannot run here, or undefined. */
export const etcdMissing = (): string | undefined => (has("etcd") ? undefined : "etcd is not installed");

export async function startEtcd(folder: string): Promise<Server> {
  const [client, peer] = await Promise.all([freePort(), freePort()]);
  const here = (port: number): string => `http://127.0.0.1:${port}`;
  const args = ["--data-dir", mkdtempSync(join(folder, "etcd-")), "--log-level", "error"];
  args.push("--quota-backend-bytes", "8589934592");
  args.push("--listen-client-urls", here(client), "--advertise-client-urls", here(client));
  args.push("--listen-peer-urls", here(peer), "--initial-advertise-peer-urls", here(peer));
  return launch("etcd", LOAD_CORE, "etcd", [...args, "--initial-cluster", `default=${here(peer)}`], client);
}

export function openStore(etcd: Server): Store {
  return openEtcdSource({ hosts: [etcd.url], clock: systemClock, log: silentLog, rpcMs: 60_000 }).open();
}

export type Record = { readonly key: string; readonly value: unknown };

/** Writes `count` records, 100 to a transaction. */
export async function fill(store: Store, count: number, record: (n: number) => Record): Promise<void> {
  let from = 0;
  const lane = async (): Promise<void> => {
    while (from < count) {
      const [begin, end] = [from, Math.min(count, from + PER_TXN)];
      from = end;
      const then: Operation[] = [];
      for (let n = begin; n < end; n++) {
        const { key, value } = record(n);
        then.push({ op: "put", key, value: Buffer.from(JSON.stringify(value)) });
      }
      await store.txn({ compare: [], then });
    }
  };
  await Promise.all(Array.from({ length: UNDER_WAY }, lane));
}
