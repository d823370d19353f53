/**
 * Signing in, what is loaded, keyboard, colours, narrow screens, viewers.
 */
import { expect, test } from "vitest";
import { type ConsoleWorld, JWT_SECRET } from "../../support/console-world.ts";
import { ADMIN_KEY, VIEWER_KEY } from "../../support/process.ts";

export function shellCases(started: () => ConsoleWorld): void {
  test("a wrong key is refused with what to do; the right one signs in, and stays out of addresses", async () => {
    const world = started();
    await world.page.goto(`${world.control.admin}/ui/records/routes`);
    await world.page.getByLabel("Key of the Admin API").fill("not-a-key-0123456789");
    await world.button("Sign in").click();
    await world.page.getByText("This key is not one of the Admin API.").waitFor();
    await world.fine("sign-in");
    await world.page.getByLabel("Key of the Admin API").fill(ADMIN_KEY);
    await world.button("Sign in").click();
    await world.heading("Routes").waitFor(); // the world.page that was asked for
    expect(world.page.url()).not.toContain(ADMIN_KEY);
    await world.page.reload();
    await world.page.getByLabel("Key of the Admin API").waitFor(); // in memory only, unless it was asked for
    const stored = await world.page.evaluate<string>("JSON.stringify([{ ...sessionStorage }, { ...localStorage }])");
    expect(stored).not.toContain(ADMIN_KEY);
  });

  test("the first load is small, and its parts are kept", async () => {
    const world = started();
    let bytes = 0;
    world.page.on("response", async (response) => {
      if (!response.url().includes("/ui/")) return;
      const { "content-length": length = "0" } = await response.allHeaders();
      bytes += Number(length);
    });
    await world.open("/");
    await world.heading("Overview").waitFor();
    expect(bytes).toBeGreaterThan(10_000);
    expect(bytes).toBeLessThan(350 * 1_024);
  });

  test("a viewer sees the same without buttons and without secrets", async () => {
    const world = started();
    await world.open("/records/consumers/jack", VIEWER_KEY);
    const editor = world.page.locator(".cm-content");
    await editor.getByText("********").first().waitFor();
    expect(await editor.textContent()).not.toContain(JWT_SECRET);
    expect(await world.page.getByRole("button", { name: /Save|Check|Delete|Disable/ }).count()).toBe(0);
    await world.page.getByRole("link", { name: "History" }).last().click();
    await world.heading("History").waitFor();
    await world.page.getByText("PUT").first().waitFor();
    expect(await world.page.getByRole("button", { name: /to here/ }).count()).toBe(0);
    await world.fine("viewer");
  });

  test("everything is reached by the keyboard, in the dark, and on a narrow screen at any zoom", async () => {
    const world = started();
    await world.open("/");
    await world.page.keyboard.press("Control+k");
    await world.page.keyboard.type("certificates");
    await world.page.keyboard.press("Enter");
    await world.heading("Certificates").waitFor();
    await world.page.getByText("No certificates yet").waitFor();
    await world.page.keyboard.press("Control+k");
    await world.page.keyboard.type("routes/orders");
    await world.page.keyboard.press("Enter");
    await world.heading("route orders").waitFor();
    await world.button("Light or dark").click();
    await world.page.locator(".cm-content").waitFor();
    await world.fine("dark");
    await world.page.setViewportSize({ width: 360, height: 740 });
    for (const path of [
      "/",
      "/records/routes",
      "/records/routes/orders",
      "/explain",
      "/history",
      "/problems",
      "/tokens",
    ]) {
      await world.page.goto(`${world.control.admin}/ui${path}`);
      await world.page.locator("main h1").waitFor();
      const wide = await world.page.evaluate<number>("document.documentElement.scrollWidth");
      expect([path, wide]).toEqual([path, expect.toSatisfy((one) => one <= 360)]);
      await world.fine(`narrow-${path.split("/")[1] || "overview"}`);
    }
    // 1120 × 720 at 200 %.
    await world.page.setViewportSize({ width: 560, height: 360 });
    for (const path of ["/", "/records/routes/orders"]) {
      await world.page.goto(`${world.control.admin}/ui${path}`);
      await world.page.locator("main h1").waitFor();
      expect(await world.page.evaluate<number>("document.documentElement.scrollWidth")).toBeLessThanOrEqual(560);
      await world.fine("zoomed");
    }
  });
}
