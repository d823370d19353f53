/**
 * deploy/haproxy.cfg in front of gateways, as it is shipped: what callers say about themselves reaches nobody, and it takes
 * any number of gateways.
 */
import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { parse } from "yaml";
import { gatewaySettings } from "../../src/node/node-parts.ts";
import { readSettings } from "../../src/settings/settings.ts";
import {
  answering,
  OK,
  openRawUpstream,
  openTestGateway,
  type RawUpstream,
  routingOf,
  upstreamOf,
} from "../gateway/support.ts";
import { freePort, freePorts } from "../support/ports.ts";
import { ROOT, type Running, run, until } from "../support/process.ts";
import { CALLER, callFrom, FORGED } from "./forged.ts";

const haproxy = ["haproxy", "/usr/sbin/haproxy"].find((path) => !spawnSync(path, ["-v"]).error);

/** Starts HAProxy with the shipped file. @returns the port of callers */
async function openBalancer(env: Record<string, string>): Promise<number> {
  const [port, numbers] = (await freePorts(2)) as [number, number];
  const balancer: Running = run(haproxy ?? "", ["-db", "-f", join(ROOT, "deploy/haproxy.cfg")], {
    env: { BALANCER_LISTEN: `127.0.0.1:${port}`, NUMBERS_LISTEN: `127.0.0.1:${numbers}`, ...env },
  });
  onTestFinished(async () => void (await balancer.stop()));
  await until("the balancer has a gateway", async () => (await fetch(`http://127.0.0.1:${port}/`)).status === 200);
  return port;
}

/** Answers /ready and everything else with its own name. */
async function openGateway(host: string, port: number, name: string): Promise<Server> {
  const server = createServer((_request, response) => response.end(name)).listen(port, host);
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return server;
}

/** The settings docker-compose.yml gives its gateways, with loopback for its network. */
function composeEnvironment(): Record<string, string> {
  const compose = parse(readFileSync(join(ROOT, "docker-compose.yml"), "utf8"), { merge: true });
  const environment: Record<string, string> = compose.services.gateway1.environment;
  const subnet: string = compose.networks.inside.ipam.config[0].subnet;
  const wanted = Object.entries(environment).filter(([name]) => /TRUSTED|REAL_IP/.test(name));
  return Object.fromEntries(wanted.map(([name, value]) => [name, value.replaceAll(subnet, "127.0.0.1")]));
}

describe.skipIf(!haproxy)("deploy/haproxy.cfg", () => {
  let upstream: RawUpstream;

  beforeAll(async () => {
    upstream = await openRawUpstream(answering(OK));
  });
  afterAll(() => upstream.close());

  test.each([
    { says: "the defaults", argv: [], env: {}, kept: false },
    { says: "the settings of docker-compose.yml", argv: [], env: composeEnvironment(), kept: true },
    {
      says: "the settings of npm run cluster",
      argv: ["--trusted-addresses", "127.0.0.1", "--real-ip-header", "X-Forwarded-For"],
      env: {},
      kept: true,
    },
    { says: "recursion", argv: ["--real-ip-recursive"], env: composeEnvironment(), kept: true },
  ])("forged headers change nothing behind it, with $says", async ({ argv, env, kept }) => {
    const settings = gatewaySettings(readSettings({ argv, env, readFile: () => "" }), "jotgate", "node-1");
    const gateway = await openTestGateway(routingOf({ "*": { upstream: upstreamOf([upstream.port]) } }), settings);
    onTestFinished(() => gateway.close(0));
    const status = await freePort();
    await openGateway("127.0.0.1", status, "ready");
    const gatewayEnv = { GATEWAY1: `127.0.0.1:${gateway.port}`, GATEWAY1_STATUS: String(status) };
    const port = await openBalancer(gatewayEnv);
    for (const { says, lines } of [{ says: "nothing", lines: "" }, ...FORGED]) {
      upstream.clear();
      expect(await callFrom(port, lines), says).toContain(" 200 OK");
      expect(upstream.all, says).not.toMatch(/6\.?6\.?6/);
      const told = upstream.all.split("\r\n").filter((line) => /^(?:x[-_](?:forwarded|real)|forwarded)/i.test(line));
      const scheme = ["x-forwarded-proto: http", `x-forwarded-port: ${kept ? port : 1234}`];
      expect(told.map((line) => line.toLowerCase()).sort(), says).toEqual(
        [
          ...scheme,
          "x-forwarded-host: api.example:1234",
          `x-real-ip: ${CALLER}`,
          `x-forwarded-for: ${CALLER}, ${CALLER}`,
        ].sort(),
      );
    }
  });

  test("takes every address that the gateways' name has", async () => {
    const addresses = ["127.0.0.11", "127.0.0.12", "127.0.0.13", "127.0.0.14"];
    const port = await freePort();
    for (const address of addresses) await openGateway(address, port, address);
    const dns = await openDns(addresses);
    const balancer = await openBalancer({
      GATEWAYS: `gateway.test:${port}`,
      GATEWAYS_STATUS: String(port),
      RESOLVER: `127.0.0.1:${dns}`,
    });
    const seen = new Set<string>();
    await until("all gateways serve", async () => {
      seen.add(await (await fetch(`http://127.0.0.1:${balancer}/`)).text());
      return seen.size === addresses.length;
    });
  });

  test("takes gateways by their own names and ports", async () => {
    const ports = await freePorts(5);
    for (const port of ports) await openGateway("127.0.0.1", port, String(port));
    const env = ports.flatMap((port, at) => [
      [`GATEWAY${at + 1}`, `127.0.0.1:${port}`],
      [`GATEWAY${at + 1}_STATUS`, String(port)],
    ]);
    const balancer = await openBalancer(Object.fromEntries(env));
    const seen = new Set<string>();
    await until("all gateways serve", async () => {
      seen.add(await (await fetch(`http://127.0.0.1:${balancer}/`)).text());
      return seen.size === ports.length;
    });
  });
});

/** A name server that gives these addresses to every question for A. @returns its port */
async function openDns(addresses: readonly string[]): Promise<number> {
  const socket = createSocket("udp4", (question, from) => {
    const end = question.indexOf(0, 12) + 5;
    const wantsA = question.readUInt16BE(end - 4) === 1;
    const head = Buffer.from(question.subarray(0, end));
    head.writeUInt16BE(0x8180, 2);
    head.writeUInt16BE(wantsA ? addresses.length : 0, 6);
    head.writeUInt16BE(0, 8);
    head.writeUInt16BE(0, 10);
    const answers = addresses.map((address) => [
      0xc0,
      12,
      0,
      1,
      0,
      1,
      0,
      0,
      0,
      60,
      0,
      4,
      ...address.split(".").map(Number),
    ]);
    socket.send(Buffer.concat([head, Buffer.from(wantsA ? answers.flat() : [])]), from.port, from.address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  onTestFinished(() => void socket.close());
  return (socket.address() as AddressInfo).port;
}
