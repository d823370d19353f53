import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { prefixRange } from "../../src/store/store.ts";
import { type AdminWorld, openAdminWorld, type Reply } from "../support/admin.ts";
import { contents, openTemporaryStore, put, remove, write } from "../support/stores.ts";

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world.close());

const INDEX = prefixRange("/apisix-jotgate/unique/");
const consumer = (username: string, plugins: object = {}): Promise<Reply> =>
  world.call("PUT", "/consumers", { body: { username, plugins } });
const credential = (owner: string, id: string, plugins: object): Promise<Reply> =>
  world.call("PUT", `/consumers/${owner}/credentials/${id}`, { body: { plugins } });
const jwt = (key: string): object => ({ "jwt-auth": { key, secret: "a-secret" } });
const keyAuth = (key: string): object => ({ "key-auth": { key } });
const duplicate = (text: string): object => ({ status: 400, body: { error_msg: text } });

beforeEach(async () => {
  for (const name of ["jack", "bob", "alex"]) await world.call("DELETE", `/consumers/${name}`);
  expect(await contents(world.store, INDEX)).toEqual(new Map());
  expect(await contents(world.store, prefixRange("/apisix-jotgate/pointed/"))).toEqual(new Map());
  expect((await world.call("GET", "/consumers")).body.total).toBe(0);
});

describe("consumers", () => {
  test("are named by their body, and by their path too if it agrees", async () => {
    const reply = await consumer("jack");
    expect(reply).toMatchObject({
      status: 201,
      body: { key: "/apisix/consumers/jack", value: { username: "jack", plugins: {} } },
    });
    expect(reply.body.value.id).toBeUndefined();
    expect((await world.call("PUT", "/consumers/jack", { body: { username: "jack" } })).status).toBe(200);
    expect(await world.call("PUT", "/consumers/jack", { body: { username: "bob" } })).toMatchObject(
      duplicate("wrong username"),
    );
    expect(await world.call("PUT", "/consumers/jack", { body: {} })).toMatchObject(
      duplicate('invalid configuration: property "username" is required'),
    );
  });

  test("plugin errors have a prefix", async () => {
    expect(await consumer("jack", { "jwt-auth": {} })).toMatchObject(
      duplicate(
        'invalid plugins configuration: failed to check the configuration of plugin jwt-auth err: property "key" is required',
      ),
    );
    expect(await consumer("jack", { none: {} })).toMatchObject(
      duplicate("invalid plugins configuration: unknown plugin [none]"),
    );
  });

  test("may be without plugins, and carry others than those that authenticate", async () => {
    expect((await world.call("PUT", "/consumers", { body: { username: "jack" } })).status).toBe(201);
    expect((await consumer("jack", { cors: {} })).status).toBe(200);
  });

  test("a secret is made once and kept when the consumer is written again", async () => {
    const first = await consumer("jack", { "jwt-auth": { key: "k" } });
    const { secret } = first.body.value.plugins["jwt-auth"];
    expect(secret).toMatch(/^.{32,}$/);
    expect((await consumer("jack", { "jwt-auth": { key: "k" } })).body.value.plugins["jwt-auth"].secret).toBe(secret);
    expect(
      (await consumer("jack", { "jwt-auth": { key: "k", secret: "mine" } })).body.value.plugins["jwt-auth"].secret,
    ).toBe("mine");
  });
});

