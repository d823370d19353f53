/**
 * Going back: to any revision of a random script, as one transaction, by the rules of every write.
 */
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { prefixRange } from "../../src/store/store.ts";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";
import { contents, put, remove, write } from "../support/stores.ts";

let world: AdminWorld;
beforeEach(async () => {
  world = await openAdminWorld();
});
afterEach(() => world.close());

const nodes = { "127.0.0.1:80": 1 };
const upstream = { nodes };
const route = { uri: "/a", upstream };

const call = async (method: string, path: string, body?: object) => {
  const reply = await world.call(method, path, { body });
  if (reply.status >= 300) throw new Error(`${method} ${path}: ${reply.text}`);
  return reply;
};
const revisionNow = async (): Promise<number> =>
  (await world.call("GET", "/history?page_size=1&page=1")).body.list[0].revision;
const rollBack = (revision: number, query = "") => world.call("POST", `/history/${revision}/rollback${query}`);

/** All records, byte for byte. */
const dump = async (): Promise<Map<string, string>> => {
  const all = new Map<string, string>();
  for (const [key, text] of await contents(world.store, prefixRange("/apisix/"))) {
    if (/^\/apisix\/(jotgate\/|gen_id)|\/$/.test(key)) continue;
    all.set(key, text.slice(0, text.lastIndexOf("@")));
  }
  return all;
};

/** The index of identifying values: what it holds, whatever revision it has. */
const index = async (): Promise<Map<string, string>> => {
  const entries = await contents(world.store, prefixRange("/apisix-jotgate/unique/"));
  return new Map([...entries].map(([key, text]) => [key, text.slice(0, text.lastIndexOf("@"))]));
};

test("what was changed, created and deleted since is undone, in one transaction", async () => {
  await call("PUT", "/routes/kept", route);
  await call("PUT", "/routes/gone", route);
  const moment = await revisionNow();
  const then = await dump();
  await call("PATCH", "/routes/kept", { desc: "later" });
  await call("DELETE", "/routes/gone");
  await call("PUT", "/routes/new", route);
  const reply = await rollBack(moment);
  expect(reply).toMatchObject({
    status: 200,
    body: {
      rolled_back_to: moment,
      changes: [
        { key: "/apisix/routes/kept", change: "updated" },
        { key: "/apisix/routes/gone", change: "created" },
        { key: "/apisix/routes/new", change: "deleted" },
      ],
      warnings: [],
    },
  });
  expect(await dump()).toEqual(then);
  const { kv: kept } = await world.store.get("/apisix/routes/kept");
  const { kv: gone } = await world.store.get("/apisix/routes/gone");
  expect(kept?.modRevision).toBe(gone?.modRevision);
  expect(Number(kept?.modRevision)).toBe(reply.body.revision);
});

test("a rollback is an entry itself, and can be rolled back", async () => {
  await call("PUT", "/routes/r", route);
  const first = await revisionNow();
  await call("PUT", "/routes/r", { ...route, desc: "second" });
  const second = await revisionNow();
  const now = await dump();
  await rollBack(first);
  const { list } = (await world.call("GET", "/history?page_size=1&page=1")).body;
  expect(list[0]).toMatchObject({
    method: "POST",
    path: `/apisix/admin/history/${first}/rollback`,
    changes: [{ key: "/apisix/routes/r", diff: [{ op: "remove", path: "/desc", from: "second" }] }],
  });
  await rollBack(second);
  expect(await dump()).toEqual(now);
});

test("records that need each other come back together", async () => {
  await call("PUT", "/upstreams/u", upstream);
  await call("PUT", "/services/s", { upstream_id: "u" });
  await call("PUT", "/routes/r", { uri: "/r", service_id: "s" });
  await call("PUT", "/consumer_groups/g", { plugins: {} });
  await call("PUT", "/consumers/jack", { username: "jack", group_id: "g" });
  await call("PUT", "/consumers/jack/credentials/c", { plugins: { "key-auth": { key: "k" } } });
  const moment = await revisionNow();
  const then = await dump();
  for (const path of ["/routes/r", "/services/s", "/upstreams/u", "/consumers/jack", "/consumer_groups/g"])
    await call("DELETE", path);
  expect((await dump()).size).toBe(0);
  expect((await rollBack(moment)).status).toBe(200);
  expect(await dump()).toEqual(then);
  expect((await world.call("DELETE", "/upstreams/u")).status).toBe(400);
  await call("PUT", "/consumers/else", { username: "else" });
  expect(
    (await world.call("PUT", "/consumers/else", { body: { username: "else", plugins: { "key-auth": { key: "k" } } } }))
      .status,
  ).toBe(400);
});

