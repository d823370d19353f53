/**
 * Guarantees of writing through several admin nodes at once, on both stores: no lost update, unique keys hold.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";
import { etcdAvailable } from "../support/etcd.ts";
import { type OpenedStores, STORE_WORLDS } from "../support/two-stores.ts";

const WRITERS = 50;
const nodes = { "127.0.0.1:80": 1 };
const route = { uri: "/a", upstream: { nodes } };

for (const { says, open } of STORE_WORLDS) {
  describe.skipIf(says === "etcd" && !etcdAvailable())(`two admin nodes on ${says}`, () => {
    let opened: OpenedStores;
    let admins: readonly [AdminWorld, AdminWorld];
    beforeAll(async () => {
      opened = await open();
      const [first, second] = opened.stores;
      admins = [await openAdminWorld({ store: first }), await openAdminWorld({ store: second })];
    });
    afterAll(async () => {
      for (const admin of admins) await admin.close();
      await opened.stop();
    });

    const writers = <T>(write: (admin: AdminWorld, turn: number) => Promise<T>): Promise<T[]> =>
      Promise.all(Array.from({ length: WRITERS }, (_, turn) => write(turn % 2 === 0 ? admins[0] : admins[1], turn)));

    test("every PUT of one record gets through, and exactly one created it", async () => {
      const replies = await writers((admin, turn) =>
        admin.call("PUT", "/routes/one", { body: { ...route, priority: turn } }),
      );
      const statuses = replies.map((reply) => reply.status).sort();
      expect(statuses).toEqual([...Array(WRITERS - 1).fill(200), 201]);
      const { kv } = await opened.stores[0].get("/apisix/routes/one");
      expect(kv?.version).toBe(BigInt(WRITERS));
    });

    test("no PATCH is lost: each either shows in the end or was refused", async () => {
      await admins[0].call("PUT", "/routes/sum", { body: route });
      const replies = await writers((admin, turn) =>
        admin.call("PATCH", "/routes/sum", { body: { labels: { [`w${turn}`]: "x" } } }),
      );
      const { body } = await admins[1].call("GET", "/routes/sum");
      for (const [turn, reply] of replies.entries()) {
        expect([200, 503]).toContain(reply.status);
        if (reply.status === 503) expect(reply.body).toEqual({ error_msg: "value changed before overwritten" });
        expect(Object.hasOwn(body.value.labels, `w${turn}`)).toBe(reply.status === 200);
      }
      expect(replies.filter((reply) => reply.status === 200).length).toBeGreaterThanOrEqual(2);
    });

    test("of many consumers that want one key, one gets it", async () => {
      const plugins = { "jwt-auth": { key: "wanted", secret: "s" } };
      const replies = await writers((admin, turn) =>
        admin.call("PUT", "/consumers", { body: { username: `c${turn}`, plugins } }),
      );
      const winners = replies.flatMap((reply, turn) => (reply.status === 201 ? [`c${turn}`] : []));
      expect(winners).toHaveLength(1);
      for (const reply of replies) {
        if (reply.status === 201) continue;
        expect(reply.body).toEqual({
          error_msg: `duplicate key of plugin jwt-auth found with consumer: ${winners[0]}`,
        });
      }
      expect((await admins[1].call("GET", "/consumers")).body.total).toBe(1);
    });

    test("POSTs get different ids", async () => {
      const replies = await writers((admin) => admin.call("POST", "/upstreams", { body: { nodes } }));
      expect(new Set(replies.map((reply) => reply.body.value.id)).size).toBe(WRITERS);
    });

    test("writes of different records do not disturb each other", async () => {
      const replies = await writers((admin, turn) => admin.call("PUT", `/services/s${turn}`, { body: {} }));
      expect(replies.every((reply) => reply.status === 201)).toBe(true);
      expect((await admins[0].call("GET", "/services")).body.total).toBe(WRITERS);
    });

    test("a consumer that goes while credentials come leaves nothing behind", async () => {
      for (let turn = 0; turn < 10; turn++) {
        const name = `gone${turn}`;
        await admins[0].call("PUT", "/consumers", { body: { username: name } });
        const [, ...credentials] = await Promise.all([
          admins[1].call("DELETE", `/consumers/${name}`),
          ...[1, 2, 3].map((n) =>
            admins[0].call("PUT", `/consumers/${name}/credentials/c${n}`, {
              body: { plugins: { "key-auth": { key: `${name}-${n}` } } },
            }),
          ),
        ]);
        for (const reply of credentials) expect([201, 404]).toContain(reply.status);
        await admins[1].call("DELETE", `/consumers/${name}`);
        expect((await admins[1].call("GET", `/consumers/${name}/credentials`)).status).toBe(404);
        for (const n of [1, 2, 3]) {
          const body = { username: "heir", plugins: { "key-auth": { key: `${name}-${n}` } } };
          expect((await admins[0].call("PUT", "/consumers", { body })).status).toBeLessThan(300);
        }
      }
    });
  });
}
