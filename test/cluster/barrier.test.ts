import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { Acknowledger, type RecordRefusal } from "../../src/cluster/acknowledge.ts";
import { Barrier } from "../../src/cluster/barrier.ts";
import type { Revision } from "../../src/store/store.ts";
import { controlKeys } from "../../src/store/store-keys.ts";
import { Watcher } from "../../src/sync/watcher.ts";
import { openTable, openTemporaryStore, put, type TemporaryStore, write } from "../support/stores.ts";

const PREFIX = "/apisix";
const KEYS = controlKeys(PREFIX);
const common = { clock: systemClock, log: silentLog, prefix: PREFIX };

let under: TemporaryStore;
let barrier: Barrier;
let stops: (() => Promise<unknown>)[] = [];
beforeEach(async () => {
  under = await openTemporaryStore();
  await write(under.store, put("/apisix/routes/", "init_dir"));
  barrier = new Barrier({ ...common, source: under.source, store: under.store });
  barrier.start();
});
afterEach(async () => {
  await Promise.all([barrier.stop(), ...stops.map((stop) => stop())]);
  stops = [];
  await under.stop();
});

/** A registered node; `settled` holds its acknowledgements back. */
async function startNode(
  id: string,
  settled?: (revision: Revision) => Promise<unknown>,
  refusals?: () => readonly RecordRefusal[],
) {
  let lease = 0n;
  const register = async (): Promise<void> => {
    lease = await under.store.grantLease(15);
    await under.store.txn({
      compare: [],
      then: [{ op: "put", key: KEYS.nodes + id, value: Buffer.from("{}"), lease }],
    });
  };
  await register();
  const acknowledger = new Acknowledger({
    ...common,
    store: under.store,
    id,
    lease: () => lease,
    ...(settled ? { settled } : {}),
    refusals,
  });
  const { table } = openTable();
  const watcher = new Watcher({
    ...common,
    source: under.source,
    table,
    onControl: (change) => acknowledger.control(change),
  });
  watcher.start();
  await watcher.waitFor(0n);
  stops.push(
    () => watcher.stop(),
    () => acknowledger.stop(),
  );
  const registerAgain = async (): Promise<void> => {
    await register();
    acknowledger.again();
  };
  return { watcher, table, lease, registerAgain };
}

test("the answer comes when every node has applied the revision", async () => {
  const nodes = await Promise.all(["a", "b", "c"].map((id) => startNode(id)));
  for (let i = 0; i < 20; i++) {
    const revision = await write(under.store, put("/apisix/routes/1", { i }));
    expect(await barrier.waitApplied(revision, 5_000)).toEqual({
      revision,
      applied: ["a", "b", "c"],
      refused: [],
      waiting: [],
      left: [],
    });
    for (const { watcher, table } of nodes) {
      expect(watcher.facts().appliedRevision).toBeGreaterThanOrEqual(revision);
      expect(table.get("/apisix/routes/1")?.value.toString()).toBe(JSON.stringify({ i }));
    }
  }
});

test("without nodes there is nothing to wait for", async () => {
  const revision = await write(under.store, put("/apisix/routes/1"));
  expect(await barrier.waitApplied(revision, 5_000)).toEqual({
    revision,
    applied: [],
    refused: [],
    waiting: [],
    left: [],
  });
});

test("many who wait at the same time share an ask", async () => {
  await startNode("a");
  const revisions = await Promise.all(
    Array.from({ length: 50 }, (_, i) => write(under.store, put(`/apisix/routes/${i}`))),
  );
  const before = (await under.store.get(KEYS.ask)).kv?.version ?? 0n;
  const answers = await Promise.all(revisions.map((revision) => barrier.waitApplied(revision, 5_000)));
  expect(answers.every(({ applied }) => applied.join() === "a")).toBe(true);
  expect(((await under.store.get(KEYS.ask)).kv?.version ?? 0n) - before).toBeLessThanOrEqual(3n);
});

test("a write that carries its ask needs no other", async () => {
  const { table } = await startNode("a");
  const asking = barrier.begin();
  const ask = { op: "put", ...asking.ask } as const;
  const before = (await under.store.get(KEYS.ask)).kv?.version ?? 0n;
  const { revision } = await under.store.txn({ compare: [], then: [put("/apisix/routes/1", { own: true }), ask] });
  expect(await asking.waitApplied(revision, true, 5_000)).toEqual({
    revision,
    applied: ["a"],
    refused: [],
    waiting: [],
    left: [],
  });
  expect(table.get("/apisix/routes/1")?.value.toString()).toBe(JSON.stringify({ own: true }));
  expect(((await under.store.get(KEYS.ask)).kv?.version ?? 0n) - before).toBe(1n);
});

test("a write that could not carry its ask is waited for all the same", async () => {
  await startNode("a");
  const asking = barrier.begin();
  const revision = await write(under.store, put("/apisix/routes/1"));
  expect(await asking.waitApplied(revision, false, 5_000)).toEqual({
    revision,
    applied: ["a"],
    refused: [],
    waiting: [],
    left: [],
  });
});

