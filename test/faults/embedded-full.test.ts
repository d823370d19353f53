/**
 * No space left under the embedded store: G1, G3, G4, G12. As etcd when it is full: writes are refused, the rest goes on.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { injectable, reportFault } from "../support/fault-report.ts";
import { recordOf } from "../support/ledger.ts";
import { startLoad } from "../support/load.ts";
import { allowTime } from "../support/long-run.ts";
import { admin, startNode, until } from "../support/process.ts";
import { fillDisk, mountSmallDisk, whyNoMount } from "../support/tmpfs.ts";

allowTime();

const ends: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const mountable = injectable("12 disk of the embedded store full", whyNoMount());

describe.skipIf(!mountable)("the disk of the embedded store is full", () => {
  for (const workers of [1, 2]) {
    test(`G1 G4: ${workers} workers: writes are 507 with the cause, traffic and reads go on, and writes work again`, async () => {
      const { folder, unmount } = mountSmallDisk("3m");
      ends.push(unmount);
      const args = ["--workers", String(workers)];
      const node = await startNode("start", { dataDir: join(folder, "data"), args });
      ends.push(() => node.stop("SIGKILL"));
      expect((await admin(node, "PUT", "/routes/load", recordOf("/load/*"))).status).toBe(201);
      expect((await admin(node, "PUT", "/routes/spare", recordOf("/spare"))).status).toBe(201);
      await until("the route serves", async () => (await fetch(`${node.gateway}/load/0`)).status === 200);
      const load = startLoad({
        targets: [{ name: "gateway", origin: node.gateway }],
        rate: 50,
        request: (n) => ({ path: `/load/${n}` }),
      });
      ends.push(() => load.stop());

      const filler = join(folder, "filler");
      fillDisk(filler);
      const long = (path: string): object => ({
        uri: path,
        plugins: { mocking: { response_example: "x".repeat(60_000) } },
      });
      let written = 0;
      const refused = new Set<string>();
      // Some pages may still be free in the file; then a write at once and several at a time are refused.
      await until("a write is refused", async () => {
        const path = `/long-${written++}`;
        const { status, body } = await admin(node, "PUT", `/routes${path}`, long(path));
        if (status === 201) return false;
        expect(status).toBe(507);
        expect(JSON.stringify(body)).toMatch(/no space left for the embedded store in .*data\/store/);
        refused.add(path);
        return true;
      });
      const several = Array.from({ length: 8 }, (_, i) => `/several-${i}`);
      const answers = await Promise.all(several.map((path) => admin(node, "PUT", `/routes${path}`, long(path))));
      expect(answers.map(({ status }) => status)).toContain(507);
      several.filter((_, i) => answers[i]?.status !== 201).forEach((path) => void refused.add(path));

      expect((await admin(node, "GET", "/routes/load")).status).toBe(200);
      for (const path of refused) expect((await admin(node, "GET", `/routes${path}`)).status).toBe(404);

      rmSync(filler);
      await until(
        "writes work again",
        async () => (await admin(node, "PUT", "/routes/later", long("/later"))).status < 300,
      );
      expect((await admin(node, "DELETE", "/routes/spare")).status).toBe(200);
      await until("it serves", async () => (await fetch(`${node.gateway}/later`)).status === 200);
      await until("it is gone", async () => (await fetch(`${node.gateway}/spare`)).status === 404);
      await load.stop();
      expect(load.failures).toEqual([]);
      expect(await node.stop()).toBe(0);
      reportFault({
        fault: `12 disk of the embedded store full, ${workers} workers`,
        how: "tmpfs of 3 MiB filled",
        ...{ sent: load.sent, failed: load.failed, freshMs: undefined, guarantees: "G1 G4", held: true },
      });
    });
  }
});
