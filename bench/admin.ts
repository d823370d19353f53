/**
 * `npm run bench:admin`: what the Admin API costs beside a big table. Fills etcd, starts one admin process, and prints its
 * CPU time per write and what it takes to list everything. CPU time, not latency, so other work on the machine matters less.
 *
 *   npm run bench:admin -- [--consumers 100000] [--routes 10000] [--writes 500]
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../src/base/clock.ts";
import { silentLog } from "../src/base/log.ts";
import { openEtcdSource } from "../src/store/etcd.ts";
import { type Operation, prefixRange, type Store } from "../src/store/store.ts";
import { machine, usageOf } from "./machine.ts";
import { ADMIN_KEY, freePort, has, launch, ROOT, SECRET, type Server } from "./servers.ts";

const option = (name: string, fallback: number): number => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(process.argv[at + 1]);
};
const consumers = option("consumers", 100_000);
const routes = option("routes", 10_000);
const writes = option("writes", 500);
const PER_TXN = 100;
const MIB = 2 ** 20;

const upstream = { type: "roundrobin", nodes: { "127.0.0.1:9": 1 } };
const route = (n: number, desc = "") => ({ uri: `/many/${n}/*`, plugins: { "jwt-auth": {} }, upstream, desc });
const consumer = (n: number) => ({ username: `c${n}`, plugins: { "jwt-auth": { key: `k${n}`, secret: SECRET } } });

async function fill(store: Store, count: number, dir: string, record: (n: number) => [string, object]): Promise<void> {
  for (let from = 0; from < count; from += PER_TXN) {
    const then: Operation[] = [];
    for (let n = from; n < Math.min(count, from + PER_TXN); n++) {
      const [id, value] = record(n);
      then.push({ op: "put", key: `/apisix/${dir}/${id}`, value: Buffer.from(JSON.stringify(value)) });
    }
    await store.txn({ compare: [], then });
  }
}

async function startStore(folder: string): Promise<Server> {
  const [client, peer] = await Promise.all([freePort(), freePort()]);
  const here = (port: number): string => `http://127.0.0.1:${port}`;
  const args = ["--data-dir", join(folder, "etcd"), "--log-level", "error", "--quota-backend-bytes", "8589934592"];
  args.push("--listen-client-urls", here(client), "--advertise-client-urls", here(client));
  args.push("--listen-peer-urls", here(peer), "--initial-advertise-peer-urls", here(peer));
  return launch("etcd", 1, "etcd", [...args, "--initial-cluster", `default=${here(peer)}`], client);
}

async function startAdmin(folder: string, etcd: string, extra: readonly string[] = []): Promise<Server> {
  const [port, status, control] = await Promise.all([freePort(), freePort(), freePort()]);
  const args = [join(ROOT, "bin/jotgate.mjs"), "admin", "--etcd", etcd, "--admin-listen", `127.0.0.1:${port}`];
  args.push("--status-listen", `127.0.0.1:${status}`, "--control-listen", `127.0.0.1:${control}`);
  args.push("--data-dir", mkdtempSync(join(folder, "data-")), "--log-level", "error", ...extra);
  return launch("admin", 0, process.execPath, args, port, { JOTGATE_ADMIN_KEY: ADMIN_KEY });
}

const call = async (server: Server, method: string, path: string, body?: object): Promise<number> => {
  const answer = await fetch(`${server.url}/apisix/admin${path}`, {
    method,
    headers: { "X-API-KEY": ADMIN_KEY },
    ...(body && { body: JSON.stringify(body) }),
  });
  await answer.arrayBuffer();
  return answer.status;
};

/** CPU milliseconds of the admin per call, one after the other. */
async function cpuPer(server: Server, act: (n: number) => Promise<number>): Promise<number> {
  for (let n = 0; n < 50; n++) await act(n);
  const before = usageOf(server.pid).cpuMicros;
  for (let n = 0; n < writes; n++) {
    const status = await act(n);
    if (status >= 300) throw new Error(`a call was answered ${status}`);
  }
  return (usageOf(server.pid).cpuMicros - before) / writes / 1_000;
}

interface Listing {
  readonly mib: number;
  readonly tookMs: number;
  readonly cpuMs: number;
  /** Resident memory while it was written, beyond what there was before. */
  readonly growthMib: number;
}

/** Reads a whole list, piece by piece, and watches the admin's memory meanwhile. */
async function list(server: Server, path: string): Promise<Listing> {
  const before = usageOf(server.pid);
  let peak = before.rssBytes;
  let bytes = 0;
  const began = performance.now();
  const watch = setInterval(() => {
    peak = Math.max(peak, usageOf(server.pid).rssBytes);
  }, 20);
  await new Promise<void>((ok, fail) => {
    const url = `${server.url}/apisix/admin${path}`;
    request(url, { headers: { "X-API-KEY": ADMIN_KEY } }, (answer) => {
      answer.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      answer.on("end", ok).on("error", fail);
    })
      .on("error", fail)
      .end();
  });
  clearInterval(watch);
  const cpuMs = (usageOf(server.pid).cpuMicros - before.cpuMicros) / 1_000;
  const growthMib = (peak - before.rssBytes) / MIB;
  return { mib: bytes / MIB, tookMs: performance.now() - began, cpuMs, growthMib };
}

