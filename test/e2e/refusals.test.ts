/**
 * Why a call was refused, asked after it: the access log and the list of each node's last refusals, workers merged.
 */
import { createHmac } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { admin, type Node, startNode, until } from "../support/process.ts";

const SECRET = "a-secret-of-thirty-two-bytes-long";
const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");

function token(payload: object, secret = SECRET): string {
  const text = `${encode({ alg: "HS256", typ: "JWT" })}.${encode(payload)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

interface List {
  readonly total: number;
  readonly list: readonly Readonly<Record<string, unknown>>[];
}

let node: Node;
beforeAll(async () => {
  const args = ["--workers", "2", "--access-log-format", "json"];
  node = await startNode("start", { args });
  await admin(node, "PUT", "/global_rules/ids", { plugins: { "request-id": {} } });
  await admin(node, "PUT", "/consumers/jack", {
    username: "jack",
    plugins: { "jwt-auth": { key: "jack-key", secret: SECRET }, "key-auth": { key: "jack-api-key" } },
  });
  const upstream = { nodes: { "127.0.0.1:1": 1 } };
  await admin(node, "PUT", "/routes/tokens", { uri: "/tokens", plugins: { "jwt-auth": {} }, upstream });
  const limits = { "key-auth": {}, "consumer-restriction": { blacklist: ["jack"] } };
  await admin(node, "PUT", "/routes/barred?wait=all", { uri: "/barred", plugins: limits, upstream });
});
afterAll(() => node.stop());

const call = (path: string, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${node.gateway}${path}`, { headers });
const refusals = async (query: string): Promise<List> =>
  (await (await fetch(`${node.control}/v1/refusals${query}`)).json()) as List;

describe("the last refusals of a node", () => {
  test("one call is found by its request id, with route, plugin and reason and no word of its token", async () => {
    const expired = token({ key: "jack-key", exp: 1_000_000_000 });
    await call("/tokens", { authorization: `Bearer ${expired}`, "x-request-id": "find-me" });
    const found = await refusals("?request_id=find-me");
    expect(found).toMatchObject({
      total: 1,
      list: [
        { route: "tokens", consumer: "jack", plugin: "jwt-auth", reason: "jwt_expired", status: 401, method: "GET" },
      ],
    });
    const text = JSON.stringify(found);
    for (const part of expired.split(".")) expect(text).not.toContain(part);
  });

  test("they are found by reason and by consumer, whichever worker refused", async () => {
    await Promise.all(Array.from({ length: 20 }, () => call("/barred", { apikey: "jack-api-key" })));
    const ofJack = await refusals("?consumer=jack");
    expect(ofJack.list.filter(({ plugin }) => plugin === "consumer-restriction")).toHaveLength(20);
    await call("/nowhere");
    expect((await refusals("?reason=route_not_found")).list[0]).toMatchObject({ status: 404 });
    expect((await refusals("?reason=route_not_found")).list[0]).not.toHaveProperty("plugin");
  });

  test("an upstream that is away refuses nobody", async () => {
    await admin(node, "PUT", "/routes/away?wait=all", { uri: "/away", upstream: { nodes: { "127.0.0.1:1": 1 } } });
    expect((await call("/away", { "x-request-id": "away" })).status).toBe(502);
    expect(await refusals("?request_id=away")).toEqual({ list: [], total: 0 });
  });
});

test("the access log says which plugin did not let a caller in", async () => {
  await call("/tokens", { "x-request-id": "logged" });
  const find = (): string | undefined =>
    node
      .output()
      .split("\n")
      .find((one) => one.includes('"request_id":"logged"'));
  const line = await until("the line", find, 10_000);
  expect(JSON.parse(line)).toMatchObject({ status: 401, auth: { plugin: "jwt-auth", reason: "jwt_missing" } });
});
