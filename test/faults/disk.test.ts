/**
 * The disk under the last-known-good file: a process killed while it writes, no space left, read-only: G1, G8, G12.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import { readLastKnownGood } from "../../src/sync/lkg/lkg-reader.ts";
import { etcdAvailable, startEtcd } from "../support/etcd.ts";
import { injectable, reportFault } from "../support/fault-report.ts";
import { recordOf } from "../support/ledger.ts";
import { openLone, seed } from "../support/lone.ts";
import { allowTime, bounded, LONG, slack } from "../support/long-run.ts";
import { ROOT, temporaryFolder, until } from "../support/process.ts";
import { configOf, metricsOf, sampleOf } from "../support/scrape.ts";
import { put, write } from "../support/stores.ts";
import { fillDisk, mountSmallDisk, whyNoMount } from "../support/tmpfs.ts";

allowTime();

/** A machine so busy that no child comes to finish a file for so long has other troubles. */
const MOST_KILLS = 100;
const ends: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

test("G8: 34 killed while it writes the file, again and again: the file is always the old or the new one", async () => {
  const folder = temporaryFolder("lkg-kills");
  const file = join(folder, "lkg", "last-known-good");
  const kills = bounded(5, 200);
  let last = 0n;
  let grown = 0;
  for (let i = 0; i < kills || (grown === 0 && i < MOST_KILLS); i++) {
    const script = join(import.meta.dirname, "../support/lkg-child.mjs");
    const child = spawn(process.execPath, [script, join(ROOT, "dist"), file], { stdio: ["ignore", "pipe", "inherit"] });
    const exited = once(child, "exit");
    await Promise.race([
      once(child.stdout, "data"),
      exited.then(() => Promise.reject(new Error("it ended by itself"))),
    ]);
    await new Promise((resolve) => setTimeout(resolve, 5 + Math.random() * 60));
    child.kill("SIGKILL");
    await exited;
    const read = await readLastKnownGood(file, "/apisix", undefined, systemClock);
    if (read.kind === "none" && last === 0n) continue; // killed before the first was whole
    expect(
      read.kind,
      JSON.stringify(read, (_, value) => (typeof value === "bigint" ? `${value}` : value)).slice(0, 300),
    ).toBe("sound");
    if (read.kind !== "sound") return;
    const numbers = new Set([...read.records.values()].map(({ record }) => String(record?.value).split(" ")[0]));
    expect([...numbers]).toEqual([String(read.position.applied)]); // one commit, whole
    expect(read.position.applied).toBeGreaterThanOrEqual(last);
    if (read.position.applied > last) grown++;
    last = read.position.applied;
  }
  reportFault({
    fault: `34 killed ${kills} times while writing the disk file`,
    how: "SIGKILL at random moments",
    ...{ sent: kills, failed: 0, freshMs: undefined, guarantees: "G8", held: true },
    note: `${grown} times a newer file was found`,
  });
  expect(grown).toBeGreaterThan(0);
});

// The file is written every 10 s at most, which is too long for `npm test`.
const mountable = LONG && etcdAvailable() && injectable("35 disk full or read-only for the disk file", whyNoMount());

describe.skipIf(!mountable)("a disk of a few hundred kilobytes", () => {
  test("G1 G12: 35 no space, then read-only: callers do not notice, the node says so, and the file is written again", async () => {
    const { folder, unmount } = mountSmallDisk("256k");
    ends.push(unmount);
    const dataDir = join(folder, "data");
    mkdirSync(dataDir);
    const etcd = await startEtcd();
    ends.push(() => etcd.stop());
    const store = openEtcdSource({ hosts: etcd.endpoints, clock: systemClock, log: silentLog }).open();
    ends.push(() => store.close());
    await seed(store);
    const lone = await openLone({
      etcd: etcd.endpoints,
      dataDir,
      args: ["--instance", "lkg"],
      store,
      rate: bounded(50, 300),
    });
    ends.push(() => lone.close());
    const { node } = lone;
    const file = join(dataDir, "lkg/last-known-good");
    await until("the file", () => readFileSync(file).length > 0);

    const named = (what: RegExp) => async (): Promise<boolean> => {
      const { last_known_good: copy } = (await configOf(node)) as unknown as {
        last_known_good: { problem: string | null };
      };
      return (
        what.test(copy.problem ?? "none") &&
        sampleOf(await metricsOf(node), "jotgate_last_known_good_ok") === (copy.problem === null ? 1 : 0)
      );
    };
    const filler = join(folder, "filler");
    let savedAgain = false;
    await lone.run({
      name: "35 disk full",
      how: "tmpfs of 256 KiB filled",
      guarantees: "G1 G12",
      note: () => (savedAgain ? "written again when there was space" : "not written again"),
      freshMs: 60_000, // it is the file that is waited for, at most every 10 s
      inject: async () => {
        fillDisk(filler);
        for (let i = 0; i < 30; i++)
          await write(store, put(`/apisix/routes/long-${i}`, { ...recordOf(`/long/${i}`), desc: "d".repeat(250) }));
        await lone.inStep(); // a change that cannot be saved: more than what is left of the file's last page
        await until("no space is named", named(/cannot be written: .*ENOSPC/), slack(15_000));
        rmSync(filler);
        await lone.inStep();
        await until("saved again", named(/^none$/), 30_000);
        savedAgain = true;
      },
    });

    // A file system that becomes read-only while a file is open for writing needs a broken disk; a node can be started on one.
    await lone.load.stop();
    expect(await node.stop()).toBe(0);
    execFileSync("mount", ["-o", "remount,ro", folder]);
    const again = await openLone({
      etcd: etcd.endpoints,
      dataDir,
      args: ["--instance", "lkg"],
      store,
      rate: bounded(50, 300),
    });
    ends.push(() => again.close());
    let text = "";
    await again.run({
      name: "35 disk read-only at the start",
      how: "tmpfs mounted again read-only",
      guarantees: "G1 G8 G12",
      note: () => text,
      freshMs: 60_000,
      inject: async () => {
        await again.inStep();
        await until(
          "read-only is named",
          async () => {
            const { last_known_good: copy } = (await configOf(again.node)) as unknown as {
              last_known_good: { problem: string | null };
            };
            text = copy.problem ?? "";
            return /EROFS/.test(text);
          },
          slack(15_000),
        );
      },
    });
  });
});
