/**
 * What the console stands on: its files under `/ui/` and their policy, the one-time link, the cluster in numbers, search.
 */
import { X509Certificate } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { brotliCompressSync, brotliDecompressSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeOneTimeLink } from "../../src/admin/console/one-time-link.ts";
import { quantileOf, sinceTally, tallyOf } from "../../src/admin/overview/metrics-tally.ts";
import { FakeClock } from "../../src/base/clock.ts";
import { ADMIN_KEY, type AdminWorld, openAdminWorld, VIEWER_KEY } from "../support/admin.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";
import { temporaryFolder, until } from "../support/process.ts";
import { put, write } from "../support/stores.ts";

const PAGE = "<!doctype html><title>Jotgate</title>";
const SCRIPT = "export const a = 1;".repeat(50);
const NO_KEY = { "X-API-KEY": undefined };
const ENDS_MS = Date.parse(new X509Certificate(CERTIFICATE).validTo);
const clock = new FakeClock(ENDS_MS - 86_400_000);
const link = makeOneTimeLink(ADMIN_KEY, clock);
const node: Server = createServer((request, response) => {
  const body = request.url === "/metrics" ? metrics : JSON.stringify(answers[request.url ?? ""] ?? []);
  response.writeHead(200, { "content-type": "application/json" }).end(body);
});
const answers: Record<string, unknown> = {};
let metrics = "";
let world: AdminWorld;
let off: AdminWorld;

beforeAll(async () => {
  const folder = temporaryFolder("console");
  mkdirSync(join(folder, "assets"));
  writeFileSync(join(folder, "index.html"), PAGE);
  writeFileSync(join(folder, "assets/main-1a.js"), SCRIPT);
  writeFileSync(join(folder, "assets/main-1a.js.br"), brotliCompressSync(SCRIPT));
  writeFileSync(join(folder, "secret.txt"), "not to be seen");
  world = await openAdminWorld({ console: { folder, link }, clock });
  off = await openAdminWorld();
  await new Promise<void>((done) => node.listen(0, "127.0.0.1", done));
  const address = `127.0.0.1:${(node.address() as AddressInfo).port}`;
  for (const id of ["n1", "n2"])
    await write(
      world.store,
      put(`/apisix-jotgate/nodes/${id}`, { version: "1", address, startedMs: 1, applied: "1", workers: 1 }),
    );
});
afterAll(async () => {
  node.closeAllConnections();
  node.close();
  await world.close();
  await off.close();
});

const get = (path: string, headers = {}) => world.call("GET", `/${path}`, { headers: { ...NO_KEY, ...headers } });

describe("the files", () => {
  test.each(["/ui", "/ui/", "/ui/records/routes/1", "/ui/secret.txt", "/ui/assets/../secret.txt", "/ui/index.html"])(
    "%s is the page, without a key, never kept",
    async (path) => {
      const reply = await get(path);
      expect([reply.status, reply.text, reply.headers["cache-control"]]).toEqual([200, PAGE, "no-cache"]);
      expect(reply.headers["content-type"]).toMatch(/^text\/html/);
    },
  );

  test("the policy allows own files alone, and no frame", async () => {
    for (const path of ["/ui/", "/ui/assets/main-1a.js"]) {
      const { headers } = await get(path);
      const policy = headers["content-security-policy"] ?? "";
      expect(policy).toMatch(/default-src 'none'.*script-src 'self';.*frame-ancestors 'none'/);
      expect(policy).not.toMatch(/unsafe|http|\*/);
      expect(headers).toMatchObject({ "x-content-type-options": "nosniff", "referrer-policy": "no-referrer" });
      expect(headers).not.toHaveProperty("access-control-allow-origin");
    }
  });

  test("assets are kept for ever, and sent as they were compressed", async () => {
    const plain = await get("/ui/assets/main-1a.js");
    expect([plain.text, plain.headers["cache-control"]]).toEqual([SCRIPT, "public, max-age=31536000, immutable"]);
    const reply = await fetch(`http://127.0.0.1:${world.port}/ui/assets/main-1a.js`, {
      headers: { "accept-encoding": "br" },
    });
    expect(reply.headers.get("content-encoding")).toBe("br");
    expect(await reply.text()).toBe(SCRIPT);
    expect(brotliDecompressSync(brotliCompressSync(SCRIPT)).toString()).toBe(SCRIPT);
  });

  test("an asset that there is not is 404; where the console is off there is nothing", async () => {
    expect((await get("/ui/assets/other-2b.js")).status).toBe(404);
    expect((await off.call("GET", "//ui/")).status).toBe(404);
    expect((await off.call("GET", "//ui/", { headers: NO_KEY })).status).toBe(401);
  });

  test("the Admin API asks for its key beside it", async () => {
    for (const path of ["/ui/../apisix/admin/routes", "/apisix/admin/routes", "/apisix/admin/whoami"]) {
      const reply = await get(path);
      expect(reply.text).not.toMatch(/"list"|"role"/);
    }
    expect((await get("/apisix/admin/routes")).status).toBe(401);
  });

  test("an address that is not allowed sees nothing of it", async () => {
    const folder = temporaryFolder("console");
    writeFileSync(join(folder, "index.html"), PAGE);
    const barred = await openAdminWorld({ console: { folder }, allowList: ["192.0.2.1"] });
    expect((await barred.call("GET", "//ui/", { headers: NO_KEY })).status).toBe(403);
    await barred.close();
  });

  test("what was not built says so", async () => {
    const bare = await openAdminWorld({ console: { folder: temporaryFolder("console") } });
    const reply = await bare.call("GET", "//ui/", { headers: NO_KEY });
    expect([reply.status, reply.text]).toEqual([404, expect.stringContaining("npm run build")]);
    await bare.close();
  });
});

