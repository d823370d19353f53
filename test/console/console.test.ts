/**
 * The console as its users see it: a browser against an admin, etcd and two gateways.
 */
import { createHmac } from "node:crypto";
import { mkdirSync, statSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import type { Browser, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { browserAvailable, findingsOn, openPage, startBrowser, type Watched } from "../support/browser.ts";
import { type EtcdCluster, etcdAvailable, startEtcd } from "../support/etcd.ts";
import { ADMIN_KEY, admin, type Node, ROOT, startNode, until, VIEWER_KEY } from "../support/process.ts";

const HOSTILE = `<img src=x onerror="document.title='owned'">"'{{1}}\${2}<script>document.title='owned'</script>`;
const JWT_SECRET = "a-secret-of-thirty-two-bytes-long";
const SHOTS = process.env["UPDATE_SCREENSHOTS"] === "1" ? join(ROOT, "docs/console") : undefined;

/** What docs/console.md shows. */
const SHOWN = ["overview", "check", "conflict", "tokens", "upstreams", "explain", "history", "problems", "dark"];

let etcd: EtcdCluster;
let control: Node;
let gateways: Node[];
let browser: Browser;
let watched: Watched;
let page: Page;
const upstream = createServer((_request, response) => response.end("hello"));
let nodes: Record<string, number>;

const put = async (path: string, body: unknown, node = control): Promise<void> => {
  const { status, body: said } = await admin(node, "PUT", `${path}?wait=all&timeout=10s`, body);
  expect([path, status, status < 202 ? "" : said]).toEqual([path, expect.toSatisfy((one) => one < 203), ""]);
};

const open = async (path: string, key = ADMIN_KEY, node = control): Promise<void> => {
  await page.goto(`${node.admin}/ui${path}`);
  await page.getByLabel("Key of the Admin API").fill(key);
  await page.getByLabel("Keep it until this tab is closed").check();
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("navigation", { name: "Pages" }).waitFor();
};
const heading = (name: string | RegExp) => page.getByRole("heading", { name, level: 1 });
const button = (name: string | RegExp) => page.getByRole("button", { name, exact: typeof name === "string" });

/** Types a record into the editor, as by hand: nothing of what stood there is left. */
async function type(value: unknown): Promise<void> {
  const editor = page.locator(".cm-content");
  await editor.click();
  await page.keyboard.press("Control+a");
  await page.keyboard.insertText(typeof value === "string" ? value : JSON.stringify(value, null, 2));
}

function jwtOf(claims: object): string {
  const parts = [{ alg: "HS256", typ: "JWT" }, claims];
  const text = parts.map((part) => Buffer.from(JSON.stringify(part)).toString("base64url")).join(".");
  return `${text}.${createHmac("sha256", JWT_SECRET).update(text).digest("base64url")}`;
}

/** No serious finding, and a picture where pictures are asked for. */
async function fine(name: string): Promise<void> {
  expect(await findingsOn(page)).toEqual([]);
  if (SHOTS === undefined || !SHOWN.includes(name)) return;
  const path = join(SHOTS, `${name}.png`);
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path, type: "png" });
  expect(statSync(path).size).toBeLessThan(102_400);
}

