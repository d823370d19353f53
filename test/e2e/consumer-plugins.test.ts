/**
 * One plugin on a consumer and on a route: from outside, which of the two configurations counts in which phase.
 */
import { createServer, type IncomingMessage, type Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { admin, type Node, startNode, until } from "../support/process.ts";

let upstream: Server;
let node: Node;
const seen: IncomingMessage[] = [];

const both = (who: string) => ({
  "request-id": { header_name: `X-Id-Of-${who}`, algorithm: "uuid" },
  cors: { allow_origins: `http://${who.toLowerCase()}.test` },
  "proxy-rewrite": { uri: `/${who}`, headers: { set: { "X-Rewritten-By": who } } },
  "response-rewrite": { headers: { set: { "X-Answer-By": who } } },
});

beforeAll(async () => {
  upstream = createServer((request, response) => {
    seen.push(request);
    response.end("ok");
  });
  await new Promise<void>((ok) => upstream.listen(0, "127.0.0.1", ok));
  const address = upstream.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  node = await startNode("start");
  const target = { nodes: { [`127.0.0.1:${port}`]: 1 } };
  const records: Readonly<Record<string, unknown>> = {
    "/consumers/jack": { username: "jack", plugins: { "key-auth": { key: "jack-key" }, ...both("Consumer") } },
    "/routes/own": { uri: "/own", plugins: { "key-auth": {}, ...both("Route") }, upstream: target },
    "/routes/plain": { uri: "/plain", plugins: both("Route"), upstream: target },
  };
  for (const [path, record] of Object.entries(records)) {
    const put = await admin(node, "PUT", path, record);
    expect(put.status, JSON.stringify(put.body)).toBe(201);
  }
  await until("the routes", async () => (await fetch(`${node.gateway}/plain`)).ok);
});

afterAll(async () => {
  await node?.stop("SIGKILL");
  upstream?.closeAllConnections();
  upstream?.close();
});

async function ask(path: string): Promise<Record<string, unknown>> {
  seen.length = 0;
  const answer = await fetch(`${node.gateway}${path}`, {
    headers: { apikey: "jack-key", Origin: "http://consumer.test" },
  });
  expect(answer.status).toBe(200);
  const ids = (names: Iterable<string>): string[] => [...names].filter((name) => name.startsWith("x-id-of-"));
  return {
    path: seen[0]?.url,
    rewritten: seen[0]?.headers["x-rewritten-by"],
    sentIds: ids(Object.keys(seen[0]?.headers ?? {})),
    shownIds: ids(answer.headers.keys()),
    origin: answer.headers.get("access-control-allow-origin"),
    answered: answer.headers.get("x-answer-by"),
  };
}

const consumers = {
  path: "/Consumer",
  rewritten: "Consumer",
  sentIds: ["x-id-of-consumer"],
  shownIds: ["x-id-of-consumer"],
  origin: "http://consumer.test",
  answered: "Consumer",
};

test("what runs before the consumer is known keeps the route's configuration in every phase, all else takes the consumer's", async () => {
  const early = { sentIds: ["x-id-of-route"], shownIds: ["x-id-of-route"], origin: null };
  expect(await ask("/own")).toEqual({ ...consumers, ...early });
});

test("where a global rule has said who calls, every plugin takes the consumer's configuration", async () => {
  expect((await admin(node, "PUT", "/global_rules/auth", { plugins: { "key-auth": {} } })).status).toBe(201);
  await until("the rule", async () => (await fetch(`${node.gateway}/plain`)).status === 401);
  expect(await ask("/plain")).toEqual(consumers);
});

test.each(["consumers", "consumer_groups", "routes", "plugin_configs"])(
  "a dry run of %s warns of what the consumer brings too late",
  async (kind) => {
    const plugins = { "request-id": {}, "limit-count": { count: 1, time_window: 1 } };
    const values: Readonly<Record<string, object>> = {
      consumers: { username: "new", plugins: { "key-auth": { key: "new-key" }, ...plugins } },
      consumer_groups: { plugins },
      routes: { uri: "/new", plugins: { "key-auth": {}, ...plugins }, upstream: { nodes: { "127.0.0.1:1": 1 } } },
      plugin_configs: { plugins: { "key-auth": {}, ...plugins } },
    };
    const { status, body } = await admin(node, "PUT", `/${kind}/new?dry_run=1`, values[kind]);
    expect(status).toBe(200);
    const text = JSON.stringify(body);
    expect(text).toContain("consumer_plugin_too_late");
    expect(text).toContain("request-id runs before the consumer is known");
    expect(text).not.toContain("limit-count runs before");
  },
);
