import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, expect, test } from "vitest";
import { type Clock, FakeClock, systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { type EmbeddedSource, openEmbeddedSource } from "../../src/store/embedded/embedded.ts";
import { type Operation, prefixRange, type Revision, type Store } from "../../src/store/store.ts";
import { slack } from "../support/long-run.ts";
import { contents, put, remove, write } from "../support/stores.ts";
import { until } from "../support/until.ts";

let folder: string;
let sources: EmbeddedSource[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "jotgate-embedded-"));
});
afterEach(async () => {
  for (const source of sources) await source.close();
  sources = [];
  rmSync(folder, { recursive: true, force: true });
});

async function open(clock: Clock = systemClock, path = folder): Promise<{ source: EmbeddedSource; store: Store }> {
  const source = await openEmbeddedSource({ folder: path, clock, log: silentLog });
  sources.push(source);
  return { source, store: source.open() };
}

const everything = prefixRange("/");
const leased = (key: string, lease: bigint): Operation => ({ op: "put", key, value: Buffer.from("v"), lease });

test("a restart has all data, goes on counting, and can resume a watch from before", async () => {
  const first = await open();
  const old = await write(first.store, put("/a", "1"), put("/b", "1"));
  await write(first.store, put("/a", "2"), remove("/b"));
  const before = await contents(first.store, everything);
  const { clusterId, revision } = await first.store.get("/a");
  await first.source.close();

  const second = await open();
  expect(await contents(second.store, everything)).toEqual(before);
  expect(await second.store.get("/a")).toMatchObject({ clusterId, revision, kv: { version: 2n } });
  const seen: string[] = [];
  const stopper = new AbortController();
  const batch = (at: Revision, changes: readonly { type: string; key: string }[]): void => {
    for (const { type, key } of changes) seen.push(`${at - old} ${type} ${key}`);
  };
  const watching = second.store.watch(
    everything,
    old,
    { created: () => {}, progress: () => {}, batch },
    stopper.signal,
  );
  expect(await write(second.store, put("/c"))).toBe(revision + 1n);
  await until(() => seen.length === 3, "the past and the present");
  expect(seen).toEqual(["1 put /a", "1 delete /b", "2 put /c"]);
  stopper.abort();
  await watching;
});

