/**
 * The life of one machine's node, seen from outside: first start, restart, scraping, draining, bad surroundings.
 */
import { readFileSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freePort } from "../support/ports.ts";
import { ADMIN_KEY, admin, type Node, startNode, temporaryFolder, until } from "../support/process.ts";

let upstream: Server;
let target = "";
const held: (() => void)[] = [];
const nodes: Node[] = [];

async function open(...args: Parameters<typeof startNode>): Promise<Node> {
  const node = await startNode(...args);
  nodes.push(node);
  return node;
}

beforeAll(async () => {
  upstream = createServer((request, response) => {
    if (request.url === "/held") held.push(() => response.end("released"));
    else response.end(JSON.stringify({ url: request.url, headers: request.headers }));
  });
  await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
  const address = upstream.address();
  target = `127.0.0.1:${address && typeof address === "object" ? address.port : 0}`;
});

afterAll(async () => {
  for (const node of nodes) await node.stop("SIGKILL");
  upstream.closeAllConnections();
  upstream.close();
});

const toUpstream = {
  type: "roundrobin",
  get nodes() {
    return { [target]: 1 };
  },
};

test("the first start makes an admin key, prints it once, keeps it private; the next start has all data", async () => {
  const dataDir = temporaryFolder("first");
  const env = { JOTGATE_ADMIN_KEY: "", JOTGATE_VIEWER_KEY: "" };
  const first = await open("start", { dataDir, env });
  const key = /admin key\D*?([A-Za-z0-9_-]{20,})/i.exec(first.output())?.[1] ?? "";
  expect(key, first.output()).not.toBe("");
  expect(first.output()).toContain(dataDir);
  expect(first.output()).toMatch(/curl /);
  const put = await admin(first, "PUT", "/routes/r1", { uri: "/r1", upstream: toUpstream }, { "X-API-KEY": key });
  expect(put.status).toBe(201);
  expect(await first.stop("SIGINT")).toBe(0);

  const second = await open("start", { dataDir, env });
  expect(second.output()).not.toContain(key);
  const got = await admin(second, "GET", "/routes/r1", undefined, { "X-API-KEY": key });
  expect(got.status).toBe(200);
  await until("the route", async () => (await fetch(`${second.gateway}/r1`)).ok);
  expect(await second.stop()).toBe(0);
});

test("files that hold secrets are readable by their owner only", async () => {
  const dataDir = temporaryFolder("private");
  const node = await open("start", { dataDir, env: { JOTGATE_ADMIN_KEY: "", JOTGATE_VIEWER_KEY: "" } });
  const modes = ["keys.json"].map((name) => statSync(join(dataDir, name)).mode & 0o777);
  expect(modes).toEqual([0o600]);
  expect(readFileSync(join(dataDir, "keys.json"), "utf8")).toMatch(/admin/);
  await node.stop();
});

test("Prometheus finds requests, latencies, JWT outcomes, configuration and process facts", async () => {
  const node = await open("start");
  await admin(node, "PUT", "/consumers", { username: "m", plugins: { "jwt-auth": { key: "m-key" } } });
  await admin(node, "PUT", "/routes/sign", { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } });
  await admin(node, "PUT", "/routes/metered", { uri: "/metered", plugins: { "jwt-auth": {} }, upstream: toUpstream });
  const token = await until("a token", async () => {
    const answer = await fetch(`${node.gateway}/apisix/plugin/jwt/sign?key=m-key`);
    return answer.ok ? answer.text() : undefined;
  });
  for (let i = 0; i < 3; i++) await fetch(`${node.gateway}/metered`, { headers: { authorization: token } });
  await fetch(`${node.gateway}/metered`);
  const text = await (await fetch(`${node.status}/metrics`)).text();
  const wanted = [
    /jotgate_http_requests_total\{[^}]*route="metered"[^}]*status="200"[^}]*\} 3/,
    /jotgate_http_requests_total\{[^}]*route="metered"[^}]*status="401"[^}]*\} 1/,
    /jotgate_http_request_duration_seconds_bucket\{[^}]*route="metered"/,
    /jotgate_upstream_duration_seconds_count\{[^}]*route="metered"[^}]*\} 3/,
    /jotgate_jwt_total\{[^}]*\} [1-9]/,
    /jotgate_token_cache_total\{[^}]*hit[^}]*\} [1-9]/,
    /jotgate_config_applied_revision \d+/,
    /jotgate_config_loaded 1/,
    /jotgate_config_fresh 1/,
    /jotgate_config_staleness_seconds [\d.e-]+/,
    /jotgate_etcd_reachable 1/,
    /process_resident_memory_bytes \d+/,
  ];
  for (const pattern of wanted) expect(text).toMatch(pattern);
  expect(text).not.toContain(token);
  expect(text).not.toContain(ADMIN_KEY);
  for (const path of ["/live", "/ready", "/config"]) expect((await fetch(`${node.status}${path}`)).status).toBe(200);
  await node.stop();
});

