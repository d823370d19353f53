import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { answerHeader, bodyText, type EnvInput, makeEnv, runPhases } from "../../src/plugin/testkit/testkit.ts";
import { makeView, type ViewInput } from "../../src/plugin/testkit/testkit-view.ts";
import { keyAuth } from "../../src/plugins/key-auth.ts";
import { opa } from "../../src/plugins/opa.ts";
import { waitFor } from "../gateway/support.ts";
import { openWorld } from "../runtime/live-fixture.ts";

interface Question {
  readonly path: string | undefined;
  readonly body: { readonly input: Readonly<Record<string, unknown>> };
}

/** An agent whose policy is a function. */
let policy: (input: Readonly<Record<string, unknown>>, response: ServerResponse) => unknown;
let questions: Question[] = [];
let connections = 0;
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const body = JSON.parse(Buffer.concat(chunks).toString());
    questions.push({ path: request.url, body });
    const said = policy(body.input, response);
    if (said !== undefined) response.end(typeof said === "string" ? said : JSON.stringify(said));
  });
});
server.on("connection", () => connections++);
let host = "";
beforeAll(async () => {
  await new Promise<void>((ok) => server.listen(0, "127.0.0.1", ok));
  host = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  questions = [];
  connections = 0;
  policy = () => ({ result: { allow: true } });
});

const open = (conf: object = {}, input: EnvInput = {}) =>
  makeEnv(input).compile(opa, { host, policy: "example", ...conf });

async function ask(conf: object = {}, input: ViewInput = {}) {
  const view = makeView(input);
  return { view, answer: await runPhases(open(conf), view) };
}

describe("what the agent is told", () => {
  test("the request and its connection", async () => {
    const headers = { Host: "Shop.test:80", "X-A": "1", "x-a": "2", "User-Agent": "curl" };
    await ask({}, { method: "PUT", target: "/a%62?x=1&y&x=2&__proto__=p", headers });
    expect(questions[0]?.path).toBe("/v1/data/example");
    const { type, request, var: facts } = questions[0]?.body.input ?? {};
    const query = JSON.parse('{"x":["1","2"],"y":true,"__proto__":"p"}');
    expect([type, request]).toEqual([
      "http",
      {
        ...{ scheme: "http", method: "PUT", host: "shop.test", port: expect.any(Number), path: "/ab", query },
        headers: { host: "Shop.test:80", "x-a": ["1", "2"], "user-agent": "curl" },
      },
    ]);
    expect(facts).toEqual({
      ...{ remote_addr: "203.0.113.7", remote_port: expect.any(String), server_addr: expect.any(String) },
      ...{ server_port: expect.any(String), timestamp: expect.any(Number) },
    });
  });

  test("records of route, service and consumer, with defaults and without upstreams, only where asked for", async () => {
    const world = openWorld({ plugins: [opa, keyAuth] });
    const all = { host, policy: "p", with_route: true, with_service: true, with_consumer: true };
    const upstream = { nodes: { "127.0.0.1:1": 1 } };
    world.put({
      "consumers/jack": { username: "jack", plugins: { "key-auth": { key: "jack-key" } } },
      "services/s1": { name: "s1", plugins: { "key-auth": {} }, upstream },
      "routes/r1": { uri: "/all", name: "one", service_id: "s1", plugins: { opa: all } },
      "routes/r2": { uri: "/none", plugins: { opa: { host, policy: "p" } }, upstream },
      "routes/r3": { uri: "/alone", plugins: { opa: all }, upstream },
    });
    const inputOf = async (target: string) => {
      await world.ask({ target, headers: { apikey: "jack-key" } });
      return questions.at(-1)?.body.input ?? {};
    };
    const { route, service, consumer } = await inputOf("/all");
    expect(route).toMatchObject({
      name: "one",
      uri: "/all",
      plugins: { opa: { policy: "p", with_route: true, timeout: 3_000 } },
    });
    expect(service).toMatchObject({ name: "s1", plugins: { "key-auth": { header: "apikey", query: "apikey" } } });
    expect(consumer).toMatchObject({ username: "jack", plugins: { "key-auth": { key: "jack-key" } } });
    expect([route, service]).not.toContainEqual(expect.objectContaining({ upstream: expect.anything() }));
    expect(Object.keys(await inputOf("/none"))).toEqual(["type", "request", "var"]);
    expect(Object.keys(await inputOf("/alone"))).toEqual(["type", "request", "var", "route"]);
    world.live.close();
  });
});

