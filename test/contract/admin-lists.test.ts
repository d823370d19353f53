/**
 * Pages of lists through two admin nodes, on both stores, against a model that reads the whole store: whatever was written,
 * by whom and beside what, a page shows it at once.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type KeyRange, prefixRange, type Revision, type Store, type WatchSink } from "../../src/store/store.ts";
import { type AdminWorld, openAdminWorld, type Reply } from "../support/admin.ts";
import { etcdAvailable } from "../support/etcd.ts";
import { put, remove, write } from "../support/stores.ts";
import { type OpenedStores, STORE_WORLDS } from "../support/two-stores.ts";
import { until } from "../support/until.ts";

interface Listed {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
  readonly createdIndex: number;
}

/** Queries, and what they mean, written anew. */
const QUERIES: readonly { readonly query: string; readonly takes: (id: string, value: Listed["value"]) => boolean }[] =
  [
    { query: "", takes: () => true },
    { query: "&name=^a.*1", takes: (_, { name }) => typeof name === "string" && /^a.*1/.test(name) },
    {
      query: "&label=even",
      takes: (_, { labels }) => typeof labels === "object" && labels !== null && "even" in labels,
    },
    {
      query: "&uri=3$",
      takes: (_, { uri, uris = [] }) => [uri, ...(uris as string[])].some((one) => /3$/.test(`${one}`)),
    },
    { query: "&filter=service_id%3Ds1", takes: (_, { service_id }) => service_id === "s1" },
    {
      query: "&search=API2",
      takes: (id, { name, desc, host }) =>
        [id, name, desc, host].some((one) => `${one}`.toLowerCase().includes("api2")),
    },
  ];

