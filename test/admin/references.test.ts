import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";
import { CERTIFICATE, PRIVATE_KEY } from "../support/certificates.ts";

let world: AdminWorld;
beforeAll(async () => {
  world = await openAdminWorld();
});
afterAll(() => world.close());

const nodes = { "127.0.0.1:1980": 1 };
const split = (upstream_id: string): object => ({
  "traffic-split": { rules: [{ weighted_upstreams: [{ upstream_id }] }] },
});

describe("what does not exist cannot be pointed to", () => {
  test.each([
    {
      path: "/routes/1",
      body: { uri: "/a", upstream_id: "9" },
      want: "failed to fetch upstream info by upstream id [9], response code: 404",
    },
    {
      path: "/routes/1",
      body: { uri: "/a", upstream_id: 9 },
      want: "failed to fetch upstream info by upstream id [9], response code: 404",
    },
    {
      path: "/services/1",
      body: { upstream_id: "9" },
      want: "failed to fetch upstream info by upstream id [9], response code: 404",
    },
    {
      path: "/routes/1",
      body: { uri: "/a", service_id: "9" },
      want: "failed to fetch service info by service id [9], response code: 404",
    },
    {
      path: "/routes/1",
      body: { uri: "/a", plugins: {}, plugin_config_id: "9" },
      want: "failed to fetch plugin config info by plugin config id [9], response code: 404",
    },
    {
      path: "/consumers",
      body: { username: "a", group_id: "9" },
      want: "failed to fetch consumer group info by consumer group id [9], response code: 404",
    },
    {
      path: "/upstreams/1",
      body: { nodes, tls: { client_cert_id: "9" } },
      want: "failed to fetch ssl info by ssl id [9], response code: 404",
    },
    {
      path: "/routes/1",
      body: { uri: "/a", upstream: { nodes, tls: { client_cert_id: "9" } } },
      want: "failed to fetch ssl info by ssl id [9], response code: 404",
    },
    {
      path: "/stream_routes/1",
      body: { server_port: 1, upstream_id: "9" },
      want: "failed to fetch upstream info by upstream id [9], response code: 404",
    },
    {
      path: "/stream_routes/1",
      body: { server_port: 1, protocol: { name: "redis", superior_id: "9" } },
      want: "failed to fetch stream routes[9], response code: 404",
    },
    {
      path: "/stream_routes/1",
      body: { server_port: 1, protocol: { name: "redis", superior_id: 1 } },
      want: "stream route can not set itself as superior_id",
    },
  ])("$path: $want", async ({ path, body, want }) => {
    expect(await world.call("PUT", path, { body })).toMatchObject({ status: 400, body: { error_msg: want } });
  });

  test("a server certificate is no client certificate", async () => {
    const ssl = { cert: CERTIFICATE, key: PRIVATE_KEY };
    await world.call("PUT", "/ssls/s", { body: { ...ssl, sni: "a.com" } });
    await world.call("PUT", "/ssls/c", { body: { ...ssl, type: "client" } });
    expect(
      (await world.call("PUT", "/upstreams/1", { body: { nodes, tls: { client_cert_id: "s" } } })).body.error_msg,
    ).toBe("failed to fetch ssl info by ssl id [s], wrong ssl type");
    expect((await world.call("PUT", "/upstreams/1", { body: { nodes, tls: { client_cert_id: "c" } } })).status).toBe(
      201,
    );
    for (const path of ["/upstreams/1", "/ssls/s", "/ssls/c"]) await world.call("DELETE", path);
  });
});

test("a subordinate stream route speaks the protocol of its superior", async () => {
  await world.call("PUT", "/stream_routes/s", { body: { server_port: 1, protocol: { name: "redis" } } });
  const under = (name: string) => ({ body: { protocol: { name, superior_id: "s" } } });
  expect(await world.call("PUT", "/stream_routes/u", under("dubbo"))).toMatchObject({
    status: 400,
    body: { error_msg: "protocol mismatch: subordinate protocol [dubbo] does not match superior protocol [redis]" },
  });
  expect((await world.call("PUT", "/stream_routes/u", under("redis"))).status).toBe(201);
  for (const id of ["u", "s"]) expect((await world.call("DELETE", `/stream_routes/${id}`)).status).toBe(200);
});

