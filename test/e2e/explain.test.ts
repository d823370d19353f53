/**
 * `POST /apisix/admin/explain`: what a node says it would do is what it does, and saying it has no effect.
 */
import { createHmac } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ADMIN_KEY, admin, type Node, ROOT, run, startNode } from "../support/process.ts";

const SECRET = "a-secret-of-thirty-two-bytes-long";
const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
function token(payload: object, { secret = SECRET, alg = "HS256" } = {}): string {
  const text = `${encode({ alg, typ: "JWT" })}.${encode(payload)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into answers of any shape
type Explained = any;
let node: Node;
let calls = 0;
const upstream = createServer((_request, response) => {
  calls++;
  response.end("hello");
});
let target = "";

async function explain(body: unknown, status = 200): Promise<Explained> {
  const reply = await admin(node, "POST", "/explain", body);
  expect([reply.status, status === 200 ? "" : reply.body]).toEqual([status, status === 200 ? "" : expect.anything()]);
  return reply.body;
}

beforeAll(async () => {
  await new Promise<void>((done) => upstream.listen(0, "127.0.0.1", done));
  target = `127.0.0.1:${(upstream.address() as AddressInfo).port}`;
  node = await startNode("start", { args: ["--workers", "2"] });
  const nodes = { [target]: 1 };
  await admin(node, "PUT", "/global_rules/ids", { plugins: { "request-id": {} } });
  await admin(node, "PUT", "/consumer_groups/gold", {
    plugins: { "response-rewrite": { headers: { "x-gold": "1" } } },
  });
  await admin(node, "PUT", "/consumers/jack", {
    username: "jack",
    group_id: "gold",
    plugins: { "jwt-auth": { key: "jack-key", secret: SECRET }, "key-auth": { key: "jack-api-key" } },
  });
  await admin(node, "PUT", "/upstreams/u", { name: "hello", nodes: { [target]: 1, "127.0.0.1:2": 0 } });
  await admin(node, "PUT", "/services/s", { plugins: { "proxy-rewrite": { uri: "/new" } }, upstream_id: "u" });
  await admin(node, "PUT", "/routes/tokens", { uri: "/tokens/*", service_id: "s", plugins: { "jwt-auth": {} } });
  await admin(node, "PUT", "/routes/posts", { uri: "/tokens/*", methods: ["POST"], priority: 5, upstream: { nodes } });
  await admin(node, "PUT", "/routes/elsewhere", { uri: "/tokens/a", host: "other.example", upstream: { nodes } });
  const limit = { count: 2, time_window: 600, rejected_code: 429 };
  const plugins = { "key-auth": {}, "limit-count": limit };
  await admin(node, "PUT", "/routes/limited?wait=all", { uri: "/limited", plugins, upstream: { nodes } });
});
afterAll(async () => {
  await node.stop();
  upstream.close();
});

describe("a request", () => {
  test("of gRPC that is refused is said to be refused, though its caller gets a 200 with a status of gRPC", async () => {
    const headers = { "content-type": "application/grpc" };
    const request = { method: "POST", host: "a.example", uri: "/limited", headers };
    expect(await explain({ request })).toMatchObject({ verdict: "refused", status: 401, answer: { status: 200 } });
  });

  test("that is served is forwarded: with its plugins in order, their records, and the node whose turn it is", async () => {
    const bearer = token({ key: "jack-key", exp: 4_000_000_000 });
    const request = {
      method: "GET",
      host: "a.example",
      uri: "/tokens/a?x=1",
      headers: { authorization: `Bearer ${bearer}` },
    };
    const said = await explain({ request });
    expect(said).toMatchObject({
      verdict: "forwarded",
      ...{ route: "tokens", service: "s", consumer: "jack", consumer_group: "gold", nodes_behind: [] },
      matched: { uri: "/tokens/*" },
      upstream: { id: "u", name: "hello", node: target, method: "GET", uri: "/new?x=1", host: "a.example" },
      plugins: [
        { plugin: "request-id", phase: "rewrite", from: "global_rules/ids", did: "went on" },
        { plugin: "jwt-auth", phase: "rewrite", from: "routes/tokens", did: "went on" },
        { plugin: "proxy-rewrite", phase: "rewrite", from: "services/s", did: "went on" },
      ],
      near: [
        { route: "posts", why: "its methods are POST, the request's is GET" },
        { route: "elsewhere", why: "its host is other.example, the request's is a.example" },
      ],
    });
    expect(said.steps.map(({ step, ok }: Explained) => [step, ok])).toEqual(
      ["token", "form", "key", "algorithm", "signature", "times", "revoked"].map((step) => [step, true]),
    );
    expect(calls).toBe(0);
  });

  test("that matches nothing says so", async () => {
    expect(await explain({ request: { uri: "/nothing" } })).toMatchObject({
      ...{ verdict: "refused", status: 404, reason: "route_not_found", near: [] },
      answer: { status: 404 },
    });
  });

  test("moves no counter: a limit is named and not run", async () => {
    const request = { uri: "/limited", headers: { apikey: "jack-api-key" } };
    for (let i = 0; i < 5; i++) {
      expect(await explain({ request })).toMatchObject({
        verdict: "forwarded",
        plugins: expect.arrayContaining([
          { plugin: "limit-count", phase: "access", from: "routes/limited", did: "not run", why: "it counts requests" },
        ]),
        hints: [expect.stringContaining("not run")],
      });
    }
    const before = await metrics();
    const reply = await fetch(`${node.gateway}/limited`, { headers: request.headers });
    expect([reply.status, reply.headers.get("x-ratelimit-remaining")]).toEqual([200, "1"]);
    expect(before).not.toContain('route="limited"');
    expect(before).not.toMatch(/jotgate_jwt_total\{outcome="\w+"\} [1-9]/);
  });
});

const metrics = async (): Promise<string> => (await fetch(`${node.status}/metrics`)).text();

describe("a token on a route", () => {
  test("every step is judged, also behind the first failure, and its text is nowhere", async () => {
    const wrong = token({ key: "jack-key", exp: 1_000_000_000, secret_claim: "nowhere" }, { secret: "x".repeat(40) });
    const said = await explain({ token: wrong, route: "tokens" });
    expect(said).toMatchObject({ verdict: "refused", status: 401, reason: "jwt_bad_signature", plugin: "jwt-auth" });
    expect(said.steps).toMatchObject([
      { step: "token", ok: true },
      { step: "form", ok: true },
      { step: "key", ok: true, is: "consumers/jack" },
      { step: "algorithm", ok: true },
      { step: "signature", ok: false },
      { step: "times", ok: false, reason: "expired" },
      { step: "revoked", ok: true },
    ]);
    const text = JSON.stringify(said) + node.output();
    for (const part of [...wrong.split("."), "nowhere"]) expect(text).not.toContain(part);
    expect(await (await fetch(`${node.control}/v1/refusals`)).json()).toEqual({ list: [], total: 0 });
  });

  test("is judged at another time", async () => {
    const body = { token: token({ key: "jack-key", exp: 2_000_000_000 }), route: "tokens" };
    expect(await explain(body)).toMatchObject({ verdict: "forwarded", consumer: "jack" });
    expect(await explain({ ...body, at: 2_000_000_001 })).toMatchObject({ reason: "jwt_expired" });
  });

  const good = { key: "jack-key", exp: 4_000_000_000 };
  test.each([
    ["good", token(good)],
    ["none", undefined],
    ["no token", "abc"],
    ["empty parts", ".."],
    ["other algorithm", token(good, { alg: "HS512" })],
    ["alg none", token(good, { alg: "none" })],
    ["expired", token({ ...good, exp: 5 })],
    ["not yet", token({ ...good, nbf: 4_000_000_000 })],
    ["no key", token({ exp: 4_000_000_000 })],
    ["key is a number", token({ ...good, key: 7 })],
    ["unknown key", token({ ...good, key: "who" })],
    ["exp is a text", token({ ...good, exp: "soon" })],
    ["bad signature", token(good, { secret: "y".repeat(40) })],
    ["cut off", token(good).slice(0, -3)],
  ])("what is said of one that is %s is what is answered", async (_says, one) => {
    const headers: Record<string, string> = one === undefined ? {} : { authorization: `Bearer ${one}` };
    const said = await explain({ request: { uri: "/tokens/a", headers } });
    const reply = await fetch(`${node.gateway}/tokens/a`, { headers });
    const text = await reply.text();
    if (reply.status === 200) expect(said.verdict).toBe("forwarded");
    else {
      expect([said.verdict, said.answer.status, said.answer.body]).toEqual(["refused", reply.status, text]);
      const { list } = (await (await fetch(`${node.control}/v1/refusals`)).json()) as Explained;
      expect(said.reason).toBe(list[0].reason);
    }
  });
});

describe("jotgate explain", () => {
  const command = async (
    args: readonly string[],
    env: Record<string, string> = {},
  ): Promise<[number | string, string]> => {
    const ran = run(process.execPath, [join(ROOT, "bin/jotgate.mjs"), "explain", ...args], {
      env: { JOTGATE_ADMIN_KEY: ADMIN_KEY, ...env },
    });
    return [await ran.exited, ran.output()];
  };

  test("prints the verdict as a short text, with a token from the environment", async () => {
    const expired = token({ key: "jack-key", exp: 1_000_000_000 });
    const [code, text] = await command(["--admin", node.admin, "http://a.example/tokens/a"], {
      JOTGATE_TOKEN: expired,
    });
    expect(code).toBe(0);
    expect(text).toMatch(/^refused with 401: jwt_expired, by jwt-auth of routes\/tokens$/m);
    expect(text).toMatch(/^ {2}step {12}FAIL times/m);
    expect(text).toMatch(/^ {2}not route {7}posts \(\/tokens\/\*\): its methods are POST, the request's is GET$/m);
  });

  test("says what is wrong with the question, the key and the admin", async () => {
    expect(await command(["--admin", node.admin])).toEqual([2, expect.stringContaining("needs one URL, or --route")]);
    expect(await command(["tokens"])).toEqual([2, expect.stringContaining("not a URL: tokens")]);
    expect(await command(["--route", "a"], { JOTGATE_ADMIN_KEY: "" })).toEqual([
      ...[2, expect.stringContaining("JOTGATE_ADMIN_KEY is not set")],
    ]);
    const wrong = await command(["--admin", node.admin, "--route", "nowhere"]);
    expect(wrong).toEqual([1, expect.stringContaining("there is no route nowhere")]);
    const nobody = await command(["--admin", "http://127.0.0.1:1", "--route", "a"]);
    expect(nobody).toEqual([1, expect.stringContaining("does not answer")]);
  });
});

describe("bad questions", () => {
  test.each([
    [[], "the body must be an object"],
    [{}, "say either route or request"],
    [{ route: "tokens", request: { uri: "/" } }, "say either route or request"],
    [{ rout: "tokens" }, "there is no member rout: use token, route, request, at, node"],
    [{ request: { uri: "tokens" } }, "request.uri must be a path"],
    [{ request: { uri: "/a b" } }, "request.uri must be a path"],
    [{ request: { uri: "/", verb: "GET" } }, "request has no member verb"],
    [{ request: { uri: "/", headers: { "a b": "c" } } }, "is no header name"],
    [{ request: { uri: "/", headers: { a: "c\r\nd: e" } } }, "can stand in a header"],
    [{ request: { uri: "/", host: "a", headers: { Host: "b" } } }, "say it in request.host only"],
    [{ route: "tokens", at: "now" }, "at must be a number"],
    [{ route: "nowhere" }, "there is no route nowhere"],
  ])("%j is refused with what is wanted", async (body, sentence) => {
    expect((await explain(body, 400)).error_msg).toContain(sentence);
  });

  test("an unknown node is 404", async () => {
    expect((await explain({ route: "tokens", node: "n9" }, 404)).error_msg).toContain("no node n9");
  });
});

describe("the node's own listener", () => {
  test.each(["GET", "POST"])("%s without the key of the admins is 404", async (method) => {
    for (const key of [undefined, "x".repeat(43), "short"]) {
      const headers: Record<string, string> = key === undefined ? {} : { "x-jotgate-node-key": key };
      const body = method === "POST" ? JSON.stringify({ route: "tokens" }) : null;
      const reply = await fetch(`${node.status}/${method === "POST" ? "explain" : "refusals"}`, {
        method,
        headers,
        body,
      });
      expect([reply.status, await reply.text()]).toEqual([404, '{"error_msg":"not found"}']);
    }
  });

  test("refusals come through the admin, of one node and of all", async () => {
    await fetch(`${node.gateway}/nowhere`);
    const all = await admin(node, "GET", "/refusals?reason=route_not_found");
    expect(all.body).toMatchObject({ silent: [], list: [{ status: 404, node: expect.any(String) }] });
    const id = (all.body as Explained).list[0].node;
    const one = await admin(node, "GET", `/nodes/${id}/refusals?reason=route_not_found`);
    expect(one.body).toMatchObject({ total: (all.body as Explained).total });
    expect((await admin(node, "GET", "/refusals?route=a")).status).toBe(400);
  });
});
