/** What may be shown once in the cluster: by a key of the store each. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { CodedError } from "../../src/base/errors.ts";
import { onceDir, openClusterOnce } from "../../src/runtime/cluster-once.ts";
import { type LeaseId, prefixRange, type Store } from "../../src/store/store.ts";
import { openTemporaryStore, type TemporaryStore } from "../support/stores.ts";

let under: TemporaryStore;
beforeAll(async () => {
  under = await openTemporaryStore();
});
afterAll(() => under.stop());

/** Notes the leases that are asked for. */
function open(prefix: string, txn: Store["txn"] = (asked) => under.store.txn(asked)) {
  const [leases, settled]: [number[], unknown[]] = [[], []];
  const clock = new FakeClock();
  const grantLease = (seconds: number) => {
    leases.push(seconds);
    return under.store.grantLease(seconds);
  };
  const store = { grantLease, txn } as Store; // it asks for nothing else
  const once = openClusterOnce({ prefix, clock, store: () => store, settled: (error) => settled.push(error) });
  return { once, clock, leases, settled };
}

test("of many that show the same at once one is the first; scopes and texts are apart", async () => {
  const nodes = Array.from({ length: 5 }, () => open("/a").once);
  const told = await Promise.all(nodes.flatMap((node) => [1, 2].map(() => node.isFirst("s", "x", 60))));
  expect(told.filter(Boolean)).toHaveLength(1);
  expect(await nodes[0]?.isFirst("s", "y", 60)).toBe(true);
  expect(await nodes[0]?.isFirst("t", "x", 60)).toBe(true);
});

test("what was shown is no text in the store, lies beside the configuration, and goes with its lease", async () => {
  const { once } = open("/b");
  await once.isFirst("s", "secret-id", 60);
  const found: { readonly key: string; readonly lease: LeaseId; readonly bytes: number }[] = [];
  for await (const { kvs } of under.store.list(prefixRange("/b")))
    found.push(...kvs.map(({ key, lease, value }) => ({ key, lease, bytes: value.length })));
  expect(found).toEqual([
    { key: expect.stringMatching(/^\/b-jotgate\/once\/s\/[\w-]{43}$/), lease: expect.anything(), bytes: 0 },
  ]);
  const left = await under.store.keepAlive(found[0]?.lease as LeaseId);
  expect(left).toBeGreaterThanOrEqual(60);
  expect(onceDir("/b")).toBe("/b-jotgate/once/");
});

test("leases are shared as long as they last for what is shown", async () => {
  const { once, clock, leases } = open("/c");
  for (let i = 0; i < 50; i++) await once.isFirst("s", `${i}`, 60);
  expect(leases).toEqual([180]);
  clock.advance(119_000);
  await once.isFirst("s", "later", 60);
  expect(leases).toHaveLength(1);
  clock.advance(2_000);
  await once.isFirst("s", "too late", 60);
  await once.isFirst("s", "longer", 300);
  expect(leases).toEqual([180, 180, 420]);
});

test("a store that does not answer is said, and the next question asks for a new lease", async () => {
  const gone = () => Promise.reject(new CodedError("STORE_LEASE_GONE", { message: "gone" }));
  const { once, leases, settled } = open("/d", gone);
  for (const text of ["x", "y"])
    await expect(once.isFirst("s", text, 60)).rejects.toMatchObject({ code: "STORE_LEASE_GONE" });
  expect(leases).toHaveLength(2);
  expect(settled).toHaveLength(2);
});
