/**
 * Everything that ever happened to the records of a store, read beside the product: the judge of what became of writes.
 * Promise: complete and in order, or `gap` says so; checked against etcd's own counting of versions.
 */
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import { type KeyRange, type KeyValue, prefixRange, type Revision, type Store } from "../../src/store/store.ts";
import { until } from "./process.ts";
import { put, write } from "./stores.ts";

export interface HistoryEvent {
  readonly revision: Revision;
  readonly key: string;
  /** Undefined: deleted. */
  readonly value: string | undefined;
}

export interface History {
  readonly events: readonly HistoryEvent[];
  /** Why something may be missing. */
  readonly gap: string | undefined;
  /** Writes the marker and waits until it is known. @returns its revision, which every node has to reach as well */
  caughtUp(): Promise<Revision>;
  stop(): Promise<void>;
}

const RANGE: KeyRange = prefixRange("/apisix/");
/** In a directory nobody knows: every watch shows it, no table holds it. */
const MARKER = "/apisix/test-marker/head";

/** A store handle on etcd for the test itself, straight to the members. */
export function openDirect(endpoints: readonly string[], rpcMs = 3_000): Store {
  return openEtcdSource({ hosts: endpoints, clock: systemClock, log: silentLog, rpcMs }).open();
}

/** Follows all records from the store's head on, over every fault of the store. */
export async function followHistory(endpoints: readonly string[], range: KeyRange = RANGE): Promise<History> {
  const source = openEtcdSource({ hosts: endpoints, clock: systemClock, log: silentLog, rpcMs: 3_000 });
  const direct = source.open();
  const events: HistoryEvent[] = [];
  const stopping = new AbortController();
  let seen: Revision = (await direct.get("/")).revision;
  let gap: string | undefined;
  const follow = async (): Promise<void> => {
    for (let turn = 0; !stopping.signal.aborted; turn++) {
      const member = source.openMember(turn);
      const end = await member.watch(
        range,
        seen,
        {
          created: () => {},
          progress: () => {},
          batch(revision, changes) {
            for (const { key, kv } of changes) events.push({ revision, key, value: kv?.value.toString("utf8") });
            seen = revision;
          },
        },
        stopping.signal,
      );
      await member.close();
      if (end.kind === "compacted") {
        gap = `compacted at ${end.at}, known up to ${seen}`;
        seen = end.at;
      }
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  };
  const following = follow();
  return {
    events,
    get gap() {
      return gap;
    },
    async caughtUp() {
      const marker = put(MARKER, `${Date.now()}`);
      const head = await until(
        "the store takes the marker",
        () => write(direct, marker).catch(() => undefined),
        30_000,
      );
      await until("the history caught up", () => seen >= head || gap, 20_000);
      return head;
    },
    async stop() {
      stopping.abort();
      await following;
      await direct.close();
    },
  };
}

export async function listAll(store: Store, range: KeyRange = RANGE): Promise<readonly KeyValue[]> {
  const all: KeyValue[] = [];
  for await (const page of store.list(range)) all.push(...page.kvs);
  return all;
}