test("identifying values go back to whom they belonged", async () => {
  const consumer = (username: string, key: string) => ({ username, plugins: { "key-auth": { key } } });
  await call("PUT", "/consumers/a", consumer("a", "one"));
  await call("PUT", "/consumers/b", consumer("b", "two"));
  const moment = await revisionNow();
  const [records, entries] = [await dump(), await index()];
  await call("PUT", "/consumers/a", consumer("a", "three"));
  await call("PUT", "/consumers/b", consumer("b", "one"));
  await call("PUT", "/consumers/a", consumer("a", "two"));
  await rollBack(moment);
  expect(await dump()).toEqual(records);
  expect(await index()).toEqual(entries);
});

test("one record can be rolled back by itself", async () => {
  await call("PUT", "/routes/one", route);
  await call("PUT", "/routes/two", route);
  const moment = await revisionNow();
  for (const id of ["one", "two"]) await call("PATCH", `/routes/${id}`, { desc: "later" });
  expect((await rollBack(moment, "?key=routes/one")).body.changes).toHaveLength(1);
  expect((await call("GET", "/routes/one")).body.value.desc).toBeUndefined();
  expect((await call("GET", "/routes/two")).body.value.desc).toBe("later");
});

test("going back to now changes nothing", async () => {
  await call("PUT", "/routes/r", route);
  const moment = await revisionNow();
  expect((await rollBack(moment)).body).toEqual({ rolled_back_to: moment, changes: [], warnings: [] });
  expect(await revisionNow()).toBe(moment);
});

test("a dry run shows the way back and does not go", async () => {
  await call("PUT", "/routes/r", route);
  const moment = await revisionNow();
  await call("PUT", "/routes/r", { ...route, desc: "later" });
  const before = await dump();
  const reply = await rollBack(moment, "?dry_run=1");
  expect(reply.body).toMatchObject({
    dry_run: true,
    changes: [{ key: "/apisix/routes/r", change: "updated", diff: [{ op: "remove", path: "/desc", from: "later" }] }],
  });
  expect(await dump()).toEqual(before);
});

describe("what cannot be restored is refused as a whole, with every reason", () => {
  test("a record that would point to nothing", async () => {
    await call("PUT", "/upstreams/u", upstream);
    await call("PUT", "/routes/r", { uri: "/r", upstream_id: "u" });
    const moment = await revisionNow();
    await call("DELETE", "/routes/r");
    await call("PUT", "/routes/other", route);
    await write(world.store, remove("/apisix/upstreams/u"));
    const before = await dump();
    const reply = await rollBack(moment);
    expect(reply).toMatchObject({
      status: 400,
      body: { errors: [{ key: "/apisix/routes/r", error: expect.stringContaining("upstream id [u]") }] },
    });
    expect(await dump()).toEqual(before);
  });

  test("a record that others began to need", async () => {
    await call("PUT", "/routes/r", route);
    const moment = await revisionNow();
    await call("PUT", "/upstreams/u", upstream);
    const foreign = { id: "f", uri: "/f", upstream_id: "u" };
    await write(world.store, put("/apisix/routes/f", foreign));
    const { status, body } = await rollBack(moment);
    expect(status).toBe(400);
    expect(body.errors).toEqual([{ key: "/apisix/upstreams/u", error: expect.stringContaining("route [f]") }]);
  });

  test("a key that belongs to somebody else by now", async () => {
    await call("PUT", "/consumers/a", { username: "a", plugins: { "key-auth": { key: "k" } } });
    const moment = await revisionNow();
    await call("DELETE", "/consumers/a");
    await call("PUT", "/consumers/b", { username: "b", plugins: { "key-auth": { key: "k" } } });
    const reply = await rollBack(moment, "?key=consumers/a");
    expect(reply.body.errors[0].error).toContain("duplicate key of plugin key-auth found with consumer: b");
  });

  test("more than one transaction holds", async () => {
    await call("PUT", "/routes/first", route);
    const moment = await revisionNow();
    for (let n = 0; n < 130; n++) await call("PUT", `/services/s${n}`, {});
    const before = await dump();
    const reply = await rollBack(moment);
    expect(reply).toMatchObject({
      status: 400,
      body: { error_msg: expect.stringMatching(/changes 130 records: the change needs \d+ operations .* at most 128/) },
    });
    expect(await dump()).toEqual(before);
  });
});