/** Small and repeatable. */
function openChance(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function routeOf(chance: (below: number) => number): unknown {
  const at = chance(100);
  if (at < 3) return "no json";
  if (at < 6) return [1];
  return {
    name: `${chance(2) ? "a" : "b"}pi${chance(30)}`,
    ...(chance(2) ? { uri: `/${chance(9)}` } : { uris: [`/x`, `/${chance(9)}`] }),
    ...(chance(2) && { labels: { [chance(2) ? "even" : "odd"]: "yes" } }),
    ...(chance(3) === 0 && { service_id: `s${chance(3)}` }),
    ...(chance(3) === 0 && { desc: `Of API${chance(4)}`, host: `api${chance(4)}.example` }),
    upstream: { nodes: { "127.0.0.1:80": 1 } },
  };
}

for (const { says, open } of STORE_WORLDS) {
  describe.skipIf(says === "etcd" && !etcdAvailable())(`lists on ${says}`, () => {
    let opened: OpenedStores;
    let admins: readonly [AdminWorld, AdminWorld];
    beforeAll(async () => {
      opened = await open();
      const [first, second] = opened.stores;
      admins = [await openAdminWorld({ store: first }), await openAdminWorld({ store: second })];
    });
    afterAll(async () => {
      for (const admin of admins ?? []) await admin.close();
      await opened?.stop();
    });

    const page = (admin: AdminWorld, path: string, number = 1, size = 500): Promise<Reply> =>
      admin.call("GET", `${path}${path.includes("?") ? "&" : "?"}page=${number}&page_size=${size}`);

    /** What is stored under a directory, by creation. */
    async function stored(dir: string, depth = 1): Promise<Listed[]> {
      const all: Listed[] = [];
      for await (const { kvs } of opened.stores[0].list(prefixRange(`/apisix/${dir}/`)))
        for (const { key, value, createRevision } of kvs) {
          const id = key.slice(`/apisix/${dir}/`.length);
          if (id === "" || id.split("/").length !== depth) continue;
          let parsed: unknown;
          try {
            parsed = JSON.parse(value.toString());
          } catch {
            parsed = value.toString();
          }
          all.push({ key, value: parsed as Listed["value"], createdIndex: Number(createRevision) });
        }
      return all.sort((a, b) => a.createdIndex - b.createdIndex);
    }

    test("after any change a page is what a reader of the whole store makes of it", async () => {
      const chance = openChance(18);
      const [store] = opened.stores;
      for (let turn = 0; turn < 120; turn++) {
        const changes = new Map(
          Array.from({ length: turn % 10 === 0 ? 110 : 1 + chance(3) }, () => {
            const key = `/apisix/routes/${chance(2) ? "r" : "api"}${chance(150)}`;
            const value = routeOf(chance);
            return [key, chance(4) === 0 ? remove(key) : put(key, value)] as const;
          }),
        );
        await write(store, ...changes.values());
        const { query, takes } = QUERIES[turn % QUERIES.length] ?? { query: "", takes: () => true };
        const number = 1 + chance(3);
        const { status, body } = await page(admins[turn % 2 === 0 ? 0 : 1], `/routes?x${query}`, number, 20);
        const wanted = (await stored("routes")).filter(
          ({ key, value }) =>
            query === "" ||
            (typeof value === "object" && !Array.isArray(value) && takes(key.slice("/apisix/routes/".length), value)),
        );
        const shown = (body.list as Listed[]).map(({ key, createdIndex }) => `${key}@${createdIndex}`);
        const right = wanted
          .slice((number - 1) * 20, number * 20)
          .map(({ key, createdIndex }) => `${key}@${createdIndex}`);
        expect([turn, query, status, body.total, shown]).toEqual([turn, query, 200, wanted.length, right]);
      }
      await write(store, { op: "deleteRange", range: prefixRange("/apisix/routes/") });
      expect((await page(admins[0], "/routes")).body).toEqual({ list: [], total: 0 });
    });

    test("who wrote through one node finds it through the other, however many write at once", async () => {
      const nodes = { "127.0.0.1:80": 1 };
      await Promise.all(
        Array.from({ length: 6 }, async (_, actor) => {
          const chance = openChance(actor);
          const mine: string[] = [];
          for (let turn = 0; turn < 12; turn++) {
            const [here, there] = (actor + turn) % 2 === 0 ? admins : [admins[1], admins[0]];
            const gone = mine.length > 2 && chance(3) === 0 ? mine.splice(chance(mine.length), 1)[0] : undefined;
            if (gone !== undefined) await here.call("DELETE", `/routes/${gone}`);
            else {
              const id = `w${actor}-${turn}`;
              const body = { uri: `/${id}`, labels: { [`w${actor}`]: "x" }, upstream: { nodes } };
              expect((await here.call("PUT", `/routes/${id}`, { body })).status).toBe(201);
              mine.push(id);
            }
            const { body } = await page(there, `/routes?label=w${actor}`);
            expect((body.list as Listed[]).map(({ value }) => value["id"])).toEqual(mine);
            expect(body.total).toBe(mine.length);
          }
        }),
      );
    });

    test("consumers are listed without their credentials, and credentials by consumer", async () => {
      const [admin, other] = admins;
      for (const name of ["jack", "jill"]) {
        await admin.call("PUT", "/consumers", { body: { username: name } });
        await page(other, "/consumers");
        const body = { plugins: { "key-auth": { key: `key-of-${name}-0123456789` } } };
        await admin.call("PUT", `/consumers/${name}/credentials/c1`, { body });
      }
      const { body } = await page(other, "/consumers");
      expect((body.list as Listed[]).map(({ value }) => value["username"])).toEqual(["jack", "jill"]);
      expect((await page(other, "/consumers/jill/credentials")).body.total).toBe(1);
      expect((await page(other, "/consumers/nobody/credentials")).status).toBe(404);
    });

    test("a watch that is behind holds nothing back", async () => {
      const [store] = opened.stores;
      const held: (() => void)[] = [];
      const late: Store = Object.assign(Object.create(store) as Store, {
        get: store.get.bind(store),
        list: store.list.bind(store),
        txn: store.txn.bind(store),
        watch: (range: KeyRange, after: Revision, sink: WatchSink, signal: AbortSignal) =>
          store.watch(range, after, { ...sink, batch: (...batch) => held.push(() => sink.batch(...batch)) }, signal),
      });
      const admin = await openAdminWorld({ store: late });
      const listed = async () => (await page(admin, "/services")).body.total;
      expect(await listed()).toBe(0);
      await write(store, put("/apisix/services/s1", {}));
      const inTime = listed();
      await until(() => held.length > 0, "the watch is shown it");
      for (const show of held.splice(0)) show();
      expect(await inTime).toBe(1);
      await write(store, put("/apisix/services/s2", {}));
      expect(await listed()).toBe(2); // without the watch
      await admin.close();
      await write(store, remove("/apisix/services/s1"), remove("/apisix/services/s2"));
    });

    test("where nothing may be watched the store is read", async () => {
      const [store] = opened.stores;
      const unwatched: Store = Object.assign(Object.create(store) as Store, {
        get: store.get.bind(store),
        list: store.list.bind(store),
        watch: async () => ({ kind: "refused", reason: "permission denied" }),
      });
      const admin = await openAdminWorld({ store: unwatched });
      for (const total of [1, 2]) {
        await write(store, put(`/apisix/services/unwatched${total}`, {}));
        expect((await page(admin, "/services")).body.total).toBe(total);
      }
      await admin.close();
      await write(store, { op: "deleteRange", range: prefixRange("/apisix/services/") });
    });

    test.runIf(says === "etcd")("a store that others write to shows what was written, all the same", async () => {
      const [store] = opened.stores;
      for (let turn = 0; turn < 3; turn++) {
        await write(store, put(`/apisix/routes/shared${turn}`, { uri: "/shared", labels: { shared: "x" } }));
        await write(store, put("/elsewhere", { turn }));
        expect((await page(admins[0], "/routes?label=shared")).body.total).toBe(turn + 1);
      }
    });
  });
}
