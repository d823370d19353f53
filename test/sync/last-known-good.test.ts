import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { Change, Revision } from "../../src/store/store.ts";
import { LastKnownGood } from "../../src/sync/lkg/last-known-good.ts";
import { openSealer } from "../../src/sync/lkg/sealer.ts";
import type { Position } from "../../src/sync/sync-status.ts";
import { Table } from "../../src/sync/table.ts";
import { contentsOf } from "../support/stores.ts";
import { until } from "../support/until.ts";

const PURPOSE = "jotgate last-known-good";
const SETTLE_MS = 100;
const EVERY_MS = 1_000;

let folder: string;
let file: string;
let clock: FakeClock;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "jotgate-lkg-"));
  file = join(folder, "data", "last-known-good");
  clock = new FakeClock();
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Node {
  readonly table: Table;
  readonly keeper: LastKnownGood;
  position: Position | undefined;
  apply(revision: Revision, ...changes: readonly [key: string, value: string | undefined][]): void;
  /** Lets the write become due and waits for it. */
  saved(): Promise<void>;
}

function openNode(options: { keyring?: string[]; prefix?: string; path?: string } = {}): Node {
  const table = new Table({
    clock,
    consumer: {
      apply: (batch) => batch.changes.filter((c) => c.kv?.value.toString().startsWith("bad")).map((c) => c.key),
    },
  });
  const sealer = options.keyring === undefined ? undefined : openSealer(options.keyring, PURPOSE);
  const keeper = new LastKnownGood({
    file: options.path ?? file,
    prefix: options.prefix ?? "/apisix",
    table,
    clock,
    log: silentLog,
    sealer,
  });
  const node: Node = {
    table,
    keeper,
    position: undefined,
    apply(revision, ...changes) {
      node.position = { applied: revision, identity: { id: "one", epoch: 1 }, clusterId: "c" };
      table.apply(
        revision,
        changes.map(([key, value]): Change => {
          if (value === undefined) return { type: "delete", key, kv: undefined };
          return {
            type: "put",
            key,
            kv: { key, value: Buffer.from(value), modRevision: revision, createRevision: 1n, version: 1n, lease: 0n },
          };
        }),
      );
    },
    async saved() {
      clock.advance(EVERY_MS);
      await until(() => keeper.facts().savedRevision === node.position?.applied, "the file is written");
    },
  };
  return node;
}

/** Starts a node from the file; ends its keeper without writing. */
async function restart(options: { keyring?: string[]; prefix?: string } = {}) {
  const node = openNode(options);
  const restored = await node.keeper.restore();
  await node.keeper.stop();
  return { ...node, restored };
}

async function savedNode(options: { keyring?: string[] } = {}): Promise<Node> {
  const node = openNode(options);
  node.keeper.start(() => node.position);
  node.apply(5n, ["/apisix/routes/1", "one"], ["/apisix/routes/2", "two"]);
  await node.saved();
  return node;
}

test("a restart finds the records and the position, and no file is no problem", async () => {
  expect((await restart()).restored).toBeUndefined();
  const node = await savedNode();
  node.apply(6n, ["/apisix/routes/1", undefined], ["/apisix/routes/3", "three"]);
  await node.saved();
  await node.keeper.stop();
  const again = await restart();
  expect(again.restored).toMatchObject({
    applied: 6n,
    identity: { id: "one", epoch: 1 },
    clusterId: "c",
    savedAtMs: node.keeper.facts().savedAtMs,
  });
  expect(contentsOf(again.table)).toEqual(contentsOf(node.table));
  expect(again.keeper.facts().problem).toBeUndefined();
});

test("the last good value of a refused record survives a restart", async () => {
  const node = await savedNode();
  node.apply(6n, ["/apisix/routes/1", "bad json"]);
  await node.saved();
  await node.keeper.stop();
  const again = await restart();
  expect(again.table.get("/apisix/routes/1")?.value.toString()).toBe("bad json");
  expect(again.table.lastGood("/apisix/routes/1")?.value.toString()).toBe("one");
});

test("changes are gathered: at most one write in a second", async () => {
  const node = await savedNode();
  node.apply(6n, ["a", "1"]);
  clock.advance(SETTLE_MS);
  await until(() => node.keeper.facts().savedRevision === 6n, "a write after a quiet time comes soon");
  const bytes = statSync(file).size;
  node.apply(7n, ["a", "2"]);
  clock.advance(EVERY_MS - 1);
  node.apply(8n, ["a", "3"]);
  await new Promise(setImmediate);
  expect(node.keeper.facts().savedRevision).toBe(6n);
  clock.advance(1);
  await until(() => node.keeper.facts().savedRevision === 8n, "the next write");
  expect(statSync(file).size - bytes).toBeLessThan(400);
  await node.keeper.stop();
});

