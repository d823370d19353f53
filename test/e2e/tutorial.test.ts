/** docs/tutorial.md is executable: see test/support/page-steps.ts. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { runPage } from "../support/page-steps.ts";
import { freePort, freePortRange } from "../support/ports.ts";
import { ADMIN_KEY, type Node, ROOT, type Running, run, startNode, until } from "../support/process.ts";

let node: Node;
let echo: Running;
let vault: Running;
const replaced = new Map<string, string>();

beforeAll(async () => {
  const echoPort = await freePort();
  const base = await freePortRange(5);
  echo = run(process.execPath, [join(ROOT, "deploy/echo.mjs"), "--port", String(echoPort)]);
  const ports = ["--base", String(base), "--vault", String(base + 4)];
  vault = run(process.execPath, [join(ROOT, "test/conformance/upstream.mjs"), ...ports]);
  await until("the secret server", () => vault.output().includes("secrets on"));
  node = await startNode("start", { env: { JACK_JWT_AUTH_KEY: "jack-key" } });
  replaced.set("http://127.0.0.1:9180", node.admin).set("http://127.0.0.1:9080", node.gateway);
  replaced.set("127.0.0.1:8081", `127.0.0.1:${echoPort}`).set("127.0.0.1:8200", `127.0.0.1:${base + 4}`);
});

afterAll(async () => {
  await vault?.stop();
  await echo?.stop();
  await node?.stop();
});

test("every command of the tutorial prints what the page says", { timeout: 300_000 }, async () => {
  expect(await runPage("docs/tutorial.md", replaced, { ADMIN_API_KEY: ADMIN_KEY })).toBeGreaterThan(15);
});

test("docs/routing.md: routes win as the page says", async () => {
  expect(await runPage("docs/routing.md", replaced, { ADMIN_API_KEY: ADMIN_KEY })).toBeGreaterThan(6);
});
