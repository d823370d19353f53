import { expect, test, vi } from "vitest";
import { FakeClock, systemClock } from "../../src/base/clock.ts";
import type { PackedRecords } from "../../src/base/packed/packed-map.ts";
import type { Change, KeyValue, Revision } from "../../src/store/store.ts";
import { type RecordBatch, type RestoredRecord, Table } from "../../src/sync/table.ts";
import { contentsOf, openTable } from "../support/stores.ts";

const kv = (key: string, modRevision: Revision, value = "v"): KeyValue => ({
  key,
  value: Buffer.from(value),
  modRevision,
  createRevision: 1n,
  version: 1n,
  lease: 0n,
});
const put = (key: string, revision: Revision, value?: string): Change => ({
  type: "put",
  key,
  kv: kv(key, revision, value),
});
const remove = (key: string): Change => ({ type: "delete", key, kv: undefined });
const names = (batch: RecordBatch | undefined): string[] => batch?.changes.map((c) => `${c.type} ${c.key}`) ?? [];

test("all changes of a revision reach the consumer in one call and one turn", () => {
  const { table, batches } = openTable();
  table.apply(5n, [put("a", 5n), put("b", 5n)]);
  table.apply(6n, [remove("a"), put("c", 6n)]);
  expect(batches.map((batch) => [batch.revision, ...names(batch)])).toEqual([
    [5n, "put a", "put b"],
    [6n, "delete a", "put c"],
  ]);
  expect([...contentsOf(table)].sort()).toEqual([
    ["b", "v@5"],
    ["c", "v@6"],
  ]);
});

test("keys that are not accepted are neither kept nor handed on", async () => {
  const batches: RecordBatch[] = [];
  const consumer = { apply: (batch: RecordBatch) => void batches.push(batch) };
  const table = new Table({
    consumer: { apply: (b) => consumer.apply(b) ?? undefined },
    clock: systemClock,
    accepts: (key) => !key.startsWith("x"),
  });
  table.apply(5n, [put("x1", 5n)]);
  const listing = table.beginList(6n, false);
  await listing.page([kv("a", 6n), kv("x1", 6n)]);
  await listing.commit();
  expect(table.size).toBe(1);
  expect(batches.flatMap(names)).toEqual(["put a"]);
});

test("a list is a diff: what is unchanged is not handed on, the rest is put or deleted", async () => {
  const { table, batches } = openTable();
  table.apply(5n, [put("same", 5n), put("changed", 5n), put("gone", 5n)]);
  const listing = table.beginList(9n, true);
  await listing.page([kv("changed", 8n, "w"), kv("new", 9n)]);
  await listing.page([kv("same", 5n)]);
  expect(batches).toHaveLength(1); // nothing before commit
  expect(await listing.commit()).toEqual({ put: 2, removed: 1, unchanged: 1 });
  expect(table.get("same")).toMatchObject({ value: Buffer.from("v"), modRevision: 5n });
  expect(batches.slice(1).map((batch) => names(batch).sort())).toEqual([["delete gone", "put changed", "put new"]]);
});

test("equal revisions with other bytes are a change: they come from another store", async () => {
  const { table } = openTable();
  table.apply(5n, [put("a", 5n, "ours")]);
  const listing = table.beginList(5n, true);
  await listing.page([kv("a", 5n, "theirs")]);
  expect(await listing.commit()).toEqual({ put: 1, removed: 0, unchanged: 0 });
  expect(table.get("a")?.value.toString()).toBe("theirs");
});

test("an abandoned list leaves a serving table as it was", async () => {
  const { table, batches } = openTable();
  table.apply(5n, [put("a", 5n)]);
  await table.beginList(9n, true).page([kv("a", 8n), kv("b", 9n)]);
  expect([...contentsOf(table)]).toEqual([["a", "v@5"]]);
  expect(batches).toHaveLength(1);
});

test("a large diff keeps each transaction whole and in order, deletes last", async () => {
  const { table, batches } = openTable();
  table.apply(1n, [put("gone", 1n)]);
  const listing = table.beginList(500n, true);
  const pairs = Array.from({ length: 300 }, (_, i) => BigInt(400 - i));
  for (const revision of pairs) await listing.page([kv(`a${revision}`, revision), kv(`b${revision}`, revision)]);
  await listing.commit();
  const after = batches.slice(1);
  expect(after).toHaveLength(301);
  for (const batch of after.slice(0, 300)) expect(new Set(batch.changes.map((c) => c.kv?.modRevision)).size).toBe(1);
  const order = after.slice(0, 300).map((batch) => batch.changes[0]?.kv?.modRevision ?? 0n);
  expect(order).toEqual([...order].sort((a, b) => Number(a - b)));
  expect(names(after.at(-1))).toEqual(["delete gone"]);
});

test("a long list is applied in many turns, and all of it is there at the end", async () => {
  const pages = Array.from({ length: 100 }, (_, p) =>
    Array.from({ length: 1_000 }, (_, i) => kv(`k${p}/${i}`, BigInt(p + 2))),
  );
  const { table } = openTable();
  let turns = 0;
  let done = false;
  const count = (): void => {
    turns++;
    if (!done) setImmediate(count);
  };
  setImmediate(count);
  for (const serving of [false, true]) {
    const listing = table.beginList(200n, serving);
    for (const page of pages) await listing.page(page);
    await listing.commit();
    expect(table.size).toBe(100_000);
  }
  done = true;
  expect(turns).toBeGreaterThan(1);
});

