import { createServer } from "node:net";
import { afterAll, describe, expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import { etcdAvailable, startEtcd } from "../support/etcd.ts";
import { put, write } from "../support/stores.ts";

const ends: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

/** A member that takes every connection and then does as `treat` says. */
async function startBroken(treat: "silent" | "reset"): Promise<string> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    if (treat === "reset") socket.once("data", () => socket.resetAndDestroy());
  });
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  ends.push(() => server.close());
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`;
}

describe.skipIf(!etcdAvailable())("one member of several that fails", () => {
  test.each(["silent", "reset"] as const)("costs no read: the next one is asked when it is %s", async (treat) => {
    const etcd = await startEtcd();
    ends.push(() => etcd.stop());
    const [good = ""] = etcd.endpoints;
    const direct = openEtcdSource({ hosts: [good], clock: systemClock, log: silentLog }).open();
    ends.push(() => direct.close());
    await write(direct, put("/apisix/routes/1", { uri: "/x" }));
    const hosts = [await startBroken(treat), good];
    // Where a store begins is chance: several begin at the broken one.
    for (let i = 0; i < 6; i++) {
      const store = openEtcdSource({ hosts, clock: systemClock, log: silentLog, rpcMs: 2_000 }).open();
      ends.push(() => store.close());
      expect((await store.get("/apisix/routes/1")).kv?.value.toString()).toBe('{"uri":"/x"}');
      const seen: string[] = [];
      for await (const page of store.list({ start: "/apisix/", end: "/apisix0" }))
        seen.push(...page.kvs.map(({ key }) => key));
      expect(seen).toEqual(["/apisix/routes/1"]);
    }
  });
});

test("a call to members that are all silent ends with one deadline, however many members and pages there are", async () => {
  const hosts = [await startBroken("silent"), await startBroken("silent"), await startBroken("silent")];
  const source = openEtcdSource({ hosts, clock: systemClock, log: silentLog, rpcMs: 1_000 });
  const open = () => {
    const store = source.open();
    ends.push(() => store.close());
    return store;
  };
  const list = async (): Promise<void> => {
    for await (const _ of open().list({ start: "/apisix/", end: "/apisix0" })) throw new Error("a page");
  };
  const listed = list();
  const written = write(open(), put("/apisix/routes/1", {}));
  const first: string[] = [];
  const note = (what: string) => (error: unknown) => {
    first.push(what);
    throw error;
  };
  // Three deadlines, one after another: the list and the write, which began with them, end earlier.
  const read = async (): Promise<void> => {
    const store = open();
    for (let i = 0; i < 3; i++) await expect(store.get("/apisix/routes/1")).rejects.toThrow("no answer");
    first.push("reads");
  };
  const all = [listed.catch(note("list")), written.catch(note("write"))];
  for (const call of all) call.catch(() => undefined);
  await read();
  expect(first).toEqual(expect.arrayContaining(["list", "write"]));
  await expect(listed).rejects.toMatchObject({ code: "STORE_UNAVAILABLE" });
  // A silent member may have got the write, if it was connected in time.
  await expect(written).rejects.toMatchObject({
    code: expect.stringMatching(/^STORE_(?:UNAVAILABLE|OUTCOME_UNKNOWN)$/),
  });
  expect(first.at(-1)).toBe("reads");
});
