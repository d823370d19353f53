/**
 * Upstream nodes given by domain name, as in `"httpbin.org:80": 1`: resolved through a real name server, followed when
 * their time to live is over.
 */
import { createSocket, type Socket } from "node:dgram";
import { createServer, type Server } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { admin, type Node, startNode, until } from "../support/process.ts";

const TTL_SECONDS = 1;
const answers = new Map<string, string>();
let questions = 0;
let nameServer: Socket;
let node: Node;
const upstreams: Server[] = [];
let port = 0;

/** An answer with one A record, or NXDOMAIN; enough of RFC 1035 for one question. */
function answerTo(question: Buffer): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (let length = question[at] ?? 0; length > 0; length = question[at] ?? 0) {
    labels.push(question.toString("latin1", at + 1, at + 1 + length));
    at += length + 1;
  }
  const type = question.readUInt16BE(at + 1);
  const address = answers.get(labels.join("."));
  const found = address !== undefined && type === 1;
  const head = Buffer.from(question.subarray(0, 12));
  head.writeUInt16BE(address === undefined ? 0x8183 : 0x8180, 2);
  head.writeUInt16BE(found ? 1 : 0, 6);
  head.writeUInt32BE(0, 8);
  const parts = [head, question.subarray(12, at + 5)];
  if (found) {
    const record = Buffer.alloc(16);
    record.writeUInt16BE(0xc00c, 0);
    record.writeUInt16BE(1, 2);
    record.writeUInt16BE(1, 4);
    record.writeUInt32BE(TTL_SECONDS, 6);
    record.writeUInt16BE(4, 10);
    for (const [i, part] of address.split(".").entries()) record[12 + i] = Number(part);
    parts.push(record);
  }
  return Buffer.concat(parts);
}

/** Two upstreams on the same port of two loopback addresses, as the two addresses of one name. */
async function listenOnBoth(): Promise<void> {
  for (const host of ["127.0.0.41", "127.0.0.42"]) {
    const server = createServer((request, response) => response.end(`${host} ${request.headers.host ?? ""}`));
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
  await listenOnBoth();
  nameServer = createSocket("udp4");
  nameServer.on("message", (question, from) => {
    questions++;
    nameServer.send(answerTo(question), from.port, from.address);
  });
  await new Promise<void>((ok) => nameServer.bind(0, "127.0.0.1", ok));
  node = await startNode("start", { args: ["--dns-resolvers", `127.0.0.1:${nameServer.address().port}`] });
});

afterAll(async () => {
  await node?.stop();
  nameServer?.close();
  for (const server of upstreams) server.close();
});

test("G1: 47 a node given by name is found, and found again elsewhere when its time to live is over", async () => {
  answers.set("httpbin.test", "127.0.0.41");
  const upstream = { type: "roundrobin", pass_host: "node", nodes: { [`httpbin.test:${port}`]: 1 } };
  expect((await admin(node, "PUT", "/routes/named", { uri: "/named", upstream })).status).toBe(201);
  const call = async (): Promise<string> => (await fetch(`${node.gateway}/named`)).text();
  await until("the route", async () => (await call()) === `127.0.0.41 httpbin.test:${port}`);
  const asked = questions;
  for (let i = 0; i < 20; i++) await call();
  expect(questions - asked).toBeLessThan(20);
  answers.set("httpbin.test", "127.0.0.42");
  await until("the new address", async () => (await call()).startsWith("127.0.0.42"));
});

test("G1: 47 a name that does not exist is answered 503 and hurts nothing else", async () => {
  const upstream = { type: "roundrobin", nodes: { "nowhere.test:80": 1 } };
  expect((await admin(node, "PUT", "/routes/nowhere", { uri: "/nowhere", upstream })).status).toBe(201);
  await until("the route", async () => (await fetch(`${node.gateway}/nowhere`)).status === 503);
  expect((await fetch(`${node.gateway}/named`)).status).toBe(200);
});
