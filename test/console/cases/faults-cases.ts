/**
 * What is away, and what is kept meanwhile.
 */
import { test } from "vitest";
import type { ConsoleWorld } from "../../support/console-world.ts";
import { admin, until } from "../../support/process.ts";

export function faultsCases(started: () => ConsoleWorld): void {
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
