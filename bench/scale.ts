/**
 * `npm run bench:scale`: what a big table costs. Fills etcd through the store port, starts one gateway worker on it, and
 * prints how long the first sync took, the longest turn of its event loop, resident bytes per record, and one request.
 *
 *   npm run bench:scale -- [--consumers 100000] [--routes 10000]
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { openEtcdSource } from "../src/store/etcd.ts";
import type { Operation, Store } from "../src/store/store.ts";
import { machine, usageOf } from "./machine.ts";
import { freePort, has, launch, ROOT, SECRET } from "./servers.ts";
import { signer } from "./tokens.ts";

const option = (name: string, fallback: number): number => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
const consumers = option("consumers", 100_000);
const routes = option("routes", 10_000);
const PER_TXN = 100;

async function fill(
  store: Store,
  count: number,
  record: (n: number) => { key: string; value: unknown },
): Promise<void> {
  for (let from = 0; from < count; from += PER_TXN) {
    const then: Operation[] = [];
    for (let n = from; n < Math.min(count, from + PER_TXN); n++) {
      const { key, value } = record(n);
      then.push({ op: "put", key, value: Buffer.from(JSON.stringify(value)) });
    }
    await store.txn({ compare: [], then });
  }
}

async function metric(status: string, name: string): Promise<number> {
  const text = await (await fetch(`${status}/metrics`)).text();
  return Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1] ?? Number.NaN);
}

async function measureGateway(
  folder: string,
  etcd: string,
): Promise<{ loadMs: number; rss: number; lagMs: number; url: string; stop(): Promise<void> }> {
  const [gateway, status, control] = await Promise.all([freePort(), freePort(), freePort()]);
  const args = [join(ROOT, "bin/jotgate.mjs"), "gateway", "--etcd", etcd, "--workers", "1"];
  args.push("--gateway-listen", `127.0.0.1:${gateway}`, "--status-listen", `127.0.0.1:${status}`);
  args.push("--control-listen", `127.0.0.1:${control}`, "--data-dir", mkdtempSync(join(folder, "data-")));
  const beganMs = performance.now();
  const server = await launch("gateway", 0, process.execPath, args, status ?? 0);
  const url = `http://127.0.0.1:${status}`;
  while (!(await fetch(`${url}/ready`)).ok) await delay(20);
  const loadMs = performance.now() - beganMs;
  const lagMs = (await metric(url, "nodejs_eventloop_lag_max_seconds")) * 1_000;
  await delay(3_000);
  return { loadMs, rss: usageOf(server.pid).rssBytes, lagMs, url: `http://127.0.0.1:${gateway}`, stop: server.stop };
}

if (!has("etcd")) {
  process.stdout.write("etcd is not installed: apt-get install -y etcd-server\n");
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), "jotgate-scale-"));
const [client, peer] = await Promise.all([freePort(), freePort()]);
const endpoint = `http://127.0.0.1:${client}`;
const etcdArgs = [
  "--data-dir",
  join(folder, "etcd"),
  "--listen-client-urls",
  endpoint,
  "--advertise-client-urls",
  endpoint,
];
etcdArgs.push(
  "--listen-peer-urls",
  `http://127.0.0.1:${peer}`,
  "--quota-backend-bytes",
  "8589934592",
  "--log-level",
  "error",
);
etcdArgs.push(
  "--initial-advertise-peer-urls",
  `http://127.0.0.1:${peer}`,
  "--initial-cluster",
  `default=http://127.0.0.1:${peer}`,
);
const etcd = await launch("etcd", 1, "etcd", etcdArgs, client ?? 0);
try {
  const store = openEtcdSource({ hosts: [endpoint], clock: systemClock, log: silentLog }).open();
  const base = await measureGateway(folder, endpoint);
  await base.stop();
  process.stdout.write(`writing ${routes} routes and ${consumers} consumers to etcd ...\n`);
  await fill(store, routes, (n) => ({
    key: `/apisix/routes/r${n}`,
    value: {
      id: `r${n}`,
      uri: `/many/${n}/*`,
      plugins: { "jwt-auth": {} },
      upstream: { type: "roundrobin", nodes: { "127.0.0.1:9": 1 } },
    },
  }));
  await fill(store, consumers, (n) => ({
    key: `/apisix/consumers/c${n}`,
    value: { username: `c${n}`, plugins: { "jwt-auth": { key: `k${n}`, secret: SECRET } } },
  }));
  await store.close();
  const loaded = await measureGateway(folder, endpoint);
  const token = signer("HS256", `k${consumers - 1}`, SECRET).token({ exp: Math.floor(Date.now() / 1_000) + 600 });
  const answer = await fetch(`${loaded.url}/many/${routes - 1}/x`, { headers: { authorization: token } });
  await loaded.stop();
  const perRecord = (loaded.rss - base.rss) / Math.max(1, consumers + routes);
  const lines = [
    "# Scale",
    "",
    `${new Date().toISOString()}, ${machine().cpu}, Node ${machine().node}; ${routes} routes, ${consumers} consumers, one worker, etcd on the other core.`,
    "",
    "| | empty | full |",
    "|---|---|---|",
    `| start to ready, ms | ${base.loadMs.toFixed(0)} | ${loaded.loadMs.toFixed(0)} |`,
    `| longest turn of the event loop, ms | ${base.lagMs.toFixed(1)} | ${loaded.lagMs.toFixed(1)} |`,
    `| resident, MiB | ${(base.rss / 2 ** 20).toFixed(0)} | ${(loaded.rss / 2 ** 20).toFixed(0)} |`,
    `| resident per record, bytes | | ${perRecord.toFixed(0)} |`,
    `| a request by the last consumer to the last route | | ${answer.status === 502 ? "authenticated and routed (502: nothing listens there)" : answer.status} |`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  writeFileSync(join(ROOT, "bench/results/scale.md"), `${lines.join("\n")}\n`);
} finally {
  await etcd.stop();
  rmSync(folder, { recursive: true, force: true });
}