test("what is to be kept is in the file at once, by one write for all who ask", async () => {
  const node = await savedNode();
  node.apply(6n, ["/apisix/consumers/x", "one"]);
  await node.keeper.keep(6n);
  node.apply(7n, ["/apisix/consumers/x", undefined]);
  await Promise.all([node.keeper.keep(6n), node.keeper.keep(7n), node.keeper.keep(7n)]);
  const again = await restart();
  expect(again.restored?.applied).toBe(7n);
  expect(again.table.get("/apisix/consumers/x")).toBeUndefined();
  node.position = { applied: 9n, identity: { id: "one", epoch: 1 }, clusterId: "c" };
  const before = readFileSync(file);
  await node.keeper.keep(9n); // no record has changed, so nothing older can come back
  expect(readFileSync(file).equals(before)).toBe(true);
  await node.keeper.stop();
});

test("what cannot be kept is not said to be, unless nothing older could come back", async () => {
  writeFileSync(join(folder, "sub"), "a file where the folder should be");
  const first = openNode({ path: join(folder, "sub", "last-known-good") });
  first.keeper.start(() => first.position);
  first.apply(5n, ["/apisix/routes/1", "one"]);
  await first.keeper.keep(5n);
  await first.keeper.stop();

  const node = await savedNode();
  mkdirSync(`${file}.new`); // the file cannot be written anew, and so much is appended that it has to be
  node.apply(6n, ["/apisix/routes/long", "x".repeat(1_500_000)]);
  await node.keeper.keep(6n);
  node.apply(7n, ["/apisix/routes/long", undefined]);
  await expect(node.keeper.keep(7n)).rejects.toThrow("cannot be written");
  await node.keeper.stop();
});

test("a revision without changed records (a beat) does not touch the file, until it is stopped", async () => {
  const node = await savedNode();
  const before = readFileSync(file);
  node.position = { applied: 9n, identity: { id: "one", epoch: 1 }, clusterId: "c" };
  clock.advance(EVERY_MS * 3);
  await new Promise(setImmediate);
  expect(readFileSync(file).equals(before)).toBe(true);
  await node.keeper.stop();
  expect((await restart()).restored?.applied).toBe(9n);
});

test("nothing is written before the table is loaded", async () => {
  const node = openNode();
  node.keeper.start(() => node.position);
  node.apply(5n, ["a", "1"]);
  node.position = undefined;
  clock.advance(EVERY_MS);
  await new Promise(setImmediate);
  expect(node.keeper.facts()).toEqual({ savedAtMs: undefined, savedRevision: undefined, problem: undefined });
  node.apply(6n, ["b", "1"]);
  await node.saved();
  await node.keeper.stop();
  expect(contentsOf((await restart()).table)).toEqual(contentsOf(node.table));
});

test("a restarted node goes on in the same file", async () => {
  await (await savedNode()).keeper.stop();
  const node = openNode();
  node.position = await node.keeper.restore();
  node.keeper.start(() => node.position);
  const inode = statSync(file).ino;
  node.apply(8n, ["b", "2"]);
  await node.saved();
  await node.keeper.stop();
  expect(statSync(file).ino).toBe(inode);
  expect(contentsOf((await restart()).table)).toEqual(contentsOf(node.table));
});

test("more changes than are kept track of are written all the same, deletions too", async () => {
  const node = openNode();
  node.keeper.start(() => node.position);
  node.apply(1n, ["/apisix/routes/gone", "v"], ["/apisix/routes/kept", "v"]);
  await node.saved();
  const before = statSync(file).ino;
  const many = Array.from({ length: 60_000 }, (_, n): [string, string] => [`/apisix/consumers/c${n}`, `v${n}`]);
  node.apply(2n, ...many, ["/apisix/routes/gone", undefined]);
  await node.saved();
  expect(statSync(file).ino).not.toBe(before);
  node.apply(3n, ["/apisix/routes/kept", "w"]); // appended again
  await node.saved();
  await node.keeper.stop();
  const again = openNode();
  expect((await again.keeper.restore())?.applied).toBe(3n);
  await again.keeper.stop();
  expect(contentsOf(again.table)).toEqual(contentsOf(node.table));
});

test("when more was appended than the base is large, the file is written anew", async () => {
  const node = await savedNode();
  const inode = statSync(file).ino;
  const value = "x".repeat(400_000);
  for (let revision = 6n; revision < 12n; revision++) {
    node.apply(revision, ["/apisix/routes/1", value + revision]);
    await node.saved();
  }
  await node.keeper.stop();
  expect(statSync(file).ino).not.toBe(inode);
  expect(statSync(file).size).toBeLessThan(1_700_000);
  expect(contentsOf((await restart()).table)).toEqual(contentsOf(node.table));
});

