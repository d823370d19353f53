import { afterAll, beforeAll, expect, test } from "vitest";
import { type ControlSource, openControl } from "../../src/status/control-server.ts";
import type { StatusListener } from "../../src/status/listener.ts";

const counter = { success: 2, http_failure: 0, tcp_failure: 0, timeout_failure: 0 };
const upstream = {
  key: "/apisix/upstreams/1",
  value: { id: "1", type: "roundrobin" },
  createdIndex: 5,
  modifiedIndex: 6,
};
const route = { key: "/apisix/routes/r", value: { id: "r", uri: "/r" }, createdIndex: 7, modifiedIndex: 8 };
const metadata = { key: "/apisix/plugin_metadata/cors", value: { a: 1 }, createdIndex: 9, modifiedIndex: 9 };
const report = {
  name: "/apisix/upstreams/1",
  type: "http",
  nodes: [{ ip: "127.0.0.1", port: 80, status: "healthy", counter }],
} as const;
const facts: ControlSource = {
  serverInfo: () => ({ id: "n1", version: "0.1.0", hostname: "h", boot_time: 1_700_000_000, etcd_version: "3.5.0" }),
  schemas: () => ({
    main: { route: { type: "object" } },
    plugins: { "jwt-auth": { schema: {}, priority: 2510, version: 0.1 } },
  }),
  health: async () => [report],
  refusals: async (query) => [{ reason: "jwt_expired", ...query }],
  records: (kind) => ({ routes: [route], services: [], upstreams: [upstream], plugin_metadata: [metadata] })[kind],
};

let listener: StatusListener;
beforeAll(async () => {
  listener = await openControl({ listen: { host: "127.0.0.1", port: 0 }, facts });
});
afterAll(() => listener.stop());

test("what only APISIX has to do is answered as done", async () => {
  const base = `http://127.0.0.1:${listener.address.port}`;
  const reload = await fetch(`${base}/v1/plugins/reload`, { method: "PUT" });
  expect([reload.status, await reload.text()]).toEqual([200, "done"]);
  const gc = await fetch(`${base}/v1/gc`, { method: "POST" });
  expect([gc.status, await gc.text()]).toEqual([200, ""]);
  expect((await fetch(`${base}/v1/gc`)).status).toBe(404);
});

test.each<{ path: string; status?: number; want: unknown }>([
  { path: "/v1/server_info", want: facts.serverInfo() },
  { path: "/v1/schema", want: { ...facts.schemas(), stream_plugins: {} } },
  { path: "/v1/schema/plugin/jwt-auth", want: { schema: {}, priority: 2510, version: 0.1 } },
  { path: "/v1/schema/plugin/__proto__", status: 404, want: { error_msg: "not found schema" } },
  { path: "/v1/schema/route", want: { type: "object" } },
  { path: "/v1/schema/nothing", status: 404, want: { error_msg: "not found schema" } },
  { path: "/v1/healthcheck", want: [report] },
  { path: "/v1/healthcheck/upstreams/1", want: report },
  { path: "/v1/healthcheck/upstreams/2", status: 404, want: { error_msg: "upstreams[2] not found" } },
  { path: "/v1/healthcheck/routes/r", status: 404, want: { error_msg: "no checker for routes[r]" } },
  { path: "/v1/healthcheck/consumers/1", status: 400, want: { error_msg: "invalid src type consumers" } },
  { path: "/v1/healthcheck/upstreams", status: 404, want: { error_msg: "missing src id for src type upstreams" } },
  { path: "/v1/refusals", want: { list: [{ reason: "jwt_expired" }], total: 1 } },
  {
    path: "/v1/refusals?request_id=a&consumer=b",
    want: { list: [{ reason: "jwt_expired", request_id: "a", consumer: "b" }], total: 1 },
  },
  {
    path: "/v1/refusals?route=a",
    status: 400,
    want: { error_msg: "refusals: there is no argument route: use request_id, consumer, reason" },
  },
  {
    path: "/v1/refusals?reason=a&reason=b",
    status: 400,
    want: { error_msg: "refusals: reason must be given once, with 1 to 256 characters" },
  },
  { path: "/v1/routes", want: [route] },
  { path: "/v1/route/r", want: route },
  { path: "/v1/route/x", status: 404, want: { error_msg: "route[x] not found" } },
  { path: "/v1/services", want: [] },
  { path: "/v1/service/1", status: 404, want: { error_msg: "service[1] not found" } },
  { path: "/v1/upstreams", want: [upstream] },
  { path: "/v1/upstream/1", want: upstream },
  { path: "/v1/plugin_metadatas", want: [{ a: 1, id: "cors" }] },
  { path: "/v1/plugin_metadata/cors", want: { a: 1, id: "cors" } },
  { path: "/v1/plugin_metadata/x", status: 404, want: { error_msg: "plugin metadata[x] not found" } },
  { path: "/v2", status: 404, want: { error_msg: "404 Not Found" } },
])("GET $path answers as APISIX's Control API", async ({ path, status = 200, want }) => {
  const answer = await fetch(`http://127.0.0.1:${listener.address.port}${path}`);
  expect(answer.status).toBe(status);
  expect(await answer.json()).toEqual(want);
});
