/**
 * Requests that no tool should send and some do: each is answered by what it means, or by what is wrong with it.
 */
import { connect } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ADMIN_KEY, type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { put, write } from "../support/stores.ts";

let world: AdminWorld;
const route = { uri: "/i", upstream: { type: "roundrobin", nodes: { "127.0.0.1:80": 1 } } };
beforeAll(async () => {
  world = await openAdminWorld();
  await world.call("PUT", "/routes/1", { body: route });
  await world.call("PUT", "/consumers/jack", { body: { username: "jack" } });
});
afterAll(() => world.close());

/** What comes back for these bytes, until the connection ends. */
function sendRaw(bytes: string): Promise<string> {
  return new Promise((done, fail) => {
    const socket = connect(world.port, "127.0.0.1", () => socket.write(bytes, "latin1"));
    let text = "";
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", fail);
    socket.on("close", () => done(text));
  });
}

describe("a write refuses query arguments that it does not know, and writes nothing", () => {
  test.each([
    { query: "dryRun=1", hint: "did you mean dry_run?" },
    { query: "dry-run=1", hint: "did you mean dry_run?" },
    { query: "DRY_RUN=1", hint: "did you mean dry_run?" },
    { query: "dryrun", hint: "did you mean dry_run?" },
    { query: "dry_run=1&waitt=all", hint: "did you mean wait?" },
    { query: "timeOut=2s", hint: "did you mean timeout?" },
    { query: "foo=1", hint: "a write takes dry_run, wait, timeout, ttl, force" },
    { query: "replaces=x", hint: "a write takes dry_run, wait, timeout, ttl, force" },
  ])("$query", async ({ query, hint }) => {
    const name = /[^=&]+(?==[^=]*$|$)/.exec(query)?.[0];
    const error_msg = `unknown argument ${name}, nothing was written; ${hint}`;
    const body = { ...route, desc: "must not be written" };
    for (const [method, path] of [
      ["PUT", "/routes/unknown-argument"],
      ["POST", "/routes"],
      ["PATCH", "/routes/1"],
      ["DELETE", "/routes/1"],
      ["POST", "/store/epoch"],
      ["POST", "/encryption/reseal"],
    ] as const) {
      if (query === "replaces=x" && path === "/store/epoch") continue;
      const reply = await world.call(method, `${path}?${query}`, { body: method === "DELETE" ? undefined : body });
      expect(reply, `${method} ${path}`).toMatchObject({ status: 400, body: { error_msg } });
    }
    expect((await world.call("GET", "/routes/unknown-argument")).status).toBe(404);
    expect((await world.call("GET", "/routes/1")).body.value.desc).toBeUndefined();
    expect((await world.call("GET", `/routes/1?${query}`)).status).toBe(200);
  });

  test.each([
    ["dry_run=0&dry_run=1", "argument dry_run was given with different values, nothing was written; give it once"],
    ["wait=all&wait=none", "argument wait was given with different values, nothing was written; give it once"],
    ["_=1&_=2", "argument _ was given with different values, nothing was written; give it once"],
    ["force=1", "invalid argument force: should be true or false"],
    ["force", "invalid argument force: should be true or false"],
    ["dry_run=yes", "invalid argument dry_run: should be 1 or 0"],
    ["dry_run", "invalid argument dry_run: should be 1 or 0"],
    ["wait=1", "invalid argument wait: should be all"],
    ["timeout=soon", "invalid argument timeout: should be a duration such as 500ms or 2s, at most 30s"],
    ["ttl=long", "invalid argument ttl: should be a number"],
  ])("a value that says nothing is refused: %s", async (query, error_msg) => {
    const body = { ...route, desc: "must not be written" };
    for (const [method, path] of [
      ["PUT", "/routes/unknown-argument"],
      ["POST", "/routes"],
      ["PATCH", "/routes/1"],
      ["DELETE", "/routes/1"],
    ] as const) {
      const reply = await world.call(method, `${path}?${query}`, { body: method === "DELETE" ? undefined : body });
      expect(reply, `${method} ${path}`).toMatchObject({ status: 400, body: { error_msg } });
    }
    expect((await world.call("GET", "/routes/unknown-argument")).status).toBe(404);
    expect((await world.call("GET", "/routes/1")).body.value.desc).toBeUndefined();
  });

  test("the same value twice says one thing", async () => {
    const reply = await world.call("PUT", "/routes/twice?dry_run=1&dry_run=1", { body: route });
    expect(reply.body).toMatchObject({ dry_run: true });
  });

  test.each(["ttl=60", "force=true", "force=false", "_=1700000000", "api_key=x", "wait=all&timeout=1s"])(
    "but takes what APISIX and its clients know: %s",
    async (query) => {
      const reply = await world.call("PUT", `/routes/known?${query}`, { body: route });
      expect(reply.text).not.toContain("unknown argument");
    },
  );
});