test("only its owner can read the file", async () => {
  await (await savedNode()).keeper.stop();
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test("cut off at any place, the file is one of its commits or nothing", async () => {
  const node = await savedNode();
  const states = [contentsOf(node.table)];
  const ends = [statSync(file).size];
  for (let revision = 6n; revision < 9n; revision++) {
    node.apply(revision, [`/apisix/routes/${revision}`, "new"], ["/apisix/routes/1", `${revision}`]);
    await node.saved();
    states.push(contentsOf(node.table));
    ends.push(statSync(file).size);
  }
  await node.keeper.stop();
  const whole = readFileSync(file);
  for (let length = 0; length <= whole.length; length += 7) {
    writeFileSync(file, whole.subarray(0, length));
    const again = await restart();
    const commit = ends.findLastIndex((end) => end <= length);
    expect(again.restored?.applied, `${length} bytes`).toBe(commit < 0 ? undefined : BigInt(5 + commit));
    expect(contentsOf(again.table)).toEqual(states[commit] ?? new Map());
    expect(again.keeper.facts().problem === undefined).toBe(commit >= 0);
  }
});

test.each([
  { says: "plain", keyring: undefined },
  { says: "encrypted", keyring: ["k1"] },
])("with any byte changed, the $says file is one of its commits or is ignored", async ({ keyring }) => {
  const options = keyring === undefined ? {} : { keyring };
  const node = await savedNode(options);
  const first = contentsOf(node.table);
  const base = statSync(file).size;
  node.apply(6n, ["/apisix/routes/1", "changed"]);
  await node.saved();
  await node.keeper.stop();
  const whole = readFileSync(file);
  for (let at = 0; at < whole.length; at += 3) {
    const bytes = Buffer.from(whole);
    bytes.writeUInt8((bytes[at] ?? 0) ^ 0x10, at);
    writeFileSync(file, bytes);
    const again = await restart(options);
    expect(contentsOf(again.table), `byte ${at}`).toEqual(at < base ? new Map() : first);
  }
});

test.each([
  { says: "another prefix", from: {}, to: { prefix: "/other" }, reason: "prefix" },
  { says: "a keyring where the file is plain", from: {}, to: { keyring: ["k1"] }, reason: "not encrypted" },
  { says: "no keyring where the file is encrypted", from: { keyring: ["k1"] }, to: {}, reason: "no keyring" },
  { says: "another keyring", from: { keyring: ["k1"] }, to: { keyring: ["k2"] }, reason: "not in the keyring" },
])("a file is ignored and reported with $says", async ({ from, to, reason }) => {
  await (await savedNode(from)).keeper.stop();
  const again = await restart(to);
  expect(again.restored).toBeUndefined();
  expect(again.table.size).toBe(0);
  expect(again.keeper.facts().problem).toContain(reason);
});

test("an encrypted file shows no value or key, and an older key of the keyring still opens it", async () => {
  await (await savedNode({ keyring: ["k1"] })).keeper.stop();
  const bytes = readFileSync(file);
  for (const secret of ["one", "two", "routes"]) expect(bytes.includes(secret)).toBe(false);
  const again = await restart({ keyring: ["k0", "k1"] });
  expect(again.table.get("/apisix/routes/1")?.value.toString()).toBe("one");
});

test("a file under an older key is written anew under the first one, so that the older one may go", async () => {
  await (await savedNode({ keyring: ["k1"] })).keeper.stop();
  const rotated = openNode({ keyring: ["k0", "k1"] });
  const restored = await rotated.keeper.restore();
  rotated.position = { applied: 5n, identity: { id: "one", epoch: 1 }, clusterId: "c" };
  rotated.keeper.start(() => rotated.position);
  await until(async () => {
    clock.advance(EVERY_MS);
    return rotated.keeper.facts().savedAtMs !== restored?.savedAtMs;
  }, "it is written without a change of the configuration");
  await rotated.keeper.stop();
  const without = await restart({ keyring: ["k0"] });
  expect(without.table.get("/apisix/routes/1")?.value.toString()).toBe("one");
});

test("a file that cannot be written is a problem that harms nothing and heals", async () => {
  const blocked = join(folder, "blocked");
  writeFileSync(blocked, "a file where a folder should be");
  const node = openNode({ path: join(blocked, "lkg") });
  node.keeper.start(() => node.position);
  node.apply(5n, ["a", "1"]);
  clock.advance(SETTLE_MS);
  await until(() => node.keeper.facts().problem !== undefined, "the problem is seen");
  rmSync(blocked);
  await until(async () => {
    clock.advance(EVERY_MS);
    return node.keeper.facts().savedRevision === 5n;
  }, "it heals");
  expect(node.keeper.facts().problem).toBeUndefined();
  await node.keeper.stop();
});
