import { describe, expect, test } from "vitest";
import { CodedError } from "../../src/base/errors.ts";
import type { Store, Txn, TxnResult } from "../../src/store/store.ts";
import { openAdminWorld } from "../support/admin.ts";
import { openTemporaryStore, put, write } from "../support/stores.ts";

const route = { uri: "/a", upstream: { nodes: { "127.0.0.1:80": 1 } } };

type Fault = (txn: Txn, pass: () => Promise<TxnResult>) => Promise<TxnResult>;

/** The same store, with a fault between it and the admin. */
function faulty(store: Store, fault: Fault): Store {
  return new Proxy(store, {
    get(target, name) {
      if (name === "txn") return (txn: Txn) => fault(txn, () => target.txn(txn));
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === "function" ? member.bind(target) : member;
    },
  });
}

const lost = (): CodedError => new CodedError("STORE_OUTCOME_UNKNOWN", { message: "no answer from etcd" });
const writes = (txn: Txn, key: string): boolean => txn.then.some((one) => "key" in one && one.key === key);

/** Applies a fault to the first `times` transactions that write the key. */
async function world(key: string, times: number, fault: Fault) {
  const temporary = await openTemporaryStore();
  let left = times;
  let seen = 0;
  const store = faulty(temporary.store, (txn, pass) => {
    if (!writes(txn, key)) return pass();
    seen++;
    return left-- > 0 ? fault(txn, pass) : pass();
  });
  const admin = await openAdminWorld({ store });
  return {
    admin,
    direct: temporary.store,
    attempts: () => seen,
    async close() {
      await admin.close();
      await temporary.stop();
    },
  };
}

const committedButLost: Fault = async (_txn, pass) => {
  await pass();
  throw lost();
};
const full = (): CodedError =>
  new CodedError("STORE_FULL", { message: "database space exceeded: defragment the store" });
const neverArrived: Fault = () => Promise.reject(lost());

describe("when the store's answer is lost", () => {
  test("a write that was committed is a success, and is not done twice", async () => {
    const { admin, direct, attempts, close } = await world("/apisix/routes/1", 1, committedButLost);
    expect((await admin.call("PUT", "/routes/1", { body: route })).status).toBe(201);
    expect((await direct.get("/apisix/routes/1")).kv?.version).toBe(1n);
    expect(attempts()).toBe(1);
    await close();
  });

  test("a write that never arrived is sent again", async () => {
    const { admin, attempts, close } = await world("/apisix/routes/1", 2, neverArrived);
    expect((await admin.call("PUT", "/routes/1", { body: route })).status).toBe(201);
    expect(attempts()).toBe(3);
    await close();
  });

  test("a write that never arrives is 503 and says that the outcome is unknown", async () => {
    const { admin, attempts, close } = await world("/apisix/routes/1", 99, neverArrived);
    const reply = await admin.call("PUT", "/routes/1", { body: route });
    expect(reply).toMatchObject({
      status: 503,
      body: { outcome: "unknown", error_msg: expect.stringContaining("unknown") },
    });
    expect(attempts()).toBe(3);
    expect((await admin.call("GET", "/routes/1")).status).toBe(404);
    await close();
  });

  test("a write that somebody else overtook is 503 and not a success", async () => {
    const key = "/apisix/routes/1";
    const { admin, direct, close } = await world(key, 1, async () => {
      await write(direct, put(key, { ...route, desc: "theirs" }));
      throw lost();
    });
    expect(await admin.call("PUT", "/routes/1", { body: route })).toMatchObject({
      status: 503,
      body: { outcome: "unknown" },
    });
    expect((await admin.call("GET", "/routes/1")).body.value.desc).toBe("theirs");
    await close();
  });

  test("a deletion that was committed is a success", async () => {
    const { admin, close } = await world("/apisix/routes/1", 2, (_txn, pass) => committedButLost(_txn, pass));
    await admin.call("PUT", "/routes/1", { body: route });
    expect((await admin.call("DELETE", "/routes/1")).status).toBe(200);
    await close();
  });

  test("the same value written again is judged by its revision, not by its bytes", async () => {
    let turn = 0;
    const firstPasses: Fault = (txn, pass) => (++turn === 1 ? pass() : neverArrived(txn, pass));
    const { admin, close } = await world("/apisix/routes/1", 99, firstPasses);
    expect((await admin.call("PUT", "/routes/1", { body: route })).status).toBe(201);
    expect((await admin.call("PUT", "/routes/1", { body: route })).status).toBe(503);
    await close();
  });
});

describe("when the store is away", () => {
  const away: Fault = () =>
    Promise.reject(new CodedError("STORE_UNAVAILABLE", { message: "has no healthy etcd endpoint available" }));

  test("writes are 503 with the store's words, and nothing was done", async () => {
    const { admin, close } = await world("/apisix/routes/1", 1, away);
    expect(await admin.call("PUT", "/routes/1", { body: route })).toMatchObject({
      status: 503,
      body: { error_msg: "has no healthy etcd endpoint available" },
    });
    expect((await admin.call("PUT", "/routes/1", { body: route })).status).toBe(201);
    await close();
  });

  test("a full store is 507 with what to do", async () => {
    const { admin, attempts, close } = await world("/apisix/routes/1", 1, () => Promise.reject(full()));
    expect(await admin.call("PUT", "/routes/1", { body: route })).toMatchObject({
      status: 507,
      body: { error_msg: expect.stringContaining("defragment") },
    });
    expect(attempts()).toBe(1);
    expect((await admin.call("GET", "/routes/1")).status).toBe(404);
    await close();
  });

  test("a write that made the store full is a success, though the store refused it", async () => {
    const { admin, direct, close } = await world("/apisix/routes/1", 1, async (_txn, pass) => {
      await pass();
      throw full();
    });
    expect((await admin.call("PUT", "/routes/1", { body: route })).status).toBe(201);
    expect((await direct.get("/apisix/routes/1")).kv?.version).toBe(1n);
    await close();
  });

  test("a full store that does not say what became of the write leaves the outcome unknown", async () => {
    const { admin, direct, close } = await world("/apisix/routes/1", 1, async () => {
      await write(direct, put("/apisix/routes/1", { ...route, desc: "theirs" }));
      throw full();
    });
    expect(await admin.call("PUT", "/routes/1", { body: route })).toMatchObject({
      status: 503,
      body: { outcome: "unknown" },
    });
    await close();
  });

  test("an admin that starts before its store prepares it later", async () => {
    const temporary = await openTemporaryStore();
    let away = true;
    const store = faulty(temporary.store, (_txn, pass) =>
      away ? Promise.reject(new CodedError("STORE_UNAVAILABLE", { message: "away" })) : pass(),
    );
    const admin = await openAdminWorld({ store });
    expect((await admin.call("PUT", "/routes/1", { body: route })).status).toBe(503);
    away = false;
    await expect
      .poll(async () => (await temporary.store.get("/apisix/jotgate/store")).kv !== undefined, { timeout: 10_000 })
      .toBe(true);
    await admin.close();
    await temporary.stop();
  });
});

test("a value that etcd would refuse is refused before it is sent", async () => {
  const admin = await openAdminWorld();
  const body = { content: "x".repeat(1_048_577) };
  expect((await admin.call("PUT", "/protos/1", { body })).status).toBe(400);
  const consumers = { username: "big", plugins: { "key-auth": { key: "x".repeat(1_572_700) } } };
  expect((await admin.call("PUT", "/consumers", { body: consumers })).status).toBe(400);
  expect((await admin.call("GET", "/consumers")).body.total).toBe(0);
  await admin.close();
});
