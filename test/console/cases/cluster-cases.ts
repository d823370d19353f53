/**
 * What the pages tell of the cluster: overview, signing keys, upstreams, explain, problems.
 */
import { expect, test } from "vitest";
import { type ConsoleWorld, jwtOf } from "../../support/console-world.ts";
import { admin, until } from "../../support/process.ts";

export function clusterCases(started: () => ConsoleWorld): void {
  test("the overview shows nodes, requests and refusals, live", async () => {
    const world = started();
    await world.open("/");
    const table = world.page.getByRole("region", { name: "Gateway nodes" });
    await until("both nodes are in step", async () => (await table.getByText("in step").count()) === 2);
    const call = () =>
      Promise.all(world.gateways.map((node) => fetch(`${node.gateway}/orders/1`).then((reply) => reply.arrayBuffer())));
    await until(
      "refusals by reason and token outcomes are seen",
      async () => {
        await call();
        return (
          (await world.page.getByText("4xx").count()) > 0 &&
          (await world.page.getByText("jwt-auth missing").count()) > 0
        );
      },
      60_000,
      200,
    );
    const chart = world.page.getByRole("img", {
      name: /^Errors by reason, per second: 5xx now .*jwt-auth jwt missing now [\d.]+\/s/,
    });
    await chart.waitFor();
    await chart.locator(".u-legend").getByText("jwt-auth jwt missing").waitFor();
    // Something is drawn: axes and lines.
    const drawn = "document.querySelector('.chart canvas').toDataURL().length";
    expect(await world.page.evaluate<number>(drawn)).toBeGreaterThan(2_000);
    await world.fine("overview");
  });

  test("own signing keys are shown with their life, and rotated", async () => {
    const world = started();
    await world.put("/authorization_servers/own", { issuer: "https://own.example" });
    await world.open("/records/authorization_servers/own");
    const keys = world.page.getByRole("region", { name: "Signing keys" });
    await until("a key", async () => (await keys.getByRole("row").count()) > 1);
    await keys.getByRole("button", { name: "Rotate", exact: true }).click();
    await keys.getByText("Rotated").waitFor();
    expect(await world.button("Emergency rotation").isDisabled()).toBe(true);
    await world.fine("signing-keys");
  });

  test("unhealthy targets are told by upstream and node, with what was counted", async () => {
    const world = started();
    const check = {
      type: "http",
      http_path: "/",
      healthy: { interval: 1 },
      unhealthy: { interval: 1, tcp_failures: 1 },
    };
    const checks = { active: { ...check, timeout: 1 } };
    await world.put("/upstreams/sick", { nodes: { "127.0.0.1:9": 1, ...world.nodes }, checks });
    await world.put("/routes/sick", { uri: "/sick", upstream_id: "sick" });
    await world.open("/upstreams");
    const row = world.page.getByRole("row", { name: /upstreams\/sick.*127\.0\.0\.1:9.*unhealthy/ });
    await until("both nodes say so", async () => {
      await Promise.all(
        world.gateways.map((node) => fetch(`${node.gateway}/sick`).then((reply) => reply.arrayBuffer())),
      );
      return (await row.count()) === 2;
    });
    await world.fine("upstreams");
    await admin(world.control, "DELETE", "/routes/sick");
    await admin(world.control, "DELETE", "/upstreams/sick");
  });

  test("explain says which route, why not the others, and where a token fails", async () => {
    const world = started();
    const token = jwtOf({ key: "jack-key", exp: 1_000 });
    await world.open("/explain");
    await world.page.getByLabel("Address").fill("http://localhost/orders/7");
    await world.page.getByLabel("Headers, one a line").fill(`Authorization: Bearer ${token}`);
    await world.button("Explain").click();
    const verdict = world.page.getByRole("region", { name: "Verdict" });
    await verdict.getByText("refused with 401").waitFor();
    await verdict.getByText("jwt_expired").first().waitFor();
    await verdict.getByRole("region", { name: "Why not the others" }).getByText("POST").waitFor();
    await verdict.getByRole("row", { name: /times not good/ }).waitFor();
    await world.fine("explain");
  });

  test("a refused call is found by its request id", async () => {
    const world = started();
    const [gateway] = world.gateways;
    const reply = await fetch(`${gateway?.gateway}/orders/1`);
    const id = reply.headers.get("x-request-id") ?? "";
    await world.open("/explain");
    await world.page.getByLabel("Request id").fill(id);
    await world.page.getByRole("region", { name: "Refused calls" }).getByText("jwt_missing").waitFor();
  });

  test("problems of all nodes are merged, each with its record", async () => {
    const world = started();
    const { openDirect } = await import("../../support/history.ts");
    const store = openDirect(world.etcd.endpoints);
    const { put: record, write } = await import("../../support/stores.ts");
    await write(store, record("/apisix/routes/broken", { id: "broken", uri: 7, upstream: { nodes: world.nodes } }));
    await store.close();
    await world.open("/problems");
    const row = world.page.getByRole("row", { name: /routes\/broken/ });
    await row.waitFor();
    await until("both nodes say so", async () => (await row.textContent())?.split("gateway-").length === 3);
    await world.fine("problems");
    await admin(world.control, "DELETE", "/routes/broken");
  });
}
