import { createServer } from "node:net";
import { expect, test } from "vitest";
import { systemClock } from "../../src/base/clock.ts";
import { CodedError } from "../../src/base/errors.ts";
import type { Fields, Log } from "../../src/base/log.ts";
import { silentLog } from "../../src/base/log.ts";
import { openEtcdSource } from "../../src/store/etcd/etcd.ts";
import type { Store } from "../../src/store/store.ts";
import { openAdminWorld } from "../support/admin.ts";
import { openTemporaryStore } from "../support/stores.ts";
import { until } from "../support/until.ts";

const ROUTE = { uri: "/x", upstream: { nodes: { "127.0.0.1:1": 1 } } };

function keptLog(): { readonly log: Log; readonly lines: (Fields & { readonly text: string })[] } {
  const lines: (Fields & { readonly text: string })[] = [];
  const keep = (fields: Fields, text: string): void => void lines.push({ ...fields, text });
  return { lines, log: { ...silentLog, warn: keep, error: keep, info: keep } };
}

test("an etcd that is silent is said once by an admin, and every write it refuses has a line with request id and code", async () => {
  const server = createServer((socket) => void socket.on("error", () => undefined));
  await new Promise<void>((resolve) => void server.listen(0, "127.0.0.1", resolve));
  const hosts = [`http://127.0.0.1:${(server.address() as { port: number }).port}`];
  const { log, lines } = keptLog();
  const store = openEtcdSource({ hosts, clock: systemClock, log, rpcMs: 300 }).open();
  const world = await openAdminWorld({ store, log });
  try {
    const calls = [
      ...Array.from({ length: 5 }, () => world.call("PUT", "/routes/1", { body: ROUTE })),
      ...["/routes", "/routes/1", "/history", "/nodes"].map((path) => world.call("GET", path)),
      world.call("DELETE", "/routes/1"),
    ];
    for (const answer of await Promise.all(calls)) expect(answer.status).toBe(503);
    expect((await world.call("GET", "/routes")).status).toBe(503);
    expect(lines.filter(({ text }) => text.startsWith("the store does not answer"))).toHaveLength(1);
    await world.call("PUT", "/routes/1", { body: ROUTE, headers: { "X-Request-Id": "asked-1" } });
    await world.call("PUT", "/routes/1", { body: ROUTE, headers: { "X-Request-Id": `a${"b".repeat(200)}` } });
    await until(() => lines.filter(({ text }) => text === "admin write").length === 8, "every write has its line");
    const writes = lines.filter(({ text }) => text === "admin write");
    expect(writes.at(-2)).toMatchObject({ request_id: "asked-1", status: 503, code: "STORE_UNAVAILABLE" });
    expect(writes.at(-1)?.["request_id"]).toMatch(/^[0-9a-f-]{36}$/); // too long to be taken over
    expect(new Set(writes.map((line) => line["request_id"])).size).toBe(8);
    expect(lines.filter(({ text }) => text === "the store cannot be prepared yet")).toHaveLength(1);
  } finally {
    await world.close();
    await store.close();
    server.close();
  }
});

test("writes of one record that waited behind one without an answer get the same answer, and are not tried", async () => {
  const temporary = await openTemporaryStore();
  const { store } = temporary;
  let isSilent = false;
  let tried = 0;
  let fail: (error: unknown) => void = () => undefined;
  const read: Store["get"] = (key, signal) => {
    if (!isSilent || !key.endsWith("/routes/1")) return store.get(key, signal);
    tried++;
    return new Promise((_, reject) => {
      fail = reject;
    });
  };
  const slow = new Proxy(store, {
    get(target, name) {
      if (name === "get") return read;
      const member: unknown = Reflect.get(target, name);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
  const { log, lines } = keptLog();
  const world = await openAdminWorld({ store: slow, log });
  try {
    isSilent = true;
    const calls = Array.from({ length: 4 }, () => world.call("PUT", "/routes/1", { body: ROUTE }));
    await until(() => tried === 1, "the first one reads");
    // All four are in the line when another record, sent after them, is answered.
    expect((await world.call("PUT", "/routes/2", { body: ROUTE })).status).toBe(201);
    isSilent = false;
    fail(new CodedError("STORE_UNAVAILABLE", { message: "no answer" }));
    for (const answer of await Promise.all(calls)) expect(answer.status).toBe(503);
    expect(tried).toBe(1);
    expect((await world.call("PUT", "/routes/1", { body: ROUTE })).status).toBe(201);
    await until(() => lines.some(({ text }) => text === "the store answers again"), "the end is said");
  } finally {
    fail(new Error("the test is over"));
    await world.close();
    await temporary.stop();
  }
});
