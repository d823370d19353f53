/** Strangers before the Admin API, and what those with a key may write by mistake or on purpose: bytes in, bytes out. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { cutResponse, openClient, send } from "../gateway/support.ts";
import { ADMIN_KEY, type AdminWorld, openAdminWorld } from "../support/admin.ts";

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world?.close());

const KEY = `X-API-KEY: ${ADMIN_KEY}\r\n`;
const put = (lines: string, body = ""): string =>
  `PUT /apisix/admin/routes/raw HTTP/1.1\r\nHost: a\r\n${KEY}${lines}\r\n${body}`;

describe("framing and heads", () => {
  test.each([
    { says: "length and coding", bytes: put("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n") },
    { says: "two codings", bytes: put("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n") },
    { says: "two lengths", bytes: put("Content-Length: 2\r\nContent-Length: 3\r\n", "{}") },
    { says: "a length that is none", bytes: put("Content-Length: 0x2\r\n", "{}") },
    { says: "a chunk size that is none", bytes: put("Transfer-Encoding: chunked\r\n", "0x2\r\n{}\r\n0\r\n\r\n") },
    { says: "a bare line feed", bytes: put("X-A: 1\nX-B: 2\r\n") },
    { says: "a head of 100 kB", bytes: put(`X-A: ${"a".repeat(100_000)}\r\n`), status: 431 },
    { says: "what is no HTTP", bytes: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" },
  ])("$says is refused and the connection closed, what follows is no request", async ({ bytes, status = 400 }) => {
    const client = await openClient(world.port);
    client.send(`${bytes}DELETE /apisix/admin/routes/smuggled HTTP/1.1\r\nHost: a\r\n${KEY}\r\n`);
    const text = await client.untilClosed();
    client.close();
    expect(text.match(/HTTP\/1\.1 \d{3}/g) ?? []).toEqual([`HTTP/1.1 ${status}`]);
  });
});

describe("clients that do not go on", () => {
  test.each([
    { says: "half a head", bytes: "GET /apisix/admin/routes HTTP/1.1\r\nHo" },
    { says: "nothing at all", bytes: "" },
  ])("$says: closed when its time is over, others are served meanwhile", async ({ bytes }) => {
    const quick = await openAdminWorld({ store: world.store, limits: { headMs: 300 } });
    try {
      const client = await openClient(quick.port);
      client.send(bytes);
      expect((await quick.call("GET", "/routes")).status).toBe(200);
      await client.untilClosed();
      client.close();
    } finally {
      await quick.close();
    }
  });

  test("half a body: 408 when its time is over", async () => {
    const quick = await openAdminWorld({ store: world.store, limits: { headMs: 300, requestMs: 400 } });
    try {
      const client = await openClient(quick.port);
      client.send(put("Content-Length: 100\r\n", '{"uri":'));
      expect(cutResponse(await client.untilClosed())?.status).toBe(408);
      client.close();
    } finally {
      await quick.close();
    }
  });

  test("connections beyond the limit are refused, and accepted again when others left", async () => {
    const small = await openAdminWorld({ store: world.store, limits: { connections: 3 } });
    try {
      const held = await Promise.all([1, 2, 3].map(() => openClient(small.port)));
      const beyond = await openClient(small.port);
      await beyond.untilClosed();
      for (const client of held) client.close();
      await expect
        .poll(
          () =>
            small.call("GET", "/routes").then(
              ({ status }) => status,
              () => 0,
            ),
          { timeout: 60_000 },
        )
        .toBe(200);
    } finally {
      await small.close();
    }
  });
});

describe("who guesses keys", () => {
  test("counts by the address of the connection, whatever the request says of another", async () => {
    const guarded = await openAdminWorld({ store: world.store });
    try {
      for (let turn = 0; turn < 20; turn++) {
        const headers = {
          "X-API-KEY": `guess ${turn}`,
          "X-Forwarded-For": `10.0.0.${turn}`,
          "X-Real-IP": `10.1.0.${turn}`,
        };
        expect((await guarded.call("GET", "/routes", { headers })).status).toBe(401);
      }
      const headers = { "X-API-KEY": "guess", "X-Forwarded-For": "10.9.9.9" };
      expect((await guarded.call("GET", "/routes", { headers })).status).toBe(429);
    } finally {
      await guarded.close();
    }
  });
});

describe("what a body may not do", () => {
  const route = (more: object): string => JSON.stringify({ uri: "/p", service_id: "none", ...more });

  test.each([
    {
      says: "a prototype by PATCH",
      method: "PATCH",
      path: "/routes/base",
      body: '{"labels":{"__proto__":{"polluted":"1"}}}',
    },
    {
      says: "an escaped prototype by PATCH",
      method: "PATCH",
      path: "/routes/base",
      body: '{"\\u005f\\u005fproto__":{"polluted":1}}',
    },
    {
      says: "a constructor's prototype by PATCH",
      method: "PATCH",
      path: "/routes/base",
      body: '{"constructor":{"prototype":{"polluted":1}}}',
    },
    { says: "a prototype by sub-path", method: "PATCH", path: "/routes/base/__proto__", body: '{"polluted":1}' },
    {
      says: "a prototype in a plugin",
      method: "PUT",
      path: "/routes/1",
      body: route({ plugins: { cors: "X" } }).replace('"X"', '{"__proto__":{"polluted":1}}'),
    },
    {
      says: "bytes that are no UTF-8",
      method: "PUT",
      path: "/routes/1",
      body: Buffer.from('{"uri":"/\xff"}', "latin1"),
    },
    {
      says: "an integer that would be rounded",
      method: "PUT",
      path: "/routes/1",
      body: '{"uri":"/p","priority":12345678901234567890}',
    },
    {
      says: "a pattern that no linear engine reads",
      method: "PUT",
      path: "/routes/1",
      body: route({ vars: [["uri", "~~", "(?=a)b"]] }),
    },
    {
      says: "a pattern that is too large",
      method: "PUT",
      path: "/routes/1",
      body: route({ vars: [["uri", "~~", "(((a{1,100}){1,100}){1,100})"]] }),
    },
    {
      says: "100,000 plugins",
      method: "PUT",
      path: "/routes/1",
      body: route({ plugins: Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`p${i}`, {}])) }),
    },
    { says: "a name of 1 MB", method: "PUT", path: "/routes/1", body: route({ name: "n".repeat(1_000_000) }) },
    {
      says: "a line break in a header",
      method: "PUT",
      path: "/routes/1",
      body: route({ plugins: { "proxy-rewrite": { headers: { set: { "X-A\r\nX-B": "1" } } } } }),
    },
  ])("$says is refused, and the next write is served", async ({ method, path, body }) => {
    const base = { uri: "/base", upstream: { type: "roundrobin", nodes: { "127.0.0.1:9": 1 } } };
    expect((await world.call("PUT", "/routes/base", { body: base })).status).toBeLessThan(300);
    const before = (await world.call("GET", "/routes/base")).body.value;
    const { status } = await world.call(method, path, { body });
    expect([400, 404, 413]).toContain(status);
    expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
    expect((await world.call("GET", "/routes/base")).body.value).toEqual(before);
    expect((await world.call("GET", "/routes/1")).status).toBe(404);
  });
});

test("pipelined writes are done in order, each once", async () => {
  const body = (n: number): string => `{"uri":"/${n}","upstream":{"type":"roundrobin","nodes":{"127.0.0.1:9":1}}}`;
  const write = (n: number): string => put(`Content-Length: ${body(n).length}\r\n`, body(n));
  const text = await send(
    world.port,
    `${write(1)}${write(2)}${write(3)}`,
    (all) => (all.match(/HTTP\/1\.1 2/g) ?? []).length === 3,
  );
  expect(text.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 201", "HTTP/1.1 200", "HTTP/1.1 200"]);
  expect((await world.call("GET", "/routes/raw")).body.value.uri).toBe("/3");
});
