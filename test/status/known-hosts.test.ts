import { hostname } from "node:os";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ControlSource, openControl } from "../../src/status/control-server.ts";
import { knownHosts, type StatusListener } from "../../src/status/listener.ts";
import { send } from "../support/raw-request.ts";

const isKnown = knownHosts(["Status.Example.com"]);

test.each([
  ...[undefined, "", "127.0.0.1", "10.0.0.1:9091", "[::1]:9090", "[fd00::1]", "localhost:9090", "a.localhost"],
  ...["gateway1:9091", "status.example.com:1", "STATUS.example.com.", hostname(), `${hostname()}:9091`],
])("%j is known", (host) => {
  expect(isKnown(host)).toBe(true);
});

test.each([
  ...["evil.example", "evil.example:9090", "127.0.0.1.evil.example", "localhost.evil.example", "evil.example."],
  ...["example.com", "x.status.example.com", "[evil.example]", "1.2.3.4.5", "notlocalhost.com"],
])("%j is not", (host) => {
  expect(isKnown(host)).toBe(false);
});

let listener: StatusListener;
beforeAll(async () => {
  const facts = { serverInfo: () => ({}) } as unknown as ControlSource; // all that is asked of it
  listener = await openControl({ listen: { host: "127.0.0.1", port: 0 }, hosts: ["control.example"], facts });
});
afterAll(() => listener.stop());

test("a page whose name was made to resolve here is told nothing, and which setting would change that", async () => {
  const { port } = listener.address;
  const refused = await send(port, "/v1/server_info", { Host: "evil.example" });
  expect(refused.status).toBe(421);
  expect(refused.text).toContain("control.hosts");
  expect((await send(port, "/nowhere", { Host: "evil.example" })).status).toBe(421);
  expect((await send(port, "/v1/server_info", { Host: "control.example:1" })).status).toBe(200);
});