describe("the content type is ignored", () => {
  test.each(["", "a/b/c", "json", "\u00e9", "application/json; charset=utf-16", "text/plain"])(
    "also %j",
    async (type) => {
      const reply = await world.call("PUT", "/routes/1", { body: route, headers: { "Content-Type": type } });
      expect(reply.status, reply.text).toBe(200);
      const refused = await world.call("PUT", "/routes/1", {
        body: route,
        headers: { "Content-Type": type, "X-API-KEY": undefined },
      });
      expect(refused.status).toBe(401);
    },
  );
});

describe("several slashes are one, as for nginx", () => {
  test.each([
    ["GET", "/routes//", 200],
    ["GET", "//apisix//admin//routes//1", 200],
    ["GET", "/routes//1//", 200],
    ["PATCH", "/routes/1/labels//team", 200],
  ] as const)("%s %s", async (method, path, status) => {
    const reply = await world.call(method, path, method === "PATCH" ? { body: '"a"' } : {});
    expect(reply.status, reply.text).toBe(status);
    expect(reply.text).not.toContain("init_dir");
  });

  test("no placeholder is deleted, and no credential is without a consumer", async () => {
    expect(await world.call("DELETE", "/routes//")).toMatchObject({
      status: 400,
      body: { error_msg: "missing route id" },
    });
    expect(await world.call("DELETE", "/plugin_metadata//")).toMatchObject({ status: 400 });
    expect((await world.store.get("/apisix/routes/")).kv?.value.toString()).toBe("init_dir");
    expect((await world.call("PUT", "/consumers//credentials/x", { body: {} })).status).not.toBe(201);
    expect((await world.store.get("/apisix/consumers//credentials/x")).kv).toBeUndefined();
  });
});