test("SIGTERM turns ready to 503, lets running requests end, then exits 0", async () => {
  const node = await open("start");
  await admin(node, "PUT", "/routes/held", { uri: "/held", upstream: toUpstream });
  const running = until("the route", async () => {
    const answer = await fetch(`${node.gateway}/held`);
    return answer.ok ? answer.text() : undefined;
  });
  await until("the upstream has the request", () => held.length > 0);
  node.signal("SIGTERM");
  await until("not ready", async () => (await fetch(`${node.status}/ready`)).status === 503);
  for (const release of held) release();
  expect(await running).toBe("released");
  expect(await node.exited).toBe(0);
});

describe("bad surroundings", () => {
  test("a gateway whose etcd is away stays up, is not ready and says why", async () => {
    const port = await freePort();
    const node = await open("gateway", { etcd: [`http://127.0.0.1:${port}`], args: ["--workers", "1"], nowait: true });
    const ready = await until("an answer", async () => fetch(`${node.status}/ready`));
    expect(ready.status).toBe(503);
    await until("a log line that names the store", () => /etcd|store/i.test(node.output()));
    expect((await fetch(`${node.status}/live`)).status).toBe(200);
    await node.stop();
  });

  test("an admin whose etcd is away answers 503 and changes nothing", async () => {
    const port = await freePort();
    const node = await open("admin", { etcd: [`http://127.0.0.1:${port}`], nowait: true });
    const answer = await until("an answer", async () =>
      admin(node, "PUT", "/routes/1", { uri: "/", upstream: toUpstream }),
    );
    expect(answer.status).toBe(503);
    expect(answer.body).toHaveProperty("error_msg");
    await node.stop();
  });

  test.each([["admin"], ["gateway"]] as const)("jotgate %s without --etcd is an error that says so", async (role) => {
    const node = await open(role, { nowait: true });
    expect(await node.exited).not.toBe(0);
    expect(node.output()).toMatch(/--etcd/);
  });

  test("an unknown setting is an error that names it", async () => {
    const node = await open("start", { args: ["--gatway-listen", "127.0.0.1:1"], nowait: true });
    expect(await node.exited).not.toBe(0);
    expect(node.output()).toMatch(/gatway-listen/);
  });

  test("a missing environment variable and a wrong Vault token authenticate nobody and hurt nothing else", async () => {
    const vault = createServer((request, response) => {
      response.statusCode = request.headers["x-vault-token"] === "right" ? 200 : 403;
      response.end(response.statusCode === 200 ? '{"data":{"k":"vault-key"}}' : '{"errors":["permission denied"]}');
    });
    await new Promise<void>((ok) => vault.listen(0, "127.0.0.1", ok));
    const address = vault.address();
    const uri = `http://127.0.0.1:${address && typeof address === "object" ? address.port : 0}`;
    const node = await open("start");
    const secret = { uri, prefix: "kv/apisix", token: "wrong" };
    expect((await admin(node, "PUT", "/secrets/vault/1", secret)).status).toBe(201);
    const users = { a: "$ENV://E2E_TEST_NOT_SET", b: "$secret://vault/1/jack/k", c: "plain-key" };
    for (const [username, key] of Object.entries(users)) {
      const put = await admin(node, "PUT", "/consumers", { username, plugins: { "jwt-auth": { key } } });
      expect(put.status).toBe(201);
    }
    await admin(node, "PUT", "/routes/sign", { uri: "/apisix/plugin/jwt/sign", plugins: { "public-api": {} } });
    const sign = async (key: string): Promise<number> =>
      (await fetch(`${node.gateway}/apisix/plugin/jwt/sign?key=${encodeURIComponent(key)}`)).status;
    await until("the good consumer signs", async () => (await sign("plain-key")) === 200);
    expect(await sign("$ENV://E2E_TEST_NOT_SET")).toBe(404);
    expect(await sign("vault-key")).toBe(404);
    // Writing the secret's record again makes its references due at once.
    expect((await admin(node, "PUT", "/secrets/vault/1", { ...secret, token: "right" })).status).toBe(200);
    await until("the vault consumer signs", async () => (await sign("vault-key")) === 200);
    expect(node.output()).not.toMatch(/vault-key|"wrong"|"right"/);
    await node.stop();
    vault.close();
  });
});