describe("the one-time link", () => {
  const redeem = (token: unknown) => world.call("POST", "//ui/link", { headers: NO_KEY, body: { token } });

  test("works once", async () => {
    const token = link.issue();
    expect((await redeem("x".repeat(43))).status).toBe(403);
    const reply = await redeem(token);
    expect([reply.body, reply.headers["cache-control"]]).toEqual([{ key: ADMIN_KEY }, "no-store"]);
    expect((await redeem(token)).status).toBe(403);
  });

  test("works for a minute", async () => {
    const token = link.issue();
    clock.advance(60_000);
    expect((await redeem(token)).status).toBe(403);
  });

  test("works on this machine only", () => {
    const token = link.issue();
    expect(link.redeem(token, "192.0.2.7")).toBeUndefined();
    expect(link.redeem(token, "::ffff:127.0.0.1")).toBe(ADMIN_KEY);
  });

  test.each([[undefined], [7], [{}], [""]])("%j is none", async (token) => {
    link.issue();
    expect((await redeem(token)).status).toBe(403);
  });

  test("a body that is no JSON is not repeated", async () => {
    const reply = await world.call("POST", "//ui/link", { headers: NO_KEY, body: '{"token":"abc' });
    expect([reply.status, reply.text.includes("abc")]).toEqual([403, false]);
  });
});

