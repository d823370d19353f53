// biome-ignore-all lint/suspicious/noThenProperty: `then` is the word of the store port, as in etcd
/**
 * The contract of the store port: one suite, run over every adapter.
 * Guarantees by name: ordered, unique, atomic, reliable, resumable, progress.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CodedError } from "../../src/base/errors.ts";
import {
  type Change,
  type KeyValue,
  type Operation,
  prefixRange,
  type Revision,
  type Store,
  type StoreSource,
  type WatchEnd,
} from "../../src/store/store.ts";
import { until } from "../support/until.ts";

export interface StoreUnderTest {
  readonly source: StoreSource;
  stop(): Promise<void>;
}

const bytes = (text: string): Buffer => Buffer.from(text, "utf8");
const put = (key: string, value = "v"): Operation => ({ op: "put", key, value: bytes(value) });
const codeOf = (error: unknown): string => (error instanceof CodedError ? error.code : String(error));
const failure = (promise: Promise<unknown>): Promise<string> => promise.then(() => "no error", codeOf);

async function write(store: Store, ...operations: Operation[]): Promise<Revision> {
  return (await store.txn({ compare: [], then: operations })).revision;
}

async function listAll(store: Store, prefix: string, options = {}): Promise<KeyValue[]> {
  const all: KeyValue[] = [];
  for await (const page of store.list(prefixRange(prefix), options)) all.push(...page.kvs);
  return all;
}

interface Watched {
  readonly batches: { readonly revision: Revision; readonly changes: readonly Change[] }[];
  readonly created: Revision[];
  readonly progress: Revision[];
  readonly ended: Promise<WatchEnd>;
  stop(): Promise<WatchEnd>;
}

function watch(store: Store, prefix: string, after: Revision): Watched {
  const watched: Omit<Watched, "ended" | "stop"> = { batches: [], created: [], progress: [] };
  const stopper = new AbortController();
  const ended = store.watch(
    prefixRange(prefix),
    after,
    {
      created: (head) => void watched.created.push(head),
      batch: (revision, changes) => void watched.batches.push({ revision, changes }),
      progress: (revision) => void watched.progress.push(revision),
    },
    stopper.signal,
  );
  return {
    ...watched,
    ended,
    stop: () => {
      stopper.abort();
      return ended;
    },
  };
}

/** @param open called once; every test uses keys of its own */
export function storeContract(name: string, open: () => Promise<StoreUnderTest>): void {
  describe(`the store contract on ${name}`, () => {
    let under: StoreUnderTest;
    let store: Store;
    let serial = 0;
    const area = (): string => `/contract/${++serial}/`;

    beforeAll(async () => {
      under = await open();
      store = under.source.open();
    });
    afterAll(async () => {
      await store?.close();
      await under?.stop();
    });

    test("a written key is read back with its revisions", async () => {
      const key = `${area()}a`;
      expect((await store.get(key)).kv).toBeUndefined();
      const first = await write(store, put(key, "one"));
      const second = await write(store, put(key, "two"));
      const { kv, revision } = await store.get(key);
      expect(kv).toEqual({
        key,
        value: bytes("two"),
        createRevision: first,
        modRevision: second,
        version: 2n,
        lease: 0n,
      });
      expect(revision).toBe(second);
      expect(second).toBe(first + 1n);
    });

    test("a deleted and rewritten key starts anew", async () => {
      const key = `${area()}a`;
      await write(store, put(key));
      const gone = await store.txn({ compare: [], then: [{ op: "delete", key }] });
      expect(gone.results).toEqual([{ op: "delete", deleted: 1 }]);
      const revision = await write(store, put(key));
      expect((await store.get(key)).kv).toMatchObject({ createRevision: revision, modRevision: revision, version: 1n });
    });

    test("a transaction that changes nothing uses no revision", async () => {
      const prefix = area();
      const before = await write(store, put(`${prefix}a`));
      const result = await store.txn({
        compare: [],
        then: [
          { op: "delete", key: `${prefix}b` },
          { op: "deleteRange", range: prefixRange(`${prefix}c/`) },
        ],
      });
      expect(result).toEqual({
        succeeded: true,
        revision: before,
        results: [
          { op: "delete", deleted: 0 },
          { op: "deleteRange", deleted: 0 },
        ],
      });
      expect(await write(store, put(`${prefix}a`))).toBe(before + 1n);
    });

    test("atomic: all operations of a transaction carry one revision", async () => {
      const prefix = area();
      await write(store, put(`${prefix}old/1`), put(`${prefix}old/2`), put(`${prefix}gone`));
      const result = await store.txn({
        compare: [],
        then: [
          put(`${prefix}a`, "1"),
          put(`${prefix}b`, "2"),
          { op: "get", key: `${prefix}a` },
          { op: "delete", key: `${prefix}gone` },
          { op: "deleteRange", range: prefixRange(`${prefix}old/`) },
        ],
      });
      expect(
        result.results.map((r) => (r.op === "get" ? r.kv?.value.toString() : r.op === "put" ? "put" : r.deleted)),
      ).toEqual(["put", "put", "1", 1, 2]);
      const all = await listAll(store, prefix);
      expect(all.map((kv) => [kv.key.slice(prefix.length), kv.modRevision])).toEqual([
        ["a", result.revision],
        ["b", result.revision],
      ]);
    });

    test.each([
      {
        says: "an absent key has create revision 0",
        compare: { target: "createRevision", is: "==", value: 0n },
        on: "absent",
        want: true,
      },
      {
        says: "an absent key has mod revision 0",
        compare: { target: "modRevision", is: "==", value: 0n },
        on: "absent",
        want: true,
      },
      {
        says: "an absent key has version 0",
        compare: { target: "version", is: ">", value: 0n },
        on: "absent",
        want: false,
      },
      {
        says: "an absent key equals no value",
        compare: { target: "value", is: "==", value: bytes("") },
        on: "absent",
        want: false,
      },
      {
        says: "a present key has a version above 0",
        compare: { target: "version", is: ">", value: 0n },
        on: "present",
        want: true,
      },
      {
        says: "a version can be below a bound",
        compare: { target: "version", is: "<", value: 2n },
        on: "present",
        want: true,
      },
      {
        says: "a version is not below itself",
        compare: { target: "version", is: "<", value: 1n },
        on: "present",
        want: false,
      },
      {
        says: "a value equals its bytes",
        compare: { target: "value", is: "==", value: bytes("v") },
        on: "present",
        want: true,
      },
      {
        says: "a value differs from other bytes",
        compare: { target: "value", is: "==", value: bytes("w") },
        on: "present",
        want: false,
      },
      {
        says: "create-only fails on a present key",
        compare: { target: "createRevision", is: "==", value: 0n },
        on: "present",
        want: false,
      },
    ] as const)("compare: $says", async ({ compare, on, want }) => {
      const prefix = area();
      await write(store, put(`${prefix}present`));
      const result = await store.txn({
        compare: [{ key: `${prefix}${on}`, ...compare }],
        then: [put(`${prefix}then`)],
        else: [{ op: "get", key: `${prefix}present` }],
      });
      expect(result.succeeded).toBe(want);
      expect((await store.get(`${prefix}then`)).kv !== undefined).toBe(want);
      if (!want) expect(result.results[0]).toMatchObject({ op: "get", kv: { value: bytes("v") } });
    });

    test("20 racing compare-and-swap increments count to exactly 20", async () => {
      const key = `${area()}counter`;
      const increment = async (): Promise<void> => {
        for (;;) {
          const { kv } = await store.get(key);
          const next = String(Number(kv?.value.toString() ?? "0") + 1);
          const swap = await store.txn({
            compare: [{ key, target: "modRevision", is: "==", value: kv?.modRevision ?? 0n }],
            then: [put(key, next)],
          });
          if (swap.succeeded) return;
        }
      };
      await Promise.all(Array.from({ length: 20 }, increment));
      expect((await store.get(key)).kv?.value.toString()).toBe("20");
    });

    test("128 operations and 128 compares pass", async () => {
      const prefix = area();
      const keys = Array.from({ length: 128 }, (_, i) => `${prefix}${i}`);
      const result = await store.txn({
        compare: keys.map((key) => ({ key, target: "version", is: "==", value: 0n })),
        then: keys.map((key) => put(key)),
      });
      expect(result.succeeded).toBe(true);
      expect(await listAll(store, prefix)).toHaveLength(128);
    });

    test.each([
      {
        says: "129 operations",
        txn: (p: string) => ({ compare: [], then: Array.from({ length: 129 }, (_, i) => put(`${p}${i}`)) }),
        want: "STORE_TOO_LARGE",
      },
      {
        says: "129 compares",
        txn: (p: string) => ({
          compare: Array.from({ length: 129 }, () => ({
            key: p,
            target: "version" as const,
            is: "==" as const,
            value: 0n,
          })),
          then: [],
        }),
        want: "STORE_TOO_LARGE",
      },
      {
        says: "a value of 1.5 MiB",
        txn: (p: string) => ({ compare: [], then: [put(p, "x".repeat(1_572_864))] }),
        want: "STORE_TOO_LARGE",
      },
      { says: "an empty key", txn: () => ({ compare: [], then: [put("")] }), want: "STORE_TOO_LARGE" },
      {
        says: "a key of 2,000 bytes",
        txn: (p: string) => ({ compare: [], then: [put(p + "k".repeat(2_000))] }),
        want: "STORE_TOO_LARGE",
      },
      {
        says: "the same key put twice",
        txn: (p: string) => ({ compare: [], then: [put(p), put(p)] }),
        want: "REQUEST_INVALID",
      },
      {
        says: "a key put and deleted",
        txn: (p: string) => ({ compare: [], then: [put(p), { op: "delete" as const, key: p }] }),
        want: "REQUEST_INVALID",
      },
      {
        says: "a key put inside a deleted range",
        txn: (p: string) => ({
          compare: [],
          then: [put(`${p}a`), { op: "deleteRange" as const, range: prefixRange(p) }],
        }),
        want: "REQUEST_INVALID",
      },
    ])("refused without any effect: $says", async ({ txn, want }) => {
      const prefix = area();
      expect(await failure(store.txn(txn(prefix)))).toBe(want);
      expect(await listAll(store, prefix)).toEqual([]);
    });

    test("a value of 1.4 MiB passes and is watched and listed whole", async () => {
      const prefix = area();
      const value = "x".repeat(1_468_006);
      const watched = watch(store, prefix, (await store.get(prefix)).revision);
      await write(store, put(`${prefix}big`, value));
      await until(() => watched.batches.length === 1, "the big value arrives");
      expect(watched.batches[0]?.changes[0]?.kv?.value.length).toBe(value.length);
      expect((await listAll(store, prefix))[0]?.value.length).toBe(value.length);
      await watched.stop();
    });

    test("keys sort by bytes and ranges are half open", async () => {
      const prefix = area();
      const names = ["A", "a", "a/", "a/b", "a0", "b", "ä", "ﬀ", "😀"];
      for (const name of [...names].reverse()) await write(store, put(prefix + name, name));
      expect((await listAll(store, prefix)).map((kv) => kv.key.slice(prefix.length))).toEqual(names);
      expect((await listAll(store, `${prefix}a/`)).map((kv) => kv.value.toString())).toEqual(["a/", "a/b"]);
      const half: string[] = [];
      for await (const page of store.list({ start: `${prefix}a`, end: `${prefix}b` }))
        half.push(...page.kvs.map((kv) => kv.value.toString()));
      expect(half).toEqual(["a", "a/", "a/b", "a0"]);
    });

    test("an empty range lists one empty page with the head", async () => {
      const pages = [];
      for await (const page of store.list(prefixRange(area()))) pages.push(page);
      expect(pages).toHaveLength(1);
      expect(pages[0]).toMatchObject({ kvs: [], more: false });
      expect(pages[0]?.revision).toBeGreaterThan(0n);
    });

    test("keysOnly lists no values", async () => {
      const prefix = area();
      const revision = await write(store, put(`${prefix}a`, "secret"));
      expect(await listAll(store, prefix, { keysOnly: true })).toMatchObject([
        { key: `${prefix}a`, modRevision: revision, value: bytes("") },
      ]);
    });

    test("pages show one revision while others write, delete and create", async () => {
      const prefix = area();
      const key = (i: number): string => `${prefix}${String(i).padStart(3, "0")}`;
      await write(store, ...Array.from({ length: 100 }, (_, i) => put(key(i), "old")));
      const seen: KeyValue[] = [];
      const revisions = new Set<Revision>();
      for await (const page of store.list(prefixRange(prefix), { pageSize: 10 })) {
        seen.push(...page.kvs);
        revisions.add(page.revision);
        const at = 99 - revisions.size - seen.length / 10;
        await write(
          store,
          put(key(at), "new"),
          put(key(50), "new"),
          { op: "delete", key: key(at - 20) },
          put(`${prefix}extra${seen.length}`),
        );
      }
      expect(revisions.size).toBe(1);
      expect(seen.map((kv) => kv.key)).toEqual(Array.from({ length: 100 }, (_, i) => key(i)));
      expect(new Set(seen.map((kv) => kv.value.toString()))).toEqual(new Set(["old"]));
    });

    test("a list at an older revision shows that revision", async () => {
      const prefix = area();
      const old = await write(store, put(`${prefix}a`, "1"), put(`${prefix}b`, "1"));
      await write(store, put(`${prefix}a`, "2"), { op: "delete", key: `${prefix}b` });
      const then = await listAll(store, prefix, { revision: old });
      expect(then.map((kv) => kv.value.toString())).toEqual(["1", "1"]);
    });

    test("a list at a compacted or future revision is refused", async () => {
      const prefix = area();
      const old = await write(store, put(`${prefix}a`, "1"));
      const at = await write(store, put(`${prefix}a`, "2"));
      const head = await write(store, put(`${prefix}a`, "3"));
      await store.compact(at);
      expect(await failure(listAll(store, prefix, { revision: old }))).toBe("STORE_COMPACTED");
      expect(await failure(listAll(store, prefix, { revision: head + 1_000n }))).toBe("STORE_BAD_REVISION");
      expect((await listAll(store, prefix, { revision: at })).map((kv) => kv.value.toString())).toEqual(["2"]);
      expect((await listAll(store, prefix)).map((kv) => kv.value.toString())).toEqual(["3"]);
    });

    test("compacting twice at the same revision or in the future is refused", async () => {
      const revision = await write(store, put(`${area()}a`));
      await store.compact(revision);
      expect(await failure(store.compact(revision))).toBe("STORE_COMPACTED");
      expect(await failure(store.compact(revision + 1_000n))).toBe("STORE_BAD_REVISION");
    });

    test("ordered, unique, atomic: a watch shows each transaction once, whole and in order", async () => {
      const prefix = area();
      const start = (await store.get(prefix)).revision;
      const watched = watch(store, prefix, start);
      const revisions: Revision[] = [];
      for (let i = 0; i < 50; i++) {
        revisions.push(
          await write(
            store,
            put(`${prefix}a`, `${i}`),
            put(`${prefix}b`, `${i}`),
            { op: "delete", key: `${prefix}${i - 1}` },
            put(`${prefix}${i}`),
          ),
        );
        if (i % 10 === 0) await write(store, put("/contract/elsewhere"));
      }
      await until(() => watched.batches.length >= 50, "all transactions are seen");
      expect(watched.batches.map((batch) => batch.revision)).toEqual(revisions);
      for (const [i, batch] of watched.batches.entries()) {
        expect(batch.changes.map((c) => `${c.type} ${c.key.slice(prefix.length)}`).sort()).toEqual(
          [...(i > 0 ? [`delete ${i - 1}`] : []), "put a", "put b", `put ${i}`].sort(),
        );
        for (const change of batch.changes) if (change.kv) expect(change.kv.modRevision).toBe(batch.revision);
      }
      expect(await watched.stop()).toEqual({ kind: "stopped" });
    });

    test("resumable: a watch from an older revision shows all that came after it, then goes on live", async () => {
      const prefix = area();
      const revisions: Revision[] = [];
      for (let i = 0; i < 30; i++) revisions.push(await write(store, put(`${prefix}k`, `${i}`)));
      const after = revisions[9] ?? 0n;
      const watched = watch(store, prefix, after);
      await until(() => watched.batches.length >= 20, "the past arrives");
      revisions.push(await write(store, put(`${prefix}k`, "live")));
      await until(() => watched.batches.length >= 21, "the present arrives");
      expect(watched.batches.map((batch) => batch.revision)).toEqual(revisions.slice(10));
      expect(watched.batches.at(-1)?.changes[0]?.kv?.value.toString()).toBe("live");
      expect(watched.created[0]).toBeGreaterThanOrEqual(revisions[29] ?? 0n);
      await watched.stop();
    });

    test("a watch that starts at the head shows nothing old", async () => {
      const prefix = area();
      const revision = await write(store, put(`${prefix}a`, "old"));
      const watched = watch(store, prefix, revision);
      await until(() => watched.created.length === 1, "the watch is open");
      const next = await write(store, put(`${prefix}a`, "new"));
      await until(() => watched.batches.length >= 1, "the change arrives");
      expect(watched.batches.map((batch) => batch.revision)).toEqual([next]);
      await watched.stop();
    });

    test("reliable: writers and a watch that starts among them agree", async () => {
      const prefix = area();
      const start = (await store.get(prefix)).revision;
      const writers = Array.from({ length: 8 }, async (_, w) => {
        for (let i = 0; i < 25; i++) await write(store, put(`${prefix}${w}`, `${i}`));
      });
      const early = watch(store, prefix, start);
      await Promise.race(writers);
      const late = watch(store, prefix, start);
      await Promise.all(writers);
      await until(() => early.batches.length === 200 && late.batches.length === 200, "both watches saw all");
      expect(late.batches.map((batch) => batch.revision)).toEqual(early.batches.map((batch) => batch.revision));
      await Promise.all([early.stop(), late.stop()]);
    });

    test("progress: an idle watch shows signs of life", async () => {
      const prefix = area();
      const start = await write(store, put(`${prefix}a`));
      const watched = watch(store, prefix, start);
      await until(() => watched.progress.length > 0, "a sign of life", 6_000);
      expect(watched.progress[0]).toBeGreaterThanOrEqual(start);
      await watched.stop();
    });

    test("a watch of the compacted past ends as compacted and names the revision", async () => {
      const prefix = area();
      const old = await write(store, put(`${prefix}a`, "1"));
      await write(store, put(`${prefix}a`, "2"));
      const at = await write(store, put(`${prefix}a`, "3"));
      await store.compact(at);
      expect(await watch(store, prefix, old).ended).toEqual({ kind: "compacted", at });
      const resumed = watch(store, prefix, at);
      await write(store, put(`${prefix}a`, "4"));
      await until(() => resumed.batches.length === 1, "the compaction revision itself can be resumed");
      await resumed.stop();
    });

    test("compaction does not disturb a live watch", async () => {
      const prefix = area();
      const watched = watch(store, prefix, await write(store, put(`${prefix}a`, "1")));
      const revision = await write(store, put(`${prefix}a`, "2"));
      await until(() => watched.batches.length === 1, "the watch is live");
      await store.compact(revision);
      await write(store, put(`${prefix}a`, "3"));
      await until(() => watched.batches.length === 2, "both changes arrive");
      await watched.stop();
    });

    test("a watch from the future ends as behind", async () => {
      const { revision } = await store.get("x");
      expect(await watch(store, area(), revision + 1_000n).ended).toEqual({ kind: "behind", head: revision });
    });

    test("a sink that throws ends its watch as broken and harms no other", async () => {
      const prefix = area();
      const start = (await store.get(prefix)).revision;
      const sound = watch(store, prefix, start);
      const throwing = store.watch(
        prefixRange(prefix),
        start,
        {
          created: () => {},
          batch: () => {
            throw new Error("no");
          },
          progress: () => {},
        },
        new AbortController().signal,
      );
      await write(store, put(`${prefix}a`));
      expect((await throwing).kind).toBe("broken");
      await until(() => sound.batches.length === 1, "the other watch goes on");
      await sound.stop();
    });

    test("keys of a lease go when it is revoked, in one revision", async () => {
      const prefix = area();
      const lease = await store.grantLease(60);
      const start = await write(
        store,
        ...["a", "b"].map((name): Operation => ({ op: "put", key: prefix + name, value: bytes("v"), lease })),
        put(`${prefix}c`),
      );
      expect((await store.get(`${prefix}a`)).kv?.lease).toBe(lease);
      const watched = watch(store, prefix, start);
      await store.revokeLease(lease);
      await until(() => watched.batches.length === 1, "the deletes arrive");
      expect(watched.batches[0]?.changes.map((c) => `${c.type} ${c.key.slice(prefix.length)}`).sort()).toEqual([
        "delete a",
        "delete b",
      ]);
      expect((await listAll(store, prefix)).map((kv) => kv.key)).toEqual([`${prefix}c`]);
      await store.revokeLease(lease); // gone is what was asked for
      await watched.stop();
    });

    test("a key put again without its lease outlives it", async () => {
      const key = `${area()}a`;
      const lease = await store.grantLease(60);
      await write(store, { op: "put", key, value: bytes("leased"), lease });
      await write(store, put(key, "free"));
      await store.revokeLease(lease);
      expect((await store.get(key)).kv?.value.toString()).toBe("free");
    });

    test("a lease that is not kept alive ends; one that is kept alive stays", async () => {
      const prefix = area();
      const [kept, left] = await Promise.all([store.grantLease(2), store.grantLease(1)]);
      await write(
        store,
        { op: "put", key: `${prefix}kept`, value: bytes("v"), lease: kept },
        { op: "put", key: `${prefix}left`, value: bytes("v"), lease: left },
      );
      await until(
        async () => {
          expect(await store.keepAlive(kept)).toBe(2);
          return (await store.get(`${prefix}left`)).kv === undefined;
        },
        "the lease ends",
        8_000,
        200,
      );
      expect((await store.get(`${prefix}kept`)).kv).toBeDefined();
      expect(await store.keepAlive(left)).toBe(0);
      await store.revokeLease(kept);
    });

    test("a put under an unknown lease is refused and changes nothing", async () => {
      const prefix = area();
      const txn = store.txn({
        compare: [],
        then: [put(`${prefix}a`), { op: "put", key: `${prefix}b`, value: bytes("v"), lease: 12345n }],
      });
      expect(await failure(txn)).toBe("STORE_LEASE_GONE");
      expect(await listAll(store, prefix)).toEqual([]);
    });

    test("closing a store ends its watches as stopped, refuses calls, and may be done twice", async () => {
      const other = under.source.openMember(7);
      const prefix = area();
      const watched = watch(other, prefix, (await other.get(prefix)).revision);
      await until(() => watched.created.length === 1, "the watch is open");
      await other.close();
      await other.close();
      expect(await watched.ended).toEqual({ kind: "stopped" });
      expect(await failure(other.get("x"))).toBe("STORE_CLOSED");
      expect(await failure(other.txn({ compare: [], then: [put(prefix)] }))).toBe("STORE_CLOSED");
      expect(await watch(other, prefix, 1n).ended).toEqual({ kind: "stopped" });
      expect((await store.get("x")).kv).toBeUndefined();
    });
  });
}
