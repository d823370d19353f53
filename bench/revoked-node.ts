/**
 * What a million revoked tokens cost a whole gateway process on etcd, beside one that has none: resident memory at rest,
 * time until it is ready, longest turn while it loads, from etcd and from its own file.
 * Run: npm run build && node --import tsx bench/revoked-node.ts [tokens]
 */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { readFingerprint } from "../src/base/jose/token.ts";
import { encodeBatch, hourDir, hourOf } from "../src/model/revocation.ts";
import type { Store } from "../src/store/store.ts";
import { openStore, startEtcd } from "./etcd.ts";
import { usageOf } from "./machine.ts";
import { launchGateway, type Server, untilReady } from "./servers.ts";
import { restingMicros, turnsUntil } from "./table-facts.ts";

const TOKENS = Number(process.argv[2] ?? 1_000_000);
const BATCH = 3_000;
const BATCHES_A_TXN = 16;
const SPAN_MS = 2_000;

/** As an admin stores them, ending in one hour; all of one hour is the worst for the tables. */
export async function writeRevocations(store: Store, prefix: string, count: number): Promise<void> {
  const until = Math.floor(Date.now() / 1_000) + 86_400;
  const operations = [];
  for (let first = 0; first < count; first += BATCH) {
    const tokens = Array.from({ length: Math.min(BATCH, count - first) }, (_, i) => ({
      fingerprint: readFingerprint(
        createHash("sha256")
          .update(`token ${first + i}`)
          .digest(),
        0,
      ),
      until,
    }));
    const key = `${hourDir(prefix, hourOf(until))}bench-${first}-${tokens.length}`;
    operations.push({ op: "put", key, value: encodeBatch(tokens, Date.now()) } as const);
  }
  for (let at = 0; at < operations.length; at += BATCHES_A_TXN)
    await store.txn({ compare: [], then: operations.slice(at, at + BATCHES_A_TXN) });
}

/** What the process itself counts. */
async function held(status: string | undefined): Promise<string> {
  const text = await (await fetch(`${status}/metrics`)).text();
  const mib = (name: string): string =>
    (Number(new RegExp(`^${name} (\\S+)$`, "m").exec(text)?.[1]) / 2 ** 20).toFixed(1);
  return `heap ${mib("nodejs_heap_size_used_bytes")} of ${mib("nodejs_heap_size_total_bytes")} MiB, external ${mib("nodejs_external_memory_bytes")}, tables ${mib("jotgate_revocations_bytes")}`;
}

async function measure(name: string, etcd: Server, prefix: string, folder: string): Promise<number> {
  const began = performance.now();
  const server = await launchGateway(etcd.url, prefix, folder);
  try {
    const turns = await turnsUntil(server.status, untilReady(server.name, server.status));
    const readyMs = performance.now() - began;
    await restingMicros(server, SPAN_MS);
    const mib = usageOf(server.pid).rssBytes / 2 ** 20;
    console.log(
      `${name.padEnd(28)} ${mib.toFixed(1)} MiB resident, ready ${readyMs.toFixed(0)} ms, longest turn ${turns.longest.toFixed(0)} ms`,
    );
    console.log(`  of it ${await held(server.status)}`);
    return mib;
  } finally {
    await server.stop();
  }
}

if (process.argv[1]?.endsWith("revoked-node.ts")) {
  const folder = mkdtempSync(join(tmpdir(), "jotgate-revoked-"));
  const etcd = await startEtcd(folder);
  const store = openStore(etcd);
  try {
    console.log(`${TOKENS} tokens, load average ${loadavg()[0]?.toFixed(1)}, Node ${process.version}`);
    await store.txn({ compare: [], then: [{ op: "put", key: "/none/routes/", value: Buffer.from("init_dir") }] });
    await writeRevocations(store, "/revoked", TOKENS);
    const folders = ["none", "revoked"].map((name) => join(folder, name));
    for (const from of ["from etcd", "from its file"]) {
      const none = await measure(`none, ${from}`, etcd, "/none", folders[0] ?? "");
      const revoked = await measure(`revoked, ${from}`, etcd, "/revoked", folders[1] ?? "");
      console.log(`difference                   ${(revoked - none).toFixed(1)} MiB`);
    }
  } finally {
    await store.close();
    await etcd.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}
