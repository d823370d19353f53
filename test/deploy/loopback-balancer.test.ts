/**
 * Gateways that share their machine with their balancer, or have none: whose word about a caller's address counts.
 */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { type Fields, type Log, silentLog } from "../../src/base/log.ts";
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
import { freePort } from "../support/ports.ts";
import { ROOT, run, temporaryFolder, until } from "../support/process.ts";
import { CALLER, callFrom, FORGED } from "./forged.ts";

const nginx = ["nginx", "/usr/sbin/nginx"].find((path) => !spawnSync(path, ["-v"]).error);
const PASSED_ON = "X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 192.0.2.7\r\n";

let upstream: RawUpstream;
beforeAll(async () => {
  upstream = await openRawUpstream(answering(OK));
});
beforeEach(() => upstream.clear());
afterAll(() => upstream.close());

async function openGateway(argv: readonly string[] = []) {
  const lines: Fields[] = [];
  const settings = gatewaySettings(readSettings({ argv, env: {}, readFile: () => "" }), "jotgate", "node-1");
  const log: Log = { ...silentLog, warn: (fields) => void lines.push(fields) };
  const gateway = await openTestGateway(routingOf({ "*": { upstream: upstreamOf([upstream.port]) } }), settings, log);
  onTestFinished(() => gateway.close(0));
  return { port: gateway.port, doubts: () => lines.filter(({ reason }) => reason === "real_ip_doubtful") };
}

const realIp = (): string | undefined => /x-real-ip: ([^\r]*)/i.exec(upstream.all)?.[1];

test("without a balancer nobody but loopback is believed", async () => {
  const gateway = await openGateway();
  for (const { says, lines } of FORGED) {
    upstream.clear();
    expect(await callFrom(gateway.port, lines), says).toContain(" 200 OK");
    expect(realIp(), says).toBe(CALLER);
  }
  expect(gateway.doubts()).toEqual([]);
});

describe("a peer on loopback that passes X-Real-IP of its callers on", () => {
  test.each([
    { says: "by default it is believed, as APISIX does, and said once", argv: [], address: "6.6.6.6", lines: 1 },
    { says: "in strict it is not", argv: ["--compat", "strict"], address: "127.0.0.1", lines: 0 },
    {
      says: "in strict it is where a setting names it",
      argv: ["--compat", "strict", "--real-ip-trusted", "127.0.0.1"],
      ...{ address: "6.6.6.6", lines: 0 },
    },
    {
      says: "by X-Forwarded-For its callers choose nothing",
      argv: ["--real-ip-header", "X-Forwarded-For"],
      ...{ address: "192.0.2.7", lines: 0 },
    },
    {
      says: "a setting that names another balancer ends it",
      argv: ["--real-ip-trusted", "192.0.2.1"],
      ...{ address: "127.0.0.1", lines: 0 },
    },
  ])("$says", async ({ argv, address, lines }) => {
    const gateway = await openGateway(argv);
    for (let i = 0; i < 3; i++) await callFrom(gateway.port, PASSED_ON, "127.0.0.1");
    expect(realIp()).toBe(address);
    expect(gateway.doubts()).toHaveLength(lines);
    for (const line of gateway.doubts())
      expect(line).toMatchObject({ believed: "6.6.6.6", forwardedFor: "192.0.2.7", header: "x-real-ip" });
  });

  test("one that says the same in both raises no doubt", async () => {
    const gateway = await openGateway();
    await callFrom(gateway.port, "X-Real-IP: 192.0.2.7\r\nX-Forwarded-For: 6.6.6.6, 192.0.2.7\r\n", "127.0.0.1");
    expect(realIp()).toBe("192.0.2.7");
    expect(gateway.doubts()).toEqual([]);
  });
});

describe.skipIf(!nginx)("nginx as docs/cluster.md sets it up", () => {
  test("forged headers change nothing behind it, with the defaults", async () => {
    const gateway = await openGateway();
    const page = readFileSync(join(ROOT, "docs/cluster.md"), "utf8");
    const block = /```nginx\n([^`]*)```/.exec(page)?.[1];
    expect(block).toContain("proxy_set_header X-Real-IP");
    const folder = temporaryFolder("nginx");
    const port = await freePort();
    writeFileSync(
      join(folder, "nginx.conf"),
      `daemon off; worker_processes 1; pid ${folder}/pid; error_log stderr;
events { worker_connections 64; }
http { access_log off; client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder};
  server { listen 127.0.0.1:${port}; location / { ${block} proxy_pass http://127.0.0.1:${gateway.port}; } } }`,
    );
    const balancer = run(nginx ?? "", ["-p", folder, "-c", join(folder, "nginx.conf")]);
    onTestFinished(async () => void (await balancer.stop()));
    await until(
      `nginx serves\n${balancer.output()}`,
      async () => (await fetch(`http://127.0.0.1:${port}/`)).status === 200,
    );
    for (const { says, lines } of FORGED) {
      upstream.clear();
      expect(await callFrom(port, lines), says).toContain(" 200 OK");
      expect(realIp(), says).toBe(CALLER);
      const told = upstream.all
        .split("\r\n")
        .filter((line) => /^(?:x-(?:forwarded-(?:for|proto|host|port)|real)|forwarded)/i.test(line));
      expect(told.join("\n"), says).not.toMatch(/6\.?6\.?6/);
    }
    expect(gateway.doubts()).toEqual([]);
  });
});
