/**
 * What is away, and what is kept meanwhile.
 */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import type { ConsoleWorld } from "../../support/console-world.ts";
import { openDirect } from "../../support/history.ts";
import { admin, until } from "../../support/process.ts";
import { put, remove, write } from "../../support/stores.ts";

export function faultsCases(started: () => ConsoleWorld): void {
  test("with 200 nodes the overview names those that are away, and finds one", async () => {
    const world = started();
    const status = createServer((request, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.end(request.url === "/metrics" ? "" : request.url === "/problems" ? '{"list":[],"total":0}' : "[]");
    });
    await new Promise<void>((done) => status.listen(0, "127.0.0.1", done));
    const { port } = status.address() as AddressInfo;
    const store = openDirect(world.etcd.endpoints);
    const keys = Array.from({ length: 198 }, (_, at) => `/apisix-jotgate/nodes/many-${at}`);
    for (const some of [keys.slice(0, 100), keys.slice(100)])
      await write(
        store,
        ...some.map((key, at) =>
          put(key, {
            ...{ version: "1", startedMs: Date.now(), applied: "1" },
            address: `127.0.0.1:${at === 0 ? 1 : port}`,
          }),
        ),
      );
    await world.open("/");
    await world.page.getByText(/^200 nodes/).waitFor();
    await until(
      "both that are away are named",
      async () => (await world.page.getByText("does not answer").count()) === 2,
    );
    await world.page.getByLabel("Filter nodes").fill("many-77");
    await world.page.getByRole("region", { name: "Gateway nodes" }).getByRole("row").nth(1).waitFor();
    expect(await world.page.getByRole("region", { name: "Gateway nodes" }).getByRole("row").count()).toBe(2);
    await world.fine("many-nodes");
    for (const some of [keys.slice(0, 100), keys.slice(100)]) await write(store, ...some.map(remove));
    await store.close();
    status.closeAllConnections();
    status.close();
  });

  test("answers 500, 507 and 429 say what happened and what to do, and what is typed is kept", async () => {
    const world = started();
    const { page } = world;
    await world.open("/records/routes/orders-write");
    await page.locator(".cm-content").waitFor();
    await world.type({ uri: "/kept-over", upstream: { nodes: world.nodes } });
    for (const [status, error_msg, cure] of [
      [500, "boom", "The log of the admin node says why."],
      [507, "etcd has no room", "The store is full"],
      [429, "too many tries", "Wait a minute"],
    ] as const) {
      await page.route("**/apisix/admin/routes/**", (route) => route.fulfill({ status, json: { error_msg } }));
      await world.button("Check").click();
      const alert = page.getByRole("alert");
      await alert.getByText(error_msg).waitFor();
      await alert.getByText(cure).waitFor();
      await page.unrouteAll();
      await world.button("Try again").first().click();
    }
    expect(JSON.parse(await world.typed())).toMatchObject({ uri: "/kept-over" });
    await world.button("Check").click();
    await page.getByText("What would change").waitFor();
    await page.getByRole("link", { name: "Explain" }).click();
    await page.getByLabel("Address").fill("http://localhost/typed");
    await page.getByRole("link", { name: "Problems" }).click();
    await page.getByRole("link", { name: "Explain" }).click();
    expect(await page.getByLabel("Address").inputValue()).toBe("http://localhost/typed");
  });

  test("a node that is gone, etcd away, the admin gone: each is said with its cure, and what is typed is kept", async () => {
    const world = started();
    await world.open("/records/routes/orders-write");
    await world.page.locator(".cm-content").waitFor();
    await world.type({ uri: "/kept-by-me", upstream: { nodes: world.nodes } });
    world.etcd.pause(0);
    await world.button("Check").click();
    await world.page.getByRole("alert").getByText("The store (etcd) does not answer").first().waitFor();
    world.etcd.resume(0);
    await until("the store is back", async () => (await admin(world.control, "GET", "/routes/orders")).status === 200);
    await world.gateways[1]?.stop("SIGKILL");
    await world.button("Try again").first().click();
    await world.button("Check").click();
    await world.page.getByText("What would change").waitFor();
    await world.control.stop();
    await world.button("Check").click();
    await world.page.getByText("The admin node does not answer.").first().waitFor();
    await world.page.locator(".cm-content").getByText("/kept-by-me").waitFor();
  });
}
