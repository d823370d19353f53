/**
 * What the Admin API costs beside a big table. Fills etcd, starts one admin process, and measures its CPU time per write
 * and what it takes to list everything. CPU time, not latency, so other work on the machine matters less.
 * Part of `npm run bench`, and by itself, in sizes of one's own:
 *
 *   npm run bench:admin -- [--consumers 100000] [--routes 10000] [--writes 500]
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { prefixRange, type Store } from "../src/store/store.ts";
import { adminLines } from "./admin-report.ts";
import { etcdMissing, fill, openStore, startEtcd } from "./etcd.ts";
import { machine, usageOf } from "./machine.ts";
import { ADMIN_KEY, freePort, launch, ROOT, SECRET, SERVER_CORE, type Server } from "./servers.ts";

export interface AdminSizes {
  readonly routes: number;
  readonly consumers: number;
  readonly writes: number;
}

export interface Listing {
  readonly what: string;
  readonly mib: number;
  readonly tookMs: number;
  readonly cpuMs: number;
  /** Resident memory while it was written, beyond what there was before. */
  readonly growthMib: number;
}

export interface AdminCosts extends AdminSizes {
  /** CPU milliseconds of the admin per call. */
  readonly calls: readonly { readonly what: string; readonly cpuMs: number }[];
  readonly lists: readonly Listing[];
  readonly indexMs: number;
}

export const ADMIN_SIZES: AdminSizes = { routes: 10_000, consumers: 100_000, writes: 500 };
const MIB = 2 ** 20;
const UNMEASURED_CALLS = 50;
const INDEX_MS_MAX = 600_000;
/** As it looks: a hash, or with a keyring an HMAC below its fingerprint. */
const PLAIN_DIGEST = /\/[0-9a-f]{64}$/;
const SEALED_DIGEST = /\/[0-9a-f]{8}-[0-9a-f]{64}$/;

const upstream = { type: "roundrobin", nodes: { "127.0.0.1:9": 1 } };
const route = (n: number, desc = "") => ({ uri: `/many/${n}/*`, plugins: { "jwt-auth": {} }, upstream, desc });
const consumer = (n: number) => ({ username: `c${n}`, plugins: { "jwt-auth": { key: `k${n}`, secret: SECRET } } });

async function startAdmin(folder: string, etcd: string, extra: readonly string[] = []): Promise<Server> {
  const [port, status, control] = await Promise.all([freePort(), freePort(), freePort()]);
  const args = [join(ROOT, "bin/jotgate.mjs"), "admin", "--etcd", etcd, "--admin-listen", `127.0.0.1:${port}`];
  args.push("--status-listen", `127.0.0.1:${status}`, "--control-listen", `127.0.0.1:${control}`);
  args.push("--data-dir", mkdtempSync(join(folder, "data-")), "--log-level", "error", ...extra);
  return launch("admin", SERVER_CORE, process.execPath, args, port, { JOTGATE_ADMIN_KEY: ADMIN_KEY });
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

/**
 * CPU milliseconds of the admin per call, one after the other.
 * @throws Error when a call is refused, a row of refusals being cheap
 */
async function cpuPer(server: Server, calls: number, act: (n: number) => Promise<number>): Promise<number> {
  const checked = async (n: number): Promise<void> => {
    const status = await act(n);
    if (status >= 300) throw new Error(`a call was answered ${status}`);
  };
  for (let n = 0; n < Math.min(UNMEASURED_CALLS, calls); n++) await checked(n);
  const before = usageOf(server.pid).cpuMicros;
  for (let n = 0; n < calls; n++) await checked(n);
  return (usageOf(server.pid).cpuMicros - before) / calls / 1_000;
}

/**
 * Reads a whole list, piece by piece, and watches the admin's memory meanwhile.
 * @param stallMs the client stops reading for so long at its first piece
 */
async function list(server: Server, what: string, path: string, stallMs = 0): Promise<Listing> {
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
      if (answer.statusCode !== 200) fail(new Error(`${path} is answered ${answer.statusCode}`));
      answer.once("data", () => {
        if (stallMs === 0) return;
        answer.pause();
        setTimeout(() => answer.resume(), stallMs);
      });
      answer.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
      });
      answer.on("end", ok).on("error", fail);
    })
      .on("error", fail)
      .end();
  }).finally(() => clearInterval(watch));
  const cpuMs = (usageOf(server.pid).cpuMicros - before.cpuMicros) / 1_000;
  const growthMib = (peak - before.rssBytes) / MIB;
  return { what, mib: bytes / MIB, tookMs: performance.now() - began, cpuMs, growthMib };
}

/**
 * Waits until the identifying values of all consumers are indexed, which an admin does once it is started.
 * @returns milliseconds it took
 * @throws Error when it does not get there
 */
