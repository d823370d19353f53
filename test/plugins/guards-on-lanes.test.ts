/**
 * acl, workflow, opa, jwe-decrypt, ldap-auth and authz-casbin on every lane: what refuses refuses alike, what passes reaches the
 * upstream, and whoever is asked and hangs holds up nobody else.
 */

import { createServer as createHttpServer } from "node:http";
import type { AddressInfo } from "node:net";
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Plugin } from "../../src/plugin/plugin.ts";
import { makeEnv } from "../../src/plugin/testkit/testkit.ts";
import { acl } from "../../src/plugins/acl.ts";
import { authzCasbin } from "../../src/plugins/authz-casbin/authz-casbin.ts";
import { jweDecrypt } from "../../src/plugins/jwe-decrypt.ts";
import { ldapAuth } from "../../src/plugins/ldap-auth/ldap-auth.ts";
import { limitCount } from "../../src/plugins/limit-count.ts";
import { opa } from "../../src/plugins/opa.ts";
import { workflow } from "../../src/plugins/workflow.ts";
import { EVERY_LANE, type LaneClient, openEveryLane, openNodeUpstream } from "../gateway/any-lane.ts";
import { upstreamOf, waitFor } from "../gateway/support.ts";
import { openWorld } from "../runtime/live-fixture.ts";

const JWE =
  "eyJraWQiOiJ1c2VyLWtleSIsImFsZyI6ImRpciIsImVuYyI6IkEyNTZHQ00ifQ..MTIzNDU2Nzg5MDEy.6JeRgm0.rNt131nG5wMvUD1KXbwLGA";
const MODEL =
  "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n[policy_effect]\ne = some(where (p.eft == allow))\n[matchers]\nm = r.sub == p.sub && r.act == p.act";

let upstream: Awaited<ReturnType<typeof openNodeUpstream>>;
/** Says what it is told to; on `/v1/data/hang` nothing. */
const agent = createHttpServer((request, response) => {
  if (request.url === "/v1/data/hang") return;
  const chunks: Buffer[] = [];
  request.on("data", (chunk: Buffer) => chunks.push(chunk));
  request.on("end", () => {
    const { headers } = JSON.parse(Buffer.concat(chunks).toString()).input.request;
    const result = headers["x-role"] === "reader" ? { allow: true } : { allow: false, status_code: 402, reason: "pay" };
    response.end(JSON.stringify({ result }));
  });
});
/** Takes connections and never says anything. */
let silent: Server;
const portOf = (server: { address(): unknown }): number => (server.address() as AddressInfo).port;

beforeAll(async () => {
  upstream = await openNodeUpstream((request, response) => response.end(JSON.stringify(request.headers)));
  silent = createServer((socket) => socket.on("error", () => undefined));
  await new Promise<void>((done) => agent.listen(0, "127.0.0.1", done));
  await new Promise<void>((done) => silent.listen(0, "127.0.0.1", done));
});
afterAll(() => {
  upstream.close();
  agent.closeAllConnections();
  agent.close();
  silent.close();
});

