import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ADMIN_KEY, type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { until } from "../support/until.ts";

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world.close());

async function connected(port: number): Promise<Socket> {
  const socket = connect(port, "127.0.0.1");
  await once(socket, "connect");
  return socket;
}

const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-credentials": "true",
  "access-control-expose-headers": "*",
  "access-control-max-age": "3600",
};

describe("headers", () => {
  test.each([
    { says: "a record", path: "/routes/1", version: "v3" },
    { says: "a list", path: "/routes", version: "v3" },
    { says: "a plugin's schema", path: "/plugins/cors", version: "v3" },
    { says: "an unknown resource", path: "/routs", version: undefined },
    { says: "the plugins' names", path: "/plugins/list", version: undefined },
    { says: "a path outside", path: "//other", version: undefined },
  ])("$says carries the fixed headers, and the version only where a resource answered", async ({ path, version }) => {
    const { headers } = await world.call("GET", path);
    expect(headers).toMatchObject({ ...CORS, server: "jotgate/test", "content-type": "application/json" });
    expect(headers["x-api-version"]).toBe(version);
  });

  test("refusals carry them as well", async () => {
    const { headers } = await world.call("GET", "/routes", { headers: { "X-API-KEY": undefined } });
    expect(headers).toMatchObject({ ...CORS, "content-type": "application/json" });
    expect(headers["x-api-version"]).toBeUndefined();
  });

  test("JSON ends with a line feed", async () => {
    expect((await world.call("GET", "/routes")).text).toMatch(/\}\n$/);
  });
});

test("OPTIONS is answered without a key and without data", async () => {
  const reply = await world.call("OPTIONS", "/routes/1", { headers: { "X-API-KEY": undefined } });
  expect(reply).toMatchObject({ status: 200, text: "" });
  expect(reply.headers).toMatchObject({
    "access-control-allow-methods": "POST, GET, PUT, OPTIONS, DELETE, PATCH",
    "access-control-allow-headers": "*",
    "content-type": "text/plain",
    "content-length": "0",
  });
});

test("HEAD of the base is answered without a key", async () => {
  expect(await world.call("HEAD", "//apisix/admin", { headers: { "X-API-KEY": undefined } })).toMatchObject({
    status: 200,
    text: "",
  });
});

describe("every other path asks for a key first", () => {
  const PATHS = [
    "//",
    "//apisix/admin",
    "//apisix/admin/",
    "//metrics",
    "//ui/",
    "/routes",
    "/routes/1",
    "/services/1",
    "/upstreams",
    "/consumers/jack/credentials",
    "/consumer_groups",
    "/plugin_configs",
    "/global_rules",
    "/plugin_metadata/cors",
    "/secrets/vault/1",
    "/ssls",
    "/protos",
    "/stream_routes",
    "/plugins",
    "/plugins/list",
    "/plugins/cors?all=true",
    "/plugins/reload",
    "/schema/route",
    "/schema/plugins/cors",
    "/schema/validate/routes",
    "/configs/validate",
    "/unknown",
    "/%2e%2e/x",
  ];
  const METHODS = ["GET", "PUT", "POST", "PATCH", "DELETE", "HEAD", "TRACE"];
  test.each(PATHS.flatMap((path) => METHODS.map((method) => ({ method, path }))))(
    "$method $path",
    async ({ method, path }) => {
      if (method === "HEAD" && path === "//apisix/admin") return;
      const reply = await world.call(method, path, { headers: { "X-API-KEY": undefined } });
      expect(reply.status).toBe(401);
      if (method !== "HEAD") {
        expect(reply.body).toEqual({ error_msg: "failed to check token", description: "missing apikey" });
        expect(reply.headers["www-authenticate"]).toBe('ApiKey header="X-API-KEY"');
      }
    },
  );
});

