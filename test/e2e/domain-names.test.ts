/**
 * Upstream nodes given by domain name, as in `"httpbin.org:80": 1`: resolved through a real name server, followed when
 * their time to live is over.
 */
import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type NameServer, openNameServer } from "../support/name-server.ts";
import { admin, type Node, startNode, until } from "../support/process.ts";

/** Of a machine that no upstream may be; it counts who calls. */
const DENIED = "127.0.0.43";
let deniedCalls = 0;
let nameServer: NameServer;
let node: Node;
const upstreams: Server[] = [];
let port = 0;

/** Upstreams on the same port of loopback addresses, as the addresses of one name. */
async function listenOnAll(): Promise<void> {
  for (const host of ["127.0.0.41", "127.0.0.42", DENIED]) {
    const server = createServer((request, response) => response.end(`${host} ${request.headers.host ?? ""}`));
    if (host === DENIED) server.on("connection", () => deniedCalls++);
    await new Promise<void>((ok, fail) => {
      server.on("error", fail);
      server.listen(port, host, ok);
    });
    const address = server.address();
    port = address && typeof address === "object" ? address.port : 0;
    upstreams.push(server);
  }
}

beforeAll(async () => {
  await listenOnAll();
  nameServer = await openNameServer();
  node = await startNode("start", {
    args: ["--dns-resolvers", nameServer.address, "--upstreams-deny-addresses", `169.254.0.0/16,${DENIED}`],
  });
});

afterAll(async () => {
  await node?.stop();
  nameServer?.close();
  for (const server of upstreams) server.close();
});

test("G1: 47 a node given by name is found, and found again elsewhere when its time to live is over", async () => {
  nameServer.set("httpbin.test", ["127.0.0.41"]);
  const upstream = { type: "roundrobin", pass_host: "node", nodes: { [`httpbin.test:${port}`]: 1 } };
  expect((await admin(node, "PUT", "/routes/named", { uri: "/named", upstream })).status).toBe(201);
  const call = async (): Promise<string> => (await fetch(`${node.gateway}/named`)).text();
  await until("the route", async () => (await call()) === `127.0.0.41 httpbin.test:${port}`);
  const asked = nameServer.questions.length;
  for (let i = 0; i < 20; i++) await call();
  expect(nameServer.questions.length - asked).toBeLessThan(20);
  nameServer.set("httpbin.test", ["127.0.0.42"]);
  await until("the new address", async () => (await call()).startsWith("127.0.0.42"));
});

test("G1: 47 a name that does not exist is answered 503 and hurts nothing else", async () => {
  const upstream = { type: "roundrobin", nodes: { "nowhere.test:80": 1 } };
  expect((await admin(node, "PUT", "/routes/nowhere", { uri: "/nowhere", upstream })).status).toBe(201);
  await until("the route", async () => (await fetch(`${node.gateway}/nowhere`)).status === 503);
  expect((await fetch(`${node.gateway}/named`)).status).toBe(200);
});

test("a name that is made to mean a denied address is not called there, at first, later, or beside a good one", async () => {
  const route = (name: string) => {
    const upstream = { type: "roundrobin", nodes: { [`${name}:${port}`]: 1 } };
    return admin(node, "PUT", `/routes/${name}`, { uri: `/${name}`, upstream });
  };
  const call = async (name: string): Promise<string> => {
    const answer = await fetch(`${node.gateway}/${name}`);
    return `${answer.status} ${(await answer.text()).slice(0, 10)}`;
  };
  nameServer.set("metadata.test", ["169.254.169.254"]);
  nameServer.set("denied.test", [DENIED]);
  nameServer.set("mixed.test", [DENIED, "127.0.0.41", "169.254.169.254"]);
  nameServer.set("rebinding.test", ["127.0.0.41"], [DENIED], ["169.254.169.254"]);
  nameServer.set("returning.test", [DENIED], ["127.0.0.42"]);
  for (const name of ["metadata.test", "denied.test", "mixed.test", "rebinding.test", "returning.test"])
    expect((await route(name)).status).toBe(201);
  const asked = (name: string): number => nameServer.questions.filter((one) => one === `A ${name}`).length;
  await until("the first calls", async () => (await call("rebinding.test")) === "200 127.0.0.41");
  await until("a name that has turned good", async () => (await call("returning.test")) === "200 127.0.0.42");
  for (const name of ["metadata.test", "denied.test"]) expect(await call(name)).toMatch(/^503 /);
  for (let i = 0; i < 6; i++) expect(await call("mixed.test")).toBe("200 127.0.0.41");
  await until("four questions for the name that changes", async () => {
    expect(await call("rebinding.test")).toMatch(/^(200 127\.0\.0\.41|503 )/);
    return asked("rebinding.test") >= 4;
  });
  expect(deniedCalls).toBe(0);
});