describe.each(EVERY_LANE)("$lane", (lane) => {
  const lanes = openEveryLane(lane);
  let client: LaneClient;
  const env = makeEnv({
    plugins: [jweDecrypt, limitCount],
    consumers: [
      { username: "jack", auth: { "jwe-decrypt": { key: "user-key", secret: "12345678901234567890123456789012" } } },
    ],
  });
  beforeAll(async () => {
    const to = upstreamOf([upstream.port]);
    const host = `http://127.0.0.1:${portOf(agent)}`;
    const route = (plugin: Plugin, conf: object) => ({ upstream: to, plugins: [env.compile(plugin, conf)] });
    const limit = ["limit-count", { count: 1, time_window: 60, rejected_code: 429 }];
    client = await lanes.open({
      plain: { upstream: to },
      acl: route(acl, { allow_labels: { a: ["b"] } }),
      workflow: route(workflow, {
        rules: [{ case: [["arg_a", "==", "1"]], actions: [["return", { code: 410 }]] }, { actions: [limit] }],
      }),
      opa: route(opa, { host, policy: "p" }),
      hang: route(opa, { host, policy: "hang" }),
      jwe: route(jweDecrypt, {}),
      ldap: route(ldapAuth, { base_dn: "dc=x", ldap_uri: `127.0.0.1:${portOf(silent)}` }),
      casbin: route(authzCasbin, { model: MODEL, policy: "p, ann, x, GET", username: "x-user" }),
    });
  });

  const ask = async (path: string, headers: Record<string, string> = {}) => {
    const { status, body } = await client.ask({ path, headers });
    return [status, status === 200 ? 0 : body.toString().trim()];
  };

  test("what refuses says so, and what passes reaches the upstream", async () => {
    expect(await ask("/acl")).toEqual([401, '{"message":"Missing authentication."}']);
    expect(await ask("/workflow?a=1")).toEqual([410, '{"error_msg":"rejected by workflow"}']);
    const counted = await client.ask({ path: "/workflow" });
    expect([counted.status, counted.headers["x-ratelimit-limit"]]).toEqual([200, "1"]);
    expect((await ask("/workflow"))[0]).toBe(429);
    expect(await ask("/opa")).toEqual([402, "pay"]);
    expect(await ask("/opa", { "X-Role": "reader" })).toEqual([200, 0]);
    expect(await ask("/jwe")).toEqual([403, '{"message":"missing JWE token in request"}']);
    const plain = await client.ask({ path: "/jwe", headers: { Authorization: `Bearer ${JWE}` } });
    expect([plain.status, JSON.parse(plain.body.toString()).authorization]).toEqual([200, "hello"]);
    expect(await ask("/ldap")).toEqual([401, '{"message":"Missing authorization in request"}']);
    expect(await ask("/casbin")).toEqual([403, '{"message":"Access Denied"}']);
    expect(await ask("/casbin", { "X-User": "ann" })).toEqual([200, 0]);
  });

  test("an agent and a directory that hang hold up nobody else, and end by their time", async () => {
    const basic = { Authorization: `Basic ${Buffer.from("a:b").toString("base64")}` };
    const waiting = Array.from({ length: 30 }, (_, at) => ask(at % 2 ? "/hang" : "/ldap", basic));
    let ended = 0;
    for (const one of waiting) void one.then(() => ended++);
    for (let n = 0; n < 10; n++) expect((await ask("/plain"))[0]).toBe(200);
    expect(await ask("/opa", { "X-Role": "reader" })).toEqual([200, 0]);
    expect(ended).toBe(0);
    await waitFor(() => {
      env.clock.advance(10_000);
      return ended === waiting.length;
    });
    expect(new Set((await Promise.all(waiting)).map(([status]) => status))).toEqual(new Set([401, 403]));
  });
});

test.each<{ plugin: Plugin; conf: object }>([
  { plugin: acl, conf: { allow_labels: { a: ["b"] } } },
  { plugin: workflow, conf: { rules: [{ actions: [["return", { code: 410 }]] }] } },
  { plugin: opa, conf: { host: "http://127.0.0.1:1", policy: "p" } },
  { plugin: jweDecrypt, conf: {} },
  { plugin: ldapAuth, conf: { base_dn: "dc=x", ldap_uri: "127.0.0.1:1" } },
  { plugin: authzCasbin, conf: { model: MODEL, policy: "p, ann, x, GET", username: "x-user" } },
])("$plugin.name runs where its _meta.filter holds, and nowhere else", async ({ plugin, conf }) => {
  const world = openWorld({ plugins: [plugin] });
  const filtered = { ...conf, _meta: { filter: [["arg_on", "==", "1"]] } };
  const refused = world.put({
    "routes/1": { uri: "/*", plugins: { [plugin.name]: filtered }, upstream: { nodes: { "127.0.0.1:1": 1 } } },
  });
  expect(refused).toBeUndefined();
  const [on, off] = [await world.ask({ target: "/?on=1" }), await world.ask({ target: "/?on=0" })];
  expect([on.status === 200, off.status]).toEqual([false, 200]);
  world.live.close();
});
