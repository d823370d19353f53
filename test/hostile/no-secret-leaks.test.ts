/**
 * No stored secret and no token ever appears where it must not: answers, what viewers read, the history, logs at their
 * finest, the access log with every variable, metrics with labels from requests, status and control pages, the disk.
 * Every secret is a text of its own that nothing else holds; a whole run is searched for all of them at its end.
 */
import { createHmac, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Authority, openAuthority } from "../support/authority.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { listAll, openDirect } from "../support/history.ts";
import { encode } from "../support/jwt.ts";
import { freePort } from "../support/ports.ts";
import { ADMIN_KEY, admin, type Node, startNode, temporaryFolder, until, VIEWER_KEY } from "../support/process.ts";

const canaries = new Map<string, string>();

/** A new secret. @param name what a failure calls it */
function secret(name: string, prefix = ""): string {
  const text = `${prefix}${randomBytes(18).toString("hex")}`;
  canaries.set(name, text);
  return text;
}

/** A text that is to be looked for, and how it looks in base64 of any alignment where it is part of a longer one. */
function formsOf(text: string): readonly string[] {
  const inBase64 = [0, 1, 2].map((skip) => Buffer.from(text.slice(skip)).toString("base64").slice(0, 24));
  return [text, ...inBase64];
}

/** Names of the secrets in a text, with their surroundings blackened out. */
function leaksIn(source: string, text: string, except: readonly string[] = []): string[] {
  const found: string[] = [];
  for (const [name, canary] of canaries) {
    if (except.includes(name)) continue;
    for (const form of formsOf(canary)) {
      const at = text.indexOf(form);
      if (at >= 0) found.push(`${source} shows ${name}: ${text.slice(Math.max(0, at - 80), at)}…`);
    }
  }
  return found;
}

const KEYRING = secret("keyring");
const ENVIRONMENT = secret("environment variable");
const VARIABLES = [
  ...[
    "request_uri",
    "args",
    "query_string",
    "request",
    "upstream_uri",
    "http_authorization",
    "http_apikey",
    "http_cookie",
  ],
  ...["arg_jwt", "arg_apikey", "cookie_jwt", "http_x_mine", "arg_mine", "http_referer", "sent_http_location", "uri"],
  ...["request_body", "post_arg_password", "http_x_hmac_signature", "consumer_name", "http_forwarded"],
];

let authority: Authority;
let etcd: EtcdCluster;
let writer: Node;
let gateway: Node;
let upstream: Server;
const folders = { admin: temporaryFolder("leak-admin"), gateway: temporaryFolder("leak-gateway") };
const accessLog = join(folders.gateway, "access.log");
/** Everything that was answered, by what it answers. */
const seen: (readonly [source: string, text: string])[] = [];
const statuses = new Set<number>();