async function indexed(store: Store, consumers: number, digest: RegExp): Promise<number> {
  const began = performance.now();
  for (;;) {
    let count = 0;
    for await (const page of store.list(prefixRange("/apisix-jotgate/unique/"), { keysOnly: true })) {
      count += page.kvs.filter(({ key }) => digest.test(key)).length;
    }
    const tookMs = performance.now() - began;
    if (count >= consumers) return tookMs;
    if (tookMs > INDEX_MS_MAX) throw new Error(`only ${count} of ${consumers} consumers were indexed`);
    await delay(500);
  }
}

/** @param folder for etcd and the admin's files */
export async function measureAdmin(
  sizes: AdminSizes,
  folder: string,
  say: (text: string) => void,
): Promise<AdminCosts> {
  const { routes, consumers, writes } = sizes;
  const etcd = await startEtcd(folder);
  const servers: Server[] = [etcd];
  const open = async (extra: readonly string[] = []): Promise<Server> => {
    const server = await startAdmin(folder, etcd.url, extra);
    servers.push(server);
    return server;
  };
  const store = openStore(etcd);
  try {
    say(`  writing ${routes} routes and ${consumers} consumers to etcd`);
    await fill(store, routes, (n) => ({ key: `/apisix/routes/r${n}`, value: { id: `r${n}`, ...route(n) } }));
    await fill(store, consumers, (n) => ({ key: `/apisix/consumers/c${n}`, value: consumer(n) }));
    let server = await open();
    say("  waiting until the admin has indexed the consumers");
    const indexMs = await indexed(store, consumers, PLAIN_DIGEST);
    const calls: { what: string; cpuMs: number }[] = [];
    const time = async (what: string, act: (n: number) => Promise<number>): Promise<void> => {
      const cpuMs = await cpuPer(server, writes, act);
      calls.push({ what, cpuMs });
      say(`  ${what.padEnd(32)} ${cpuMs.toFixed(2)} ms of CPU`);
    };
    await time("PUT of a route", (n) => call(server, "PUT", `/routes/r${n % routes}`, route(n % routes, `w${n}`)));
    await time("PUT of a new route", (n) => call(server, "PUT", `/routes/new${n}`, route(n)));
    await time("PATCH of a route", (n) => call(server, "PATCH", `/routes/r${n % routes}`, { desc: `p${n}` }));
    await time("PUT of a consumer", (n) => call(server, "PUT", "/consumers", consumer(n % consumers)));
    await time("DELETE of a route", async (n) => {
      await call(server, "PUT", `/routes/gone${n}`, route(n));
      return call(server, "DELETE", `/routes/gone${n}`);
    });
    await time("GET of a consumer", (n) => call(server, "GET", `/consumers/c${n % consumers}`));
    const lists = [
      await list(server, `all ${routes} routes`, "/routes"),
      await list(server, `all ${consumers} consumers`, "/consumers"),
      await list(server, `all ${consumers} consumers, client stops for 3 s`, "/consumers", 3_000),
      await list(server, "a page of 100 consumers", `/consumers?page=${Math.ceil(consumers / 200)}&page_size=100`),
    ];
    for (const one of lists) {
      say(`  list of ${one.what.padEnd(46)} ${one.mib.toFixed(1)} MiB, memory grew by ${one.growthMib.toFixed(0)} MiB`);
    }
    await server.stop();
    server = await open(["--keyring", "0123456789abcdef0123456789abcdef"]);
    say("  waiting until an admin with a keyring has indexed them anew");
    await indexed(store, consumers, SEALED_DIGEST);
    await delay(Math.min(10_000, consumers / 10)); // the old digests are being removed
    await time("PUT of a consumer, keyring set", (n) => call(server, "PUT", "/consumers", consumer(n % consumers)));
    return { ...sizes, calls, lists, indexMs };
  } finally {
    await store.close();
    for (const server of servers.reverse()) await server.stop();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (name: keyof AdminSizes): number => {
    const at = process.argv.indexOf(`--${name}`);
    return at < 0 ? ADMIN_SIZES[name] : Number(process.argv[at + 1]);
  };
  const missing = etcdMissing();
  if (missing) {
    console.log(`${missing}: apt-get install -y etcd-server`);
    process.exit(1);
  }
  const folder = mkdtempSync(join(tmpdir(), "jotgate-admin-bench-"));
  try {
    const sizes = { routes: option("routes"), consumers: option("consumers"), writes: option("writes") };
    const costs = await measureAdmin(sizes, folder, (text) => console.log(text));
    const { cpu, node } = machine();
    const text = `${[`${new Date().toISOString()}, ${cpu}, Node ${node}.`, "", ...adminLines(costs)].join("\n")}\n`;
    console.log(text);
    writeFileSync(join(ROOT, "bench/results/admin.md"), text);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