describe("what is used cannot be deleted, but by force", () => {
  test.each([
    {
      target: "/upstreams/t",
      body: { nodes },
      user: "/routes/u",
      by: { uri: "/a", upstream_id: "t" },
      want: "can not delete this upstream, route [u] is still using it now",
    },
    {
      target: "/upstreams/t",
      body: { nodes },
      user: "/services/u",
      by: { upstream_id: "t" },
      want: "can not delete this upstream, service [u] is still using it now",
    },
    {
      target: "/upstreams/t",
      body: { nodes },
      user: "/routes/u",
      by: { uri: "/a", plugins: split("t") },
      want: "can not delete this upstream, plugin in route [u] is still using it now",
    },
    {
      target: "/upstreams/t",
      body: { nodes },
      user: "/services/u",
      by: { plugins: split("t") },
      want: "can not delete this upstream, plugin in service [u] is still using it now",
    },
    {
      target: "/upstreams/t",
      body: { nodes },
      user: "/plugin_configs/u",
      by: { plugins: split("t") },
      want: "can not delete this upstream, plugin in plugin_config [u] is still using it now",
    },
    {
      target: "/upstreams/t",
      body: { nodes },
      user: "/consumers/u",
      by: { username: "u", plugins: split("t") },
      want: "can not delete this upstream, plugin in consumer [u] is still using it now",
    },
    {
      target: "/upstreams/t",
      body: { nodes },
      user: "/consumer_groups/u",
      by: { plugins: split("t") },
      want: "can not delete this upstream, plugin in consumer_group [u] is still using it now",
    },
    {
      target: "/upstreams/t",
      body: { nodes },
      user: "/global_rules/u",
      by: { plugins: split("t") },
      want: "can not delete this upstream, plugin in global_rules [u] is still using it now",
    },
    {
      target: "/services/t",
      body: {},
      user: "/routes/u",
      by: { uri: "/a", service_id: "t" },
      want: "can not delete this service directly, route [u] is still using it now",
    },
    {
      target: "/services/t",
      body: {},
      user: "/stream_routes/u",
      by: { server_port: 1, service_id: "t" },
      want: "can not delete this service directly, stream_route [u] is still using it now",
    },
    {
      target: "/plugin_configs/t",
      body: { plugins: {} },
      user: "/routes/u",
      by: { uri: "/a", plugins: {}, plugin_config_id: "t" },
      want: "can not delete this plugin config, route [u] is still using it now",
    },
    {
      target: "/consumer_groups/t",
      body: { plugins: {} },
      user: "/consumers/u",
      by: { username: "u", group_id: "t" },
      want: "can not delete this consumer group, consumer [u] is still using it now",
    },
    {
      target: "/stream_routes/t",
      body: { server_port: 1, protocol: { name: "redis" } },
      user: "/stream_routes/u",
      by: { protocol: { name: "redis", superior_id: "t" } },
      want: "can not delete this stream route directly, stream route [u] is still using it as superior_id",
    },
  ])("$want", async ({ target, body, user, by, want }) => {
    await world.call("PUT", target, { body });
    expect((await world.call("PUT", user, { body: by })).status).toBe(201);
    expect(await world.call("DELETE", target)).toMatchObject({ status: 400, body: { error_msg: want } });
    expect((await world.call("DELETE", `${target}?force=True`)).status).toBe(400);
    expect((await world.call("DELETE", `${target}?force=true`)).status).toBe(200);
    await world.call("DELETE", user);
  });

  test("what was used once and is no more can be deleted", async () => {
    await world.call("PUT", "/upstreams/t", { body: { nodes } });
    await world.call("PUT", "/routes/u", { body: { uri: "/a", upstream_id: "t" } });
    await world.call("PUT", "/routes/u", { body: { uri: "/a", upstream: { nodes } } });
    expect((await world.call("DELETE", "/upstreams/t")).status).toBe(200);
    await world.call("DELETE", "/routes/u");
  });

  test("the check comes even before it is seen that there is nothing to delete", async () => {
    await world.call("PUT", "/services/t", { body: {} });
    await world.call("PUT", "/routes/u", { body: { uri: "/a", service_id: "t" } });
    await world.call("DELETE", "/services/t?force=true");
    expect((await world.call("DELETE", "/services/t")).status).toBe(400);
    await world.call("DELETE", "/routes/u");
    expect((await world.call("DELETE", "/services/t")).status).toBe(404);
  });
});

test("a deletion and a new user never both succeed", async () => {
  const other = await openAdminWorld({ store: world.store });
  let both = 0;
  for (let turn = 0; turn < 30; turn++) {
    await world.call("PUT", "/upstreams/race", { body: { nodes } });
    const [deleted, pointed] = await Promise.all([
      other.call("DELETE", "/upstreams/race"),
      world.call("PUT", "/routes/race", { body: { uri: "/a", upstream_id: "race" } }),
    ]);
    if (deleted.status === 200 && pointed.status === 201) both++;
    expect([deleted.status, pointed.status]).not.toContain(503);
    await world.call("DELETE", "/routes/race");
    await world.call("DELETE", "/upstreams/race");
  }
  expect(both).toBe(0);
  await other.close();
});