test("killed while writing, every acknowledged transaction is there, whole; and no two processes share a folder", async () => {
  const child = spawn(
    process.execPath,
    ["--import", "tsx", join(import.meta.dirname, "../support/embedded-child.ts"), folder],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  let acknowledged = 0;
  createInterface({ input: child.stdout }).on("line", (line) => {
    acknowledged = Number(line);
  });
  await until(() => acknowledged > 20, "the child writes", 15_000);
  await expect(open()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE", message: expect.stringContaining(folder) });
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;

  const { store } = await open(); // the lock went with its holder
  const a = (await store.get("/a")).kv;
  expect(Number(a?.value)).toBeGreaterThanOrEqual(acknowledged);
  expect((await store.get("/b")).kv).toMatchObject({ value: a?.value, modRevision: a?.modRevision });
  let count = 0;
  for await (const page of store.list(prefixRange("/n/"))) count += page.kvs.length;
  expect(count).toBe(Number(a?.value));
});

test("a folder is held once within a process too, and free again after close", async () => {
  const { source } = await open();
  await expect(open()).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  await source.close();
  await source.close();
  await open();
});

test("a deep folder works, is created, and is its owner's alone", async () => {
  const deep = join(folder, "d".repeat(60), "e".repeat(60));
  await open(systemClock, deep);
  expect(statSync(deep).mode & 0o777).toBe(0o700);
  await expect(open(systemClock, deep)).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
});

test("a folder that is a file is an error that names it", async () => {
  const path = join(folder, "file");
  mkdirSync(path);
  rmSync(path, { recursive: true });
  const { writeFileSync } = await import("node:fs");
  writeFileSync(path, "");
  await expect(open(systemClock, path)).rejects.toMatchObject({
    code: "STORE_UNAVAILABLE",
    message: expect.stringContaining(path),
  });
});

test("a lease goes on over a restart with the time it had left", async () => {
  const clock = new FakeClock();
  const first = await open(clock);
  const lease = await first.store.grantLease(30);
  await write(first.store, leased("/short", lease));
  clock.advance(10_000);
  await first.source.close();

  const restarted = new FakeClock(clock.nowMs() + 5_000); // away for 5 s; the monotonic clock begins at 0 again
  const second = await open(restarted);
  restarted.advance(14_900);
  expect((await second.store.get("/short")).kv).toBeDefined();
  restarted.advance(200);
  await until(async () => (await second.store.get("/short")).kv === undefined, "the lease ends");
  expect(await second.store.keepAlive(lease)).toBe(0);
});

test("a lease that ran out while the store was closed ends at once; kept alive, it does not end", async () => {
  const clock = new FakeClock();
  const first = await open(clock);
  const lease = await first.store.grantLease(30);
  const other = await first.store.grantLease(30);
  await write(first.store, leased("/a", lease), leased("/b", other));
  clock.advance(20_000);
  expect(await first.store.keepAlive(other)).toBe(30);
  await first.source.close();
  const restarted = new FakeClock(clock.nowMs() + 11_000);
  const second = await open(restarted);
  restarted.advance(0);
  await until(async () => (await second.store.get("/a")).kv === undefined, "the lease ends");
  expect((await second.store.get("/b")).kv).toBeDefined();
});

test("wall clock jumps neither end nor prolong a lease", async () => {
  const clock = new FakeClock();
  const { store } = await open(clock);
  await write(store, leased("/a", await store.grantLease(30)));
  clock.jump(3_600_000);
  clock.advance(29_000);
  expect((await store.get("/a")).kv).toBeDefined();
  clock.jump(-7_200_000);
  clock.advance(1_100);
  await until(async () => (await store.get("/a")).kv === undefined, "the lease ends");
});

test("history is bounded: older than an hour or 10,000 revisions is compacted, what is current stays", async () => {
  const clock = new FakeClock();
  const { store } = await open(clock);
  await write(store, put("/kept", "1"));
  const old = await write(store, put("/a", "old"));
  await write(store, put("/a", "new"), remove("/kept"), put("/b"));
  clock.advance(60_000);
  clock.advance(3_600_000);
  await until(() => oldIsGone(store, old), "compacted by age");
  expect([...(await contents(store, everything)).keys()]).toEqual(["/a", "/b"]);
  const start = (await store.get("/a")).revision;
  for (let i = 0; i < 105; i++) await Promise.all(Array.from({ length: 100 }, () => write(store, put("/busy"))));
  clock.advance(60_000);
  await until(() => oldIsGone(store, start), "compacted by count");
  expect((await store.get("/busy")).kv?.version).toBe(10_500n);
});

async function oldIsGone(store: Store, revision: Revision): Promise<boolean> {
  try {
    for await (const _ of store.list(everything, { revision })) return false;
  } catch {
    return true;
  }
  return false;
}

test("20,000 keys are listed in pages without holding the loop", async () => {
  const { store } = await open();
  for (let i = 0; i < 20_000; i += 100) {
    await write(
      store,
      ...Array.from({ length: 100 }, (_, j) => put(`/k/${String(i + j).padStart(5, "0")}`, "x".repeat(300))),
    );
  }
  let turns = 0;
  let listing = true;
  const turn = (): void => {
    turns++;
    if (listing) setImmediate(turn);
  };
  setImmediate(turn);
  const sizes: number[] = [];
  const turnsAt: number[] = [];
  let longest = 0;
  let last = performance.now();
  for await (const page of store.list(everything)) {
    longest = Math.max(longest, performance.now() - last);
    sizes.push(page.kvs.length);
    turnsAt.push(turns);
    last = performance.now();
  }
  listing = false;
  expect(sizes.reduce((sum, size) => sum + size)).toBe(20_000);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(1_000);
  expect(new Set(turnsAt).size).toBe(turnsAt.length); // others had their turn between any two pages
  expect(longest).toBeLessThan(slack(50));
});
