/**
 * `GET /nodes/:id/…`: the admin asks the node's own status listener, on fixed paths, and passes on nothing of the caller.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ADMIN_KEY, type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { put, write } from "../support/stores.ts";

let world: AdminWorld;
let node: Server;
let seen: IncomingMessage[] = [];
let respond: (request: IncomingMessage, response: ServerResponse) => void;

const register = (id: string, address: string): Promise<unknown> =>
  write(world.store, put(`/apisix-jotgate/nodes/${id}`, { version: "1", address, startedMs: 1, applied: "1" }));

beforeAll(async () => {
  world = await openAdminWorld();
  node = createServer((request, response) => {
    seen.push(request);
    respond(request, response);
  });
  await new Promise<void>((done) => node.listen(0, "127.0.0.1", done));
  await register("n1", `127.0.0.1:${(node.address() as AddressInfo).port}`);
});
afterAll(async () => {
  node.closeAllConnections();
  node.close();
  await world.close();
});
beforeEach(() => {
  seen = [];
  respond = (_request, response) => {
    response.writeHead(200, { "content-type": "application/json", "set-cookie": "a=b", "x-inner": "1" });
    response.end('{"revision":7}');
  };
});

describe("what a node says of itself", () => {
  test.each(["config", "status", "metrics", "healthcheck", "problems"])("%s comes from its own path", async (view) => {
    const reply = await world.call("GET", `/nodes/n1/${view}`);
    expect([reply.status, reply.body]).toEqual([200, { revision: 7 }]);
    expect(seen.map(({ method, url }) => [method, url])).toEqual([["GET", `/${view}`]]);
  });

  test("a viewer may ask, nobody without a key may", async () => {
    expect((await world.call("GET", "/nodes/n1/config", { headers: { "X-API-KEY": VIEWER_KEY } })).status).toBe(200);
    expect((await world.call("GET", "/nodes/n1/config", { headers: { "X-API-KEY": undefined } })).status).toBe(401);
    expect(seen).toHaveLength(1);
  });

  test("nothing of the caller goes along but the request id, nothing of the node comes back but its answer", async () => {
    const headers = {
      "X-Request-Id": "r-1",
      Cookie: "session=1",
      Authorization: "Bearer x",
      "X-Forwarded-For": "8.8.8.8",
    };
    const reply = await world.call("GET", "/nodes/n1/config?min=9&wait=60000", { headers });
    expect(seen[0]?.url).toBe("/config");
    expect(seen[0]?.headers["x-request-id"]).toBe("r-1");
    expect(JSON.stringify(seen[0]?.rawHeaders)).not.toMatch(new RegExp(`${ADMIN_KEY}|session|Bearer|8\\.8\\.8\\.8`));
    expect(reply.headers).not.toHaveProperty("set-cookie");
    expect(reply.headers).not.toHaveProperty("x-inner");
    expect(reply.headers["server"]).toBe("jotgate/test");
  });

  test("a node's 503 is its answer, asked for once", async () => {
    respond = (_request, response) => response.writeHead(503).end('{"status":"error"}');
    expect((await world.call("GET", "/nodes/n1/status")).status).toBe(503);
    expect(seen).toHaveLength(1);
  });

  test("other paths and methods are none", async () => {
    expect((await world.call("GET", "/nodes/n1/v1")).status).toBe(404);
    expect((await world.call("GET", "/nodes/n1/config/x")).status).toBe(404);
    expect((await world.call("POST", "/nodes/n1/config", { body: {} })).status).toBe(404);
    expect(seen).toHaveLength(0);
  });
});

describe("a node that cannot be asked", () => {
  test("one that is not registered is 404, and says where to look", async () => {
    const reply = await world.call("GET", "/nodes/n9/config");
    expect([reply.status, reply.body.error_msg]).toEqual([404, expect.stringContaining("GET /apisix/admin/nodes")]);
  });

  test.each([
    "",
    "0.0.0.0:9091",
    "[::]:9091",
    "127.0.0.1",
    "https://127.0.0.1:1",
    "http://user@127.0.0.1:1",
    "http://127.0.0.1:1/x?y",
    "http://a b",
    "file:///etc/passwd",
  ])("an address of %j is never called", async (address) => {
    await register("odd", address);
    const reply = await world.call("GET", "/nodes/odd/config");
    expect([reply.status, reply.body.error_msg]).toEqual([502, expect.stringContaining("status.advertise")]);
  });

  test("one that is gone is 502", async () => {
    await register("gone", "127.0.0.1:1");
    const reply = await world.call("GET", "/nodes/gone/config");
    expect([reply.status, reply.body]).toEqual([502, { error_msg: "the node cannot be reached" }]);
  });

  test("one that does not answer is 504", async () => {
    respond = () => {};
    const reply = await world.call("GET", "/nodes/n1/config");
    expect([reply.status, reply.body.error_msg]).toEqual([504, expect.stringContaining("did not answer within")]);
  });
});