describe("credentials", () => {
  test("live below their consumer and are not listed among consumers", async () => {
    await consumer("jack");
    const reply = await credential("jack", "c1", keyAuth("k1"));
    expect(reply).toMatchObject({
      status: 201,
      body: { key: "/apisix/consumers/jack/credentials/c1", value: { id: "c1", plugins: keyAuth("k1") } },
    });
    expect((await world.call("GET", "/consumers")).body.total).toBe(1);
    expect((await world.call("GET", "/consumers/jack/credentials")).body).toMatchObject({
      total: 1,
      list: [{ key: "/apisix/consumers/jack/credentials/c1" }],
    });
    expect((await world.call("GET", "/consumers/jack/credentials/c1")).body.value.id).toBe("c1");
    expect((await world.call("DELETE", "/consumers/jack/credentials/c1")).body).toEqual({
      deleted: "1",
      key: "/apisix/consumers/jack/credentials/c1",
    });
    expect(await world.call("GET", "/consumers/jack/credentials")).toMatchObject({
      status: 404,
      body: { message: "Key not found" },
    });
    expect((await world.call("GET", "/consumers/jack/credentials?page=1&page_size=10")).status).toBe(404);
  });

  test.each([
    {
      says: "without its consumer",
      owner: "nobody",
      path: "c1",
      body: { plugins: keyAuth("k") },
      status: 404,
      want: "consumer not found",
    },
    {
      says: "with a plugin that does not authenticate",
      owner: "jack",
      path: "c1",
      body: { plugins: { cors: {} } },
      status: 400,
      want: "only supports auth type plugins in consumer credential",
    },
    {
      says: "with an unknown plugin",
      owner: "jack",
      path: "c1",
      body: { plugins: { x: {} } },
      status: 400,
      want: "invalid plugins configuration: unknown plugin [x]",
    },
    {
      says: "with two plugins",
      owner: "jack",
      path: "c1",
      body: { plugins: { ...keyAuth("a"), ...jwt("b") } },
      status: 400,
      want: 'invalid configuration: property "plugins" validation failed: expect object to have at most 1 properties',
    },
    {
      says: "without an id",
      owner: "jack",
      path: "",
      body: { plugins: {} },
      status: 400,
      want: "missing credential id",
    },
    {
      says: "with another id in the body",
      owner: "jack",
      path: "c1",
      body: { id: "c2" },
      status: 400,
      want: "wrong credential id",
    },
  ])("are refused $says", async ({ owner, path, body, status, want }) => {
    await consumer("jack");
    expect(await world.call("PUT", `/consumers/${owner}/credentials/${path}`, { body })).toMatchObject({
      status,
      body: { error_msg: want },
    });
  });

  test("go with their consumer, index entries too", async () => {
    await consumer("jack", jwt("k0"));
    for (let n = 1; n <= 5; n++) await credential("jack", `c${n}`, keyAuth(`k${n}`));
    expect((await contents(world.store, INDEX)).size).toBe(6);
    expect((await world.call("DELETE", "/consumers/jack")).status).toBe(200);
    expect(await contents(world.store, prefixRange("/apisix/consumers/j"))).toEqual(new Map());
    expect(await contents(world.store, INDEX)).toEqual(new Map());
  });
});

