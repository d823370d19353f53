import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { startBeat } from "../../src/cluster/beat.ts";
import { createIdentity, parseIdentity, raiseEpoch } from "../../src/store/store-identity.ts";
import { controlKeys } from "../../src/store/store-keys.ts";
import { openTemporaryStore, put, type TemporaryStore, write } from "../support/stores.ts";
import { until } from "../support/until.ts";

const PREFIX = "/apisix";
const KEYS = controlKeys(PREFIX);

let clock: FakeClock;
let under: TemporaryStore;
beforeEach(async () => {
  clock = new FakeClock();
  under = await openTemporaryStore(clock);
});
afterEach(() => under.stop());

async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 1_000) {
    clock.advance(Math.min(1_000, left));
    await until(() => new Promise((resolve) => setTimeout(resolve, 4, true)), "a moment");
  }
}

/** How long a write takes is the machine's affair, so time moves on until it was made. @returns milliseconds of the clock */
async function passUntilBeats(count: bigint): Promise<number> {
  for (let passed = 0; passed < 600_000; passed += 1_000) {
    if ((await beats()) >= count) return passed;
    await pass(1_000);
  }
  throw new Error(`no ${count} beats within 600 s of the clock`);
}

async function beats(): Promise<bigint> {
  return (await under.store.get(KEYS.beat)).kv?.version ?? 0n;
}

test("several candidates write one beat about every 10 s, and one takes over from another", async () => {
  const options = { store: under.store, prefix: PREFIX, clock, log: silentLog };
  const stops = [0.2, 0.5, 0.8].map((random) => startBeat({ ...options, random: () => random }));
  const passed = await passUntilBeats(5n);
  const before = await beats();
  expect(Number(before)).toBeLessThanOrEqual(1 + passed / 7_500);
  const { kv } = await under.store.get(KEYS.beat);
  expect(JSON.parse(kv?.value.toString() ?? "")).toEqual({ at: expect.closeTo(clock.nowMs(), -4.5) });
  await stops[0]?.();
  await passUntilBeats(before + 2n);
  await Promise.all(stops.map((stop) => stop()));
  const last = await beats();
  await pass(30_000);
  expect(await beats()).toBe(last);
});

test("the store identity is created once, together with what goes along", async () => {
  const all = await Promise.all(
    Array.from({ length: 5 }, () => createIdentity(under.store, PREFIX, [put("/apisix/routes/", "init_dir")])),
  );
  expect(all.filter(({ created }) => created)).toHaveLength(1);
  expect(new Set(all.map(({ identity }) => identity.id)).size).toBe(1);
  expect((await under.store.get("/apisix/routes/")).kv?.version).toBe(1n);
});

test("the epoch is raised by one, also by several at once", async () => {
  const { identity } = await createIdentity(under.store, PREFIX);
  await Promise.all([raiseEpoch(under.store, PREFIX), raiseEpoch(under.store, PREFIX)]);
  expect(parseIdentity((await under.store.get(KEYS.identity)).kv?.value)).toEqual({ id: identity.id, epoch: 3 });
});

test("raising remembers which stores are replaced, each once and the last sixteen", async () => {
  const { identity } = await createIdentity(under.store, PREFIX);
  for (const id of ["a", "b", "a"]) await raiseEpoch(under.store, PREFIX, [], id);
  const stored = async () => parseIdentity((await under.store.get(KEYS.identity)).kv?.value);
  expect(await stored()).toEqual({ id: identity.id, epoch: 4, replaces: ["b", "a"] });
  await raiseEpoch(under.store, PREFIX);
  expect(await stored()).toEqual({ id: identity.id, epoch: 5, replaces: ["b", "a"] });
  for (let i = 0; i < 20; i++) await raiseEpoch(under.store, PREFIX, [], `s${i}`);
  expect((await stored())?.replaces).toEqual(Array.from({ length: 16 }, (_, i) => `s${i + 4}`));
});

test("garbage in place of the identity is an error, not a new identity", async () => {
  await write(under.store, put(KEYS.identity, "garbage"));
  await expect(createIdentity(under.store, PREFIX)).rejects.toMatchObject({ code: "RECORD_INVALID" });
  await expect(raiseEpoch(under.store, PREFIX)).rejects.toMatchObject({ code: "RECORD_INVALID" });
});