async function put(path: string, record: unknown): Promise<void> {
  const answer = await admin(writer, "PUT", path, record);
  expect(answer.status, `${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(202);
}

/** An answer of the gateway is kept whole, head and body. */
async function call(what: string, path: string, headers: Record<string, string> = {}, body?: string): Promise<number> {
  const init = body === undefined ? {} : { method: "POST", body };
  const answer = await fetch(`${gateway.gateway}${path}`, { headers, redirect: "manual", ...init });
  const head = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  seen.push([`the answer to ${what}`, `${head}\n\n${await answer.text()}`]);
  statuses.add(answer.status);
  return answer.status;
}

async function read(what: string, url: string, headers: Record<string, string> = {}): Promise<string> {
  const answer = await fetch(url, { headers });
  const text = await answer.text();
  seen.push([`${what} ${new URL(url).pathname}`, text]);
  return text;
}

/** Bytes as they are, for heads that no client library sends. */
function raw(what: string, text: string): Promise<void> {
  return new Promise((done) => {
    const socket = connect(Number(new URL(gateway.gateway).port), "127.0.0.1", () => socket.end(text));
    let answer = "";
    socket.on("data", (chunk) => {
      answer += chunk.toString("latin1");
    });
    socket.on("error", () => undefined);
    socket.on("close", () => {
      seen.push([`the answer to ${what}`, answer]);
      done();
    });
  });
}

function sign(key: string, payload: object, header: object = {}): string {
  const input = `${encode({ typ: "JWT", alg: "HS256", ...header })}.${encode(payload)}`;
  const signature = createHmac("sha256", key).update(input).digest("base64url");
  canaries.set(`a token's signature ${canaries.size}`, signature);
  return `${input}.${signature}`;
}

/** A private key whose middle line is the secret. */
function privateKeyOf(name: string, pem: string): string {
  canaries.set(name, pem.split("\n")[1] as string);
  return pem;
}

describe.skipIf(!etcdAvailable())("a whole run on a node that logs all it may", () => {
  beforeAll(async () => {
    authority = openAuthority();
    upstream = createServer((request, response) => {
      request.resume();
      response.end("ok");
    });
    await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
    etcd = await startEtcd();
    const shared = ["--log-level", "debug", "--keyring", KEYRING];
    writer = await startNode("admin", { etcd: etcd.endpoints, dataDir: folders.admin, args: shared });
    const labels = VARIABLES.map((name, n) => ({ [`l${n}`]: `$${name}` }));
    const families = ["http_status", "http_latency", "bandwidth"].map((name, n) => [
      name,
      { extra_labels: labels.slice(n * 10, n * 10 + 10) }, // ten are the most there may be
    ]);
    gateway = await startNode("gateway", {
      etcd: etcd.endpoints,
      dataDir: folders.gateway,
      env: { LEAK_TEST: ENVIRONMENT },
      args: [
        ...[...shared, "--workers", "1", "--access-log-format", "template", "--access-log-target", accessLog],
        ...["--access-log-template", VARIABLES.map((name) => `${name}=$${name}`).join(" "), "--drain-time", "1s"],
        ...["--prometheus-metrics", JSON.stringify(Object.fromEntries(families))],
        ...["--gateway-tls-listen", `127.0.0.1:${await freePort()}`],
      ],
    });
  });

  afterAll(async () => {
    for (const node of [gateway, writer]) await node?.stop("SIGKILL");
    await etcd?.stop();
    upstream?.closeAllConnections();
    upstream?.close();
    authority?.close();
  });

  test("secrets of every kind are stored, used rightly and wrongly, and shown nowhere", async () => {
    const address = upstream.address();
    const port = address !== null && typeof address === "object" ? address.port : 0;
    const dead = await freePort();
    const nodes = { type: "roundrobin", nodes: { [`127.0.0.1:${port}`]: 1 } };
    const server = authority.issue(["leak.test"]);
    const client = authority.issue(["client.test"]);
    const jwt = secret("jwt-auth secret");
    const key = secret("key-auth key");
    const password = secret("basic-auth password");
    const hmac = secret("hmac-auth secret");
    const redis = secret("redis password");
    const openid = (what: string): object => ({
      ...{ client_id: "a", client_secret: secret(`client_secret ${what}`), bearer_only: true },
      ...{ discovery: `http://127.0.0.1:${dead}/d`, introspection_endpoint: `http://127.0.0.1:${dead}/introspect` },
      session: { secret: secret(`session.secret ${what}`) },
    });
    await put("/token_issuers/idp", {
      ...{ issuer: `http://127.0.0.1:${dead}`, bearer_token: secret("bearer_token of an issuer") },
    });

    // Every place a secret can be stored in.
    await put("/consumers/jack", { username: "jack", plugins: { "jwt-auth": { key: "jack-key", secret: jwt } } });
    await put("/consumers/jack/credentials/key", { plugins: { "key-auth": { key } } });
    await put("/consumers/jack/credentials/basic", { plugins: { "basic-auth": { username: "jack", password } } });
    await put("/consumers/jack/credentials/hmac", {
      plugins: { "hmac-auth": { key_id: "jack-id", secret_key: hmac } },
    });
    await put("/consumers/env", { username: "env", plugins: { "key-auth": { key: "$env://LEAK_TEST" } } });
    await put("/secrets/vault/v", { uri: `http://127.0.0.1:${dead}`, prefix: "kv", token: secret("vault token") });
    await put("/consumers/far", { username: "far", plugins: { "key-auth": { key: "$secret://vault/v/far/key" } } });
    await put("/secrets/aws/a", {
      ...{ access_key_id: "AKIA", secret_access_key: secret("aws key"), session_token: secret("aws session") },
      endpoint_url: `http://127.0.0.1:${dead}`,
    });
    const gcp = { client_email: "a@b", private_key: privateKeyOf("gcp key", client.key), project_id: "p" };
    await put("/secrets/gcp/g", { auth_config: gcp });
    await put("/ssls/1", {
      ...{ cert: server.cert, key: privateKeyOf("private key of a certificate", server.key), snis: ["leak.test"] },
    });
    const tls = { client_cert: client.cert, client_key: privateKeyOf("client key of an upstream", client.key) };
    await put("/upstreams/tls", { ...nodes, scheme: "https", tls });
    await put("/services/s", { upstream: { ...nodes, scheme: "https", tls } });
    const count = { count: 1000, time_window: 60, rejected_code: 429, key: "remote_addr" };
    const limit = { ...count, policy: "redis", redis_host: "127.0.0.1", redis_port: dead, redis_password: redis };
    const mine = { header: "X-Mine", query: "mine", cookie: "mine", hide_credentials: true };
    const routes: Record<string, object> = {
      jwt: { "jwt-auth": {} },
      mine: { "jwt-auth": mine },
      key: { "key-auth": {} },
      basic: { "basic-auth": {} },
      hmac: { "hmac-auth": {} },
      multi: { "multi-auth": { auth_plugins: [{ "key-auth": {} }, { "basic-auth": {} }] } },
      openid: { "openid-connect": openid("of a route") },
      "openid-multi": {
        "multi-auth": { auth_plugins: [{ "key-auth": {} }, { "openid-connect": openid("inside multi-auth") }] },
      },
      limit: { "limit-count": { ...limit, allow_degradation: false } },
      open: { "limit-count": { ...limit, allow_degradation: true } },
      sign: { "public-api": { uri: "/apisix/plugin/jwt/sign" } },
    };
    for (const [name, plugins] of Object.entries(routes))
      await put(`/routes/${name}`, { uri: `/${name}`, plugins: { prometheus: {}, ...plugins }, upstream: nodes });
    await put("/routes/tls", { uri: "/tls", plugins: { prometheus: {}, "jwt-auth": {} }, upstream_id: "tls" });
    await put("/routes/gone", {
      ...{ uri: "/gone", plugins: { prometheus: {}, "jwt-auth": {} } },
      upstream: { type: "roundrobin", nodes: { [`127.0.0.1:${dead}`]: 1 } },
    });
    await put("/routes/header", {
      ...{ uri: "/header", upstream: nodes },
      plugins: { "proxy-rewrite": { headers: { set: { Authorization: `Bearer ${secret("header of a route")}` } } } },
    });
    await until("the last route", async () => (await fetch(`${gateway.gateway}/header`)).ok);

    // Writes that are refused, changed, tried out, and read back.
    const stolen = secret("key of another consumer");
    await put("/consumers/first", { username: "first", plugins: { "key-auth": { key: stolen } } });
    const refused = [
      await admin(writer, "PUT", "/consumers/second", { username: "second", plugins: { "key-auth": { key: stolen } } }),
      await admin(writer, "PUT", "/consumers/third", {
        username: "third",
        plugins: { "jwt-auth": { key: "k", secret: [jwt] } },
      }),
      await admin(writer, "PUT", "/ssls/3", { cert: server.cert, key: server.key.slice(0, 150), snis: ["a.test"] }),
    ];
    for (const { status, body } of refused) {
      expect(status, JSON.stringify(body).slice(0, 80)).toBe(400);
      seen.push(["a refused write", JSON.stringify(body)]);
    }
    const changed = {
      username: "jack",
      plugins: { "jwt-auth": { key: "jack-key", secret: secret("new jwt secret") } },
    };
    const dry = await admin(writer, "PUT", "/consumers/jack?dry_run=1", changed);
    seen.push(["a dry run", JSON.stringify(dry.body)]);
    await put("/consumers/jack?wait=all", changed);
    await put("/consumers/jack?wait=all", {
      username: "jack",
      plugins: { "jwt-auth": { key: "jack-key", secret: jwt } },
    });
    for (const wrong of [secret("wrong admin key"), ""]) {
      const headers = { "X-API-KEY": wrong };
      await read("the admin without a right key", `${writer.admin}/apisix/admin/routes`, headers);
      await read("the admin without a right key", `${writer.admin}/apisix/admin/routes?api_key=${wrong}`);
    }
    const viewer = { "X-API-KEY": VIEWER_KEY };
    const kinds = ["routes", "services", "upstreams", "consumers", "ssls", "secrets", "consumers/jack/credentials"];
    const ours = ["history?page_size=500", "nodes", "store", "openapi.json", "plugins?all=true"];
    const single = ["routes/limit", "consumers/jack", "secrets/vault/v", "ssls/1", "upstreams/tls", "services/s"];
    for (const path of [...kinds, ...ours, ...single])
      await read("what a viewer reads:", `${writer.admin}/apisix/admin/${path}`, viewer);

    // Requests with right, wrong, late and broken credentials, in every place.
    const late = Math.floor(Date.now() / 1_000) - 60;
    const tokens = {
      right: sign(jwt, { key: "jack-key" }),
      late: sign(jwt, { key: "jack-key", exp: late }),
      wrong: sign("other-secret", { key: "jack-key" }),
      nobody: sign(jwt, { key: "nobody" }),
      none: sign(jwt, { key: "jack-key" }, { alg: "none" }),
      broken: `eyJhbGciOiJIUzI1NiJ9.!!.${secret("a broken token")}`,
    };
    for (const [name, token] of Object.entries(tokens))
      for (const [path, header, query] of [
        ["/jwt", "Authorization", "jwt"],
        ["/mine", "X-Mine", "mine"],
        ["/gone", "Authorization", "jwt"],
        ["/tls", "Authorization", "jwt"],
        ["/none-such", "Authorization", "jwt"],
      ] as const) {
        await call(`a ${name} token as header`, path, { [header]: token, Referer: `http://a/?token=${token}` });
        await call(`a ${name} bearer`, path, { [header]: `Bearer ${token}` });
        await call(`a ${name} token in the query`, `${path}?a=1&${query}=${token}`);
        await call(`a ${name} cookie`, path, { Cookie: `${query}=${token}; other=${token}` });
        await call(
          `a ${name} token in a form`,
          path,
          { "Content-Type": "application/x-www-form-urlencoded" },
          `password=${token}`,
        );
        await raw(
          `a ${name} token in a bad head`,
          `GET ${path}?${query}=${token} HTTP/1.1\r\nHost: a\r\nA${token}\r\n\r\n`,
        );
        await raw(
          `a ${name} token in a bad target`,
          `GET ${path}%zz?${query}=${token} HTTP/9\r\n${header}: ${token}\r\n\r\n`,
        );
      }
    expect(await call("a right key", "/key", { apikey: key })).toBe(200);
    expect(await call("a key from the environment", "/key", { apikey: ENVIRONMENT })).toBe(200);
    expect(await call("a key in the query", `/multi?apikey=${key}`)).toBe(200);
    expect(await call("a wrong key", "/key", { apikey: secret("a wrong key") })).toBe(401);
    const basic = (user: string, pass: string) => ({
      Authorization: `Basic ${Buffer.from(`${user}:${pass}`).toString("base64")}`,
    });
    expect(await call("a right password", "/basic", basic("jack", password))).toBe(200);
    expect(await call("a wrong password", "/basic", basic("jack", secret("a wrong password")))).toBe(401);
    expect(await call("basic for nobody", "/multi", basic("nobody", secret("password of nobody")))).toBe(401);
    const signed = `Signature keyId="jack-id",algorithm="hmac-sha256",signature="${secret("an hmac signature")}"`;
    expect(await call("a wrong signature", "/hmac", { Authorization: signed })).toBe(401);
    for (const path of ["/openid", "/openid-multi"]) {
      const opaque = { Authorization: `Bearer ${secret(`a token that nobody judges at ${path}`)}` };
      expect(await call("a token that nobody judges", path, opaque)).toBe(503);
    }
    expect(await call("redis that is away", "/limit")).toBe(500);
    expect(await call("redis that may be away", "/open")).toBe(200);
    const made = await fetch(`${gateway.gateway}/sign?key=jack-key`); // the one answer that has to hold a token
    expect(made.status).toBeLessThan(500);
    expect([...statuses].sort()).toEqual([200, 401, 404, 500, 502, 503]);

    // A record that the node cannot use, as another program would write it.
    const store = openDirect(etcd.endpoints);
    const broken = { username: "bad", plugins: { "jwt-auth": { key: 1, secret: secret("secret of a bad record") } } };
    const { put: operation, write } = await import("../support/stores.ts");
    await write(
      store,
      operation("/apisix/consumers/bad", broken),
      operation("/apisix/routes/bad", { uri: 1, x: secret("part of a bad route") }),
    );
    await until("its problem", async () =>
      (await read("status", `${gateway.status}/config`)).includes("consumers/bad"),
    );

    // What the nodes say of themselves.
    for (const node of [gateway, writer]) {
      for (const path of ["metrics", "config", "status", "ready", "applied", "apisix/prometheus/metrics"]) {
        const headers = { Accept: path === "status" ? "application/json" : "*/*" };
        await read("status", `${node.status}/${path}`, headers);
      }
      await read("status as a page", `${node.status}/status`, { Accept: "text/html" });
      for (const path of [
        "server_info",
        "schema",
        "healthcheck",
        "routes",
        "services",
        "upstreams",
        "consumers",
        "ssls",
        "secrets",
      ])
        await read("control", `${node.control}/v1/${path}`);
    }
    await until("the access log is written", () => statSync(accessLog).size > 20_000);
    const fileOf = (): string[] => readdirSync(folders.gateway, { recursive: true, encoding: "utf8" });
    await until("the last known good file", () => fileOf().some((name) => name.includes("last-known-good")), 30_000);
    const records = await listAll(store);
    await store.close();
    for (const node of [gateway, writer]) {
      await node.stop();
      seen.push(["a log", node.output()]);
    }
    for (const folder of Object.values(folders))
      for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" }))
        if (statSync(join(folder, name)).isFile())
          seen.push([`the file ${name}`, readFileSync(join(folder, name), "latin1")]);

    // Written past the admin, so not sealed: they are in the store, and so in the file, as they came.
    const unsealed = ["secret of a bad record", "part of a bad route", "header of a route"];
    const leaks = seen.flatMap(([source, text]) =>
      leaksIn(source, text, source.startsWith("the file") ? unsealed : []),
    );
    for (const { key: name, value } of records)
      leaks.push(...leaksIn(`the record ${name}`, value.toString("utf8"), unsealed));
    for (const [source, text] of seen)
      for (const own of [ADMIN_KEY, VIEWER_KEY])
        if (text.includes(own)) leaks.push(`${source} shows a key of the admin`);
    expect([...new Set(leaks)]).toEqual([]);

    // And it was all there to be found.
    const log = readFileSync(accessLog, "utf8");
    expect(log).toContain("mine=***");
    expect(seen.find(([source]) => source === "status /metrics")?.[1]).toContain('l0="/jwt?a=1&jwt=***"');
    expect(canaries.size).toBeGreaterThan(25);
    expect(leaksIn("itself", `x${basic("jack", password).Authorization}`)).toHaveLength(1);
  });
});