describe("the cluster in numbers", () => {
  const page = (requests: number, refused: number): string => `# HELP x
jotgate_http_requests_total{route="a",status="200"} ${requests}
jotgate_http_requests_total{route="b",status="503"} ${requests / 10}
jotgate_gateway_errors_total{reason="bad_host"} ${refused}
jotgate_jwt_total{outcome="expired"} ${refused}
jotgate_http_request_duration_seconds_bucket{route="a",le="0.01"} ${requests / 2}
jotgate_http_request_duration_seconds_bucket{route="a",le="0.1"} ${requests}
jotgate_http_request_duration_seconds_bucket{route="a",le="+Inf"} ${requests}
`;

  test("rates are those between two looks, over all nodes", async () => {
    metrics = page(100, 1);
    answers["/healthcheck"] = [
      { name: "/apisix/upstreams/u", type: "http", nodes: [{ ip: "10.0.0.1", port: 80, status: "unhealthy" }] },
      { name: "/apisix/upstreams/v", type: "http", nodes: [{ ip: "10.0.0.2", port: 80, status: "healthy" }] },
    ];
    const first = (await world.call("GET", "/overview")).body;
    expect([first.points, first.requests]).toEqual([[], {}]);
    metrics = page(600, 11);
    clock.advance(5_000);
    const reply = await until("the second look", async () => {
      const { body } = await world.call("GET", "/overview", { headers: { "X-API-KEY": VIEWER_KEY } });
      return body.points.length > 0 && body;
    });
    expect(reply.requests).toEqual({ "2xx": 200, "5xx": 20 });
    expect(reply.refused).toEqual({ bad_host: 4 });
    expect(reply.tokens).toEqual({ "jwt-auth expired": 4 });
    expect(reply.nodes).toEqual({ n1: 110, n2: 110 });
    expect(reply.points[0]).toMatchObject({ requests: 220, failed: 20, refused: 4, p50: 0.01 });
    expect(reply.points[0].p99).toBeCloseTo(0.0982, 4);
    expect(reply.unhealthy).toEqual([
      { record: "/apisix/upstreams/u", target: "10.0.0.1:80", status: "unhealthy", nodes: ["n1", "n2"] },
    ]);
    expect(reply.silent).toEqual([]);
  });

  test("a counter that begins anew counts from nothing, and lines that are none count nothing", () => {
    const before = tallyOf(page(100, 5));
    const now = tallyOf(`${page(10, 0)}jotgate_jwt_total{outcome="ok"} NaN\nnonsense {\n`);
    expect(sinceTally(now, before).counts.get("requests 2xx")).toBe(10);
    expect(now.counts.has("tokens jwt-auth ok")).toBe(false);
    expect(quantileOf(0.5, tallyOf(""))).toBeNull();
  });

  test("problems of all nodes are merged: one entry for what they say in the same words", async () => {
    const problem = { key: "/apisix/routes/1", kind: "route", revision: 7, reason: "no upstream", blocks: false };
    answers["/problems"] = { list: [problem, { ...problem, key: "/apisix/routes/2", blocks: true }], total: 2 };
    const { body } = await world.call("GET", "/problems");
    expect(body.list.map((one: { key: string }) => one.key)).toEqual(["/apisix/routes/2", "/apisix/routes/1"]);
    expect(body.list[0].nodes).toEqual(["n1", "n2"]);
    expect(body).toMatchObject({ total: 2, silent: [] });
  });

  test("certificates that end within 30 days are named, without their keys", async () => {
    const { status } = await world.call("PUT", "/ssls/old", {
      body: { snis: ["a.example"], cert: CERTIFICATE, key: PRIVATE_KEY },
    });
    expect(status).toBe(201);
    expect((await world.call("GET", "/overview")).body.expiring).toEqual([]); // as read a moment ago
    clock.advance(60_000);
    const { body, text } = await world.call("GET", "/overview");
    expect(text).not.toContain("PRIVATE");
    expect(body.expiring).toEqual([{ key: "/apisix/ssls/old", names: ["a.example"], ends: ENDS_MS / 1_000 }]);
  });

  test("signing keys that end soon and that no other follows are told, by server", async () => {
    const now = clock.nowMs() / 1_000;
    const key = (sign_from: number, more = {}) => ({ algorithm: "ES256", private_key: "$ENV://K", sign_from, ...more });
    await write(
      world.store,
      put("/apisix/signing_keys/main/k1", key(1, { sign_until: now + 86_400 })),
      put("/apisix/signing_keys/kept/k1", key(1, { sign_until: now + 86_400 })),
      put("/apisix/signing_keys/kept/k2", key(now + 3_600)),
      put("/apisix/signing_keys/odd/k1", "no json"),
    );
    clock.advance(60_000);
    const { body } = await world.call("GET", "/overview");
    expect(body.keys).toEqual([{ server: "main", algorithm: "ES256", ends: now + 86_400 }]);
  });

  test("who asks is told by the name of the key", async () => {
    expect((await world.call("GET", "/whoami")).body).toMatchObject({ name: "ops", role: "admin" });
    const viewer = await world.call("GET", "/whoami", { headers: { "X-API-KEY": VIEWER_KEY } });
    expect(viewer.body).toMatchObject({ name: "eyes", role: "viewer", prefix: "/apisix" });
  });
});

describe("search", () => {
  test.each([
    ["ORDERS", ["r1"]],
    ["shop.example", ["r1", "r2"]],
    ["r2", ["r2"]],
    ["/v2/", ["r2"]],
    ["nothing of it", []],
  ])("%s", async (search, ids) => {
    const upstream = { nodes: { "127.0.0.1:1": 1 } };
    await world.call("PUT", "/routes/r1", { body: { uri: "/a", name: "Orders", host: "shop.example", upstream } });
    await world.call("PUT", "/routes/r2", { body: { uris: ["/v2/*"], hosts: ["shop.example"], upstream } });
    for (const paging of ["", "&page=1&page_size=10"]) {
      const { body } = await world.call("GET", `/routes?search=${encodeURIComponent(search)}${paging}`);
      expect([body.list.map(({ value }: { value: { id: string } }) => value.id), body.total]).toEqual([
        ids,
        ids.length,
      ]);
    }
  });
});
