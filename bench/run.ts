/**
 * `npm run bench`: the hot path against peers in one run. Servers of one case stay up together and take turns, so that a
 * machine that drifts drifts for all of them. Prints progress; writes bench/results/latest.{json,md,svg}.
 *
 *   npm run bench -- [--only TEXT] [--rounds 3] [--seconds 4] [--full] [--name latest]
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CASES, type Case } from "./cases.ts";
import { type Measured, measure } from "./load.ts";
import { machine } from "./machine.ts";
import { type Results, type Row, writeResults } from "./report.ts";
import { has, ROOT, type Server, startUpstream } from "./servers.ts";

const option = (name: string, fallback: string): string => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? fallback : (process.argv[at + 1] ?? fallback);
};
const rounds = Number(option("rounds", "3"));
const seconds = Number(option("seconds", "4"));
const only = option("only", "");
const full = process.argv.includes("--full");

const say = (text: string): void => console.log(text);

async function runCase(which: Case, upstream: Server, folder: string, skipped: string[]): Promise<Row[]> {
  const servers: { server: Server; rounds: Measured[]; requests: string; name: string }[] = [];
  try {
    for (const entry of which.servers) {
      const missing = entry.kind.missing();
      if (missing) {
        if (!skipped.includes(missing)) skipped.push(missing);
        continue;
      }
      const name = entry.name ?? entry.kind.name;
      const own = mkdtempSync(join(folder, "server-"));
      const server = await entry.kind.start(upstream.url, own);
      const requests = await which.prepare(server, upstream.url, own, entry.variant ?? "");
      servers.push({ server, rounds: [], requests, name });
      await measure(burstOf(which, server, requests, 1)); // warm
    }
    for (let round = 0; round < rounds; round++) {
      for (const one of servers) {
        const stop = which.during?.(one.server, upstream.url);
        const measured = await measure(burstOf(which, one.server, one.requests, seconds));
        await stop?.();
        one.rounds.push(measured);
        const line = `${measured.cpuMicrosPerRequest.toFixed(1)} us, ${measured.requestsPerSecond.toFixed(0)}/s, p99 ${measured.p99Ms.toFixed(2)} ms`;
        say(`  ${which.name.padEnd(24)} ${one.name.padEnd(26)} round ${round + 1}/${rounds}: ${line}`);
      }
    }
  } finally {
    for (const { server } of servers) await server.stop();
  }
  return servers.map(({ name, rounds: measured }) => ({ case: which.name, server: name, rounds: measured }));
}

function burstOf(which: Case, server: Server, requests: string, length: number): Parameters<typeof measure>[0] {
  return {
    url: server.url,
    requests,
    seconds: length,
    pid: server.pid,
    method: which.method ?? "GET",
    bodyBytes: which.bodyBytes ?? 0,
    connections: which.connections ?? 64,
  };
}

for (const tool of ["wrk", "nginx", "taskset"]) {
  if (has(tool)) continue;
  say(`${tool} is not installed: apt-get install -y wrk nginx-light haproxy util-linux`);
  process.exit(1);
}
if (!existsSync(join(ROOT, "bench/peers/node_modules"))) {
  say("installing the Node peers into bench/peers ...");
  const done = spawnSync("npm", ["install", "--no-audit", "--no-fund"], {
    cwd: join(ROOT, "bench/peers"),
    stdio: "inherit",
  });
  if (done.status !== 0) say("the Node peers could not be installed; they are skipped");
}

const folder = mkdtempSync(join(tmpdir(), "jotgate-bench-"));
const skipped: string[] = [];
const rows: Row[] = [];
const upstream = await startUpstream(join(folder, "upstream"));
try {
  for (const which of CASES) {
    if (only && !which.name.includes(only)) continue;
    if (which.full && !full && !only) {
      skipped.push(`${which.name} (use --full)`);
      continue;
    }
    say(which.name);
    try {
      rows.push(...(await runCase(which, upstream, folder, skipped)));
    } catch (error) {
      skipped.push(`${which.name}: ${String(error)}`);
      say(`  failed: ${String(error)}`);
    }
  }
} finally {
  await upstream.stop();
  rmSync(folder, { recursive: true, force: true });
}
const commit = execFileSync("git", ["-C", ROOT, "rev-parse", "--short", "HEAD"], { encoding: "utf8" }).trim();
const results: Results = {
  machine: machine(),
  commit,
  date: new Date().toISOString(),
  seconds,
  rows,
  skipped,
  notes: [],
};
writeResults(join(ROOT, "bench/results"), option("name", "latest"), results);
say(`written to bench/results/${option("name", "latest")}.{json,md,svg}`);
for (const one of skipped) say(`skipped: ${one}`);
