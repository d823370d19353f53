/** docs/tokens.md and the pages behind it are executable: see test/support/page-steps.ts. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type OidcIssuer, oidcKey, openOidcIssuer } from "../../support/oidc-issuer.ts";
import { runPage } from "../../support/page-steps.ts";
import { freePort } from "../../support/ports.ts";
import { ADMIN_KEY, type Node, ROOT, type Running, run, startNode, until } from "../../support/process.ts";

let node: Node;
let echo: Running;
let issuer: OidcIssuer;
const replaced = new Map<string, string>();

beforeAll(async () => {
  const echoPort = await freePort();
  echo = run(process.execPath, [join(ROOT, "deploy/echo.mjs"), "--port", String(echoPort)]);
  issuer = await openOidcIssuer();
  await issuer.start([oidcKey("k1")]);
  node = await startNode("start", { args: ["--usage-interval", "1s"] });
  await until("the upstream", async () => (await fetch(`http://127.0.0.1:${echoPort}/`)).status > 0);
  replaced.set("http://127.0.0.1:9180", node.admin).set("http://127.0.0.1:9080", node.gateway);
  replaced.set("http://127.0.0.1:9090", node.control).set("http://127.0.0.1:4000", issuer.url);
  replaced.set("127.0.0.1:8081", `127.0.0.1:${echoPort}`);
});

afterAll(async () => {
  await echo?.stop();
  await issuer?.stop();
  await node?.stop();
});

test("every command of the walk prints what the page says", { timeout: 300_000 }, async () => {
  expect(await runPage("docs/tokens.md", replaced, { ADMIN_API_KEY: ADMIN_KEY })).toBeGreaterThan(8);
});

test.each(["docs/explain.md", "docs/revocation.md", "docs/usage.md", "docs/migrating-to-access-tokens.md"])(
  "so does %s",
  { timeout: 300_000 },
  async (page) => {
    const TOKEN = await issuer.token("https://api.example.com");
    expect(await runPage(page, replaced, { ADMIN_API_KEY: ADMIN_KEY, TOKEN })).toBeGreaterThan(0);
  },
);