describe("what the history does not know is said, not guessed", () => {
  test("records that others wrote are left, and named", async () => {
    await call("PUT", "/routes/r", route);
    const moment = await revisionNow();
    await write(world.store, put("/apisix/routes/foreign", { id: "foreign", ...route }));
    const { body } = await rollBack(moment);
    expect(body).toMatchObject({ changes: [], warnings: [{ code: "changed_outside", key: "/apisix/routes/foreign" }] });
    expect((await call("GET", "/routes/foreign")).status).toBe(200);
  });

  test("a record that others changed in between is restored with a doubt", async () => {
    await call("PUT", "/routes/r", route);
    const moment = await revisionNow();
    await write(world.store, put("/apisix/routes/r", { id: "r", ...route, desc: "theirs" }));
    await call("PUT", "/routes/r", { ...route, desc: "ours" });
    const { body } = await rollBack(moment);
    expect(body.warnings).toMatchObject([{ code: "changed_outside", key: "/apisix/routes/r" }]);
    expect((await call("GET", "/routes/r")).body.value.desc).toBe("theirs");
  });

  test("records with a lifetime do not come back to life", async () => {
    await call("PUT", "/routes/t?ttl=600", route);
    const moment = await revisionNow();
    await call("DELETE", "/routes/t");
    const { body } = await rollBack(moment);
    expect(body).toMatchObject({ changes: [], warnings: [{ code: "had_lifetime", key: "/apisix/routes/t" }] });
  });
});

test("writes that come in between are not lost", async () => {
  await call("PUT", "/routes/r", route);
  const moment = await revisionNow();
  await call("PUT", "/routes/r", { ...route, desc: "later" });
  const [reply, ...others] = await Promise.all([
    rollBack(moment),
    ...Array.from({ length: 5 }, (_, n) => call("PUT", `/services/s${n}`, {})),
  ]);
  expect([200, 503]).toContain(reply?.status);
  // A service is gone only if the rollback says that it took it away.
  const taken = new Set((reply?.body.changes ?? []).map(({ key }: { key: string }) => key));
  for (const { body } of others) {
    expect((await world.call("GET", body.key.replace("/apisix", ""))).status).toBe(taken.has(body.key) ? 404 : 200);
  }
});

test("a random script can be rolled back to any of its moments, byte for byte", async () => {
  const ids = fc.constantFrom("1", "2", "3");
  const command = fc.oneof(
    fc.record({ op: fc.constant("route"), id: ids, priority: fc.nat(5), service: fc.boolean() }),
    fc.record({ op: fc.constant("service"), id: ids, desc: fc.string({ maxLength: 5 }) }),
    fc.record({ op: fc.constant("consumer"), id: ids, key: fc.constantFrom("k1", "k2", "k3", "k4") }),
    fc.record({ op: fc.constant("credential"), id: ids, key: fc.constantFrom("k5", "k6") }),
    fc.record({ op: fc.constant("patch"), id: ids, desc: fc.string({ maxLength: 5 }) }),
    fc.record({
      op: fc.constant("delete"),
      path: fc.constantFrom("routes/", "services/", "consumers/c"),
      id: ids,
      force: fc.constant(false),
    }),
  );
  type Command = typeof command extends fc.Arbitrary<infer T> ? T : never;
  const run = async (one: Command): Promise<number> => {
    const { id } = one;
    const send = async (method: string, path: string, body?: object) =>
      (await world.call(method, path, { body })).status;
    if ("priority" in one) {
      const target = one.service ? { service_id: id } : { upstream };
      return send("PUT", `/routes/${id}`, { uri: `/${id}`, priority: one.priority, ...target });
    }
    if ("path" in one) return send("DELETE", `/${one.path}${id}`);
    if (one.op === "service" && "desc" in one) return send("PUT", `/services/${id}`, { desc: one.desc });
    if ("desc" in one) return send("PATCH", `/routes/${id}`, { desc: one.desc });
    if (one.op === "consumer")
      return send("PUT", "/consumers", { username: `c${id}`, plugins: { "key-auth": { key: one.key } } });
    return send("PUT", `/consumers/c${id}/credentials/x`, { plugins: { "key-auth": { key: one.key } } });
  };
  await fc.assert(
    fc.asyncProperty(fc.array(command, { minLength: 20, maxLength: 60 }), fc.nat(), async (script, pick) => {
      await world.close();
      world = await openAdminWorld();
      const moments: { revision: number; records: Map<string, string>; entries: Map<string, string> }[] = [];
      for (const one of script) {
        if ((await run(one)) >= 300) continue;
        moments.push({ revision: await revisionNow(), records: await dump(), entries: await index() });
      }
      for (const back of [pick % Math.max(1, moments.length), Math.floor(pick / 7) % Math.max(1, moments.length)]) {
        const moment = moments[back];
        if (!moment) continue;
        const reply = await rollBack(moment.revision);
        expect(reply.status, reply.text).toBe(200);
        expect(await dump()).toEqual(moment.records);
        expect(await index()).toEqual(moment.entries);
      }
    }),
    { numRuns: 8 },
  );
});