describe("keys", () => {
  test.each([
    { says: "a wrong key", headers: { "X-API-KEY": "wrong" }, path: "/routes", method: "GET", want: "wrong apikey" },
    { says: "an empty key", headers: { "X-API-KEY": "" }, path: "/routes", method: "GET", want: "wrong apikey" },
    {
      says: "a viewer that writes",
      headers: { "X-API-KEY": VIEWER_KEY },
      path: "/routes/1",
      method: "PUT",
      want: "invalid method for role viewer: this key may only read",
    },
    {
      says: "a viewer that validates",
      headers: { "X-API-KEY": VIEWER_KEY },
      path: "/configs/validate",
      method: "POST",
      want: "invalid method for role viewer: this key may only read",
    },
    {
      says: "a key in the query",
      headers: { "X-API-KEY": undefined },
      path: `/routes?api_key=${ADMIN_KEY}`,
      method: "GET",
      want: "missing apikey",
    },
    {
      says: "a key in a cookie",
      headers: { "X-API-KEY": undefined, Cookie: `x_api_key=${ADMIN_KEY}` },
      path: "/routes",
      method: "GET",
      want: "missing apikey",
    },
  ])("$says is refused", async ({ headers, path, method, want }) => {
    const reply = await world.call(method, path, { headers });
    expect(reply).toMatchObject({ status: 401, body: { error_msg: "failed to check token", description: want } });
  });

  test("a viewer reads", async () => {
    expect((await world.call("GET", "/routes", { headers: { "X-API-KEY": VIEWER_KEY } })).status).toBe(200);
  });

  test("in apisix-3.5 the key may be in the query or a cookie, and the first one found counts", async () => {
    const old = await openAdminWorld({ store: world.store, compat: "apisix-3.5" });
    const none = { headers: { "X-API-KEY": undefined } };
    expect((await old.call("GET", `/routes?api_key=${ADMIN_KEY}`, none)).status).toBe(200);
    expect(
      (await old.call("GET", "/routes", { headers: { "X-API-KEY": undefined, Cookie: `a=b; x_api_key=${ADMIN_KEY}` } }))
        .status,
    ).toBe(200);
    expect((await old.call("GET", "/routes?api_key=wrong")).status).toBe(401);
    await old.close();
  });

  test("who guesses too often has to wait, and the right key works all the while", async () => {
    const guarded = await openAdminWorld({ store: world.store });
    const wrong = { headers: { "X-API-KEY": "guess" } };
    for (let turn = 0; turn < 20; turn++) expect((await guarded.call("GET", "/routes", wrong)).status).toBe(401);
    const reply = await guarded.call("GET", "/routes", wrong);
    expect(reply.status).toBe(429);
    expect(Number(reply.headers["retry-after"])).toBeGreaterThan(0);
    expect((await guarded.call("GET", "/routes", { headers: { "X-API-KEY": undefined } })).status).toBe(429);
    for (const key of [ADMIN_KEY, VIEWER_KEY])
      expect((await guarded.call("GET", "/routes", { headers: { "X-API-KEY": key } })).status).toBe(200);
    await guarded.close();
  });

  test.each<Record<string, string>>([
    { Origin: "https://evil.example" },
    { Origin: "null" },
    { Origin: "http://127.0.0.1:1" },
    { "Sec-Fetch-Site": "cross-site" },
  ])("wrong keys of a page from elsewhere (%j) lock nobody out", async (page) => {
    const guarded = await openAdminWorld({ store: world.store });
    const wrong = { "X-API-KEY": "guess" };
    for (let turn = 0; turn < 30; turn++)
      expect((await guarded.call("GET", "/routes", { headers: { ...wrong, ...page } })).status).toBe(401);
    expect((await guarded.call("GET", "/routes", { headers: wrong })).status).toBe(401);
    const own = { ...wrong, Origin: `http://127.0.0.1:${guarded.port}` };
    for (let turn = 0; turn < 19; turn++) await guarded.call("GET", "/routes", { headers: own });
    expect((await guarded.call("GET", "/routes", { headers: own })).status).toBe(429);
    await guarded.close();
  });

  test("a page from elsewhere writes nothing with the cookie of the operator", async () => {
    const old = await openAdminWorld({ store: world.store, compat: "apisix-3.5" });
    const cookie = { "X-API-KEY": undefined, Cookie: `x_api_key=${ADMIN_KEY}` };
    for (const page of [{ Origin: "https://evil.example" }, { "Sec-Fetch-Site": "cross-site" }]) {
      const reply = await old.call("DELETE", "/routes/1", { headers: { ...cookie, ...page } });
      expect(reply).toMatchObject({ status: 401, body: { description: "missing apikey" } });
    }
    expect((await old.call("DELETE", "/routes/1", { headers: cookie })).status).toBe(404);
    await old.close();
  });

  test("with a list of origins only their pages are shown answers", async () => {
    const listed = await openAdminWorld({ store: world.store, cors: ["https://dash.example"] });
    const from = (Origin: string) => ({ headers: { Origin } });
    const ours = await listed.call("GET", "/routes", from("https://dash.example"));
    expect(ours.headers).toMatchObject({ "access-control-allow-origin": "https://dash.example", vary: "Origin" });
    const preflight = await listed.call("OPTIONS", "/routes", from("https://dash.example"));
    expect(preflight).toMatchObject({
      status: 200,
      headers: { "access-control-allow-origin": "https://dash.example" },
    });
    for (const method of ["GET", "OPTIONS"]) {
      const reply = await listed.call(method, "/routes", from("https://evil.example"));
      expect(reply.status).toBe(200);
      expect(Object.keys(reply.headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
    await listed.close();
  });

  test("one address holds a bounded number of connections, and gets its place back", async () => {
    const bounded = await openAdminWorld({ store: world.store, limits: { connectionsPerAddress: 3 } });
    const open = await Promise.all([1, 2, 3].map(() => connected(bounded.port)));
    const beyond = await connected(bounded.port);
    await once(beyond, "close");
    open[0]?.destroy();
    const answers = async () => (await bounded.call("GET", "/routes").catch(() => undefined))?.status === 200;
    await until(answers, "the place of a closed connection is free");
    for (const socket of open) socket.destroy();
    await bounded.close();
  });

  test("a missing key is no guess", async () => {
    const guarded = await openAdminWorld({ store: world.store });
    for (let turn = 0; turn < 25; turn++) await guarded.call("GET", "/routes", { headers: { "X-API-KEY": undefined } });
    expect((await guarded.call("GET", "/routes")).status).toBe(200);
    await guarded.close();
  });

  test("an Admin API without keys does not open", async () => {
    await expect(openAdminWorld({ store: world.store, keys: [] })).rejects.toThrow("at least one key");
  });
});

test("an address that is not on the allow-list gets 403 before anything else", async () => {
  const closed = await openAdminWorld({ store: world.store, allowList: ["10.0.0.0/8"] });
  for (const method of ["GET", "OPTIONS"])
    expect((await closed.call(method, "/routes", { headers: { "X-Forwarded-For": "10.0.0.1" } })).status).toBe(403);
  await closed.close();
  const open = await openAdminWorld({ store: world.store, allowList: ["127.0.0.0/24"] });
  expect((await open.call("GET", "/routes")).status).toBe(200);
  await open.close();
});

describe("what is not routed", () => {
  test.each([
    { method: "GET", path: "/routs", status: 404, body: { error_msg: "Unsupported resource type: routs" } },
    { method: "PUT", path: "/routs/1", status: 404, body: { error_msg: "Unsupported resource type: routs" } },
    { method: "GET", path: "/", status: 404, body: { error_msg: "Unsupported resource type: " } },
    {
      method: "GET",
      path: "/credentials/1",
      status: 404,
      body: { error_msg: "Unsupported resource type: credentials" },
    },
    { method: "PUT", path: "/schema/route", status: 404, body: { error_msg: "not found" } },
    { method: "PUT", path: "/plugins/cors", status: 404, body: { error_msg: "not found" } },
    { method: "GET", path: "//apisix/admin", status: 404, body: { error_msg: "404 Not Found" } },
    { method: "GET", path: "//nothing", status: 404, body: { error_msg: "404 Not Found" } },
    { method: "TRACE", path: "/routes/1", status: 404, body: { error_msg: "404 Not Found" } },
    { method: "GET", path: "/routes/%zz", status: 404, body: { error_msg: "404 Not Found" } },
    { method: "GET", path: "/routes/1/2/3", status: 404, body: { error_msg: "not found" } },
    { method: "DELETE", path: "/routes/1/plugins", status: 404, body: { error_msg: "not found" } },
    {
      method: "POST",
      path: "/consumers",
      status: 405,
      body: { error_msg: "not supported `POST` method for consumer" },
    },
    {
      method: "PATCH",
      path: "/consumers/a",
      status: 405,
      body: { error_msg: "not supported `PATCH` method for consumer" },
    },
    {
      method: "POST",
      path: "/consumers/a/credentials",
      status: 405,
      body: { error_msg: "not supported `POST` method for credential" },
    },
    {
      method: "POST",
      path: "/plugin_configs",
      status: 405,
      body: { error_msg: "not supported `POST` method for plugin config" },
    },
    {
      method: "POST",
      path: "/secrets/vault",
      status: 405,
      body: { error_msg: "not supported `POST` method for secret" },
    },
    { method: "PATCH", path: "/protos/1", status: 405, body: { error_msg: "not supported `PATCH` method for proto" } },
  ])("$method $path", async ({ method, path, status, body }) => {
    expect(await world.call(method, path)).toMatchObject({ status, body });
  });

  test("stream routes can be switched off, as in APISIX without a stream proxy", async () => {
    const http = await openAdminWorld({ store: world.store, stream: false });
    const want = { status: 400, body: { error_msg: "stream mode is disabled, can not add stream routes" } };
    expect(await http.call("GET", "/stream_routes")).toMatchObject(want);
    expect(await http.call("PUT", "/stream_routes/1", { body: { server_port: 9100 } })).toMatchObject(want);
    await http.close();
  });
});

describe("bodies", () => {
  test.each([
    {
      says: "broken JSON",
      body: '{"uri":',
      want: "invalid request body: Expected value but found T_END at character 8",
    },
    {
      says: "a prototype",
      body: '{"__proto__":{"a":1}}',
      want: "invalid request body: Found a forbidden object key: __proto__",
    },
    {
      says: "depth",
      body: "[".repeat(100_000) + "]".repeat(100_000),
      want: "invalid request body: Found too many nested data structures (65)",
    },
    {
      says: "a number out of range",
      body: '{"priority":1e999}',
      want: "invalid request body: Found a number that is out of range",
    },
  ])("$says is refused and shown", async ({ body, want }) => {
    expect(await world.call("PUT", "/routes/1", { body })).toMatchObject({
      status: 400,
      body: { error_msg: want, req_body: body },
    });
  });

  test.each([
    { says: "a text", body: '"text"', want: "invalid configuration: wrong type: expected object, got string" },
    { says: "null", body: "null", want: "invalid configuration: wrong type: expected object, got userdata" },
    { says: "an array", body: "[1]", want: "invalid configuration: wrong type: expected object, got table" },
    { says: "nothing", body: "", want: "missing configurations" },
  ])("$says is no configuration", async ({ body, want }) => {
    expect(await world.call("PUT", "/routes/1", { body })).toMatchObject({ status: 400, body: { error_msg: want } });
  });

  test("G9 G13: 31 a body beyond the limit is refused by its announced size, and the server goes on", async () => {
    const body = JSON.stringify({ uri: "/a", desc: "x".repeat(1_700_000) });
    const reply = await world.call("PUT", "/routes/1", { body });
    expect(reply.body).toEqual({
      error_msg: `invalid request body: request size ${body.length} is greater than the maximum size 1572864 allowed`,
    });
    expect((await world.call("GET", "/routes")).status).toBe(200);
  });

  test("G9 G13: 31 an unannounced body beyond the limit is refused as well", async () => {
    const reply = await world.call("PUT", "/routes/1", { body: "x".repeat(1_600_000), chunked: true });
    expect(reply.status).toBe(400);
    expect(reply.body.error_msg).toMatch(
      /^invalid request body: request size \d+ is greater than the maximum size 1572864 allowed$/,
    );
  });

  test("a client that sends all of a refused body before it reads still gets the answer", async () => {
    for (const [headers, body, want] of [
      ["", "x".repeat(6_000_000), /^HTTP\/1\.1 400 /],
      ["Content-Encoding: gzip\r\n", "x".repeat(6_000_000), /^HTTP\/1\.1 415 /],
    ] as const) {
      const answer = await sendThenRead(
        `PUT /apisix/admin/routes/1 HTTP/1.1\r\nHost: a\r\nX-API-KEY: ${ADMIN_KEY}\r\n${headers}Content-Length: ${body.length}\r\n\r\n${body}`,
      );
      expect(answer).toMatch(want);
    }
  });

  test("what nobody would send is not read to its end", async () => {
    const head = `PUT /apisix/admin/routes/1 HTTP/1.1\r\nHost: a\r\nX-API-KEY: ${ADMIN_KEY}\r\nContent-Length: 1000000000\r\n\r\n`;
    const socket = connect(world.port, "127.0.0.1");
    socket.on("error", () => undefined); // the connection is closed on us, that is the point
    let sent = 0;
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    socket.write(head);
    const chunk = Buffer.alloc(65_536, 0x78);
    const more = (): void => {
      while (!socket.destroyed && sent < 1_000_000_000) {
        sent += chunk.length;
        if (!socket.write(chunk)) return void socket.once("drain", more);
      }
    };
    more();
    await closed;
    expect(sent).toBeLessThan(100_000_000);
  });

  test("a chunked body within the limit is read", async () => {
    const reply = await world.call("PUT", "/routes/chunked", {
      body: { uri: "/c", service_id: "none" },
      chunked: true,
    });
    expect(reply.body.error_msg).toContain("failed to fetch service info");
  });

  test("a compressed body is refused", async () => {
    const reply = await world.call("PUT", "/routes/1", { body: "x", headers: { "Content-Encoding": "gzip" } });
    expect(reply.status).toBe(415);
  });

  test("the order of checks: resource, then body, then ttl", async () => {
    expect((await world.call("PUT", "/routs/1?ttl=x", { body: "{" })).status).toBe(404);
    expect((await world.call("PUT", "/routes/1?ttl=x", { body: "{" })).body.error_msg).toMatch(/^invalid request body/);
    expect((await world.call("PUT", "/routes/1?ttl=x", { body: {} })).body.error_msg).toBe(
      "invalid argument ttl: should be a number",
    );
    expect((await world.call("GET", "/routes?ttl=x")).body.error_msg).toBe("invalid argument ttl: should be a number");
  });
});

test("bytes that are no HTTP are answered by 400 and the connection ends", async () => {
  const text = await new Promise<string>((resolve, reject) => {
    const socket = connect(world.port, "127.0.0.1", () => socket.write("nonsense\r\n\r\n"));
    let got = "";
    socket.on("data", (chunk) => {
      got += chunk.toString("latin1");
    });
    socket.on("end", () => resolve(got));
    socket.on("error", reject);
  });
  expect(text).toMatch(/^HTTP\/1\.1 400 /);
});

describe("a body that names a member twice", () => {
  const twice = '{"uri":"/a","upstream":{"nodes":{"a:80":1,"a:80":2}}}';
  const calls = [
    ["PUT", "/routes/twice", twice],
    ["POST", "/schema/validate/routes", twice],
    ["POST", "/configs/validate", `{"routes":[${twice}]}`],
  ] as const;

  test.each(calls)("%s %s: is refused in strict mode, with the member's name", async (method, path, body) => {
    const strict = await openAdminWorld({ compat: "strict" });
    const reply = await strict.call(method, path, { body });
    expect(reply.status).toBe(400);
    expect(reply.body.error_msg).toBe("invalid request body: Found a repeated object key: a:80");
    await strict.close();
  });

  test.each(calls)("%s %s: is taken elsewhere, as APISIX takes it", async (method, path, body) => {
    expect((await world.call(method, path, { body })).status).toBeLessThan(300);
  });
});

/** Reads nothing before everything is sent, as simple clients do. */
function sendThenRead(request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(world.port, "127.0.0.1");
    socket.pause();
    socket.once("error", reject);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => chunks.push(chunk));
    socket.pause();
    socket.once("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
    socket.write(request, () => socket.resume());
  });
}