test("a node that leaves while the write is under way is named as left", async () => {
  await startNode("here");
  const gone = await startNode("gone", () => new Promise(() => {}));
  stops.pop(); // its acknowledger never ends
  const asking = barrier.begin();
  await under.store.get(KEYS.nodes); // what was asked for first has been answered
  await under.store.revokeLease(gone.lease);
  const ask = { op: "put", ...asking.ask } as const;
  const { revision } = await under.store.txn({ compare: [], then: [put("/apisix/routes/1"), ask] });
  expect(await asking.waitApplied(revision, true, 300)).toMatchObject({ applied: ["here"], left: ["gone"] });
});

test("a node whose registration was lost lately is named until it has it back, and then has acknowledged", async () => {
  await startNode("here");
  const lost = await startNode("lost");
  await barrier.waitApplied(await write(under.store, put("/apisix/routes/0")), 5_000);
  await under.store.revokeLease(lost.lease);
  const revision = await write(under.store, put("/apisix/routes/1"));
  expect(await barrier.waitApplied(revision, 300)).toMatchObject({
    revision,
    applied: ["here"],
    waiting: [],
    left: ["lost"],
  });
  const waiting = barrier.waitApplied(revision, 5_000);
  await lost.registerAgain();
  expect(await waiting).toMatchObject({ revision, applied: ["here", "lost"], refused: [], waiting: [], left: [] });
});

test("a node that left in order is not missed", async () => {
  await startNode("here");
  const { lease } = await startNode("leaves");
  await barrier.waitApplied(await write(under.store, put("/apisix/routes/0")), 5_000);
  const value = Buffer.from(JSON.stringify({ leaving: true }));
  await under.store.txn({ compare: [], then: [{ op: "put", key: `${KEYS.nodes}leaves`, value, lease }] });
  await under.store.revokeLease(lease);
  const revision = await write(under.store, put("/apisix/routes/1"));
  expect(await barrier.waitApplied(revision, 5_000)).toMatchObject({ applied: ["here"], waiting: [], left: [] });
});

test("a node that registers while the write is under way is waited for", async () => {
  const asking = barrier.begin();
  await startNode("late");
  const ask = { op: "put", ...asking.ask } as const;
  const { revision } = await under.store.txn({ compare: [], then: [put("/apisix/routes/1"), ask] });
  expect(await asking.waitApplied(revision, true, 5_000)).toMatchObject({ applied: ["late"], waiting: [] });
});

test("a node that does not apply is named as waiting at the time-out", async () => {
  await startNode("quick");
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  await startNode("slow", () => held);
  const revision = await write(under.store, put("/apisix/routes/1"));
  expect(await barrier.waitApplied(revision, 100)).toEqual({
    revision,
    applied: ["quick"],
    refused: [],
    waiting: ["slow"],
    left: [],
  });
  const later = barrier.waitApplied(revision, 5_000);
  release();
  expect(await later).toEqual({ revision, applied: ["quick", "slow"], refused: [], waiting: [], left: [] });
});

test("a node whose lease ends meanwhile is named as left", async () => {
  await startNode("here");
  const gone = await startNode("gone", () => new Promise(() => {}));
  stops.pop(); // its acknowledger never ends
  const revision = await write(under.store, put("/apisix/routes/1"));
  const waiting = barrier.waitApplied(revision, 300);
  await under.store.revokeLease(gone.lease);
  expect(await waiting).toEqual({ revision, applied: ["here"], refused: [], waiting: [], left: ["gone"] });
});

test("a node that refuses the record is named with its reason, and does not count as having applied it", async () => {
  const refusals: RecordRefusal[] = [];
  await startNode("takes");
  await startNode("refuses", undefined, () => refusals);
  const key = "/apisix/routes/1";
  // As a node does it: noted in the turn in which the record is applied.
  const asking = barrier.begin();
  const next = (await under.store.get(key)).revision + 1n;
  refusals.push(
    { key: "/apisix/routes/0", revision: 1n, reason: "an older one" },
    { key, revision: next, reason: "no" },
  );
  const ask = { op: "put", ...asking.ask } as const;
  const { revision } = await under.store.txn({ compare: [], then: [put(key), ask] });
  expect(revision).toBe(next);
  const want = { applied: ["takes"], refused: [{ node: "refuses", key, reason: "no" }], waiting: [], left: [] };
  expect(await asking.waitApplied(revision, true, 5_000)).toEqual({ revision, ...want });
  // Whoever asks for that revision later is told so too; of another revision nothing is said.
  expect(await barrier.waitApplied(revision, 5_000)).toEqual({ revision, ...want });
  const other = await write(under.store, put("/apisix/routes/2"));
  expect((await barrier.waitApplied(other, 5_000)).refused).toEqual([]);
});