/**
 * Waits until the identifying values of all consumers are indexed, which an admin does once it is started.
 * @param digest as it looks: a hash, or with a keyring an HMAC
 */
async function indexed(store: Store, digest: RegExp): Promise<number> {
  const began = performance.now();
  for (;;) {
    let count = 0;
    for await (const page of store.list(prefixRange("/apisix-jotgate/unique/"), { keysOnly: true })) {
      count += page.kvs.filter(({ key }) => digest.test(key)).length;
    }
    if (count >= consumers) return performance.now() - began;
    await delay(500);
  }
}

if (!has("etcd")) {
  process.stdout.write("etcd is not installed: apt-get install -y etcd-server\n");
  process.exit(1);
}
const folder = mkdtempSync(join(tmpdir(), "jotgate-admin-bench-"));
const etcd = await startStore(folder);
const servers: Server[] = [etcd];
const open = async (extra: readonly string[] = []): Promise<Server> => {
  const server = await startAdmin(folder, etcd.url, extra);
  servers.push(server);
  return server;
};
try {
  const store = openEtcdSource({ hosts: [etcd.url], clock: systemClock, log: silentLog }).open();
  process.stdout.write(`writing ${routes} routes and ${consumers} consumers to etcd ...\n`);
  await fill(store, routes, "routes", (n) => [`r${n}`, { id: `r${n}`, ...route(n) }]);
  await fill(store, consumers, "consumers", (n) => [`c${n}`, consumer(n)]);
  let server = await open();
  const indexMs = await indexed(store, /\/[0-9a-f]{64}$/);
  const costs: [string, number][] = [
    ["PUT of a route", await cpuPer(server, (n) => call(server, "PUT", `/routes/r${n}`, route(n, `w${n}`)))],
    ["PUT of a new route", await cpuPer(server, (n) => call(server, "PUT", `/routes/new${n}`, route(n)))],
    ["PATCH of a route", await cpuPer(server, (n) => call(server, "PATCH", `/routes/r${n}`, { desc: `p${n}` }))],
    ["PUT of a consumer", await cpuPer(server, (n) => call(server, "PUT", "/consumers", consumer(n)))],
    [
      "DELETE of a route",
      await cpuPer(server, async (n) => {
        await call(server, "PUT", `/routes/gone${n}`, route(n));
        return call(server, "DELETE", `/routes/gone${n}`);
      }),
    ],
    ["GET of a consumer", await cpuPer(server, (n) => call(server, "GET", `/consumers/c${n}`))],
  ];
  const lists: [string, Listing][] = [
    [`all ${routes} routes`, await list(server, "/routes")],
    [`all ${consumers} consumers`, await list(server, "/consumers")],
    ["a page of 100 consumers", await list(server, "/consumers?page=500&page_size=100")],
  ];
  await server.stop();
  server = await open(["--keyring", "0123456789abcdef0123456789abcdef"]);
  await indexed(store, /\/[0-9a-f]{8}-[0-9a-f]{64}$/);
  await delay(10_000); // the old digests are being removed
  costs.push([
    "PUT of a consumer, keyring set",
    await cpuPer(server, (n) => call(server, "PUT", "/consumers", consumer(n))),
  ]);
  await store.close();
  const { cpu, node } = machine();
  const lines = [
    "# Admin API beside a big table",
    "",
    `${new Date().toISOString()}, ${cpu}, Node ${node}; ${routes} routes, ${consumers} consumers, etcd on the other core, load average ${readFileSync("/proc/loadavg", "utf8").split(" ")[0]}.`,
    "",
    `| ${writes} calls, one after the other | CPU of the admin per call, ms |`,
    "|---|---|",
    ...costs.map(([what, ms]) => `| ${what} | ${ms.toFixed(2)} |`),
    "",
    "DELETE includes the PUT of what is deleted, and asks whether anything still uses it.",
    "",
    "| List | MiB sent | took, ms | CPU, ms | memory grew by, MiB |",
    "|---|---|---|---|---|",
    ...lists.map(
      ([what, one]) =>
        `| ${what} | ${one.mib.toFixed(1)} | ${one.tookMs.toFixed(0)} | ${one.cpuMs.toFixed(0)} | ${one.growthMib.toFixed(0)} |`,
    ),
    "",
    `Indexing the keys of ${consumers} consumers that others wrote, once, in the background: ${(indexMs / 1_000).toFixed(1)} s.`,
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
  writeFileSync(join(ROOT, "bench/results/admin.md"), `${lines.join("\n")}\n`);
} finally {
  for (const server of servers.reverse()) await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