describe("what it says", () => {
  test.each<[string, unknown, unknown]>([
    ["allows", { result: { allow: true, reason: "ignored" } }, undefined],
    ["does not allow", { result: { allow: false } }, 403],
    ["allows with another value than true", { result: { allow: "yes" } }, 403],
    ["says nothing of allow", { result: {} }, 403],
    ["has no such policy", {}, 503],
    ["decides with a bare value", { result: true }, 503],
    ["sends no JSON", "<html>", 503],
    ["gives a status", { result: { allow: false, status_code: 302 } }, 302],
    ["gives what is no status", { result: { allow: false, status_code: 101 } }, 403],
  ])("%s", async (_says, said, want) => {
    policy = () => said;
    expect((await ask()).answer?.status).toBe(want);
  });

  test("a refusal carries its reason and its headers, as far as they can be some", async () => {
    const headers = {
      Location: "http://a",
      "X-List": ["1", "2"],
      "X-Bad": "a\r\nb",
      "a b": "c",
      "Content-Length": "0",
    };
    policy = () => ({ result: { allow: false, status_code: 302, headers, reason: { code: 40001 } } });
    const { answer } = await ask();
    expect([answer?.headers, bodyText(answer), answer?.reason]).toEqual([
      ["Location", "http://a", "X-List", "1", "X-List", "2"],
      '{"code":40001}',
      "opa_refused",
    ]);
    policy = () => ({ result: { allow: false, reason: "a string reason" } });
    expect(bodyText((await ask()).answer)).toBe("a string reason");
    expect(answerHeader((await ask()).answer, "location")).toBeUndefined();
  });

  test("headers for the upstream: those that are named, and nothing of the caller's under their names", async () => {
    policy = () => ({ result: { allow: true, headers: { "x-user": "ann", "X-Other": "1" } } });
    const headers = { "X-User": "forged", X_User: "forged", "X-Role": "forged", "X-Other": "own" };
    const { view } = await ask({ send_headers_upstream: ["X-User", "X-Role"] }, { headers });
    const sent = ["x-user", "x_user", "x-role", "x-other"].map((name) => view.headers.getAll(name));
    expect(sent).toEqual([["ann"], [], [], ["own"]]);
  });
});

describe("an agent that is away", () => {
  test("refuses", async () => {
    policy = (_input, response) => void response.destroy();
    expect((await ask()).answer?.status).toBe(403);
    expect((await ask({ host: "http://169.254.169.254" })).answer?.status).toBe(403);
  });

  test("connections are kept, and one that was closed meanwhile refuses nobody", async () => {
    const phases = open();
    for (let n = 0; n < 5; n++) expect(await runPhases(phases, makeView())).toBeUndefined();
    expect(connections).toBe(1);
    server.closeIdleConnections();
    expect(await runPhases(phases, makeView())).toBeUndefined();
    connections = 0;
    const alone = open({ keepalive: false });
    for (let n = 0; n < 3; n++) expect(await runPhases(alone, makeView())).toBeUndefined();
    expect(connections).toBe(3);
  });

  test("has its time, and no more than so many wait for it", async () => {
    policy = () => undefined;
    const env = makeEnv();
    const phases = env.compile(opa, { host, policy: "p", timeout: 500 });
    const pending = Array.from({ length: 1_100 }, () => runPhases(phases, makeView()));
    const early = await Promise.all(pending.slice(1_024));
    expect(new Set(early.map((answer) => answer?.status))).toEqual(new Set([403]));
    await waitFor(() => questions.length > 0);
    env.clock.advance(500);
    expect(new Set((await Promise.all(pending)).map((answer) => answer?.status))).toEqual(new Set([403]));
  });
});

test.each([
  [{ policy: 7 }, "wrong type: expected string, got number"],
  [{ host: 3233 }, "wrong type: expected string, got number"],
  [{ host: "localhost:8181" }, 'property "host" is no http or https address without a user'],
  [{ host: "http://a:b@h" }, 'property "host" is no http or https address without a user'],
  [{ send_headers_upstream: ["a b"] }, "a b"],
])("opa refuses %j", (conf, text) => {
  expect(() => open(conf)).toThrow(text);
});
