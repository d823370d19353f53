/**
 * What records cost one process that has them and serves few of them: memory, CPU to take them in, CPU to meet one.
 * Run: node --expose-gc --import tsx bench/held-records.ts [routes] [consumers]
 */
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../src/base/clock.ts";
import { PLUGINS } from "../src/plugins/index.ts";
import { Table } from "../src/sync/table.ts";
import { openWorld } from "../test/runtime/live-fixture.ts";

const [routes = 100_000, consumers = 1_000_000] = process.argv.slice(2).map(Number);
const ASKED = 20_000;
const MIB = 2 ** 20;
const { live } = openWorld({ plugins: PLUGINS.map((entry) => entry.load()) });
const table = new Table({ clock: systemClock, consumer: live });
let revision = 0n;

function put(key: string, value: object): void {
  revision++;
  const kv = { key, value: Buffer.from(JSON.stringify(value)), version: 1n, lease: 0n };
  table.apply(revision, [{ type: "put", key, kv: { ...kv, createRevision: revision, modRevision: revision } }]);
}

/** After the collector has run, so that only what is held is counted. */
async function memory(): Promise<Record<string, number>> {
  for (let times = 0; times < 4; times++) {
    globalThis.gc?.();
    await delay(50);
  }
  const { rss, heapUsed, arrayBuffers } = process.memoryUsage();
  const shown = { rss, heapUsed, arrayBuffers };
  return Object.fromEntries(Object.entries(shown).map(([name, bytes]) => [`${name} MiB`, Math.round(bytes / MIB)]));
}

function cpuMs(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return Math.round((user + system) / 1_000);
}

const before = await memory();
const loadMs = cpuMs(() => {
  const upstream = { type: "roundrobin", nodes: { "127.0.0.1:1980": 1 } };
  for (let i = 0; i < routes; i++)
    put(`/apisix/routes/r${i}`, { id: `r${i}`, uri: `/many/${i}/*`, plugins: { "jwt-auth": {} }, upstream });
  for (let i = 0; i < consumers; i++) {
    const auth = { key: `k${i}`, secret: "a-secret-of-32-bytes-0123456789ab" };
    put(`/apisix/consumers/c${i}`, { username: `c${i}`, plugins: { "jwt-auth": auth } });
  }
});
const after = await memory();
const credentials = live.env.credentials("jwt-auth");
const consumerMs = cpuMs(() => {
  for (let i = 0; i < Math.min(ASKED, consumers); i++) credentials.get(`k${(i * 7_919) % consumers}`);
});
const routeMs = cpuMs(() => {
  for (let i = 0; i < Math.min(ASKED, routes); i++) live.route(`r${i}`);
});
console.log({ routes, consumers, before, after });
console.log({ "CPU ms to take all in": loadMs, "to meet consumers": consumerMs, "to meet routes": routeMs });
