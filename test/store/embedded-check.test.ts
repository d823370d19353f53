import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { type EmbeddedSource, openEmbeddedSource } from "../../src/store/embedded/embedded.ts";
import type { Store } from "../../src/store/store.ts";
import { contents, put, remove, write } from "../support/stores.ts";

let folder: string;
let file: string;
const opened: EmbeddedSource[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "jotgate-check-"));
  file = join(folder, "data.mdb");
});
afterEach(async () => {
  for (const source of opened.splice(0)) await source.close();
  rmSync(folder, { recursive: true, force: true });
});

async function open(): Promise<{ readonly store: Store; close(): Promise<void> }> {
  const source = await openEmbeddedSource({ folder, clock: systemClock, log: silentLog });
  opened.push(source);
  return { store: source.open(), close: () => source.close() };
}

/** Keys on several levels of pages, values on pages of their own, some of them gone, and leases. */
async function fill(): Promise<void> {
  const { store, close } = await open();
  for (let i = 0; i < 30; i++) {
    const many = Array.from({ length: 40 }, (_, n) => put(`/apisix/routes/${i}-${n}`, "x".repeat(n * 17)));
    await write(store, ...many, put(`/apisix/long/${i}`, "y".repeat(i * 3_000)));
  }
  for (let i = 0; i < 30; i += 2) await write(store, remove(`/apisix/long/${i}`), remove(`/apisix/routes/${i}-3`));
  const lease = await store.grantLease(60);
  await store.txn({ compare: [], then: [{ op: "put", key: "/apisix/leased", value: Buffer.of(1), lease }] });
  await store.compact(20n);
  await close();
}

test("a sound store opens again and again, whatever is in it", async () => {
  await (await open()).close();
  await fill();
  const first = await open();
  const before = await contents(first.store);
  expect(before.size).toBe(1_201);
  await first.close();
  const second = await open();
  expect(await contents(second.store)).toEqual(before);
});

const DAMAGES: readonly (readonly [how: string, says: string, damage: () => void])[] = [
  ["is empty", "it is empty", () => truncateSync(file, 0)],
  ["is cut in half", "its end is missing", () => truncateSync(file, Math.floor(statSync(file).size / 2))],
  ["is cut within its head", "it does not begin as one", () => truncateSync(file, 100)],
  ["is something else", "it does not begin as one", () => writeFileSync(file, "garbage ".repeat(10_000))],
  ["is gone", "it is gone", () => rmSync(file)],
  [
    "is a folder",
    "it is not a file",
    () => {
      rmSync(file);
      mkdirSync(file);
    },
  ],
  [
    "has garbage in every page but the first two",
    "is not what it should be",
    () => {
      const bytes = readFileSync(file);
      writeFileSync(file, bytes.fill(0xa7, 2 * 4_096));
    },
  ],
  [
    "has a hole",
    "is not what it should be",
    () => {
      const bytes = readFileSync(file);
      writeFileSync(file, bytes.fill(0, 3 * 4_096));
    },
  ],
];

test.each(DAMAGES)(
  "a store whose file %s is refused with a sentence that names the file and the cure",
  async (_how, says, damage) => {
    await fill();
    damage();
    const refused = openEmbeddedSource({ folder, clock: systemClock, log: silentLog });
    await expect(refused).rejects.toMatchObject({
      code: "STORE_UNAVAILABLE",
      message: expect.stringMatching(
        new RegExp(
          `the local store in .*data.mdb is damaged: .*${says}.*Put a copy of the file back, or move the folder away`,
        ),
      ),
    });
  },
);

test("what is not a lock does not keep the store from being opened, and garbage in the library's own lock file neither", async () => {
  await fill();
  mkdirSync(join(folder, "in-use"));
  writeFileSync(join(folder, "in-use", "x"), "");
  writeFileSync(join(folder, "lock.mdb"), "garbage ".repeat(1_024));
  const { store } = await open();
  expect((await contents(store)).size).toBe(1_201);
});
