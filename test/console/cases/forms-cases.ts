/**
 * A record as form beside its JSON: both ways in step, nothing lost; completion and marks from the schema and the admin.
 */
import { expect, test } from "vitest";
import { type ConsoleWorld, HOSTILE } from "../../support/console-world.ts";
import { admin } from "../../support/process.ts";

export function formsCases(started: () => ConsoleWorld): void {
  test("what is typed into the form is in the JSON and the other way round; what the form does not know stays", async () => {
    const world = started();
    const { page } = world;
    await world.open("/records/routes?new");
    await page.getByLabel("Id (id)").fill("formed");
    const form = world.form();
    await form.getByLabel("uri", { exact: true }).fill("/formed");
    await form.getByRole("checkbox", { name: "POST" }).check();
    await form.getByRole("textbox", { name: "Address of node 1" }).fill(Object.keys(world.nodes)[0] ?? "");
    expect(JSON.parse(await world.typed())).toMatchObject({
      ...{ uri: "/formed", methods: ["GET", "POST"], upstream: { nodes: world.nodes } },
    });
    const known = JSON.parse(await world.typed());
    const odd = {
      ...known,
      name: HOSTILE.slice(0, 90),
      plugins: { "limit-count": { count: "$http_x", time_window: 60 } },
    };
    const more = {
      ...odd,
      vars: [["arg_a", "==", "1"]],
      upstream: { ...odd.upstream, no_such_member: { deep: [null, 1.5] } },
    };
    await world.type(more);
    expect(await form.getByLabel("name", { exact: true }).first().inputValue()).toBe(HOSTILE.slice(0, 90));
    await form.getByText("limit-count", { exact: true }).click();
    await form
      .getByLabel("time_window (required)")
      .or(form.getByLabel("time_window", { exact: true }))
      .first()
      .fill("90");
    expect(JSON.parse(await world.typed())).toEqual({
      ...more,
      plugins: { "limit-count": { count: "$http_x", time_window: 90 } },
    });
    expect(await page.title()).not.toContain("owned");
    const hostilePlugin = HOSTILE.slice(0, 60);
    await world.type({ ...more, plugins: { [hostilePlugin]: { a: HOSTILE } }, labels: { [HOSTILE]: HOSTILE } });
    await form.getByText(hostilePlugin, { exact: true }).waitFor();
    await page.getByRole("region", { name: "What is wrong" }).getByText("This node has no such plugin.").waitFor();
    expect(await page.locator("main img, main script, main b").count()).toBe(0);
    expect(await page.title()).not.toContain("owned");
    await world.type('{"uri": "/half", ');
    await form.getByText("The form waits for the JSON").waitFor();
    await world.type({ uri: "/formed", upstream: { nodes: world.nodes } });
    await form.getByLabel("uri", { exact: true }).waitFor();
    await world.fine("form-edit");
    await world.button("Check").click();
    await page.getByText("What would change").waitFor();
    await world.button("Save").click();
    await world.heading("route formed").waitFor();
    expect((await admin(world.control, "GET", "/routes/formed")).body).toMatchObject({ value: { uri: "/formed" } });
  });

  test("plugins are found in a catalogue, have a form each, and show what their settings ask for", async () => {
    const world = started();
    const { page } = world;
    await world.open("/records/routes/formed");
    const form = world.form();
    await form.getByText("Add a plugin…").click();
    await form.getByLabel("Search plugins").fill("limit-c");
    await world.fine("form");
    await form.getByRole("button", { name: "Add limit-count" }).click();
    const faults = page.getByRole("region", { name: "What is wrong" });
    await faults.getByText("It needs one of: count, time_window").waitFor();
    await form.getByLabel("count", { exact: true }).fill("5");
    await form.getByLabel("time_window", { exact: true }).fill("sixty");
    await form.getByLabel("time_window", { exact: true }).fill("60");
    await faults.waitFor({ state: "detached" });
    expect(await form.getByLabel("redis_host").count()).toBe(0);
    await form.getByText("More", { exact: true }).first().click();
    const policy = form.getByLabel("policy", { exact: true });
    for (const more of await form.getByText("More", { exact: true }).all())
      if (!(await policy.isVisible())) await more.click();
    await policy.selectOption("redis");
    await form.getByLabel(/^redis_host/).fill("127.0.0.1");
    expect(JSON.parse(await world.typed()).plugins).toEqual({
      "limit-count": { count: 5, time_window: 60, policy: "redis", redis_host: "127.0.0.1" },
    });
    await form.getByRole("button", { name: "Remove limit-count" }).click();
    expect(JSON.parse(await world.typed()).plugins).toEqual({});
    await page.evaluate("document.documentElement.style.fontSize = '200%'");
    await world.fine("form-zoomed");
  });

  test("the editor completes members, values and plugins, and marks what the schema and the admin find wrong", async () => {
    const world = started();
    const { page } = world;
    await world.open("/records/routes/orders-write");
    const complete = (name: string) =>
      page
        .getByRole("option")
        .filter({ hasText: new RegExp(`^"?${name}\\b(?!-)`) })
        .click();
    await page.locator(".cm-content").waitFor();
    await world.form().getByLabel("uri", { exact: true }).waitFor();
    await world.type('{\n  "uri": "/orders/*",\n  \n}');
    await page.keyboard.press("Control+Home");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("ArrowDown");
    await page.keyboard.type('"plug');
    await complete("plugins");
    await page.keyboard.type('"limit-cou');
    await complete("limit-count");
    await page.keyboard.type('"policy');
    await complete("policy");
    await page.keyboard.type("redis-c");
    await complete("redis-cluster");
    expect(JSON.parse(await world.typed())).toEqual({
      ...{ uri: "/orders/*", plugins: { "limit-count": { policy: "redis-cluster" } } },
    });
    await world.type({ uri: "/orders/*", nonsense: 1, priority: "high", upstream: { nodes: world.nodes } });
    const faults = page.getByRole("region", { name: "What is wrong" });
    await faults.getByText("There is no such member.").waitFor();
    await faults.getByRole("button", { name: "priority" }).waitFor();
    await page.locator(".cm-lintRange-error").getByText("nonsense").waitFor();
    await world.fine("marks");
    await world.type({
      uri: "/orders/*",
      plugins: { "ip-restriction": { whitelist: ["10.0.0.0/99"] } },
      upstream: { nodes: world.nodes },
    });
    await world.button("Check").click();
    await page.getByRole("alert").first().waitFor();
    await faults
      .getByRole("button", { name: /ip-restriction/ })
      .first()
      .waitFor();
    await page.locator(".cm-lintRange-error").first().waitFor();
  });
}
