/**
 * `npm run bench:start`: CPU seconds and resident memory of a node that has just begun to accept, without a record and with one
 * whose plugin wants a library of its own. Medians of some starts; CPU time, so other work on the machine matters less.
 *
 *   npm run bench:start -- [--rounds 5]
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { median, usageOf } from "./machine.ts";
import { freePort, launch, ROOT, SERVER_CORE, untilReady } from "./servers.ts";

const at = process.argv.indexOf("--rounds");
const rounds = at < 0 ? 5 : Number(process.argv[at + 1]);
const folder = mkdtempSync(join(tmpdir(), "jotgate-start-"));

const NODES = '{ "127.0.0.1:9": 1 }';
const file = (name: string, plugins: object): string => {
  const path = join(folder, name);
  const route = `{ id: a, uri: /*, plugins: ${JSON.stringify(plugins)}, upstream: { nodes: ${NODES} } }`;
  writeFileSync(path, `routes:\n  - ${route}\n`);
  return path;
};
const redis = { count: 9, time_window: 9, key: "remote_addr", policy: "redis", redis_host: "127.0.0.1", redis_port: 9 };
const CASES: readonly (readonly [string, () => readonly string[]])[] = [
  ["from a file, one plain route", () => ["--file", file("plain.yaml", {})]],
  ["from a file, one limit in redis, asked once", () => ["--file", file("redis.yaml", { "limit-count": redis })]],
  ["embedded store, Admin API", () => ["--data-dir", mkdtempSync(join(folder, "data-"))]],
];

async function measure(extra: readonly string[]): Promise<{ cpuMs: number; rssMib: number }> {
  const [port, admin, status, control] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const args = [join(ROOT, "bin/jotgate.mjs"), "start", "--workers", "1", "--gateway-listen", `127.0.0.1:${port}`];
  args.push("--admin-listen", `127.0.0.1:${admin}`, "--status-listen", `127.0.0.1:${status}`);
  args.push("--control-listen", `127.0.0.1:${control}`, "--log-level", "error", ...extra);
  const server = await launch("jotgate", SERVER_CORE, process.execPath, args, port, {
    JOTGATE_ADMIN_KEY: "bench-start",
  });
  try {
    await untilReady("jotgate", `http://127.0.0.1:${status}`);
    await fetch(`${server.url}/`).then((answer) => answer.arrayBuffer());
    const { cpuMicros, rssBytes } = usageOf(server.pid);
    return { cpuMs: cpuMicros / 1_000, rssMib: rssBytes / 2 ** 20 };
  } finally {
    await server.stop();
  }
}

try {
  console.log("| start | CPU ms | RSS MiB |\n|---|---|---|");
  for (const [name, extra] of CASES) {
    const found: Awaited<ReturnType<typeof measure>>[] = [];
    for (let n = 0; n < rounds; n++) found.push(await measure(extra()));
    const of = (key: "cpuMs" | "rssMib"): string => median(found.map((one) => one[key])).toFixed(0);
    console.log(`| ${name} | ${of("cpuMs")} | ${of("rssMib")} |`);
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
