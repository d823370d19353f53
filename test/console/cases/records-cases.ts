/**
 * Records: made, checked, saved, in conflict, taken back.
 */
import { expect, test } from "vitest";
import { prefixRange } from "../../../src/store/store.ts";
import { type ConsoleWorld, HOSTILE } from "../../support/console-world.ts";
import { openDirect } from "../../support/history.ts";
import { bounded } from "../../support/long-run.ts";
import { ADMIN_KEY, admin, until } from "../../support/process.ts";
import { put, write } from "../../support/stores.ts";

export function recordsCases(started: () => ConsoleWorld): void {
  test("a route is made: check shows the change, save says which nodes serve it, and they do", async () => {
    const world = started();
    await world.open("/records/routes");
    await world.page.getByRole("link", { name: "New route" }).click();
    await world.page.getByLabel("Id (id)").fill("made");
    await world.type({
      uri: "/made",
      upstream: { nodes: world.nodes },
      plugins: { "limit-count": { count: 1, typo: 1, time_window: 60 } },
    });
    await world.button("Check").click();
    await world.page.getByText("unknown member").waitFor();
    await world.fine("check");
    await world.button("Save").click();
    await world.heading("route made").waitFor();
    const serving = world.page.getByRole("list", { name: "Nodes that serve it" });
    await until("both nodes are said to serve it", async () => (await serving.getByText("serves it").count()) === 2);
    for (const node of world.gateways) expect((await fetch(`${node.gateway}/made`)).status).toBe(200);
    await world.fine("record");
  });

  test("what is wrong is said, and what was typed is kept over signing out", async () => {
    const world = started();
    await world.open("/records/routes/orders-write");
    await world.page.locator(".cm-content").waitFor();
    await world.type('{"uri": "/typed", ');
    await world.page.getByText("This is no JSON").waitFor();
    expect(await world.button("Check").isDisabled()).toBe(true);
    await world.type({ uri: "no-slash", nonsense: true, upstream: { nodes: world.nodes } });
    await world.button("Check").click();
    await world.page.getByRole("alert").getByText("nonsense").waitFor();
    await world.button("Sign out").click();
    await world.page.getByLabel("Key of the Admin API").fill(ADMIN_KEY);
    await world.button("Sign in").click();
    await world.page.locator(".cm-content").getByText("no-slash").waitFor();
  });

  test("a conflict shows both versions; mine can be checked against theirs and saved", async () => {
    const world = started();
    await world.put("/routes/contested", { uri: "/contested", desc: "first", upstream: { nodes: world.nodes } });
    await world.open("/records/routes/contested");
    await world.page.locator(".cm-content").getByText("first").waitFor();
    await world.put("/routes/contested", { uri: "/contested", desc: "theirs", upstream: { nodes: world.nodes } });
    await world.type({ uri: "/contested", desc: "mine", upstream: { nodes: world.nodes } });
    await world.button("Check").click();
    await world.page.getByText("Somebody changed this record").waitFor();
    await world.page.locator(".theirs").getByText("theirs").waitFor();
    await world.page.locator(".cm-content").getByText("mine").waitFor();
    await world.fine("conflict");
    await world.button("Keep mine, and check it against theirs").click();
    await world.button("Check").click();
    await world.page.locator(".diff del").getByText("theirs").waitFor();
    await world.button("Save").click();
    await world.page.getByText("Saved", { exact: true }).waitFor();
    const { body } = await admin(world.control, "GET", "/routes/contested");
    expect(body).toMatchObject({ value: { desc: "mine" } });
    // It stays until something is typed, with what the record became in the editor.
    await world.page.locator(".cm-content").getByText("update_time").waitFor();
    await world.page.waitForLoadState("networkidle");
    expect(await world.page.getByText("Saved", { exact: true }).isVisible()).toBe(true);
  });

  test("history shows who did what, and takes one record back after a preview", async () => {
    const world = started();
    await world.put("/routes/turned", { uri: "/turned", desc: "before", upstream: { nodes: world.nodes } });
    await world.put("/routes/turned", { uri: "/turned", desc: "after", upstream: { nodes: world.nodes } });
    await world.open("/history?key=routes/turned");
    await world.page.locator(".diff ins").getByText("after").waitFor();
    await world.fine("history");
    await world.button("Record to here…").last().click();
    await world.button("Show what would change").click();
    await world.page.getByRole("region", { name: "Roll back" }).locator("ins").getByText("before").waitFor();
    await world.button("Roll back").click();
    await world.page.getByText("Rolled back", { exact: true }).waitFor();
    expect((await admin(world.control, "GET", "/routes/turned")).body).toMatchObject({ value: { desc: "before" } });
  });

  test("a record is duplicated, disabled, and deleted when who refers to it is known", async () => {
    const world = started();
    const { page } = world;
    await world.put("/upstreams/shared", { nodes: world.nodes });
    await world.put("/routes/user", { uri: "/user", upstream_id: "shared" });
    await world.open("/records/routes/user");
    await page.getByRole("link", { name: "Duplicate" }).click();
    await world.heading("Duplicate of routes/user").waitFor();
    await page.getByLabel("Id (id)").fill("user-copy");
    await world.button("Check").click();
    await world.button("Save").click();
    await world.heading("route user-copy").waitFor();
    expect((await admin(world.control, "GET", "/routes/user-copy")).body).toMatchObject({
      value: { upstream_id: "shared" },
    });
    await world.button("Disable").click();
    await world.button("Enable").waitFor();
    expect((await admin(world.control, "GET", "/routes/user-copy")).body).toMatchObject({ value: { status: 0 } });
    await page.goto(`${world.control.admin}/ui/records/upstreams/shared`);
    await world.button("Delete…").click();
    const asked = page.getByRole("region", { name: "Delete" });
    await asked
      .getByText(/routes\/user\b/)
      .first()
      .waitFor();
    await world.fine("delete");
    await asked.getByRole("button", { name: "Delete", exact: true }).click();
    await asked.getByRole("alert").waitFor(); // refused: others refer to it
    expect((await admin(world.control, "GET", "/upstreams/shared")).status).toBe(200);
    await asked.getByLabel("Delete it although others refer to it").check();
    await asked.getByRole("button", { name: "Delete", exact: true }).click();
    await world.heading("Upstreams").waitFor();
    expect((await admin(world.control, "GET", "/upstreams/shared")).status).toBe(404);
    for (const id of ["user", "user-copy"]) await admin(world.control, "DELETE", `/routes/${id}`);
  });

  test("nothing that a record holds is markup, wherever it is shown", async () => {
    const world = started();
    await world.put("/routes/hostile", {
      ...{
        name: HOSTILE.slice(0, 100),
        desc: HOSTILE,
        uri: "/hostile",
        labels: { team: HOSTILE.replaceAll(" ", "/").slice(0, 60) },
      },
      plugins: { echo: { body: HOSTILE }, "response-rewrite": { headers: { "X-A": "<b>" } } },
      upstream: { nodes: world.nodes },
    });
    await world.open("/records/routes");
    for (const path of ["/records/routes", "/records/routes/hostile", "/history?key=routes/hostile", "/problems"]) {
      await world.page.goto(`${world.control.admin}/ui${path}`);
      await world.page.locator("main h1").waitFor();
      if (path.startsWith("/records")) await world.page.getByText("onerror=").first().waitFor();
      expect(await world.page.title()).not.toContain("owned");
      expect(await world.page.locator("main img, main script, main b").count()).toBe(0);
    }
  });

  test("a list of very many routes is paged and searched", async () => {
    const world = started();
    const { page } = world;
    const many = bounded(300, 100_000);
    const store = openDirect(world.etcd.endpoints);
    for (let at = 0; at < many; at += 100) {
      const some = Array.from({ length: 100 }, (_, on) => at + on);
      const route = (id: number) => ({
        id: `bulk-${id}`,
        name: `Bulk ${id}`,
        uri: `/bulk/${id}`,
        upstream: { nodes: world.nodes },
      });
      await write(store, ...some.map((id) => put(`/apisix/routes/bulk-${id}`, route(id))));
    }
    await world.open("/records/routes?search=bulk-");
    await page.getByText(`Page 1 of ${many / 50}, ${many} in all`).waitFor();
    const timed = async (what: string, act: () => Promise<void>, seen: string | RegExp): Promise<void> => {
      const start = performance.now();
      await act();
      await page.getByText(seen).first().waitFor();
      process.stdout.write(`${what} of ${many} routes: ${Math.round(performance.now() - start)} ms\n`);
    };
    await timed("the next page", () => world.button("Next").click(), `Page 2 of ${many / 50}`);
    await timed(
      "a search",
      async () => {
        await page.getByLabel("Search", { exact: true }).fill(`bulk-${many - 1}`);
        await world.button("Search").click();
      },
      /Page 1 of 1, 1 in all/,
    );
    await world.fine("many-routes");
    await write(store, { op: "deleteRange", range: prefixRange("/apisix/routes/bulk-") });
    await store.close();
  });
}