describe("targets", () => {
  const ask = (target: string) =>
    sendRaw(`GET ${target} HTTP/1.1\r\nHost: a\r\nX-API-KEY: ${ADMIN_KEY}\r\nConnection: close\r\n\r\n`);

  test("an absolute one names the same record", async () => {
    expect(await ask("http://admin.test:9180/apisix/admin/routes/1")).toContain('"key":"/apisix/routes/1"');
    expect(await ask("HTTP://admin.test")).toMatch(/^HTTP\/1\.1 404 /);
  });

  test.each([
    ["bytes that are no target", "GET /apisix/admin/\u00e9 HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["an unknown method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 400],
    ["two lengths", "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 400],
    ["a head that is too large", `GET /${"a".repeat(20_000)} HTTP/1.1\r\nHost: a\r\n\r\n`, 431],
  ])("%s: refused in the words of all other refusals", async (_says, bytes, status) => {
    const answer = await sendRaw(bytes);
    expect(answer).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
    const body: unknown = JSON.parse(answer.slice(answer.indexOf("\r\n\r\n")));
    expect(body).toEqual({ error_msg: expect.stringMatching(new RegExp(`^${status} `)) });
  });
});

describe("PATCH of a place in a list", () => {
  beforeAll(async () => {
    await world.call("PUT", "/routes/list", { body: { ...route, methods: ["GET", "PUT"] } });
  });

  test.each(["methods/0", "methods/4", "methods/-1", "methods/first", "methods/1/x", "methods/9/x"])(
    "%s is no place: it is said, not passed over",
    async (path) => {
      const reply = await world.call("PATCH", `/routes/list/${path}`, { body: '"POST"' });
      expect(reply).toMatchObject({
        status: 400,
        body: { error_msg: expect.stringContaining("invalid sub-path: /methods/") },
      });
      expect((await world.call("GET", "/routes/list")).body.value.methods).toEqual(["GET", "PUT"]);
    },
  );

  test("places from 1 to one behind the last are", async () => {
    expect((await world.call("PATCH", "/routes/list/methods/1", { body: '"HEAD"' })).status).toBe(200);
    expect((await world.call("PATCH", "/routes/list/methods/3", { body: '"POST"' })).status).toBe(200);
    expect((await world.call("GET", "/routes/list")).body.value.methods).toEqual(["HEAD", "PUT", "POST"]);
  });
});

describe("half a character", () => {
  test.each([
    ['{"desc":"\\ud800"}', 10],
    ['{"desc":"a\\udc00"}', 11],
    ['{"desc":"\\ud800\\u0041"}', 10],
    ['{"\\ud800":1}', 3],
  ])("%s is no text that APISIX could read from the store", async (body, at) => {
    const reply = await world.call("PATCH", "/routes/1", { body });
    expect(reply).toMatchObject({ status: 400 });
    expect(reply.body.error_msg).toBe(
      `invalid request body: Expected ${body.startsWith('{"\\') ? "object key string" : "value"} but found invalid unicode escape code at character ${at}`,
    );
  });

  test("two halves are one", async () => {
    const reply = await world.call("PATCH", "/routes/1", { body: '{"desc":"\\ud83d\\udca5"}' });
    expect(reply.body.value.desc).toBe("\u{1f4a5}");
  });
});

describe("what is wrong is named", () => {
  test.each([
    [5, "number"],
    ["x", "string"],
    [true, "boolean"],
    [null, "userdata"],
    [[1], "table"],
  ])("an item of configs/validate that is %j", async (item, got) => {
    const { body } = await world.call("POST", "/configs/validate", { body: { routes: [item] } });
    expect(body.errors[0].error).toBe(`invalid configuration: wrong type: expected object, got ${got}`);
  });

  test("a bad If-None-Match is not called If-Match", async () => {
    const reply = await world.call("PUT", "/routes/1", { body: route, headers: { "If-None-Match": "x y" } });
    expect(reply).toMatchObject({ status: 400, body: { error_msg: expect.stringContaining("header If-None-Match") } });
  });

  test("what X-Wait cannot mean", async () => {
    const reply = await world.call("PUT", "/routes/1", { body: route, headers: { "X-Wait": "all; timeout=2s; x" } });
    expect(reply).toMatchObject({ status: 400, body: { error_msg: expect.stringContaining("X-Wait") } });
  });

  test.each(["", "nope/1", "routes", "routes/", "/other/routes/1"])("a key %j that names no record", async (key) => {
    const named = `key=${encodeURIComponent(key)}`;
    const { list } = (await world.call("GET", "/history")).body;
    for (const [method, path] of [
      ["GET", `/history?${named}`],
      ["POST", `/history/${list[0].revision}/rollback?${named}`],
    ] as const) {
      const reply = await world.call(method, path);
      expect(reply).toMatchObject({
        status: 400,
        body: { error_msg: expect.stringContaining("invalid argument key") },
      });
    }
  });
});

describe("what a viewer read does not become a secret", () => {
  const secrets: readonly (readonly [string, object])[] = [
    ["/consumers/masked", { username: "masked", plugins: { "jwt-auth": { key: "masked", secret: "s".repeat(32) } } }],
    ["/consumers/masked/credentials/c", { plugins: { "basic-auth": { username: "masked", password: "p" } } }],
    ["/secrets/vault/masked", { uri: "http://127.0.0.1:8200", prefix: "kv", token: "t" }],
  ];

  test.each(secrets)("%s: the mask in its place is what it stands for, and no value", async (path, body) => {
    await world.call("PUT", path, { body });
    const { value: before } = (await world.call("GET", path)).body;
    const shown = (await world.call("GET", path, { headers: { "X-API-KEY": VIEWER_KEY } })).body;
    const { create_time: _, update_time: __, ...value } = shown.value;
    expect(JSON.stringify(value)).toContain("********");
    expect((await world.call("PUT", path, { body: value })).status).toBe(200);
    expect((await world.call("GET", path)).body.value).toEqual({ ...before, update_time: expect.any(Number) });
  });

  test("also by PATCH, whole or in part; what leaves it out keeps the secret", async () => {
    const path = "/secrets/vault/masked";
    expect((await world.call("PATCH", path, { body: { token: "********" } })).status).toBe(200);
    expect((await world.call("PATCH", `${path}/token`, { body: '"********"' })).status).toBe(200);
    expect((await world.call("PATCH", path, { body: { prefix: "kv2" } })).status).toBe(200);
    expect((await world.call("GET", path)).body.value).toMatchObject({ token: "t", prefix: "kv2" });
  });

  test("a record that others wrote so can still be written", async () => {
    const stored = { id: "vault/stars", uri: "http://127.0.0.1:8200", prefix: "kv", token: "********" };
    await write(world.store, put("/apisix/secrets/vault/stars", stored));
    expect((await world.call("PATCH", "/secrets/vault/stars", { body: { prefix: "kv2" } })).status).toBe(200);
  });
});