test("the hash is that of the records, not of their history, and knows no placeholders", () => {
  const [one, two] = [openTable().table, openTable().table];
  one.apply(5n, [put("a", 5n, "x"), put("b", 5n, "y")]);
  two.apply(5n, [put("b", 5n, "old"), put("dir/", 5n, "init_dir")]);
  two.apply(6n, [put("b", 5n, "y"), put("a", 5n, "x"), put("c", 6n)]);
  expect(two.hash()).not.toBe(one.hash());
  two.apply(7n, [remove("c"), remove("never there")]);
  expect(two.hash()).toBe(one.hash());
  for (const other of [put("a", 5n, "z"), put("a", 6n, "x"), remove("a")]) {
    one.apply(8n, [other]);
    expect(one.hash()).not.toBe(two.hash());
    one.apply(9n, [put("a", 5n, "x")]);
    expect(one.hash()).toBe(two.hash());
  }
});

test("a list into an empty table that is begun again forgets what only the first showed", async () => {
  const { table } = openTable();
  await table.beginList(5n, false).page([kv("a", 5n), kv("gone", 5n)]);
  const again = table.beginList(9n, false);
  await again.page([kv("a", 5n), kv("new", 9n)]);
  expect(await again.commit()).toEqual({ put: 1, removed: 1, unchanged: 1 });
  expect([...contentsOf(table).keys()].sort()).toEqual(["a", "new"]);
});

test("the last good value of a refused record is kept until a good one or a delete", () => {
  const table = new Table({
    clock: new FakeClock(),
    consumer: { apply: (batch) => batch.changes.filter((c) => c.kv?.value.toString() === "bad").map((c) => c.key) },
  });
  table.apply(1n, [put("a", 1n, "good"), put("fresh", 1n, "bad")]);
  table.apply(2n, [put("a", 2n, "bad")]);
  table.apply(3n, [put("a", 3n, "bad")]);
  expect(table.lastGood("a")).toMatchObject({ modRevision: 1n });
  expect(table.lastGood("fresh")).toBeUndefined();
  const served = new Map(table.served());
  expect(served.get("a")).toMatchObject({ modRevision: 1n }); // what the Control API shows
  expect(served.has("fresh")).toBe(false);
  expect(table.get("a")).toMatchObject({ modRevision: 3n });
  table.apply(4n, [put("a", 4n, "good")]);
  expect(table.lastGood("a")).toBeUndefined();
  table.apply(5n, [put("a", 5n, "bad")]);
  table.apply(6n, [remove("a")]);
  expect(table.lastGood("a")).toBeUndefined();
});

test("what one revision deletes is seen by nobody from then on, and its bytes go in slices or before its key comes back", async () => {
  const count = 5_000; // more than a slice
  const keys = Array.from({ length: count }, (_, i) => `k${i}`);
  const forgotten: (readonly [string, string | undefined])[] = [];
  let seen = 0;
  let open: PackedRecords | undefined;
  const table = new Table({
    clock: new FakeClock(),
    consumer: {
      apply(batch, taken) {
        open = taken;
        for (const { key, kv } of batch.changes) if (kv === undefined && taken.get(key) !== undefined) seen++;
        return batch.changes.filter(({ kv }) => kv?.value.toString() === "bad").map(({ key }) => key);
      },
      forget: (key, taken) => void forgotten.push([key, taken?.value.toString()]),
    },
  });
  table.apply(1n, [put("stays", 1n), ...keys.map((key) => put(key, 1n, `of ${key}`))]);
  table.apply(2n, [put("k4999", 2n, "bad"), put("k4998", 2n, "init_dir"), put("fresh", 2n, "bad")]);
  const left = new Table({ clock: new FakeClock(), consumer: { apply: () => undefined } });
  left.apply(1n, [put("stays", 1n)]);

  table.apply(3n, [...keys, "fresh", "never there"].map(remove));
  expect(forgotten.length).toBeLessThan(count); // so that some are still there
  expect([seen, table.size, [...table.keys()], [...table.entries()].length]).toEqual([0, 1, ["stays"], 1]);
  expect([table.get("k4999"), table.lastGood("k4999"), open?.get("k4997"), [...table.served()].length]).toEqual([
    ...[undefined, undefined, undefined, 1],
  ]);
  expect(table.hash()).toBe(left.hash());

  table.apply(4n, [put("k4999", 4n, "again"), put("k4998", 4n, "bad")]);
  expect(forgotten).toContainEqual(["k4999", "of k4999"]); // what was taken, before the new value
  expect(table.lastGood("k4998")).toBeUndefined();
  await vi.waitFor(() => expect(forgotten).toHaveLength(count + 1), { timeout: 60_000 });
  expect(new Map(forgotten).size).toBe(count + 1);
  expect([new Map(forgotten).get("fresh"), new Map(forgotten).get("k4998")]).toEqual([undefined, undefined]);
  expect(table.size).toBe(3);
  left.apply(4n, [put("k4999", 4n, "again"), put("k4998", 4n, "bad")]);
  expect(table.hash()).toBe(left.hash());
});

test("a restored record that was refused comes with its last good value first", async () => {
  const { table, batches } = openTable();
  function* records(): Generator<RestoredRecord> {
    const at = (revision: Revision, value: string) => ({
      value: Buffer.from(value),
      modRevision: revision,
      createRevision: 1n,
    });
    yield { key: "a", record: at(3n, "bad"), lastGood: at(1n, "good") };
    yield { key: "b", record: at(2n, "good") };
  }
  await table.restore(records(), 3n);
  expect(batches.map((batch) => batch.changes.map((c) => `${c.key}=${c.kv?.value}`))).toEqual([
    ["a=good"],
    ["a=bad", "b=good"],
  ]);
});