describe("identifying values are unique", () => {
  test("over consumers", async () => {
    await consumer("bob", jwt("k"));
    expect(await consumer("jack", jwt("k"))).toMatchObject(
      duplicate("duplicate key of plugin jwt-auth found with consumer: bob"),
    );
    expect((await world.call("GET", "/consumers/jack")).status).toBe(404);
  });

  test("over credentials", async () => {
    await consumer("alex");
    await consumer("jack");
    await credential("alex", "cred-a", keyAuth("k"));
    const want = duplicate("duplicate key of plugin key-auth found with credential: cred-a of consumer: alex");
    expect(await consumer("jack", keyAuth("k"))).toMatchObject(want);
    expect(await credential("jack", "c", keyAuth("k"))).toMatchObject(want);
    expect(await credential("alex", "cred-b", keyAuth("k"))).toMatchObject(want);
  });

  test("the attribute is the plugin's own", async () => {
    await consumer("bob", { "basic-auth": { username: "u", password: "p" } });
    expect(await consumer("jack", { "basic-auth": { username: "u", password: "q" } })).toMatchObject(
      duplicate("duplicate username of plugin basic-auth found with consumer: bob"),
    );
  });

  test("a value of one plugin is no value of another", async () => {
    await consumer("bob", jwt("k"));
    expect((await consumer("jack", keyAuth("k"))).status).toBe(201);
  });

  test("a consumer does not conflict with itself or its credentials, a credential does with its consumer", async () => {
    await consumer("jack", keyAuth("k"));
    expect((await consumer("jack", keyAuth("k"))).status).toBe(200);
    expect(await credential("jack", "c", keyAuth("k"))).toMatchObject(
      duplicate("duplicate key of plugin key-auth found with consumer: jack"),
    );
    await credential("jack", "c", keyAuth("other"));
    expect((await consumer("jack", keyAuth("other"))).status).toBe(200);
  });

  test("a value shared by a consumer and its credential stays taken until both are gone", async () => {
    await consumer("jack");
    await consumer("bob");
    await credential("jack", "c", keyAuth("k"));
    await consumer("jack", keyAuth("k"));
    await world.call("DELETE", "/consumers/jack/credentials/c");
    expect(await consumer("bob", keyAuth("k"))).toMatchObject(
      duplicate("duplicate key of plugin key-auth found with consumer: jack"),
    );
    await consumer("jack");
    expect((await consumer("bob", keyAuth("k"))).status).toBe(200);
  });

  test("a changed or removed value is free again", async () => {
    await consumer("jack", { ...jwt("k1"), ...keyAuth("a") });
    await consumer("jack", jwt("k2"));
    expect((await consumer("bob", { ...jwt("k1"), ...keyAuth("a") })).status).toBe(201);
    await world.call("DELETE", "/consumers/jack");
    expect((await consumer("alex", jwt("k2"))).status).toBe(201);
  });

  test("secret references are nobody's value", async () => {
    const plugins = keyAuth("$secret://vault/1/shared/key");
    expect((await consumer("jack", plugins)).status).toBe(201);
    expect((await consumer("bob", plugins)).status).toBe(201);
    expect(await contents(world.store, INDEX)).toEqual(new Map());
  });

  test("the index holds no value in plain text", async () => {
    await consumer("jack", keyAuth("very-visible-key"));
    const all = [...(await contents(world.store, prefixRange("/apisix-jotgate/")))].join("\n");
    expect(all).toContain("jack");
    expect(all).not.toContain("very-visible-key");
  });

  test("entries whose owner is gone, or has another value now, do not count", async () => {
    await consumer("bob", keyAuth("k1"));
    await write(world.store, remove("/apisix/consumers/bob")); // as another gateway's admin would
    expect((await consumer("jack", keyAuth("k1"))).status).toBe(201);
    await write(world.store, put("/apisix/consumers/jack", { username: "jack", plugins: keyAuth("k2") }));
    expect((await consumer("alex", keyAuth("k1"))).status).toBe(201);
  });

  test("with a lifetime they are free when it ends", async () => {
    const body = { username: "jack", plugins: keyAuth("k") };
    expect((await world.call("PUT", "/consumers?ttl=1", { body })).status).toBe(201);
    expect((await consumer("bob", keyAuth("k"))).status).toBe(400);
    await expect.poll(async () => (await world.call("GET", "/consumers/jack")).status, { timeout: 10_000 }).toBe(404);
    await expect.poll(() => contents(world.store, INDEX), { timeout: 60_000 }).toEqual(new Map());
    expect((await consumer("bob", keyAuth("k"))).status).toBe(201);
  });
});

describe("consumers that others have written", () => {
  test("are indexed once an admin starts, and double values are left as they are", async () => {
    const foreign = await openTemporaryStore();
    const record = (username: string, key: string) =>
      put(`/apisix/consumers/${username}`, { username, plugins: keyAuth(key) });
    await write(foreign.store, record("old1", "k1"), record("old2", "k2"), record("old3", "k2"));
    const admin = await openAdminWorld({ store: foreign.store });
    await expect.poll(async () => (await contents(foreign.store, INDEX)).size, { timeout: 60_000 }).toBe(2);
    const reply = await admin.call("PUT", "/consumers", { body: { username: "new", plugins: keyAuth("k1") } });
    expect(reply).toMatchObject(duplicate("duplicate key of plugin key-auth found with consumer: old1"));
    const second = await admin.call("PUT", "/consumers", { body: { username: "new", plugins: keyAuth("k2") } });
    expect(second.body.error_msg).toMatch(/^duplicate key of plugin key-auth found with consumer: old[23]$/);
    await admin.close();
    await foreign.stop();
  });
});
