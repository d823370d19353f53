/**
 * Tokens and keys of callers.
 */
import { expect, test } from "vitest";
import { type ConsoleWorld, HOSTILE, JWT_SECRET, jwtOf } from "../../support/console-world.ts";

export function tokensCases(started: () => ConsoleWorld): void {
  test("a token is decoded, judged on a route, revoked, and said to be", async () => {
    const world = started();
    const token = jwtOf({ key: "jack-key", exp: Math.floor(Date.now() / 1_000) + 600 });
    const call = () =>
      fetch(`${world.gateways[0]?.gateway}/orders/1`, { headers: { Authorization: `Bearer ${token}` } });
    expect((await call()).status).toBe(200);
    await world.open("/tokens");
    await world.page.getByLabel("Paste a token").fill(token);
    const said = world.page.getByRole("region", { name: "What the token says" });
    await said.getByText("jack-key").waitFor();
    await world.page.getByLabel("Route").fill("orders");
    await world.button("Is it valid there?").click();
    await said.getByText("forwarded").waitFor();
    await world.button("Is it revoked?").click();
    await said.getByText("It is not revoked").waitFor();
    await world.fine("tokens");
    await world.button("Revoke it").click();
    await said.getByText("It is revoked").waitFor();
    expect((await call()).status).toBe(401);
    expect(world.page.url()).not.toContain(token.slice(0, 20));
  });

  test("a test token is signed with a consumer's key, handed to the tokens page, and taken by a route", async () => {
    const world = started();
    const { page } = world;
    await world.open("/records/consumers/jack");
    const panel = page.getByRole("region", { name: "Test token" });
    await panel.getByLabel("More claims (JSON)").fill("{half");
    await panel.getByRole("button", { name: "Sign a test token" }).click();
    await panel.getByText("The claims are no JSON").waitFor();
    await panel.getByLabel("More claims (JSON)").fill(JSON.stringify({ role: HOSTILE, key: "somebody-else" }));
    await panel.getByRole("button", { name: "Sign a test token" }).click();
    const token = (await panel.locator("code.token").textContent()) ?? "";
    await world.fine("mint");
    await panel.getByRole("button", { name: "Read and judge it" }).click();
    const said = page.getByRole("region", { name: "What the token says" });
    await said.getByText("jack-key").waitFor();
    await said.getByText("onerror=").waitFor();
    expect(await page.title()).not.toContain("owned");
    expect(page.url()).not.toContain(token.slice(0, 20));
    const headers = { Authorization: `Bearer ${token}` };
    expect((await fetch(`${world.gateways[0].gateway}/orders/1`, { headers })).status).toBe(200);
  });

  test("a rule ends a consumer's tokens, and is taken back; its key is rotated and shown once", async () => {
    const world = started();
    await world.open("/tokens");
    await world.page.getByLabel("Consumer", { exact: true }).fill("jack");
    await world.page.getByLabel("Reason").fill("laptop stolen");
    await world.button("Revoke").click();
    const rule = world.page.getByRole("row", { name: /laptop stolen/ });
    await rule.waitFor();
    await rule.getByRole("button", { name: "Take back" }).click();
    await world.page.getByText("No rule ends tokens").waitFor();
    await world.put("/consumers/jill", {
      username: "jill",
      plugins: { "jwt-auth": { key: "jill", secret: JWT_SECRET } },
    });
    await world.page.goto(`${world.control.admin}/ui/records/consumers/jill`);
    await world.button("Rotate its key").click();
    const shown = world.page.getByRole("region", { name: "Keys" }).getByText("shown once");
    await shown.waitFor();
    await world.fine("consumer");
  });
}