describe.skipIf(!etcdAvailable() || !browserAvailable())("the console", () => {
  beforeAll(async () => {
    await new Promise<void>((done) => upstream.listen(0, "127.0.0.1", done));
    nodes = { [`127.0.0.1:${(upstream.address() as AddressInfo).port}`]: 1 };
    etcd = await startEtcd();
    const started = await Promise.all([
      startNode("admin", { etcd: etcd.endpoints }),
      startNode("gateway", { etcd: etcd.endpoints }),
      startNode("gateway", { etcd: etcd.endpoints }),
      startBrowser(),
    ]);
    [control, browser] = [started[0], started[3]];
    gateways = [started[1], started[2]];
    await put("/global_rules/ids", { plugins: { "request-id": {} } });
    await put("/consumers/jack", {
      username: "jack",
      plugins: { "jwt-auth": { key: "jack-key", secret: JWT_SECRET }, "key-auth": { key: "jack-api-key-012345" } },
    });
    await put("/routes/orders", {
      ...{ name: "Orders", uri: "/orders/*", methods: ["GET"], plugins: { "jwt-auth": {} }, upstream: { nodes } },
    });
    await put("/routes/orders-write", { uri: "/orders/*", methods: ["POST"], upstream: { nodes } });
  });
  afterAll(async () => {
    await browser?.close();
    await Promise.all([control, ...(gateways ?? [])].map((node) => node?.stop("SIGKILL")));
    await etcd?.stop();
    upstream.close();
  });
  beforeEach(async () => {
    watched = await openPage(browser);
    page = watched.page;
  });
  afterEach(async () => {
    const { complaints } = watched;
    await watched.close();
    expect(complaints).toEqual([]);
  });

  test("a wrong key is refused with what to do; the right one signs in, and stays out of addresses", async () => {
    await page.goto(`${control.admin}/ui/records/routes`);
    await page.getByLabel("Key of the Admin API").fill("not-a-key-0123456789");
    await button("Sign in").click();
    await page.getByText("This key is not one of the Admin API.").waitFor();
    await fine("sign-in");
    await page.getByLabel("Key of the Admin API").fill(ADMIN_KEY);
    await button("Sign in").click();
    await heading("Routes").waitFor(); // the page that was asked for
    expect(page.url()).not.toContain(ADMIN_KEY);
    await page.reload();
    await page.getByLabel("Key of the Admin API").waitFor(); // in memory only, unless it was asked for
    const stored = await page.evaluate<string>("JSON.stringify([{ ...sessionStorage }, { ...localStorage }])");
    expect(stored).not.toContain(ADMIN_KEY);
  });

  test("the first load is small, and its parts are kept", async () => {
    let bytes = 0;
    page.on("response", async (response) => {
      if (!response.url().includes("/ui/")) return;
      const { "content-length": length = "0" } = await response.allHeaders();
      bytes += Number(length);
    });
    await open("/");
    await heading("Overview").waitFor();
    expect(bytes).toBeGreaterThan(10_000);
    expect(bytes).toBeLessThan(350 * 1_024);
  });

  test("the overview shows nodes, requests and refusals, live", async () => {
    await open("/");
    const table = page.getByRole("region", { name: "Gateway nodes" });
    await until("both nodes are in step", async () => (await table.getByText("in step").count()) === 2);
    const call = () =>
      Promise.all(gateways.map((node) => fetch(`${node.gateway}/orders/1`).then((reply) => reply.arrayBuffer())));
    await until(
      "refusals by reason and token outcomes are seen",
      async () => {
        await call();
        return (await page.getByText("4xx").count()) > 0 && (await page.getByText("jwt-auth missing").count()) > 0;
      },
      60_000,
      200,
    );
    await fine("overview");
  });

  test("a route is made: check shows the change, save says which nodes serve it, and they do", async () => {
    await open("/records/routes");
    await page.getByRole("link", { name: "New route" }).click();
    await page.getByLabel("Id (id)").fill("made");
    await type({
      uri: "/made",
      upstream: { nodes },
      plugins: { "limit-count": { count: 1, typo: 1, time_window: 60 } },
    });
    await button("Check").click();
    await page.getByText("unknown member").waitFor();
    await fine("check");
    await button("Save").click();
    await heading("route made").waitFor();
    const serving = page.getByRole("list", { name: "Nodes that serve it" });
    await until("both nodes are said to serve it", async () => (await serving.getByText("serves it").count()) === 2);
    for (const node of gateways) expect((await fetch(`${node.gateway}/made`)).status).toBe(200);
    await fine("record");
  });

  test("what is wrong is said, and what was typed is kept over signing out", async () => {
    await open("/records/routes/orders-write");
    await page.locator(".cm-content").waitFor();
    await type('{"uri": "/typed", ');
    await page.getByText("This is no JSON").waitFor();
    expect(await button("Check").isDisabled()).toBe(true);
    await type({ uri: "no-slash", nonsense: true, upstream: { nodes } });
    await button("Check").click();
    await page.getByRole("alert").getByText("nonsense").waitFor();
    await button("Sign out").click();
    await page.getByLabel("Key of the Admin API").fill(ADMIN_KEY);
    await button("Sign in").click();
    await page.locator(".cm-content").getByText("no-slash").waitFor();
  });

  test("a conflict shows both versions; mine can be checked against theirs and saved", async () => {
    await put("/routes/contested", { uri: "/contested", desc: "first", upstream: { nodes } });
    await open("/records/routes/contested");
    await page.locator(".cm-content").getByText("first").waitFor();
    await put("/routes/contested", { uri: "/contested", desc: "theirs", upstream: { nodes } });
    await type({ uri: "/contested", desc: "mine", upstream: { nodes } });
    await button("Check").click();
    await page.getByText("Somebody changed this record").waitFor();
    await page.locator(".theirs").getByText("theirs").waitFor();
    await page.locator(".cm-content").getByText("mine").waitFor();
    await fine("conflict");
    await button("Keep mine, and check it against theirs").click();
    await button("Check").click();
    await page.locator(".diff del").getByText("theirs").waitFor();
    await button("Save").click();
    await page.getByText("Saved", { exact: true }).waitFor();
    const { body } = await admin(control, "GET", "/routes/contested");
    expect(body).toMatchObject({ value: { desc: "mine" } });
    // It stays until something is typed, with what the record became in the editor.
    await page.locator(".cm-content").getByText("update_time").waitFor();
    await page.waitForLoadState("networkidle");
    expect(await page.getByText("Saved", { exact: true }).isVisible()).toBe(true);
  });

  test("history shows who did what, and takes one record back after a preview", async () => {
    await put("/routes/turned", { uri: "/turned", desc: "before", upstream: { nodes } });
    await put("/routes/turned", { uri: "/turned", desc: "after", upstream: { nodes } });
    await open("/history?key=routes/turned");
    await page.locator(".diff ins").getByText("after").waitFor();
    await fine("history");
    await button("Record to here…").last().click();
    await button("Show what would change").click();
    await page.getByRole("region", { name: "Roll back" }).locator("ins").getByText("before").waitFor();
    await button("Roll back").click();
    await page.getByText("Rolled back", { exact: true }).waitFor();
    expect((await admin(control, "GET", "/routes/turned")).body).toMatchObject({ value: { desc: "before" } });
  });

  test("a token is decoded, judged on a route, revoked, and said to be", async () => {
    const token = jwtOf({ key: "jack-key", exp: Math.floor(Date.now() / 1_000) + 600 });
    const call = () => fetch(`${gateways[0]?.gateway}/orders/1`, { headers: { Authorization: `Bearer ${token}` } });
    expect((await call()).status).toBe(200);
    await open("/tokens");
    await page.getByLabel("Paste a token").fill(token);
    const said = page.getByRole("region", { name: "What the token says" });
    await said.getByText("jack-key").waitFor();
    await page.getByLabel("Route").fill("orders");
    await button("Is it valid there?").click();
    await said.getByText("forwarded").waitFor();
    await button("Is it revoked?").click();
    await said.getByText("It is not revoked").waitFor();
    await fine("tokens");
    await button("Revoke it").click();
    await said.getByText("It is revoked").waitFor();
    expect((await call()).status).toBe(401);
    expect(page.url()).not.toContain(token.slice(0, 20));
  });

  test("a rule ends a consumer's tokens, and is taken back; its key is rotated and shown once", async () => {
    await open("/tokens");
    await page.getByLabel("Consumer", { exact: true }).fill("jack");
    await page.getByLabel("Reason").fill("laptop stolen");
    await button("Revoke").click();
    const rule = page.getByRole("row", { name: /laptop stolen/ });
    await rule.waitFor();
    await rule.getByRole("button", { name: "Take back" }).click();
    await page.getByText("No rule ends tokens").waitFor();
    await put("/consumers/jill", { username: "jill", plugins: { "jwt-auth": { key: "jill", secret: JWT_SECRET } } });
    await page.goto(`${control.admin}/ui/records/consumers/jill`);
    await button("Rotate its key").click();
    const shown = page.getByRole("region", { name: "Keys" }).getByText("shown once");
    await shown.waitFor();
    await fine("consumer");
  });

  test("own signing keys are shown with their life, and rotated", async () => {
    await put("/authorization_servers/own", { issuer: "https://own.example" });
    await open("/records/authorization_servers/own");
    const keys = page.getByRole("region", { name: "Signing keys" });
    await until("a key", async () => (await keys.getByRole("row").count()) > 1);
    await keys.getByRole("button", { name: "Rotate", exact: true }).click();
    await keys.getByText("Rotated").waitFor();
    expect(await button("Emergency rotation").isDisabled()).toBe(true);
    await fine("signing-keys");
  });

  test("unhealthy targets are told by upstream and node, with what was counted", async () => {
    const check = {
      type: "http",
      http_path: "/",
      healthy: { interval: 1 },
      unhealthy: { interval: 1, tcp_failures: 1 },
    };
    const checks = { active: { ...check, timeout: 1 } };
    await put("/upstreams/sick", { nodes: { "127.0.0.1:9": 1, ...nodes }, checks });
    await put("/routes/sick", { uri: "/sick", upstream_id: "sick" });
    await open("/upstreams");
    const row = page.getByRole("row", { name: /upstreams\/sick.*127\.0\.0\.1:9.*unhealthy/ });
    await until("both nodes say so", async () => {
      await Promise.all(gateways.map((node) => fetch(`${node.gateway}/sick`).then((reply) => reply.arrayBuffer())));
      return (await row.count()) === 2;
    });
    await fine("upstreams");
    await admin(control, "DELETE", "/routes/sick");
    await admin(control, "DELETE", "/upstreams/sick");
  });

  test("explain says which route, why not the others, and where a token fails", async () => {
    const token = jwtOf({ key: "jack-key", exp: 1_000 });
    await open("/explain");
    await page.getByLabel("Address").fill("http://localhost/orders/7");
    await page.getByLabel("Headers, one a line").fill(`Authorization: Bearer ${token}`);
    await button("Explain").click();
    const verdict = page.getByRole("region", { name: "Verdict" });
    await verdict.getByText("refused with 401").waitFor();
    await verdict.getByText("jwt_expired").first().waitFor();
    await verdict.getByRole("region", { name: "Why not the others" }).getByText("POST").waitFor();
    await verdict.getByRole("row", { name: /times not good/ }).waitFor();
    await fine("explain");
  });

  test("a refused call is found by its request id", async () => {
    const [gateway] = gateways;
    const reply = await fetch(`${gateway?.gateway}/orders/1`);
    const id = reply.headers.get("x-request-id") ?? "";
    await open("/explain");
    await page.getByLabel("Request id").fill(id);
    await page.getByRole("region", { name: "Refused calls" }).getByText("jwt_missing").waitFor();
  });

  test("problems of all nodes are merged, each with its record", async () => {
    const { openDirect } = await import("../support/history.ts");
    const store = openDirect(etcd.endpoints);
    const { put: record, write } = await import("../support/stores.ts");
    await write(store, record("/apisix/routes/broken", { id: "broken", uri: 7, upstream: { nodes } }));
    await store.close();
    await open("/problems");
    const row = page.getByRole("row", { name: /routes\/broken/ });
    await row.waitFor();
    await until("both nodes say so", async () => (await row.textContent())?.split("gateway-").length === 3);
    await fine("problems");
    await admin(control, "DELETE", "/routes/broken");
  });

  test("a viewer sees the same without buttons and without secrets", async () => {
    await open("/records/consumers/jack", VIEWER_KEY);
    const editor = page.locator(".cm-content");
    await editor.getByText("********").first().waitFor();
    expect(await editor.textContent()).not.toContain(JWT_SECRET);
    expect(await page.getByRole("button", { name: /Save|Check|Delete|Disable/ }).count()).toBe(0);
    await page.getByRole("link", { name: "History" }).last().click();
    await heading("History").waitFor();
    await page.getByText("PUT").first().waitFor();
    expect(await page.getByRole("button", { name: /to here/ }).count()).toBe(0);
    await fine("viewer");
  });

  test("nothing that a record holds is markup, wherever it is shown", async () => {
    await put("/routes/hostile", {
      ...{
        name: HOSTILE.slice(0, 100),
        desc: HOSTILE,
        uri: "/hostile",
        labels: { team: HOSTILE.replaceAll(" ", "/").slice(0, 60) },
      },
      plugins: { echo: { body: HOSTILE }, "response-rewrite": { headers: { "X-A": "<b>" } } },
      upstream: { nodes },
    });
    await open("/records/routes");
    for (const path of ["/records/routes", "/records/routes/hostile", "/history?key=routes/hostile", "/problems"]) {
      await page.goto(`${control.admin}/ui${path}`);
      await page.locator("main h1").waitFor();
      if (path.startsWith("/records")) await page.getByText("onerror=").first().waitFor();
      expect(await page.title()).not.toContain("owned");
      expect(await page.locator("main img, main script, main b").count()).toBe(0);
    }
  });

  test("everything is reached by the keyboard, in the dark, and on a narrow screen at any zoom", async () => {
    await open("/");
    await page.keyboard.press("Control+k");
    await page.keyboard.type("certificates");
    await page.keyboard.press("Enter");
    await heading("Certificates").waitFor();
    await page.getByText("No certificates yet").waitFor();
    await page.keyboard.press("Control+k");
    await page.keyboard.type("routes/orders");
    await page.keyboard.press("Enter");
    await heading("route orders").waitFor();
    await button("Light or dark").click();
    await page.locator(".cm-content").waitFor();
    await fine("dark");
    await page.setViewportSize({ width: 360, height: 740 });
    for (const path of [
      "/",
      "/records/routes",
      "/records/routes/orders",
      "/explain",
      "/history",
      "/problems",
      "/tokens",
    ]) {
      await page.goto(`${control.admin}/ui${path}`);
      await page.locator("main h1").waitFor();
      const wide = await page.evaluate<number>("document.documentElement.scrollWidth");
      expect([path, wide]).toEqual([path, expect.toSatisfy((one) => one <= 360)]);
      await fine(`narrow-${path.split("/")[1] || "overview"}`);
    }
  });

  test("a node that is gone, etcd away, the admin gone: each is said with its cure, and what is typed is kept", async () => {
    await open("/records/routes/orders-write");
    await page.locator(".cm-content").waitFor();
    await type({ uri: "/kept-by-me", upstream: { nodes } });
    etcd.pause(0);
    await button("Check").click();
    await page.getByRole("alert").getByText("The store (etcd) does not answer").first().waitFor();
    etcd.resume(0);
    await until("the store is back", async () => (await admin(control, "GET", "/routes/orders")).status === 200);
    await gateways[1]?.stop("SIGKILL");
    await button("Try again").first().click();
    await button("Check").click();
    await page.getByText("What would change").waitFor();
    await control.stop();
    await button("Check").click();
    await page.getByText("The admin node does not answer.").first().waitFor();
    await page.locator(".cm-content").getByText("/kept-by-me").waitFor();
  });
});
