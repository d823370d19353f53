/**
 * Short-lived stores for tests: an embedded one in a temporary folder, and the few words most tests need.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { type EmbeddedSource, openEmbeddedSource } from "../../src/store/embedded/embedded.ts";
import { type KeyRange, type Operation, prefixRange, type Revision, type Store } from "../../src/store/store.ts";
import { type RecordBatch, Table } from "../../src/sync/table.ts";

export interface TemporaryStore {
  readonly folder: string;
  readonly source: EmbeddedSource;
  readonly store: Store;
  stop(): Promise<void>;
}

export async function openTemporaryStore(clock: Clock = systemClock): Promise<TemporaryStore> {
  const folder = mkdtempSync(join(tmpdir(), "jotgate-embedded-"));
  const source = await openEmbeddedSource({ folder, clock, log: silentLog });
  return {
    folder,
    source,
    store: source.open(),
    async stop() {
      await source.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export function put(key: string, value: unknown = {}): Operation {
  return { op: "put", key, value: Buffer.from(typeof value === "string" ? value : JSON.stringify(value), "utf8") };
}

export function remove(key: string): Operation {
  return { op: "delete", key };
}

/** One transaction without conditions. */
export async function write(store: Store, ...operations: Operation[]): Promise<Revision> {
  return (await store.txn({ compare: [], then: operations })).revision;
}

/** What a store holds in a range, as text. */
export async function contents(store: Store, range: KeyRange = prefixRange("/apisix/")): Promise<Map<string, string>> {
  const all = new Map<string, string>();
  for await (const page of store.list(range))
    for (const kv of page.kvs) all.set(kv.key, `${kv.value}@${kv.modRevision}`);
  return all;
}

/** A table that remembers its batches. */
export function openTable(clock: Clock = systemClock): { readonly table: Table; readonly batches: RecordBatch[] } {
  const batches: RecordBatch[] = [];
  const table = new Table({
    clock,
    consumer: {
      apply(batch) {
        batches.push(batch);
        return undefined;
      },
    },
  });
  return { table, batches };
}

/** What a table holds, comparable with `contents`. */
export function contentsOf(table: Table): Map<string, string> {
  return new Map([...table.entries()].map(([key, record]) => [key, `${record.value}@${record.modRevision}`]));
}
