/**
 * 50 writers through two admin processes on a real etcd: no update is lost, keys stay unique, the history is complete.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";

const WRITERS = 50;

interface Change {
  readonly key: string;
  readonly change: string;
  readonly diff: readonly { readonly path: string; readonly from?: unknown; readonly to?: unknown }[];
}
interface HistoryEntry {
  readonly revision: number;
  readonly method: string;
  readonly changes: readonly Change[];
}
interface Entry {
  readonly key: string;
  readonly value: { readonly priority: number };
}

const upstream = { nodes: { "127.0.0.1:80": 1 } };

describe.skipIf(!etcdAvailable())("two admin processes on etcd", () => {
  let etcd: EtcdCluster;
  let admins: readonly [Node, Node];
  beforeAll(async () => {
    etcd = await startEtcd();
    // On a busy machine etcd may be late; a write of unknown outcome would be in the history without its answer.
    const options = { etcd: etcd.endpoints, args: ["--etcd-timeout", "60s"] };
    admins = [await startNode("admin", options), await startNode("admin", options)];
  });
  afterAll(async () => {
    for (const node of admins ?? []) await node.stop();
    await etcd?.stop();
  });

  const writers = <T>(write: (node: Node, turn: number) => Promise<T>): Promise<T[]> =>
    Promise.all(Array.from({ length: WRITERS }, (_, turn) => write(admins[turn % 2] as Node, turn)));

  /** All entries of a record, oldest first. */
  const historyOf = async (key: string): Promise<HistoryEntry[]> => {
    const entries: HistoryEntry[] = [];
    for (let page = 1; ; page++) {
      const { body } = await until("an answer, which a busy store may be late for", async () => {
        const answer = await admin(admins[0], "GET", `/history?key=${key}&page=${page}&page_size=100`);
        return answer.status === 200 ? answer : undefined;
      });
      const { list, total } = body as { list: HistoryEntry[]; total: number };
      entries.push(...list);
      if (entries.length >= total) return entries.reverse();
    }
  };

  test("everybody's increment of one record counts", async () => {
    await admin(admins[0], "PUT", "/routes/counter", { uri: "/a", upstream, priority: 0 });
    await writers(async (node) => {
      for (;;) {
        const read = await admin(node, "GET", "/routes/counter");
        const priority = (read.body as Entry).value.priority + 1;
        const tag = { "If-Match": read.headers.get("etag") ?? "" };
        const { status } = await admin(node, "PATCH", "/routes/counter", { priority }, tag);
        if (status === 200) return;
        expect([412, 503]).toContain(status);
      }
    });
    expect(((await admin(admins[1], "GET", "/routes/counter")).body as Entry).value.priority).toBe(WRITERS);

    // Each entry begins where the one before it ended.
    const steps = (await historyOf("routes/counter")).slice(1).map(({ changes }) => changes[0]?.diff[0]);
    expect(steps).toEqual(
      Array.from({ length: WRITERS }, (_, n) => ({ op: "replace", path: "/priority", from: n, to: n + 1 })),
    );
  });

  test("every write of one record gets through and has its entry, with its revision", {
    timeout: 300_000,
  }, async () => {
    const replies = await writers((node, turn) =>
      admin(node, "PUT", "/routes/one", { uri: "/a", upstream, priority: turn }),
    );
    expect(replies.map(({ status }) => status).sort()).toEqual([...Array(WRITERS - 1).fill(200), 201]);
    const entries = await historyOf("routes/one");
    const revisions = replies
      .map(({ headers }) => Number(headers.get("etag")?.replaceAll('"', "")))
      .sort((a, b) => a - b);
    expect(entries.map(({ revision }) => revision)).toEqual(revisions);
  });

  test("of those who want one key, one gets it, and only that one has an entry", async () => {
    const plugins = { "jwt-auth": { key: "wanted", secret: "0123456789abcdef0123456789abcdef" } };
    const replies = await writers((node, turn) => admin(node, "PUT", "/consumers", { username: `c${turn}`, plugins }));
    const winners = replies.flatMap(({ status }, turn) => (status === 201 ? [`c${turn}`] : []));
    expect(winners).toHaveLength(1);
    for (const { status } of replies) expect([201, 400]).toContain(status);
    const entries = await Promise.all(Array.from({ length: WRITERS }, (_, turn) => historyOf(`consumers/c${turn}`)));
    expect(entries.flatMap((list, turn) => (list.length > 0 ? [`c${turn}`] : []))).toEqual(winners);
  });

  test("writes of different records, mixed with deletions: the history tells the end of each", {
    timeout: 300_000,
  }, async () => {
    const replies = await writers(async (node, turn) => {
      const path = `/services/s${turn}`;
      const other = admins[(turn + 1) % 2] as Node;
      const put = await admin(node, "PUT", path, { name: `n${turn}` });
      const patch = await admin(other, "PATCH", path, { desc: "patched" });
      const gone = turn % 5 === 0 ? await admin(node, "DELETE", path) : undefined;
      return [put.status, patch.status, gone?.status];
    });
    for (const [turn, statuses] of replies.entries()) {
      expect(statuses).toEqual([201, 200, turn % 5 === 0 ? 200 : undefined]);
      const story = (await historyOf(`services/s${turn}`)).map(({ changes }) => changes[0]?.change);
      expect(story).toEqual(turn % 5 === 0 ? ["created", "updated", "deleted"] : ["created", "updated"]);
    }
  });

  test("nothing of it is missing in the whole history, and none has another's revision", async () => {
    const { body } = await admin(admins[1], "GET", "/history?page=1&page_size=500");
    const { list, total } = body as { list: HistoryEntry[]; total: number };
    const expected = 1 + WRITERS + WRITERS + 1 + WRITERS * 2 + WRITERS / 5;
    expect(total).toBe(expected);
    expect(new Set(list.map(({ revision }) => revision)).size).toBe(total);
  });
});
