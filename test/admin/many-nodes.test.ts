/**
 * The cluster in numbers with as many nodes as it is made for: they are asked a few at a time, and who is away is named.
 */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { FakeClock } from "../../src/base/clock.ts";
import { type AdminWorld, openAdminWorld } from "../support/admin.ts";
import { until } from "../support/process.ts";
import { put, write } from "../support/stores.ts";

const NODES = 200;
const AT_ONCE = 64;
const REASONS = Array.from({ length: 12 }, (_, at) => `reason_${at}`);
const clock = new FakeClock(1_700_000_000_000);

let round = 1;
let asked = 0;
let most = 0;
let world: AdminWorld;
let server: Server;

/** What the nodes count, more in each round; the twelfth reason is the most frequent one. */
const metrics = (): string =>
  [
    `jotgate_http_requests_total{route="a",status="200"} ${round * 100}`,
    ...REASONS.map((reason, at) => `jotgate_gateway_errors_total{reason="${reason}"} ${round * (at + 1) * 5}`),
    // The gateway's own refusals are in both families: counted once.
    `jotgate_refusals_total{plugin="",reason="reason_0"} ${round * 1_000}`,
    ...["0.01", "+Inf"].map(
      (le) => `jotgate_http_request_duration_seconds_bucket{route="a",le="${le}"} ${round * 100}`,
    ),
    "",
  ].join("\n");

beforeAll(async () => {
  server = createServer((request, response) => {
    asked++;
    most = Math.max(most, asked);
    // All that are asked at once are here before the first is answered.
    setImmediate(() =>
      setImmediate(() => {
        asked--;
        response.writeHead(200, { "content-type": "application/json" });
        response.end(
          request.url === "/metrics" ? metrics() : request.url === "/problems" ? '{"list":[],"total":0}' : "[]",
        );
      }),
    );
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  world = await openAdminWorld({ clock });
  const { port } = server.address() as AddressInfo;
  const node = (address: string) => ({ version: "1", address, startedMs: 1, applied: "1", workers: 1 });
  for (let at = 0; at < NODES; at += 100)
    await write(
      world.store,
      ...Array.from({ length: 100 }, (_, on) =>
        put(`/apisix-jotgate/nodes/n${at + on}`, node(`127.0.0.1:${at + on === 0 ? 1 : port}`)),
      ),
    );
});
afterAll(async () => {
  await world.close();
  server.closeAllConnections();
  server.close();
});

test("rates of 200 nodes are added up, their reasons cut to the most frequent, the one that is away is named", async () => {
  await world.call("GET", "/overview");
  round = 2;
  clock.advance(5_000);
  const seen = await until("the second look", async () => {
    const { body } = await world.call("GET", "/overview");
    return body.points.length > 0 && body;
  });
  expect(seen.silent).toEqual(["n0"]);
  expect(Object.keys(seen.nodes)).toHaveLength(NODES - 1);
  expect(seen.requests["2xx"]).toBeCloseTo((NODES - 1) * 20);
  const { reasons } = seen.points[0];
  expect(Object.keys(reasons)).toEqual([...REASONS.slice(4).reverse(), "other"]);
  expect(reasons["reason_11"]).toBeCloseTo((NODES - 1) * 12);
  expect(reasons["other"]).toBeCloseTo((NODES - 1) * (1 + 2 + 3 + 4));
  expect(most).toBeGreaterThan(1);
  // Metrics and health are asked for beside each other.
  expect(most).toBeLessThanOrEqual(2 * AT_ONCE);
});

test("problems of 200 nodes are asked for in the same way", async () => {
  most = 0;
  const { body } = await world.call("GET", "/problems");
  expect([body.total, body.silent]).toEqual([0, ["n0"]]);
  expect(most).toBeLessThanOrEqual(AT_ONCE);
});
